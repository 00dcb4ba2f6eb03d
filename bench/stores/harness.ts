/**
 * The race of a store against its bare client, the same for all stores: single and batched writes and reads, in rounds that
 * take turns, so that what else the machine does meets both sides. One file beside this for each store says what its bare
 * client does.
 */
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import type { Store } from "../../src/store.ts";
import { formatVersion } from "../../src/version.ts";

/** Who does the work. Both sides are given new versions of the same keys, and have to keep the newest. */
export interface Side {
  write(entries: readonly Entry[]): Promise<unknown>;
  read(keys: readonly string[]): Promise<unknown>;
}

/** A store, its bare client, and what the figures are of. */
export interface Subject {
  readonly store: Store;
  readonly bare: Side;
  /** The bare client and the work it does, for the table's foot. */
  readonly bareIs: string;
  /** Of the server and the client. */
  readonly versions: string;
  /** What a request is, for the table. */
  readonly unit: string;
  /** The store's requests so far, where they can be counted. */
  requests(): number | Promise<number>;
  /** Before each round, not measured: what was read is no longer known here. */
  forget?(): Promise<void>;
  close(): Promise<void>;
}

/** How much of each kind of work a round has. */
export interface Amounts {
  /** Calls of one key, one after the other. */
  readonly singles: number;
  /** Keys in the one call of a batch. */
  readonly batch: number;
}

export const AMOUNTS: Amounts = { singles: 100, batch: 1_000 };

export interface Figure {
  readonly work: string;
  /** Keys a second, medians of the rounds. */
  readonly store: number;
  readonly bare: number;
  /** The store's time more than the bare client's, in per cent: the median of the ratios within each round. */
  readonly more: number;
  /** The quarter and three quarters of these. */
  readonly from: number;
  readonly to: number;
  /** The same of this process's CPU time, which what else the machine does hardly changes. Programs it starts are not in it. */
  readonly moreCpu: number;
}

export interface Result {
  readonly name: string;
  readonly versions: string;
  readonly bareIs: string;
  readonly figures: readonly Figure[];
  /** Requests for so many keys as a batch has, scaled to 1,000. */
  readonly requests: { readonly unit: string; readonly write: number; readonly read: number };
}

/** Text as bytes of about 250, other ones for each version, as values usually are. */
function value(round: number, i: number): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ name: "Ada", round, i, text: "x".repeat(200) }));
}

let issuedMs = Date.now() - 3_600_000;

/** New versions of the first `count` keys. */
export function entries(count: number): Entry[] {
  issuedMs++;
  const version = formatVersion(issuedMs, 0, "0123456789abcdef");
  return keys(count).map((key, i) => {
    return { key, state: "value", value: value(issuedMs, i), version, expires: null, meta: NO_META };
  });
}

export function keys(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `users/${i % 10}/${i}/profile`);
}

/** The store as a side: everything must be stored, and found. */
function sideOf(store: Store): Side {
  return {
    async write(items) {
      const results = await store.write(items.map((entry) => ({ entry, asOf: 0 })));
      const bad = results.find(({ status }) => status !== "stored");
      if (bad !== undefined) throw new Error(`${store.name} did not store: ${JSON.stringify(bad)}`);
    },
    async read(names) {
      const answers = await store.read(names);
      if (answers.some(({ entry }) => entry === undefined)) throw new Error(`${store.name} has not all keys`);
    },
  };
}

interface Work {
  readonly name: string;
  readonly count: number;
  /** May be done again and again, and has to be: one time of it may be too short to be measured. */
  readonly repeatable?: boolean;
  readonly prepare: () => (side: Side) => Promise<void>;
}

