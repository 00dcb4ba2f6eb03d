/**
 * What the GitHub store costs: requests and bytes for 1,000 keys, by each way of committing, and batched writes a second
 * next to bare undici calls that do the same work, in one run, against the test server on this machine. What it printed
 * last is in docs/decisions/0007-github-commits.md.
 *
 *     npx tsc -p bench && node build/bench/bench/github.js
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import { NO_META } from "../src/entry.ts";
import type { Entry } from "../src/entry.ts";
import type { Store } from "../src/store.ts";
import { github } from "../src/stores/github/index.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";
import { githubServer } from "../test/servers/github.ts";
import { ampleBudgets } from "../test/stores/github/world.ts";

const KEYS = 1_000;
const BATCH = 100;
const ROUNDS = 10;
const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
const server = await githubServer(folder);
let issued = 0;

type Kind = "text" | "bytes";

function entry(key: string, i: number, kind: Kind): Entry {
  const text = new TextEncoder().encode(JSON.stringify({ n: i, filler: "x".repeat(200) }));
  const value =
    kind === "text" ? text : Uint8Array.from({ length: 230 }, (_, n) => (n < 2 ? i >> (8 * n) : n * 31 + i) & 255);
  const version = formatVersion(1.7e12 + issued++, 0, "0123456789abcdef");
  return { key, state: "value", value, version, expires: null, meta: NO_META };
}

function open(name: string, hasGraphql: boolean): Promise<Store> {
  server.hasGraphql = hasGraphql;
  return github(`github:octo/${name}#main`, {
    runtime: systemRuntime,
    api: server.api,
    token: "tok_octo",
    budgets: ampleBudgets(),
    cacheFolder: join(folder, `cache-${issued}`),
    readonly: false,
  });
}

async function measured(work: () => Promise<void>) {
  const before = server.requests.length;
  const started = performance.now();
  await work();
  const ms = performance.now() - started;
  const made = server.requests.slice(before);
  const charged = made.filter(({ status }) => status !== 304).length;
  return { ms, requests: charged, free: made.length - charged, bytes: made.reduce((sum, { bytes }) => sum + bytes, 0) };
}

async function put(store: Store, entries: readonly Entry[]): Promise<void> {
  const results = await store.write(entries.map((each) => ({ entry: each, asOf: 0 })));
  if (results.some(({ status }) => status !== "stored")) throw new Error("not stored");
}

function line(name: string, { ms, requests, free, bytes }: Awaited<ReturnType<typeof measured>>): void {
  const parts = [`${requests} requests`, `${free} free`, `${(bytes / 1024).toFixed(0)} KiB`, `${ms.toFixed(0)} ms`];
  console.log(`${name.padEnd(52)}${parts.map((part) => part.padStart(14)).join("")}`);
}

for (const kind of ["text", "bytes"] as const) {
  for (const hasGraphql of [true, false]) {
    const name = `${kind}-${hasGraphql ? "mutation" : "rest"}`;
    server.create("octo", name);
    const store = await open(name, hasGraphql);
    await put(store, [entry("first", 0, "text")]);
    const all = Array.from({ length: KEYS }, (_, i) => entry(`k/${i % 10}/${i}`, i, kind));
    const writing = await measured(async () => {
      for (let at = 0; at < KEYS; at += BATCH) await put(store, all.slice(at, at + BATCH));
    });
    line(`write ${KEYS} ${kind} keys in batches of ${BATCH}, ${hasGraphql ? "mutation" : "REST"}`, writing);
    await store.close();
    const reader = await open(name, hasGraphql);
    const reading = await measured(async () => {
      for (let at = 0; at < KEYS; at += BATCH) await reader.read(all.slice(at, at + BATCH).map(({ key }) => key));
    });
    line(`read them, cold, ${hasGraphql ? "GraphQL" : "REST"}`, reading);
    await reader.close();
  }
}

// The same batches by git itself, where it is there: what a push sends.
{
  const bare = server.create("octo", "pushed");
  const work = join(folder, "work");
  execFileSync("git", ["init", "--quiet", "--initial-branch=main", work]);
  const stream: Buffer[] = [];
  for (let at = 0; at < KEYS; at += BATCH) {
    stream.push(Buffer.from(`commit refs/heads/main\ncommitter x <x@localhost> ${at} +0000\ndata 1\nm\n`));
    for (let i = at; i < at + BATCH; i++) {
      const { value } = entry(`k/${i % 10}/${i}`, i, "text");
      stream.push(
        Buffer.from(`M 100644 inline k/${i % 10}/${i}\ndata ${value?.length}\n`),
        Buffer.from(value ?? ""),
        Buffer.of(10),
      );
    }
  }
  execFileSync("git", ["-C", work, "fast-import", "--quiet"], { input: Buffer.concat(stream) });
  const commits = execFileSync("git", ["-C", work, "rev-list", "--reverse", "main"]).toString().trim().split("\n");
  const { execFile } = await import("node:child_process");
  let bytes = 0;
  const started = performance.now();
  for (const commit of commits) {
    const env = { ...process.env, GIT_TRACE_CURL: "1", GIT_TRACE_CURL_NO_DATA: "1" };
    await new Promise<void>((resolve, reject) => {
      const args = ["-C", work, "push", "--quiet", `${server.api}/octo/pushed.git`, `${commit}:refs/heads/main`];
      execFile("git", args, { env, maxBuffer: 1 << 26 }, (error, _, stderr) => {
        for (const [, length = "0"] of stderr.matchAll(/Content-Length: ([0-9]+)/gi)) bytes += Number(length);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }
  const ms = performance.now() - started;
  line(`the same text values by git push (no records)`, { ms, requests: commits.length * 2, free: 0, bytes });
  execFileSync("git", ["-C", bare, "fsck", "--no-dangling"]);
}

// Batched writes a second, next to bare calls of the same mutations.
server.create("octo", "raced");
const store = await open("raced", true);
await put(store, [entry("first", 0, "text")]);
const bodies: string[] = [];
server.fault = (_, body) => {
  if (body.includes("createCommitOnBranch")) bodies.push(body.toString());
  return undefined;
};
const ours = await measured(async () => {
  for (let round = 0; round < ROUNDS; round++) {
    await put(
      store,
      Array.from({ length: BATCH }, (_, i) => entry(`k/${i}`, round * BATCH + i, "text")),
    );
  }
});
server.fault = () => undefined;
await store.close();

const bare = server.create("octo", "bare");
const seed = await open("bare", true);
await put(seed, [entry("first", 0, "text")]);
await seed.close();
const agent = new Agent({ connections: 1 });
let head = execFileSync("git", ["-C", bare, "rev-parse", "main"]).toString().trim();
const theirs = await measured(async () => {
  for (const body of bodies) {
    const sent = JSON.parse(body) as {
      variables: { input: { expectedHeadOid: string; branch: object; fileChanges: { deletions: unknown[] } } };
    };
    sent.variables.input.expectedHeadOid = head;
    sent.variables.input.branch = { repositoryNameWithOwner: "octo/bare", branchName: "main" };
    const answer = await request(`${server.api}/graphql`, {
      method: "POST",
      headers: { authorization: "Bearer tok_octo", "content-type": "application/json" },
      body: JSON.stringify(sent),
      dispatcher: agent,
    });
    const said = (await answer.body.json()) as { data: { createCommitOnBranch: { commit: { oid: string } } } };
    head = said.data.createCommitOnBranch.commit.oid;
  }
});
await agent.close();
const rate = ({ ms }: { ms: number }) => ((ROUNDS * BATCH * 1000) / ms).toFixed(0);
console.log(
  `batches of ${BATCH}: store ${rate(ours)} keys/s, bare undici ${rate(theirs)} keys/s, ratio ${(ours.ms / theirs.ms).toFixed(2)}`,
);
await server.close();
rmSync(folder, { recursive: true, force: true });
