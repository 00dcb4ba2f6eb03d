import { chain } from "../../src/chain/chain.ts";
import type { Chain, ChainOptions, Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import type { Runtime } from "../../src/runtime.ts";
import { memory } from "../../src/stores/memory.ts";
import type { MemoryOptions } from "../../src/stores/memory.ts";
import type { Answer, ListOptions, Listed, ReadOptions, Store, Supports, Write } from "../../src/store.ts";
import { chaos } from "../../src/testing/chaos.ts";
import type { ChaosRates, ChaosStore } from "../../src/testing/chaos.ts";
import { referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { ReferenceState } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import type { Version, VersionClock } from "../../src/version.ts";

export const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

const TEXT = new TextEncoder();

/** What the tests of the chain play in: one simulated time, stores on which things go wrong on command, processes. */
export async function world(seed = 1) {
  const runtime = simulatedRuntime({ seed, drain });
  const clock = await versionClock({ runtime });
  const reports: Report[] = [];
  const onReport = (report: Report) => void reports.push(report);
  let bad = 0;
  return {
    runtime,
    clock,
    reports,
    /** A store of record or a cache, with a switch for every misfortune. */
    store: (name: string, supports: Partial<Supports> = {}, state: ReferenceState = referenceState()) =>
      unruly(runtime, name, supports, state, ++bad),
    memory: (options: Partial<MemoryOptions> = {}) => memory({ runtime, ...options }),
    open: (layers: readonly LayerSpec[], options: Partial<ChainOptions> = {}): Chain =>
      chain(layers, { runtime, clock, onReport, ...options }),
    /** A process of its own over these layers: its own clock, floors and flights. */
    async process(layers: readonly LayerSpec[], options: Partial<ChainOptions> = {}): Promise<Chain> {
      return chain(layers, { runtime, clock: await versionClock({ runtime }), onReport, ...options });
    },
    value: (key: string, text: string, parts: Partial<Entry> = {}): Entry => {
      const plain = { key, value: TEXT.encode(text), version: stampOf(clock), expires: null, meta: NO_META };
      return { state: "value", ...plain, ...parts };
    },
    tombstone: (key: string, parts: Partial<Entry> = {}): Entry => {
      const plain = { key, value: null, version: stampOf(clock), expires: null, meta: NO_META };
      return { state: "deleted", ...plain, ...parts };
    },
    write: (entry: Entry, condition?: Write["if"]): Write => ({ entry, asOf: runtime.now(), if: condition }),
  };
}

export type World = Awaited<ReturnType<typeof world>>;

/** The next version; the clocks of these tests keep no bound, so it is there at once. */
export function stampOf(clock: VersionClock, above?: Version): Version {
  const version = clock.stamp(above);
  if (version instanceof Promise) throw new Error("the clock had to move its bound");
  return version;
}

export interface UnrulyStore extends ChaosStore {
  /** What the store holds, to be looked at and changed past every layer. */
  readonly state: ReferenceState;
  /** The well-behaved store on the same data: what another machine or a person uses. */
  readonly direct: Store;
  /** From now on reads look at the data at once, but their answers come only after {@link release}. */
  hold(): void;
  release(): void;
}

function unruly(
  runtime: Runtime,
  name: string,
  supports: Partial<Supports>,
  state: ReferenceState,
  seed: number,
): UnrulyStore {
  const direct = referenceStore({ runtime, name, supports, state });
  const held = holdable(direct);
  const store = chaos(held, { runtime, seed });
  return Object.assign(store, { state, direct, hold: held.hold, release: held.release });
}

/** The store, with reads whose answers can be held back after the data was looked at. */
function holdable(inner: Store) {
  const waiting: (() => void)[] = [];
  let holding = false;
  return {
    name: inner.name,
    supports: inner.supports,
    hold: () => {
      holding = true;
    },
    release: () => {
      holding = false;
      for (const go of waiting.splice(0)) go();
    },
    async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
      const answers = await inner.read(keys, options);
      if (holding) await new Promise<void>((resolve) => waiting.push(resolve));
      return answers;
    },
    write: inner.write.bind(inner),
    forget: inner.forget.bind(inner),
    list: inner.list.bind(inner),
    watch: inner.watch.bind(inner),
    close: inner.close.bind(inner),
  };
}

/** Chance with these rates, in a store's own order. */
export function stormy(inner: Store, runtime: Runtime, seed: number, rates: ChaosRates): ChaosStore {
  return chaos(inner, { runtime, seed, rates });
}

export async function readOne(store: Store, key: string, options?: ReadOptions): Promise<Answer> {
  const [answer] = await store.read([key], options);
  if (answer === undefined) throw new Error("a read gave no answer");
  return answer;
}

/** The text of an answer's value; undefined when there is none. */
export function textOf({ entry }: Pick<Answer, "entry">): string | undefined {
  return entry?.value === null || entry?.value === undefined ? undefined : new TextDecoder().decode(entry.value);
}

export async function get(store: Store, key: string, options?: ReadOptions): Promise<string | undefined> {
  return textOf(await readOne(store, key, options));
}

/** As the comfort layer reads: the synchronous look first, then the walk. */
export async function getFast(store: Chain, key: string): Promise<string | undefined> {
  const slot = store.look(key);
  return slot === undefined ? get(store, key) : textOf(slot);
}

/** What a promise has come to, without waiting for it. */
export function outcomeOf<T>(work: Promise<T>): { value?: T; error?: unknown; done: boolean } {
  const outcome: { value?: T; error?: unknown; done: boolean } = { done: false };
  work.then(
    (value) => Object.assign(outcome, { value, done: true }),
    (error: unknown) => Object.assign(outcome, { error, done: true }),
  );
  return outcome;
}

/** The keys of a list, and where it said that it was partial. */
export async function listed(store: Store, options: ListOptions = {}) {
  const keys: string[] = [];
  const partials: Listed[] = [];
  for await (const item of store.list({ prefix: "" }, options)) {
    if (item.kind === "partial") partials.push(item);
    else keys.push(item.key);
  }
  return { keys, partials };
}

/** What a store of the source of truth can do. */
export const RECORD = { durable: true, shared: true } as const;

/** memory, disk, sql (the authority), git. */
export async function full() {
  const w = await world();
  const [disk, sql] = [w.store("disk"), w.store("sql", RECORD)];
  const git = w.store("git", { ...RECORD, conditional: false });
  const layers = () => [
    layer(w.memory(), { name: "memory" }),
    layer(disk, { name: "disk" }),
    layer(sql, { name: "sql", role: "store", watch: false }),
    layer(git, { name: "git", watch: false }),
  ];
  return { ...w, disk, sql, git, layers, db: w.open(layers()) };
}
