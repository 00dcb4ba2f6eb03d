import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import { BODY_BYTES_MIN, after, beginningOf, joined } from "../body.ts";
import { BYTES_TYPE, JSON_TYPE, TEXT_TYPE } from "../codec/content-type.ts";
import { readDuration } from "../config/values.ts";
import { SyncError } from "../error.ts";
import { toVersion } from "../version.ts";
import { EXIT_OK } from "./exit.ts";
import type { Io } from "./io.ts";
import { jsonLine, orNull } from "./lines.ts";
import { utf8 } from "../node/lines.ts";
import type { Raw } from "../node/lines.ts";
import type { Session } from "./session.ts";
import { input, readAll } from "./stdin.ts";

export interface SetFlags {
  readonly as?: string;
  readonly type?: string;
  readonly file?: string;
  readonly ttl?: string;
  readonly expires?: string;
  readonly meta?: readonly string[];
  readonly ifAbsent?: boolean;
  readonly ifVersion?: string;
  readonly ack?: string;
}

export async function run(
  { io, json, call, open }: Session,
  [key = "", given]: readonly string[],
  flags: SetFlags,
): Promise<number> {
  const options = {
    ...call,
    ack: flags.ack,
    ifAbsent: flags.ifAbsent,
    ifVersion: flags.ifVersion === undefined ? undefined : toVersion(flags.ifVersion),
    ttlMs: flags.ttl === undefined ? undefined : readDuration("--ttl", flags.ttl),
    expires: flags.expires === undefined ? undefined : readMoment(flags.expires),
    meta: flags.meta === undefined ? undefined : readMeta(flags.meta),
  };
  // Nothing is opened before it is known that there is a value, or much of one.
  const value = await valueOf(io, given, flags);
  const { db } = await open();
  const { version, expires, supersededBy } =
    "bytes" in value
      ? await db.set(key, value, options)
      : await db.setStream(key, value, { ...options, contentType: flags.type });
  await io.stdout.write(
    json ? jsonLine({ key, version, expires, supersededBy: orNull(supersededBy) }) : `${version}\n`,
  );
  if (supersededBy !== undefined) {
    await io.stderr.write(`microsync: a newer version, ${supersededBy}, was there already and stays\n`);
  }
  return EXIT_OK;
}

/** The value, or what comes where it is long. */
async function valueOf(io: Io, given: string | undefined, flags: SetFlags): Promise<Raw | AsyncIterable<Uint8Array>> {
  const source = sourceOf(io, given, flags)?.[Symbol.asyncIterator]();
  if (source === undefined) return readValue(io, given, flags);
  const { pieces, isAll } = await beginningOf(source, BODY_BYTES_MIN);
  if (isAll) return { bytes: joined(pieces), type: flags.type ?? BYTES_TYPE };
  return after(pieces, { [Symbol.asyncIterator]: () => source });
}

/** Bytes of a file or of standard input go by as they come; what has to be looked at is read whole. */
function sourceOf(
  io: Io,
  given: string | undefined,
  { as, type, file }: SetFlags,
): AsyncIterable<Uint8Array> | undefined {
  if (file !== undefined && given !== undefined) {
    throw new SyncError("INVALID", "a value and --file are both given", { cure: "give one" });
  }
  const isInput = file === "-" || (file === undefined && (given === "-" || (given === undefined && !io.stdinIsTTY)));
  if (
    (file === undefined && !isInput) ||
    (as !== undefined && as !== "bytes") ||
    (as !== undefined && type !== undefined)
  ) {
    if (file === undefined) return undefined;
    throw new SyncError("INVALID", "--file takes bytes", { cure: "name what they are by --type" });
  }
  return isInput ? input(io) : fileBytes(resolve(io.folder, file ?? ""));
}

async function* fileBytes(path: string): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES })) yield piece as Uint8Array;
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
    throw new SyncError("NOT_FOUND", `${path} cannot be read: ${code}`, { cure: "correct the path", cause });
  }
}

const PIECE_BYTES = 64 * 1024;

/** VALUE is text, standard input is bytes, unless `--as` says otherwise; `--type` names the type of either's bytes. */
async function readValue(io: Io, given: string | undefined, { as, type }: SetFlags): Promise<Raw> {
  const fromInput = given === undefined || given === "-";
  if (given === undefined && io.stdinIsTTY) {
    throw new SyncError("INVALID", "no value is given", {
      cure: "give it after the key, or - to type it, ended by Ctrl-D",
    });
  }
  if (as !== undefined && type !== undefined) {
    throw new SyncError("INVALID", "--as and --type are both given", { cure: "give one" });
  }
  const bytes = fromInput ? await readAll(io) : new TextEncoder().encode(wellFormed(given));
  if (type !== undefined) return { bytes, type };
  switch (as ?? (fromInput ? "bytes" : "text")) {
    case "text":
      if (utf8(bytes) === undefined) {
        throw new SyncError("INVALID", "the input is not UTF-8 text", { cure: "use --as bytes" });
      }
      return { bytes, type: TEXT_TYPE };
    case "json":
      return { bytes: compactJson(bytes), type: JSON_TYPE };
    case "bytes":
      return { bytes, type: BYTES_TYPE };
    default:
      throw new SyncError("INVALID", `--as is ${JSON.stringify(as?.slice(0, 64))}`, {
        cure: "it takes text, json or bytes",
      });
  }
}

function wellFormed(text: string): string {
  if (text.isWellFormed()) return text;
  throw new SyncError("INVALID", "the value holds half of a surrogate pair", { cure: "give bytes on standard input" });
}

/** The JSON without the white space around its parts, as the default codec writes it. */
function compactJson(bytes: Uint8Array): Uint8Array {
  const text = utf8(bytes);
  try {
    if (text === undefined) throw new SyntaxError("it is not UTF-8");
    return new TextEncoder().encode(JSON.stringify(JSON.parse(text)));
  } catch {
    // The parser's own message quotes the value.
    throw new SyncError("INVALID", "the value is not JSON", { cure: "quote it for the shell, as in '{\"n\":1}'" });
  }
}

function readMoment(text: string): number {
  const ms = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isSafeInteger(ms) && ms >= 0) return ms;
  throw new SyncError("INVALID", `--expires is ${JSON.stringify(text.slice(0, 64))}`, {
    cure: "it takes Unix milliseconds or a moment such as 2030-01-31T12:00:00Z",
  });
}

function readMeta(pairs: readonly string[]): Record<string, string> {
  const meta: Record<string, string> = {};
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals < 1) {
      throw new SyncError("INVALID", `--meta ${JSON.stringify(pair.slice(0, 64))} is not name=value`, {
        cure: "write --meta name=value",
      });
    }
    meta[pair.slice(0, equals)] = pair.slice(equals + 1);
  }
  return meta;
}
