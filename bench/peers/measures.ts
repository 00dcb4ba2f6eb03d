/**
 * What one candidate takes in this process, and beside each figure what the same work takes by hand: a `Map`, and the
 * second layer called directly. Both take turns, slice by slice, so that what else the machine does meets both.
 */
import { ENTRIES_MAX, TTL_MS } from "./candidate.ts";
import type { Cache, Candidate } from "./candidate.ts";
import { quantile } from "./quantile.ts";
import { Second } from "./second.ts";

export const MEASURES = ["hit", "peek", "set", "miss", "batch", "crowd", "getOrSet"] as const;
export type Measure = (typeof MEASURES)[number];

/** Microseconds for one operation: medians over the slices of one process. */
export interface Figure {
  readonly us: number;
  /** The same by hand. */
  readonly limitUs: number;
  /** The median of the slices' ratios: the limit's time as a share of the candidate's. */
  readonly share: number;
  /** Reads that the second layer saw for one key with {@link CROWD} readers. */
  readonly reads?: number | undefined;
}

export type Figures = Readonly<Partial<Record<Measure, Figure>>>;

const KEYS = Array.from({ length: 1_000 }, (_, i) => `${10_000 + i}/profile/main`);
/** The same as other texts: a program that reads seldom has the very text that was written. */
const READ_KEYS = KEYS.map((key) => JSON.parse(JSON.stringify(key)) as string);
const VALUES = KEYS.map((key, i) => ({ key, name: "Ada Lovelace", age: i, tags: ["en", "fr"], active: i % 2 === 0 }));
const BATCH = 100;
const CROWD = 1_000;
const WARM_UP_MS = 80;
const SLICE_MS = 8;
const SLICES = 15;
/** Slices of work that goes through the event loop, and of them those that only warm up: some 15,000 calls. */
const SLOW_SLICES = 30;
const SLOW_WARM_UP = 15;
const CROWD_KEYS = 8;

/**
 * Microseconds. On a machine with other work the process's own processor time says more than the clock on the wall; all
 * that is waited for here is a turn of the event loop, which takes some.
 */
const clockUs =
  process.env["BENCH_CLOCK"] === "cpu"
    ? () => {
        const { user, system } = process.cpuUsage();
        return user + system;
      }
    : () => performance.now() * 1_000;

const valueOf = (i: number) => VALUES[i] as (typeof VALUES)[number];

/** What a cache over two layers does at the least. Nothing expires and nothing is encoded. */
function byHand(second: Second): Cache {
  const map = new Map<string, unknown>();
  const underWay = new Map<string, Promise<unknown>>();
  const through = (key: string): Promise<unknown> => {
    let read = underWay.get(key);
    if (read === undefined) {
      read = second.get(key).then((value) => {
        underWay.delete(key);
        map.set(key, value);
        return value;
      });
      underWay.set(key, read);
    }
    return read;
  };
  return {
    get: async (key) => map.get(key),
    peek: (key) => map.get(key),
    through,
    async set(key, value) {
      await second.set(key, value);
      map.set(key, value);
    },
    async getMany(keys) {
      const values = new Map<string, unknown>();
      const missing: string[] = [];
      for (const key of keys) {
        if (map.has(key)) values.set(key, map.get(key));
        else missing.push(key);
      }
      const found = await second.getMany(missing);
      for (const [i, key] of missing.entries()) {
        values.set(key, found[i]);
        map.set(key, found[i]);
      }
      return values;
    },
    async getOrSet(key, load) {
      if ((await second.get(key)) !== undefined) return map.get(key);
      const value = await load();
      await second.set(key, value);
      map.set(key, value);
      return value;
    },
    close: async () => {},
  };
}

export async function measure(candidate: Candidate): Promise<Figures> {
  const figures: Partial<Record<Measure, Figure>> = {};
  const { near, limit } = await warm(candidate);
  figures.hit = await inTurns(
    () => subjectHits(near),
    () => limitHits(limit),
  );
  if (near.peek !== undefined) {
    figures.peek = await inTurns(
      async () => subjectPeeks(near),
      async () => limitPeeks(limit),
    );
  }
  await near.close();
  for (const name of ["set", "miss", "batch", "crowd", "getOrSet"] as const) {
    const figure = await slow(candidate, name);
    if (figure !== undefined) figures[name] = figure;
  }
  return figures;
}

async function warm(candidate: Candidate): Promise<{ near: Cache; limit: Cache }> {
  const near = await candidate.open(new Second(), candidate.layers === "two");
  const limit = byHand(new Second());
  for (const [i, key] of KEYS.entries()) {
    await near.set(key, valueOf(i));
    await limit.set(key, valueOf(i));
    if ((await near.get(key)) === undefined) throw new Error(`${candidate.name} has no ${key}`);
  }
  return { near, limit };
}

// Each of the four loops is its own function, so that what the engine learns of one says nothing to another.

async function subjectHits(cache: Cache): Promise<number> {
  let found = 0;
  for (const key of READ_KEYS) if ((await cache.get(key)) !== undefined) found++;
  return found;
}

async function limitHits(cache: Cache): Promise<number> {
  let found = 0;
  for (const key of READ_KEYS) if ((await cache.get(key)) !== undefined) found++;
  return found;
}

async function subjectPeeks(cache: Cache): Promise<number> {
  let found = 0;
  for (const key of READ_KEYS) if (cache.peek?.(key) !== undefined) found++;
  return found;
}

