/**
 * A memory hit over HTTP: `microsync serve`, as its users start it, beside a bare `node:http` server that answers the
 * same bytes with the same headers, each in a process of its own. They take turns under the same client.
 */
import { fork, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BareAnswer } from "./bare-server.ts";
import type { Load, Loaded } from "./load.ts";

export interface HttpOptions {
  readonly folder: string;
  readonly rounds: number;
  /** Requests to each side in a round. */
  readonly requests: number;
  readonly connections: number;
  readonly valueBytes: number;
}

export interface HttpRound {
  /** Requests a second. */
  readonly serve: number;
  readonly bare: number;
  /** Processor time of each server for one request, in microseconds; NaN where the system does not tell. */
  readonly serveCpuUs: number;
  readonly bareCpuUs: number;
  /** The share of the time in which the client was busy. */
  readonly client: number;
}

const KEYS = 100;
/** Before that many, much of the time goes into compiling. */
const WARM_REQUESTS = 20_000;
/** Written by the server for each answer, by itself. */
const OWN_HEADERS = new Set(["date", "connection", "keep-alive"]);

/** Of which only the name is compared: they tell the time, or how long each server keeps a connection. */
const VARYING = new Set(["date", "age", "sync-age-ms", "keep-alive"]);

const beside = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const CLI = fileURLToPath(new URL("../../../../dist/cli/main.js", import.meta.url));

export async function httpRace(options: HttpOptions): Promise<readonly HttpRound[]> {
  const { folder, rounds, requests, connections, valueBytes } = options;
  const started: ChildProcess[] = [];
  try {
    const args = [CLI, "--chain", "memory: lmdb:http-cache", "serve", "--listen", "127.0.0.1:0", "--name", "here"];
    const serve = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
    started.push(serve);
    const [line] = (await once(serve.stdout, "data")) as [Buffer];
    const servePort = Number(new URL(line.toString().trim()).port);
    const body = Buffer.alloc(valueBytes, "x");
    const paths = Array.from({ length: KEYS }, (_, i) => `/v1/kv/users/${1_000 + i}/profile`);
    const headers = { "content-type": "application/json" };
    for (const path of paths) {
      const put = await fetch(`http://127.0.0.1:${servePort}${path}`, { method: "PUT", body, headers });
      if (!put.ok) throw new Error(`PUT: ${put.status} ${await put.text()}`);
    }
    const answer = await fetch(`http://127.0.0.1:${servePort}${paths[0]}`);
    if (!(answer.headers.get("cache-status") ?? "").startsWith("memory; hit")) throw new Error("not a memory hit");
    const same = Object.fromEntries([...answer.headers].filter(([name]) => !OWN_HEADERS.has(name)));
    const told: BareAnswer = { headers: same, body: Buffer.from(await answer.arrayBuffer()).toString("base64") };
    const bare = fork(beside("bare-server.js"));
    const client = fork(beside("load.js"));
    started.push(bare, client);
    bare.send(told);
    const [barePort] = (await once(bare, "message")) as [number];
    await checkSame(`http://127.0.0.1:${servePort}${paths[0]}`, `http://127.0.0.1:${barePort}${paths[0]}`);
    const ask = async (port: number, count: number) => {
      const load: Load = { port, connections, requests: count, paths, bodyBytes: valueBytes };
      client.send(load);
      const [loaded] = (await once(client, "message")) as [Loaded];
      return loaded;
    };
    const measured = async (child: ChildProcess, port: number) => {
      const before = cpuMs(child);
      const { ms, cpuMs: clientMs } = await ask(port, requests);
      const cpuUs = ((cpuMs(child) - before) * 1_000) / requests;
      return { rate: requests / (ms / 1_000), cpuUs, client: clientMs / ms };
    };
    await ask(servePort, WARM_REQUESTS);
    await ask(barePort, WARM_REQUESTS);
    const results: HttpRound[] = [];
    for (let round = 0; round < rounds; round++) {
      const ours = () => measured(serve, servePort);
      const theirs = () => measured(bare, barePort);
      const first = round % 2 === 0 ? await ours() : await theirs();
      const second = round % 2 === 0 ? await theirs() : await ours();
      const [own, other] = round % 2 === 0 ? [first, second] : [second, first];
      const clientShare = Math.max(own.client, other.client);
      results.push({
        serve: own.rate,
        bare: other.rate,
        serveCpuUs: own.cpuUs,
        bareCpuUs: other.cpuUs,
        client: clientShare,
      });
    }
    return results;
  } finally {
    await Promise.all(started.map(ended));
  }
}

/** Both sides answer the same, but for what changes from one answer to the next, or a race would say nothing. */
async function checkSame(...urls: [string, string]): Promise<void> {
  const [own, other] = await Promise.all(
    urls.map(async (url) => {
      const answer = await fetch(url);
      const headers = [...answer.headers].map(([name, value]) => (VARYING.has(name) ? name : `${name}: ${value}`));
      return `${answer.status}\n${headers.join("\n")}\n\n${await answer.text()}`;
    }),
  );
  if (own !== other) throw new Error(`the bare server answers something else:\n${other}\ninstead of\n${own}`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const over = once(child, "exit");
  child.kill("SIGTERM");
  await over;
}

/** Linux counts in hundredths of a second, whatever the kernel's own ticks are. */
const TICK_MS = 10;

/** Processor time that a process has used, as Linux tells it; NaN elsewhere. */
function cpuMs({ pid }: ChildProcess): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return Number.NaN;
  }
}
