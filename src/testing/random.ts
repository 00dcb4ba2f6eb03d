/**
 * Chance that repeats: the same seed gives the same numbers on every machine. For tests only; nothing secret may come
 * from it.
 *
 * Source: xoshiro128** 1.1 by David Blackman and Sebastiano Vigna (2018, public domain), its state filled by
 * SplitMix32 as its authors advise, so that similar seeds give unlike sequences.
 */
export interface Random {
  /** A whole number from 0 to 2^32 - 1. */
  next(): number;
  /** A whole number from 0 up to but not including `limit`. */
  below(limit: number): number;
  /** True with this probability, 0 to 1. Takes a number from the sequence whatever the probability. */
  chance(probability: number): boolean;
  /** One of the items, which must not be none. */
  pick<T>(items: readonly T[]): T;
  /** The items in another order. */
  shuffle<T>(items: readonly T[]): T[];
  /** So many random bytes. */
  bytes(count: number): Uint8Array;
}

export function random(seed: number): Random {
  const mix = splitMix32(seed);
  return randomFromState([mix(), mix(), mix(), mix()]);
}

/** @internal The generator from its bare state, for the authors' test vectors. */
export function randomFromState([s0, s1, s2, s3]: [number, number, number, number]): Random {
  const next = () => {
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    const t = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotateLeft(s3, 11);
    return result;
  };
  const below = (limit: number) => Math.floor((next() / 2 ** 32) * limit);
  return {
    next,
    below,
    chance: (probability) => next() / 2 ** 32 < probability,
    pick(items) {
      if (items.length === 0) throw new RangeError("there is nothing to pick from");
      return items[below(items.length)] as (typeof items)[number];
    },
    shuffle(items) {
      const order = items.map((item) => ({ item, rank: next() }));
      return order.sort((a, b) => a.rank - b.rank).map(({ item }) => item);
    },
    bytes(count) {
      const bytes = new Uint8Array(count);
      for (let i = 0; i < count; i++) bytes[i] = next() >>> 24;
      return bytes;
    },
  };
}

function rotateLeft(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

function splitMix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return z ^ (z >>> 15);
  };
}
