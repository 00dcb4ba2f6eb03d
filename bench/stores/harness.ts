/**
 * The race of a store against its bare client, the same for all stores: single and batched writes and reads, in rounds that
 * take turns, so that what else the machine does meets both sides. One file beside this for each store says what its bare
 * client does.
 */
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import type { Answer, Store, WriteResult } from "../../src/store.ts";
import { formatVersion } from "../../src/version.ts";

/** Who does the work. Both sides are given new versions of the same keys, and have to keep the newest. */
export interface Side {
  write(entries: readonly Entry[]): Promise<unknown>;
  read(keys: readonly string[]): Promise<unknown>;
  /** Throws unless a call came back with everything. By itself: one more promise a call would count as the store's time. */
  verify?(outcome: unknown): void;
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
    write: (items) => store.write(items.map((entry) => ({ entry, asOf: 0 }))),
    read: (names) => store.read(names),
    verify(outcome) {
      for (const each of outcome as readonly (WriteResult | Answer)[]) {
        const isDone = "status" in each ? each.status === "stored" : each.entry !== undefined;
        if (!isDone) throw new Error(`${store.name} did not do it: ${JSON.stringify(each)}`);
      }
    },
  };
}

interface Work {
  readonly name: string;
  /** Keys of one time. */
  readonly count: number;
  readonly calls: number;
  /** What is to be done so many times: one time of it may be too short to be measured. */
  readonly prepare: (times: number) => (side: Side, time: number) => Promise<void>;
}

function works({ singles, batch }: Amounts): Work[] {
  const each = async <T>(side: Side, items: readonly T[], call: (item: T) => Promise<unknown>) => {
    for (const item of items) {
      const outcome = await call(item);
      side.verify?.(outcome);
    }
  };
  return [
    {
      name: "write, 1 key a call",
      count: singles,
      calls: singles,
      prepare(times) {
        const items = Array.from({ length: times }, () => entries(singles));
        return (side, time) => each(side, items[time] ?? [], (item) => side.write([item]));
      },
    },
    {
      name: `write, ${batch} keys a call`,
      count: batch,
      calls: 1,
      prepare(times) {
        const items = Array.from({ length: times }, () => entries(batch));
        return (side, time) => each(side, [items[time] ?? []], (all) => side.write(all));
      },
    },
    {
      name: "read, 1 key a call",
      count: singles,
      calls: singles,
      prepare: () => (side) => each(side, keys(singles), (key) => side.read([key])),
    },
    {
      name: `read, ${batch} keys a call`,
      count: batch,
      calls: 1,
      prepare: () => (side) => each(side, [keys(batch)], (all) => side.read(all)),
    },
  ];
}

interface Spent {
  readonly ms: number;
  readonly cpuMs: number;
}

/**
 * Before it counts, each side makes so many calls, or as many as both together make in so long, and two rounds at least:
 * code that has run a thousand times is still slow, the longer code more so.
 */
const WARMING = { calls: 10_000, ms: 15_000, rounds: 2 };
/** What takes less is done several times in a round, by both sides as often: what else the machine does takes milliseconds. */
const ROUND_MS_MIN = 100;
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
    const spent: Record<"store" | "bare", Spent>[] = [];
    let times = 1;
    const round = async (storeFirst: boolean): Promise<Record<"store" | "bare", Spent>> => {
      await subject.forget?.();
      const run = work.prepare(times);
      const timed = async (side: Side): Promise<Spent> => {
        const started = performance.now();
        const cpu = process.cpuUsage();
        for (let time = 0; time < times; time++) await run(side, time);
        const { user, system } = process.cpuUsage(cpu);
        return { ms: (performance.now() - started) / times, cpuMs: (user + system) / 1_000 / times };
      };
      const early = await timed(storeFirst ? ours : subject.bare);
      const late = await timed(storeFirst ? subject.bare : ours);
      return storeFirst ? { store: early, bare: late } : { store: late, bare: early };
    };
    onRound(work.name, 0);
    const started = performance.now();
    const isCold = (calls: number) => calls < WARMING.calls && performance.now() - started < WARMING.ms;
    for (let i = 0, calls = 0; i < WARMING.rounds || isCold(calls); i++) {
      calls += work.calls * times;
      const { store, bare } = await round(i % 2 === 0);
      times = Math.min(TIMES_MAX, Math.max(times, Math.ceil(ROUND_MS_MIN / Math.min(store.ms, bare.ms))));
    }
    for (let i = 0; i < rounds; i++) {
      onRound(work.name, i);
      spent.push(await round(i % 2 === 0));
    }
    const more = spent.map(({ store, bare }) => (store.ms / bare.ms - 1) * 100);
    const perSecond = (side: "store" | "bare") =>
      work.count /
      (quantile(
        spent.map((time) => time[side].ms),
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
          spent.map(({ store, bare }) => store.cpuMs / bare.cpuMs),
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
  // Before the write: who reads from elsewhere would see what it changed, and follow it.
  const read = await counted(() => ours.read(keys(amounts.batch)));
  const write = await counted(() => ours.write(entries(amounts.batch)));
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
