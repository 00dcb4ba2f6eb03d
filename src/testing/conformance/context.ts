import { NO_META } from "../../entry.ts";
import type { Entry, Meta } from "../../entry.ts";
import type { Runtime } from "../../runtime.ts";
import type { Answer, Forget, ListOptions, Listed, Range, Store, Write, WriteResult } from "../../store.ts";
import { formatVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { claim, same, show } from "../assert.ts";
import type { Random } from "../random.ts";

/** A store that was opened for the suite, and the ways to handle it that `Store` does not have. */
export interface Opened {
  readonly store: Store;
  /** The one that the store was given. */
  readonly runtime: Runtime;
  /** Gives back what `store.close()` does not: folders, servers. Called after the store was closed. */
  readonly close?: (() => Promise<void>) | undefined;
  /** Opens a store on the same data, after the first one was closed. Default: durability is not tested. */
  readonly reopen?: (() => Promise<Store>) | undefined;
  /**
   * Puts entries into the store by another way than its `write`: for read-only stores, which could not be filled
   * otherwise. Default: `store.write`; a read-only store is then tested for its refusals only.
   */
  readonly put?: ((entries: readonly Entry[]) => Promise<void>) | undefined;
  /** Lets simulated time pass. Default: time passes by itself. */
  readonly advance?: ((ms: number) => Promise<void>) | undefined;
}

export interface Settings {
  readonly seed: number;
  /** How many cases each property is tried with. */
  readonly runs: number;
  readonly valueBytesBound: number;
  readonly batchBound: number;
  /** The store is a mirror: its answers are dated by its last fetch, which may lie before the call. */
  readonly mirror: boolean;
}

/** One test of the suite. `id` is what `skip` names: "topic/what". */
export interface Check {
  readonly id: string;
  /** A sentence whose subject is the store. */
  readonly title: string;
  /** Why this check says nothing about a store like this; undefined when it does. */
  readonly unless?: (opened: Opened, settings: Settings) => string | undefined;
  readonly run: (t: Context) => Promise<void>;
}

export interface EntryParts {
  readonly meta?: Meta;
  readonly expires?: number | null;
  readonly version?: Version;
}

/** What a check works with. */
export interface Context extends Settings {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly opened: Opened;
  readonly random: Random;
  /** A new, empty store, closed after the check. */
  fresh(): Promise<Opened>;
  /** Closes the store and opens another on the same data, closed after the check. Needs `opened.reopen`. */
  reopen(opened: Opened): Promise<Opened>;
  /** A key prefix that nothing else uses. */
  prefix(): string;
  /** A version above all that it gave before, in the last hour by the store's clock. */
  version(): Version;
  value(key: string, text: string | Uint8Array, parts?: EntryParts): Entry;
  tombstone(key: string, parts?: EntryParts): Entry;
  stub(key: string, parts?: EntryParts): Entry;
  /** Stores entries in batches of the size the store takes, by whatever way there is; fails if one is not stored. */
  put(entries: readonly Entry[], on?: Opened): Promise<void>;
  /** `write` in batches of the size the store takes, asOf now unless given. */
  write(writes: readonly (Entry | Write)[], store?: Store): Promise<WriteResult[]>;
  /** `read` in batches of the size the store takes. */
  read(keys: readonly string[], store?: Store): Promise<Answer[]>;
  /** `forget` in batches of the size the store takes. */
  forget(items: readonly Forget[], store?: Store): Promise<void>;
  readOne(key: string, store?: Store): Promise<Answer>;
  list(range: Range, options?: ListOptions, store?: Store): Promise<ListedEntry[]>;
}

export type ListedEntry = Extract<Listed, { kind: "entry" }>;

export const UTF8 = new TextEncoder();

/** What the suite keeps for a check: the life of its stores, and names that nothing else uses. */
export type Keeper = Pick<Context, "fresh" | "reopen" | "prefix">;

export function contextOf(opened: Opened, settings: Settings, random: Random, keeper: Keeper): Context {
  const { store: main, runtime } = opened;
  const versions = versionSource(runtime, random);
  const entry = (key: string, { meta = NO_META, expires = null, version = versions() }: EntryParts) => {
    return { key, version, expires, meta };
  };
  const t: Context = {
    ...settings,
    ...keeper,
    store: main,
    runtime,
    opened,
    random,
    version: versions,
    value: (key, content, parts = {}) => {
      const value = typeof content === "string" ? UTF8.encode(content) : content;
      return { ...entry(key, parts), state: "value", value };
    },
    tombstone: (key, parts = {}) => ({ ...entry(key, parts), state: "deleted", value: null }),
    stub: (key, parts = {}) => ({ ...entry(key, parts), state: "stub", value: null }),
    async put(entries, on = opened) {
      if (on.put !== undefined) return on.put(entries);
      const results = await t.write(entries, on.store);
      for (const [i, result] of results.entries()) {
        same(result, { status: "stored" }, `storing ${show(entries[i]?.key)} for this check`);
      }
    },
    async write(items, store = main) {
      const asOf = runtime.now();
      const writes = items.map((item) => ("entry" in item ? item : { entry: item, asOf }));
      const results: WriteResult[] = [];
      for (const batch of batches(writes, store)) results.push(...(await store.write(batch)));
      same(results.length, writes.length, "results of write");
      return results;
    },
    async read(keys, store = main) {
      const answers: Answer[] = [];
      for (const batch of batches(keys, store)) answers.push(...(await store.read(batch)));
      same(answers.length, keys.length, "answers of read");
      return answers;
    },
    async forget(items, store = main) {
      for (const batch of batches(items, store)) await store.forget(batch);
    },
    async readOne(key, store = main) {
      const [answer] = await store.read([key]);
      claim(answer !== undefined, `read of ${show(key)} gave no answer`);
      return answer;
    },
    list: (range, options, store = main) => listAll(store, range, options),
  };
  return t;
}

async function listAll(store: Store, range: Range, options?: ListOptions): Promise<ListedEntry[]> {
  const items: ListedEntry[] = [];
  for await (const item of store.list(range, options)) {
    claim(item.kind === "entry", `a list was partial: ${show(item)}`);
    items.push(item);
  }
  return items;
}

function batches<T>(items: readonly T[], { supports: { batchMax } }: Store): T[][] {
  const size = Math.max(1, Math.min(batchMax, items.length));
  const parts: T[][] = [];
  for (let i = 0; i < items.length; i += size) parts.push(items.slice(i, i + size));
  return parts;
}

/** Claims that an answer is exactly this entry, and that nothing stood in the way of knowing it. */
export function answers(answer: Answer | undefined, expected: Entry | undefined, what: string): void {
  claim(answer !== undefined, `${what}: no answer`);
  same(plain(answer.entry), plain(expected), what);
  same([answer.complete, answer.stale], [true, false], `${what}: complete, stale`);
  claim(typeof answer.from === "string" && answer.from !== "", `${what}: the answer does not say where it is from`);
  claim(Number.isSafeInteger(answer.asOf), `${what}: asOf is ${answer.asOf}`);
}

/** An entry's fields and no others, so that stores may return richer objects. */
export function plain(entry: Entry | undefined): unknown {
  if (entry === undefined) return undefined;
  const { key, state, value, version, expires, meta } = entry;
  return { key, state, value, version, expires, meta: { ...meta } };
}

/** Versions in the order of the calls, a millisecond apart, none in the future. */
function versionSource(runtime: Runtime, random: Random): () => Version {
  const start = runtime.now() - 3_600_000;
  const node = Array.from(random.bytes(8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  let issued = 0;
  return () => formatVersion(start + issued++, random.below(0x10000), node);
}

// ---- Reasons for which a check says nothing about a store. ----

export type Unless = NonNullable<Check["unless"]>;

export const writable: Unless = ({ store }) => (store.supports.readonly ? "the store takes no writes" : undefined);

/** For checks that only need entries to be there. */
export const fillable: Unless = ({ store, put }) =>
  store.supports.readonly && put === undefined ? "the store takes no writes, and no `put` was given" : undefined;

export const stubbing: Unless = ({ store }) => (store.supports.stubs ? undefined : "the store takes no stubs");

export const conditional: Unless = ({ store }) =>
  store.supports.conditional ? undefined : "the store has no conditional writes";

export const dated: Unless = ({ store }) => (store.supports.asOf === "stored" ? undefined : "the store keeps no asOf");

/** Every reason must be absent. */
export function all(...reasons: readonly Unless[]): Unless {
  return (opened, settings) => {
    for (const reason of reasons) {
      const found = reason(opened, settings);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}