function works({ singles, batch }: Amounts): Work[] {
  const one = async <T>(items: readonly T[], call: (item: T) => Promise<unknown>) => {
    for (const item of items) await call(item);
  };
  return [
    {
      name: "write, 1 key a call",
      count: singles,
      prepare() {
        const items = entries(singles);
        return (side) => one(items, (item) => side.write([item]));
      },
    },
    {
      name: `write, ${batch} keys a call`,
      count: batch,
      prepare() {
        const items = entries(batch);
        return async (side) => void (await side.write(items));
      },
    },
    {
      name: "read, 1 key a call",
      count: singles,
      repeatable: true,
      prepare: () => (side) => one(keys(singles), (key) => side.read([key])),
    },
    {
      name: `read, ${batch} keys a call`,
      count: batch,
      repeatable: true,
      prepare: () => async (side) => void (await side.read(keys(batch))),
    },
  ];
}

interface Spent {
  readonly ms: number;
  readonly cpuMs: number;
}

/** Both sides do the work for so long before it counts, and twice at least: code that has run a few times only is slow. */
const WARMING_MS = 2_000;
const WARMING = 2;
/** Reads that take less are done several times in a round, by both sides as often: a few milliseconds are noise. */
const ROUND_MS_MIN = 30;
const TIMES_MAX = 100;

/** @param onRound told what is under way. */
export async function race(
  name: string,
  subject: Subject,
  amounts: Amounts,
  rounds: number,
  onRound: (work: string, round: number) => void,
): Promise<Result> {
  const ours = sideOf(subject.store);
  const figures: Figure[] = [];
  for (const work of works(amounts)) {
    const times: Record<"store" | "bare", Spent>[] = [];
    let repeats = 1;
    const round = async (storeFirst: boolean): Promise<Record<"store" | "bare", Spent>> => {
      await subject.forget?.();
      const run = work.prepare();
      const spent = async (side: Side): Promise<Spent> => {
        const started = performance.now();
        const cpu = process.cpuUsage();
        for (let i = 0; i < repeats; i++) await run(side);
        const { user, system } = process.cpuUsage(cpu);
        return { ms: (performance.now() - started) / repeats, cpuMs: (user + system) / 1_000 / repeats };
      };
      const early = await spent(storeFirst ? ours : subject.bare);
      const late = await spent(storeFirst ? subject.bare : ours);
      return storeFirst ? { store: early, bare: late } : { store: late, bare: early };
    };
    onRound(work.name, 0);
    const started = performance.now();
    for (let i = 0; i < WARMING || performance.now() - started < WARMING_MS; i++) {
      const { store, bare } = await round(i % 2 === 0);
      if (work.repeatable !== true) continue;
      repeats = Math.min(TIMES_MAX, Math.max(repeats, Math.ceil(ROUND_MS_MIN / Math.min(store.ms, bare.ms))));
    }
    for (let i = 0; i < rounds; i++) {
      onRound(work.name, i);
      times.push(await round(i % 2 === 0));
    }
    const more = times.map(({ store, bare }) => (store.ms / bare.ms - 1) * 100);
    const perSecond = (side: "store" | "bare") =>
      work.count /
      (quantile(
        times.map((time) => time[side].ms),
        0.5,
      ) /
        1_000);
    figures.push({
      work: work.name,
      store: perSecond("store"),
      bare: perSecond("bare"),
      more: quantile(more, 0.5),
      from: quantile(more, 0.25),
      to: quantile(more, 0.75),
      moreCpu:
        (quantile(
          times.map(({ store, bare }) => store.cpuMs / bare.cpuMs),
          0.5,
        ) -
          1) *
        100,
    });
  }
  const counted = async (call: () => Promise<unknown>) => {
    await subject.forget?.();
    const before = await subject.requests();
    await call();
    return (((await subject.requests()) - before) * 1_000) / amounts.batch;
  };
  const write = await counted(() => ours.write(entries(amounts.batch)));
  const read = await counted(() => ours.read(keys(amounts.batch)));
  const { versions, bareIs, unit } = subject;
  return { name, versions, bareIs, figures, requests: { unit, write, read } };
}

function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Work on many items, so many at once. */
export async function atOnce<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const next = items.values();
  const lane = async () => {
    for (const item of next) await work(item);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

export function slices<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
