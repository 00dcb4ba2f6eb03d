/**
 * What lmdb and memory cost for one key: `npx tsc -p bench && node build/bench/bench/lmdb.js`. The figures in
 * docs/stores/lmdb.md and docs/stores/memory.md come from here.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NO_META } from "../src/entry.ts";
import type { Entry } from "../src/entry.ts";
import type { Store } from "../src/store.ts";
import { lmdb } from "../src/stores/lmdb.ts";
import { memory } from "../src/stores/memory.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";

const KEYS = 10_000;
const keys = Array.from({ length: KEYS }, (_, i) => `users/${i}/profile`);
const value = new TextEncoder().encode(
  JSON.stringify({ name: "Ada", tags: Array.from({ length: 10 }, (_, i) => `tag ${i}`) }),
);
let ms = 1.7e12;

function entries(): Entry[] {
  ms++;
  return keys.map((key) => {
    return { key, state: "value", value, version: formatVersion(ms, 0, "0".repeat(16)), expires: null, meta: NO_META };
  });
}

async function timed(name: string, count: number, work: () => unknown): Promise<void> {
  const started = performance.now();
  await work();
  const us = ((performance.now() - started) * 1000) / count;
  console.log(`${name.padEnd(44)} ${us.toFixed(us < 10 ? 2 : 0).padStart(8)} us each`);
}

async function measure(store: Store, singles: number): Promise<void> {
  const asOf = ms;
  const inBatches = async (items: readonly Entry[], size: number, at = asOf) => {
    for (let i = 0; i < items.length; i += size) {
      await store.write(items.slice(i, i + size).map((entry) => ({ entry, asOf: at })));
    }
  };
  console.log(store.name);
  await timed("  write, 1 a call, one after the other", singles, () => inBatches(entries().slice(0, singles), 1));
  await timed("  write, 1 a call, 100 calls at once", singles, async () => {
    const items = entries().slice(0, singles);
    for (let i = 0; i < items.length; i += 100) {
      await Promise.all(items.slice(i, i + 100).map((entry) => store.write([{ entry, asOf }])));
    }
  });
  await timed("  write, 1,000 a call", KEYS, () => inBatches(entries(), 1000));
  const last = entries();
  await inBatches(last, 1000);
  await timed("  renew asOf, 1 a call", KEYS, () => inBatches(last, 1, asOf + 1000));
  await timed("  read, 1 a call", KEYS, async () => {
    for (const key of keys) await store.read([key]);
  });
  await timed("  read, 1,000 a call", KEYS, async () => {
    for (let i = 0; i < KEYS; i += 1000) await store.read(keys.slice(i, i + 1000));
  });
  await timed("  list keys", KEYS, async () => {
    for await (const item of store.list({ prefix: "users/" })) if (item.kind !== "entry") throw new Error("partial");
  });
}

const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
const disk = await lmdb(folder, { runtime: systemRuntime });
await measure(disk, 500);
await disk.close();
rmSync(folder, { recursive: true });

const near = memory({ runtime: systemRuntime });
await measure(near, KEYS);
const ROUNDS = 200;
for (let attempt = 0; attempt < 3; attempt++) {
  await timed("  look at 1,000 keys in turn", 1000 * ROUNDS, () => {
    for (let round = 0; round < ROUNDS; round++) for (let i = 0; i < 1000; i++) near.look(keys[i] as string);
  });
}
const map = new Map(keys.map((key) => [key, {}]));
await timed("  for comparison: Map.get of 1,000 keys", 1000 * ROUNDS, () => {
  for (let round = 0; round < ROUNDS; round++) for (let i = 0; i < 1000; i++) map.get(keys[i] as string);
});
await near.close();
