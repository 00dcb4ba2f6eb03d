import type { Random } from "../../src/testing/random.ts";

/** A sequence of reads; each miss is filled. */
export interface Trace {
  readonly name: string;
  readonly keys: readonly number[];
  /** In bytes; the same for a key throughout. */
  readonly sizeOf: (key: number) => number;
  /** Of all keys together. */
  readonly bytes: number;
}

const KEYS = 50_000;
const READS = 1_000_000;
const SIZE = 1000;

export function* traces(random: Random): Iterable<Trace> {
  for (const skew of [0.8, 1, 1.2]) yield uniform(`zipf ${skew}`, KEYS, zipf(random, KEYS, skew, READS));
  yield uniform("zipf 1 with scans", KEYS, withScans(random));
  yield uniform(
    "loop over 1.25 times 10 %",
    KEYS,
    Array.from({ length: READS }, (_, i) => i % (KEYS / 8)),
  );
  yield uniform("zipf 1, the set shifts", KEYS, shifting(random));
  yield uniform("half is read once only", KEYS, oneHit(random));
  yield sized("zipf 1, sizes 0.1 to 100 KB", random, zipf(random, KEYS, 1, READS), false);
  yield sized("zipf 1, small ones are popular", random, zipf(random, KEYS, 1, READS), true);
}

function uniform(name: string, distinct: number, keys: readonly number[]): Trace {
  return { name, keys, sizeOf: () => SIZE, bytes: distinct * SIZE };
}

/** Sizes spread evenly over three powers of ten, as objects of a web cache do roughly. */
function sized(name: string, random: Random, keys: readonly number[], smallFirst: boolean): Trace {
  const sizes = Array.from({ length: KEYS }, () => Math.round(100 * 10 ** ((3 * random.below(1e6)) / 1e6)));
  if (smallFirst) sizes.sort((a, b) => a - b);
  const sizeOf = (key: number) => sizes[key] ?? 0;
  return { name, keys, sizeOf, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

function zipf(random: Random, distinct: number, skew: number, reads: number): number[] {
  const cumulative = new Float64Array(distinct);
  let sum = 0;
  for (let rank = 0; rank < distinct; rank++) cumulative[rank] = sum += 1 / (rank + 1) ** skew;
  return Array.from({ length: reads }, () => {
    const point = (random.next() / 2 ** 32) * sum;
    let [low, high] = [0, distinct - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((cumulative[middle] ?? 0) < point) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

/** Every 50,000 reads somebody exports 10,000 keys one after the other. */
function withScans(random: Random): number[] {
  const reads = zipf(random, KEYS, 1, READS);
  const keys: number[] = [];
  for (let at = 0; at < reads.length; at += 50_000) {
    keys.push(...reads.slice(at, at + 50_000));
    const start = random.below(KEYS - 10_000);
    for (let key = start; key < start + 10_000; key++) keys.push(key);
  }
  return keys;
}

/** Ten times, what was popular is so no longer. */
function shifting(random: Random): number[] {
  return zipf(random, KEYS, 1, READS).map((rank, at) => (rank + Math.floor((10 * at) / READS) * 5000) % KEYS);
}

/** Every other read is of a key that is never asked for again, as a crawler does. */
function oneHit(random: Random): number[] {
  return zipf(random, KEYS, 1, READS / 2).flatMap((rank, at) => [rank, KEYS + at]);
}
