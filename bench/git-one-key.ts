/**
 * What changing one key costs the git store in a repository of 20,968 keys, against an empty one, in one run. What it
 * printed last is in docs/decisions/0003-git-layout.md.
 *
 *     npx tsc -p bench && node build/bench/bench/git-one-key.js
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadFeatures } from "../examples/start/features.ts";
import { NO_META } from "../src/entry.ts";
import type { Store } from "../src/store.ts";
import { git } from "../src/stores/git/index.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";

const ROUNDS = 100;
const BATCH = 10_000;
const NODE = "0123456789abcdef";
const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
let issued = 0;

function entry(key: string, text: string) {
  const value = new TextEncoder().encode(text);
  return {
    key,
    state: "value" as const,
    value,
    version: formatVersion(1.7e12 + issued++, 0, NODE),
    expires: null,
    meta: NO_META,
  };
}

async function put(store: Store, entries: readonly ReturnType<typeof entry>[]): Promise<number> {
  const started = performance.now();
  const results = await store.write(entries.map((each) => ({ entry: each, asOf: 0 })));
  const spent = performance.now() - started;
  if (results.some(({ status }) => status !== "stored")) throw new Error("not stored");
  return spent;
}

const open = (name: string) =>
  git(`git:./${name}.git`, { create: true, folder, cacheFolder: join(folder, "cache"), runtime: systemRuntime });

const middle = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? Number.NaN;

try {
  const data = loadFeatures().all.map(([key, feature]) => entry(key, JSON.stringify(feature)));
  const [full, empty] = [await open("full"), await open("empty")];
  const loading = performance.now();
  for (let at = 0; at < data.length; at += BATCH) await put(full, data.slice(at, at + BATCH));
  console.log(`${data.length} keys in ${Math.round(performance.now() - loading)} ms`);

  const times = { full: [] as number[], empty: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const key = data[Math.floor((round * data.length) / ROUNDS)]?.key ?? "";
    // In turns, so that whatever else the machine does meets both.
    times.full.push(await put(full, [entry(key, `{"round":${round}}`)]));
    times.empty.push(await put(empty, [entry(key, `{"round":${round}}`)]));
  }
  const [inFull, inEmpty] = [middle(times.full.slice(5)), middle(times.empty.slice(5))];
  console.log(
    `one key among ${data.length}: ${inFull.toFixed(1)} ms, in an empty repository: ${inEmpty.toFixed(1)} ms`,
  );
  console.log(`ratio ${(inFull / inEmpty).toFixed(2)}`);
  await full.close();
  await empty.close();
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