async function limitPeeks(cache: Cache): Promise<number> {
  let found = 0;
  for (const key of READ_KEYS) if (cache.peek?.(key) !== undefined) found++;
  return found;
}

/** @param subject one pass over all keys, as `limit`; says how many were found. */
async function inTurns(subject: () => Promise<number>, limit: () => Promise<number>): Promise<Figure> {
  const timed = async (pass: () => Promise<number>, passes: number) => {
    const started = clockUs();
    let found = 0;
    for (let i = 0; i < passes; i++) found += await pass();
    if (found !== passes * KEYS.length) throw new Error("a key was not found in memory");
    return (clockUs() - started) / found;
  };
  const passesOf = async (pass: () => Promise<number>) => {
    const until = clockUs() + WARM_UP_MS * 1_000;
    let us = 0;
    while (clockUs() < until) us = await timed(pass, 1);
    return Math.max(1, Math.round((SLICE_MS * 1_000) / (us * KEYS.length)));
  };
  const [subjectPasses, limitPasses] = [await passesOf(subject), await passesOf(limit)];
  const slices: Slice[] = [];
  for (let i = 0; i < SLICES; i++) {
    slices.push({ us: await timed(subject, subjectPasses), limitUs: await timed(limit, limitPasses) });
  }
  return figureOf(slices);
}

interface Slice {
  readonly us: number;
  readonly limitUs: number;
}

function figureOf(slices: readonly Slice[], reads?: number): Figure {
  const median = (of: (slice: Slice) => number) => quantile(slices.map(of), 0.5);
  return {
    us: median(({ us }) => us),
    limitUs: median(({ limitUs }) => limitUs),
    share: median(({ us, limitUs }) => limitUs / us),
    reads,
  };
}

/** Work that goes through the second layer: each slice has a cache of its own, whose memory is empty. */
async function slow(candidate: Candidate, name: Exclude<Measure, "hit" | "peek">): Promise<Figure | undefined> {
  const work = WORKS[name];
  const slices: Slice[] = [];
  let reads: number | undefined;
  for (let i = 0; i < SLOW_SLICES; i++) {
    const second = await filled(candidate, name);
    const cache = await candidate.open(second, true);
    if (!isAble(candidate, cache, name)) {
      await cache.close();
      return undefined;
    }
    const before = second.reads;
    const us = await work(cache);
    if (name === "crowd") reads = (second.reads - before) / CROWD_KEYS;
    await cache.close();
    const mine = new Second();
    if (name !== "getOrSet") for (const [index, key] of KEYS.entries()) await mine.set(key, valueOf(index));
    const limitUs = await work(byHand(mine));
    if (i >= SLOW_WARM_UP) slices.push({ us, limitUs });
  }
  return figureOf(slices, reads);
}

function isAble({ layers }: Candidate, cache: Cache, name: Measure): boolean {
  if (name === "batch") return cache.getMany !== undefined;
  if (name === "getOrSet") return cache.getOrSet !== undefined;
  // Without memory above it a store has no misses; its reads are those of the layer below.
  if (name === "miss" || name === "crowd") return layers === "two" || cache.through !== undefined;
  return true;
}

/** A second layer with every key as this candidate writes it, except where the keys shall be new. */
async function filled(candidate: Candidate, name: Measure): Promise<Second> {
  const second = new Second();
  if (name === "getOrSet" || name === "set") return second;
  if (candidate.layers === "memory") {
    for (const [i, key] of KEYS.entries()) await second.set(key, valueOf(i));
    return second;
  }
  const writer = await candidate.open(second, true);
  await Promise.all(KEYS.map((key, i) => writer.set(key, valueOf(i))));
  await writer.close();
  return second;
}

async function eachUs(count: number, work: (i: number) => unknown): Promise<number> {
  const started = clockUs();
  for (let i = 0; i < count; i++) await work(i);
  return (clockUs() - started) / count;
}

const WORKS = {
  set: (cache: Cache) => eachUs(KEYS.length, (i) => cache.set(KEYS[i] as string, valueOf(i))),
  miss: (cache: Cache) => eachUs(KEYS.length, (i) => throughOf(cache)(READ_KEYS[i] as string)),
  async batch(cache: Cache) {
    const half = BATCH / 2;
    const known = KEYS.slice(0, half);
    for (const key of known) await throughOf(cache)(key);
    const batches = Array.from({ length: KEYS.length / half - 1 }, (_, i) => [
      ...known,
      ...KEYS.slice((i + 1) * half, (i + 2) * half),
    ]);
    return eachUs(batches.length, (i) => cache.getMany?.(batches[i] as string[]));
  },
  async crowd(cache: Cache) {
    const through = throughOf(cache);
    return eachUs(CROWD_KEYS, (i) => Promise.all(Array.from({ length: CROWD }, () => through(KEYS[i] as string))));
  },
  getOrSet: (cache: Cache) => eachUs(KEYS.length, (i) => cache.getOrSet?.(KEYS[i] as string, async () => valueOf(i))),
};

function throughOf(cache: Cache): (key: string) => Promise<unknown> {
  return cache.through ?? cache.get;
}

/** What every candidate was given, for the report's head. */
export const SETTINGS = { keys: KEYS.length, entriesMax: ENTRIES_MAX, ttlMs: TTL_MS, batch: BATCH, crowd: CROWD };
