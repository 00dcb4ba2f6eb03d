/**
 * What the S3 store costs beside the bare client (aws4fetch over undici) that does the same: the same conditional PUTs and
 * GETs, as many at once. `npx tsc -p bench && node build/bench/bench/s3.js`. The figures in docs/stores/s3.md come from here.
 */
import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { Agent, request } from "undici";
import { NO_META } from "../src/entry.ts";
import type { Entry } from "../src/entry.ts";
import { encodeName } from "../src/stores/s3/endpoint.ts";
import { s3 } from "../src/stores/s3.ts";
import { systemRuntime as runtime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";
import { radosgw } from "../test/servers/radosgw.ts";

const KEYS = 1_000;
const SINGLE = 200;
const ROUNDS = 5;
const AT_ONCE = 16;
const BUCKET = "bench";
const body = new TextEncoder().encode(JSON.stringify({ name: "Ada", note: "x".repeat(990) }));

const server = await radosgw();
const store = await s3({ runtime, bucket: BUCKET, endpoint: server.url, credentials: server, create: true });
const agent = new Agent({ connections: AT_ONCE, pipelining: 1 });
const signingKeys = new Map<string, ArrayBuffer>();
const etags = new Map<string, string>();

async function bare(method: "GET" | "PUT", name: string, content?: Uint8Array): Promise<void> {
  const url = `${server.url}/${BUCKET}/bare/${encodeName(name)}`;
  const sum = createHash("sha256")
    .update(content ?? "")
    .digest("hex");
  const headers: Record<string, string> = { "x-amz-content-sha256": sum };
  const etag = etags.get(name);
  // What a compare of versions needs to be stored with the object, and what shows damage.
  const stored = { "content-type": "application/json", "x-amz-meta-version": "0".repeat(34), "x-amz-meta-sum": sum };
  if (method === "PUT") Object.assign(headers, stored);
  if (method === "PUT") headers[etag === undefined ? "if-none-match" : "if-match"] = etag ?? "*";
  const { accessKeyId, secretAccessKey } = server;
  const keys = { accessKeyId, secretAccessKey, service: "s3", region: "us-east-1", cache: signingKeys };
  const signer = new AwsV4Signer({ method, url, headers, ...keys });
  headers["authorization"] = await signer.authHeader();
  headers["x-amz-date"] = signer.headers.get("x-amz-date") ?? "";
  const answer = await request(url, { dispatcher: agent, method, headers, body: content ?? null });
  await answer.body.arrayBuffer();
  if (answer.statusCode !== 200) throw new Error(`${method} ${name}: ${answer.statusCode}`);
  if (method === "PUT") etags.set(name, String(answer.headers["etag"]).replaceAll('"', ""));
}

async function bareMany(method: "GET" | "PUT", names: readonly string[], content?: Uint8Array): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let name = names[next++]; name !== undefined; name = names[next++]) await bare(method, name, content);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

let version = runtime.now() - 3_600_000;
const entries = (names: readonly string[]): Entry[] => {
  version++;
  const at = formatVersion(version, 0, "0".repeat(16));
  // Other bytes each time, of one length: what is usual.
  const value = body.map((byte, i) => (i === 20 ? 48 + (version % 10) : byte));
  return names.map((key) => ({ key, state: "value", value, version: at, expires: null, meta: NO_META }));
};

async function put(items: readonly Entry[]): Promise<void> {
  const results = await store.write(items.map((entry) => ({ entry, asOf: 0 })));
  if (results.some(({ status }) => status !== "stored")) throw new Error(JSON.stringify(results[0]));
}

interface Spent {
  readonly ms: number;
  /** Of this process, which is the client's share; the rest is the server and the wire. */
  readonly cpuMs: number;
}

async function spent(work: () => Promise<unknown>): Promise<Spent> {
  const before = runtime.monotonic();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { ms: runtime.monotonic() - before, cpuMs: (user + system) / 1000 };
}

/** Both in turns, so that what else the machine does meets both; the medians. */
async function compare(name: string, count: number, mine: () => Promise<unknown>, theirs: () => Promise<unknown>) {
  const rounds: { readonly mine: Spent; readonly theirs: Spent }[] = [];
  const requests = store.requests;
  for (let i = 0; i < ROUNDS; i++) rounds.push({ mine: await spent(mine), theirs: await spent(theirs) });
  const median = (who: "mine" | "theirs", what: keyof Spent) =>
    rounds.map((round) => round[who][what]).sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
  const [a, b] = [median("mine", "ms"), median("theirs", "ms")];
  const perSecond = (ms: number) => Math.round((count / ms) * 1000);
  const micros = (who: "mine" | "theirs") => Math.round((median(who, "cpuMs") / count) * 1000);
  const more = (((micros("mine") - micros("theirs")) / ((b / count) * 1000)) * 100).toFixed(0);
  const each = ((store.requests - requests) / ROUNDS / count).toFixed(3);
  const speed = `store ${perSecond(a)}/s, bare ${perSecond(b)}/s (${((a / b - 1) * 100).toFixed(0)} % more time)`;
  const work = `client's CPU ${micros("mine")} and ${micros("theirs")} µs each: ${more} % of the bare time`;
  console.log(`${name.padEnd(22)} ${speed}; ${work}; ${each} requests each`);
}

let fresh = 0;
const names = (count: number, round = "") => Array.from({ length: count }, (_, i) => `users/${round}${i}/profile`);
const all = names(KEYS);
await put(entries(all));
await bareMany("PUT", all, body);
const one = async (count: number, work: (name: string) => Promise<unknown>) => {
  for (const name of all.slice(0, count)) await work(name);
};

await compare(
  "one write, known key",
  SINGLE,
  () => one(SINGLE, (name) => put(entries([name]))),
  () => one(SINGLE, (name) => bare("PUT", name, body)),
);
await compare(
  "one read",
  SINGLE,
  () => one(SINGLE, (name) => store.read([name])),
  () => one(SINGLE, (name) => bare("GET", name)),
);
await compare(
  "1,000 writes, known",
  KEYS,
  () => put(entries(all)),
  () => bareMany("PUT", all, body),
);
await compare(
  "1,000 writes, new",
  KEYS,
  () => put(entries(names(KEYS, `${fresh++}-`))),
  () => bareMany("PUT", names(KEYS, `b${fresh++}-`), body),
);
await compare(
  "1,000 reads",
  KEYS,
  () => store.read(all),
  () => bareMany("GET", all),
);
let before = store.requests;
for await (const item of store.list({ prefix: "users/0-" })) if (item.kind !== "entry") throw new Error("partial");
console.log(`a list of 1,000 keys: ${store.requests - before} requests`);
const other = await s3({ runtime, bucket: BUCKET, endpoint: server.url, credentials: server });
before = other.requests;
for await (const item of other.list({ prefix: "users/0-" }, { detail: "entries" }))
  if (item.kind !== "entry") throw new Error("partial");
console.log(`a list of 1,000 heads not seen before: ${other.requests - before} requests`);
before = other.requests;
for await (const item of other.list({ prefix: "users/0-" }, { detail: "entries" }))
  if (item.kind !== "entry") throw new Error("partial");
console.log(`the same again: ${other.requests - before} requests`);
await Promise.all([store.close(), other.close(), agent.close()]);
await server.stop();
