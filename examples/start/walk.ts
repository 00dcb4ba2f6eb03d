import type { Sync } from "microsync";
import { summarise, timed } from "./durations.ts";
import type { Durations } from "./durations.ts";

/** Told how far a long step is. */
export type OnProgress = (step: string, done: number, total: number) => void;

/** How one walk over many keys went; the durations are those of its calls. */
export interface Walk extends Durations {
  /** Where the values were: nowhere near, on disk, in memory. */
  readonly from: string;
  readonly atATime: number;
  readonly keys: number;
  /** Which layer answered for how many of the keys. */
  readonly hits: Readonly<Record<string, number>>;
}

export interface LayerLine {
  readonly name: string;
  readonly hits: number;
  readonly misses: number;
  readonly fills: number;
  readonly writes: number;
  readonly calls: number;
  readonly callMs: number;
}

/** How many keys are read one after the other, and how many of the rest in one request. */
const SINGLES_MAX = 4_000;
const REQUEST = 1_000;
const SHOWN_EACH = 100;

/** Reads every key once: some one after the other, as a program that waits for each would, the rest in big requests. */
export async function walk(
  db: Sync,
  from: string,
  keys: readonly string[],
  onProgress: OnProgress,
  singlesMax = SINGLES_MAX,
): Promise<Walk[]> {
  const singles = Math.min(singlesMax, Math.ceil(keys.length / 2));
  const parts: readonly (readonly [atATime: number, keys: readonly string[]])[] = [
    [1, keys.slice(0, singles)],
    [REQUEST, keys.slice(singles)],
  ];
  const walks: Walk[] = [];
  let done = 0;
  for (const [atATime, part] of parts) {
    const before = linesOf(db);
    const samples: number[] = [];
    for (let at = 0; at < part.length; at += atATime) {
      if (done % SHOWN_EACH === 0 || atATime > 1) onProgress(`reading from ${from}`, done, keys.length);
      const wanted = part.slice(at, at + atATime);
      const [found, ms] = await timed(() => (atATime === 1 ? hasOne(db, wanted[0] ?? "") : countMany(db, wanted)));
      if (found !== wanted.length) throw new Error(`${wanted.length - found} keys have no value`);
      samples.push(ms);
      done += wanted.length;
    }
    const hits = linesOf(db).map(({ name, hits }, i) => [name, hits - (before[i]?.hits ?? 0)] as const);
    const answered = Object.fromEntries(hits.filter(([, n]) => n > 0));
    walks.push({ from, atATime, keys: part.length, ...summarise(samples), hits: answered });
  }
  return walks;
}

async function hasOne(db: Sync, key: string): Promise<number> {
  return (await db.get(key)) === undefined ? 0 : 1;
}

async function countMany(db: Sync, keys: readonly string[]): Promise<number> {
  return (await db.getMany(keys)).size;
}

export function linesOf(db: Sync): LayerLine[] {
  return db.status().layers.map(({ name, hits, misses, fills, writes, calls, callMs }) => {
    return { name, hits, misses, fills, writes, calls, callMs };
  });
}

export function addLines(a: readonly LayerLine[], b: readonly LayerLine[]): LayerLine[] {
  return b.map((line, i) => ({
    name: line.name,
    hits: line.hits + (a[i]?.hits ?? 0),
    misses: line.misses + (a[i]?.misses ?? 0),
    fills: line.fills + (a[i]?.fills ?? 0),
    writes: line.writes + (a[i]?.writes ?? 0),
    calls: line.calls + (a[i]?.calls ?? 0),
    callMs: line.callMs + (a[i]?.callMs ?? 0),
  }));
}

/** The same order in every run, in which neighbours of the data set are far apart. */
export function shuffled(keys: readonly string[]): string[] {
  const order = [...keys];
  let state = 1;
  for (let i = order.length - 1; i > 0; i--) {
    state = (state * 48_271) % 0x7fff_ffff;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j] ?? "", order[i] ?? ""];
  }
  return order;
}
