/**
 * Which entry a full memory store should drop: hit ratios and costs of SIEVE, S3-FIFO, LRU and FIFO on traces of
 * different kinds. What it printed last is in docs/decisions/0002-eviction-policy.md.
 *
 *     npx tsc -p bench && node build/bench/bench/eviction.js
 */
import { random } from "../src/testing/random.ts";
import { policies } from "./eviction/policies.ts";
import { traces } from "./eviction/traces.ts";
import type { Trace } from "./eviction/traces.ts";

const SEED = 7;
const SIZE = 1000;
const CAPACITY_SHARES = [0.01, 0.1];

interface Outcome {
  readonly hits: number;
  readonly byteHits: number;
}

function replay(trace: Trace, policy: (typeof policies)[number], capacity: number): Outcome {
  const cache = policy.create(capacity);
  let hits = 0;
  let byteHits = 0;
  let bytes = 0;
  for (const key of trace.keys) {
    const size = trace.sizeOf(key);
    bytes += size;
    if (cache.get(key)) {
      hits++;
      byteHits += size;
    } else cache.add(key, size);
  }
  return { hits: hits / trace.keys.length, byteHits: byteHits / bytes };
}

const percent = (share: number) => (100 * share).toFixed(1).padStart(6);

console.log(`| trace | cache | ${policies.map(({ name }) => name.padStart(7)).join(" | ")} |`);
console.log(`|---|---|${policies.map(() => "---:|").join("")}`);
const sums = policies.map(() => 0);
let rows = 0;
for (const trace of traces(random(SEED))) {
  for (const share of CAPACITY_SHARES) {
    const outcomes = policies.map((policy) => replay(trace, policy, Math.ceil(trace.bytes * share)));
    const best = Math.max(...outcomes.map(({ hits }) => hits));
    rows++;
    for (const [i, { hits }] of outcomes.entries()) sums[i] = (sums[i] ?? 0) + hits;
    const cells = outcomes.map(({ hits }) => (hits === best ? `**${percent(hits).trim()}**` : percent(hits)));
    console.log(`| ${trace.name} | ${100 * share} % | ${cells.join(" | ")} |`);
  }
}
console.log(`| mean | | ${sums.map((sum) => percent(sum / rows)).join(" | ")} |`);

// Each candidate in loops of its own: a shared one would slow all of them.
console.log("\nnanoseconds for a hit, and for a miss that evicts (100,000 entries)");
for (const policy of policies) {
  const ENTRIES = 100_000;
  const ROUNDS = 5;
  const times: [number, number] = [Infinity, Infinity];
  for (let attempt = 0; attempt < 5; attempt++) {
    const cache = policy.create(ENTRIES * SIZE);
    for (let key = 0; key < ENTRIES; key++) cache.add(key, SIZE);
    let started = performance.now();
    for (let round = 0; round < ROUNDS; round++)
      for (let key = 0; key < ENTRIES; key += 1) cache.get((key * 7919) % ENTRIES);
    times[0] = Math.min(times[0], ((performance.now() - started) * 1e6) / (ENTRIES * ROUNDS));
    started = performance.now();
    for (let key = 0; key < 4 * ENTRIES; key++) if (!cache.get(ENTRIES + key)) cache.add(ENTRIES + key, SIZE);
    times[1] = Math.min(times[1], ((performance.now() - started) * 1e6) / (4 * ENTRIES));
  }
  console.log(`${policy.name.padEnd(8)} ${times.map((time) => time.toFixed(0).padStart(5)).join(" ")}`);
}
