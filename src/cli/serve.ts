import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { loadConfig } from "../config/file.ts";
import { readDuration, readOption } from "../config/values.ts";
import { SyncError } from "../error.ts";
import { EVERYTHING } from "../node/grants.ts";
import { nodeOver } from "../node/node.ts";
import type { NodeOptions } from "../node/node.ts";
import { withHops } from "../node/server/hops.ts";
import { DEFAULT_PORT, listen } from "../node/server/listen.ts";
import { isLoopbackName, localDoor, readTokens, tokenDoor } from "../node/server/tokens.ts";
import { EXIT_OK } from "./exit.ts";
import type { Io } from "./io.ts";
import { jsonLine } from "./lines.ts";
import type { Session } from "./session.ts";

export interface ServeFlags {
  readonly listen?: string;
  readonly name?: string;
  readonly tokens?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly stopTimeout?: string;
  readonly connections?: string;
  readonly bodyMax?: string;
  readonly allowClear?: boolean;
}

const STOP_MS = 30_000;

/** Answers until the process is told to end; then no request is cut, and the journal is drained within its limit. */
export async function run({ io, json, call, global, open }: Session, _: readonly string[], given: ServeFlags) {
  const flags = { ...(await fromFile(io, global.config)), ...fromEnvironment(io), ...given };
  const { host, port } = addressOf(flags.listen);
  const tls = await certificateOf(io, flags);
  const authorise = await doorOf(io, host, flags.tokens);
  const stopMs = flags.stopTimeout === undefined ? STOP_MS : readDuration("--stop-timeout", flags.stopTimeout);
  const connectionsMax = numberOf("--connections", flags.connections, "count");
  const bodyBytesMax = numberOf("--body-max", flags.bodyMax, "size");
  const { chain } = await open();
  const node = nodeOver(chain, {
    name: flags.name,
    authorise,
    allowClear: flags.allowClear,
    within: withHops,
    limits: { bodyBytesMax, requestMs: call.timeoutMs },
  });
  const server = await listen(node, { host, port, tls, connectionsMax });
  try {
    await io.stdout.write(json ? jsonLine({ listening: server.url, node: node.name }) : `${server.url}\n`);
    await io.stderr.write(`microsync: ${node.name} answers for ${chain.name}\n`);
    await untilTold(io);
  } finally {
    const cut = await server.stop(stopMs);
    if (cut > 0) await io.stderr.write(`microsync: ${cut} connections were cut after ${stopMs} ms\n`);
  }
  return EXIT_OK;
}

function untilTold({ signal }: Io): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    signal.addEventListener("abort", () => done(), { once: true });
  });
}

/** What the folder's configuration file says; its paths are relative to it. */
async function fromFile({ folder }: Io, file: string | undefined): Promise<ServeFlags> {
  const config = await loadConfig(folder, file);
  if (config?.serve === undefined) return {};
  const within = (path: string | undefined) => (path === undefined ? undefined : resolve(config.base, path));
  const { listen, name, tokens, tlsCert, tlsKey } = config.serve;
  return said({ listen, name, tokens: within(tokens), tlsCert: within(tlsCert), tlsKey: within(tlsKey) });
}

function fromEnvironment({ env }: Io): ServeFlags {
  return said({ listen: env["MICROSYNC_LISTEN"], name: env["MICROSYNC_NAME"], tokens: env["MICROSYNC_TOKENS"] });
}

/** Without what is not said, so that what is said elsewhere holds. */
function said(flags: { readonly [name in keyof ServeFlags]: string | undefined }): ServeFlags {
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined && value !== ""));
}

/** @throws SyncError INVALID for what is no address. */
function addressOf(text: string | undefined): { readonly host: string; readonly port: number } {
  const match = /^(?:(\[[0-9a-f:.]+\]|[^:[\]\s]+):)?(\d{1,5})$/i.exec(text ?? String(DEFAULT_PORT));
  const port = Number(match?.[2] ?? Number.NaN);
  if (match === null || !(port <= 65_535)) {
    throw new SyncError("INVALID", `${JSON.stringify(text)} is no address to listen on`, {
      cure: "write a port, or host:port, as in 0.0.0.0:7420 or [::1]:7420",
    });
  }
  return { host: (match[1] ?? "127.0.0.1").replace(/^\[|\]$/g, ""), port };
}

function numberOf(name: string, text: string | undefined, kind: "count" | "size"): number | undefined {
  return text === undefined ? undefined : Number(readOption(name, [text], kind));
}

async function certificateOf(io: Io, { tlsCert, tlsKey }: ServeFlags) {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new SyncError("INVALID", "a certificate and its key go together", { cure: "give --tls-cert and --tls-key" });
  }
  return { cert: await contentOf(io, tlsCert), key: await contentOf(io, tlsKey) };
}

/** Who may ask. On any address that other machines reach, a token is needed. */
async function doorOf(io: Io, host: string, file: string | undefined): Promise<NodeOptions["authorise"]> {
  if (file !== undefined) {
    const tokens = readTokens(await contentOf(io, file), file);
    if (tokens.length > 0) return tokenDoor(tokens);
    throw new SyncError("INVALID", `${file} has no token`, { cure: "write NAME sha256:HASH read,write into it" });
  }
  if (isLoopbackName(host)) return localDoor(EVERYTHING);
  throw new SyncError("INVALID", `other machines reach ${host}, and anybody there could read and write everything`, {
    cure: "give --tokens FILE, or listen on 127.0.0.1",
  });
}

async function contentOf({ folder }: Io, file: string): Promise<string> {
  try {
    return await readFile(resolve(folder, file), "utf8");
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new SyncError("NOT_FOUND", `${file} cannot be read: ${reason}`, { cause, cure: "correct the path" });
  }
}
