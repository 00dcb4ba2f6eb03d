import type { SyncError } from "../error.ts";
import { KEY_BYTES_MAX } from "../entry.ts";
import type { Head } from "../entry.ts";
import type { Slot } from "../slot.ts";
import { checkCall, checkForget, checkRead, checkWrite, closedError } from "../store.ts";
import type { Answer, CallOptions, Forget, ReadOptions, Store, Supports, Write, WriteResult } from "../store.ts";
import type { Runtime } from "../runtime.ts";
import { SKEW_MAX_MS } from "../version.ts";
import type { Version, VersionClock } from "../version.ts";
import { forCaller, itemsForCaller } from "./caller.ts";
import { carryUpwards } from "./carry.ts";
import { forgetEverywhere } from "./forget.ts";
import { checkNumbers } from "./layer.ts";
import type { Layer, LayerSpec, Role } from "./layer.ts";
import { listMerged } from "./list.ts";
import { looker } from "./look.ts";
import { RETENTION_MS, authorityOf, decideLayers, firstOf } from "./options.ts";
import { readKeys } from "./read.ts";
import { chainState } from "./state.ts";
import type { ChainState } from "./state.ts";
import { watchMerged } from "./watch.ts";
import { whereIs } from "./where.ts";
import { flushLate, writeThrough } from "./write.ts";

/** Layers as one store. It passes the conformance suite of the stores it is made of. */
export interface Chain extends Store {
  readonly layers: readonly Layer[];
  readonly runtime: Runtime;
  /** What stamps its writes. */
  readonly clock: VersionClock;
  /**
   * The synchronous look: the slot of a memory first layer that may answer a `cached` read of the key now (fresh, not
   * expired, a value or a tombstone); undefined when the key has to be asked for.
   */
  look(key: string): Slot | undefined;
  read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]>;
  write(writes: readonly Write[], options?: ChainWriteOptions): Promise<WriteResult[]>;
  /** Resolves when every write begun before it has reached every layer; rejects, naming the layers that lack some. */
  flush(options?: CallOptions): Promise<void>;
  /** What each layer holds of a key, asked past all caches. Never throws for a layer that fails. */
  where(key: string, options?: CallOptions): Promise<readonly WhereAnswer[]>;
  status(): ChainStatus;
  /** Resolves when the watch of every watched layer has begun, failed for the first time, or used up its deadline. */
  ready(): Promise<void>;
}

export interface ChainWriteOptions extends CallOptions {
  /**
   * Which layer must have the writes before they are acknowledged: a layer's name, or "all" (default). The authority
   * always has them first.
   */
  readonly ack?: string | undefined;
}

export interface ChainOptions {
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  /** For messages and as the store's name. Default: the names of the layers, `chain(memory,git)`. */
  readonly name?: string;
  /** How long "nowhere" is remembered, in milliseconds. Default 5,000. */
  readonly negativeTtlMs?: number;
  /** How long tombstones are kept, in milliseconds; every layer's ttl + grace must be below it. Default 30 days. */
  readonly retentionMs?: number;
  /** How far ahead of this machine's clock a version may lie before it is refused, in milliseconds. Default 60,000. */
  readonly skewMaxMs?: number;
  /** Told what an operator should know and no call can return: a future stamp, a collision, a failed fill. */
  readonly onReport?: (report: Report) => void;
}

export interface Report {
  /** "store": what a store says of itself, such as files that have no key, or changes by people that it took up. */
  readonly kind:
    "future-version" | "collision" | "fill-failed" | "watch-failed" | "relist" | "write-failed" | "breaker" | "store";
  readonly layer: string;
  readonly key?: string;
  readonly message: string;
}

/** One layer's view of one key. */
export type WhereAnswer = { readonly layer: string; readonly role: Role } & (
  | { readonly state: "has"; readonly head: Head; readonly ageMs: number; readonly version: Version }
  | { readonly state: "absent"; readonly ageMs: number }
  | { readonly state: "failed"; readonly error: SyncError }
  /** The layer is not for this key. */
  | { readonly state: "excluded" }
);

export interface ChainStatus {
  readonly name: string;
  /** The layer that decides conditional writes; undefined when none can. */
  readonly authority: string | undefined;
  readonly layers: readonly LayerStatus[];
}

export interface LayerStatus {
  readonly name: string;
  readonly role: Role;
  readonly store: string;
  readonly breaker: "closed" | "open" | "half-open";
  /** Whether changes that others make in this layer are being carried upwards. */
  readonly watch: "off" | "starting" | "live" | "failing";
  /** The layer has got everything that the layers below hold: see the layer option `bootstrap`. */
  readonly complete: boolean;
  /** Reads that this layer answered, asked in vain, and could not answer. */
  readonly hits: number;
  readonly misses: number;
  readonly failures: number;
  readonly writes: number;
  /** Entries written to this layer because a read passed it. */
  readonly fills: number;
  /** Sum of the durations of the calls to this layer, in milliseconds, and their number. */
  readonly callMs: number;
  readonly calls: number;
}

/** How many keys or writes one call of a chain takes. Layers that take fewer get several calls. */
const BATCH_MAX = 10_000;
/** How long `ready` waits for a watch of a layer without a deadline, in milliseconds. */
const READY_MS_MAX = 60_000;

/**
 * Makes one store of several layers, nearest first; the last `store` layer is the source of truth.
 * @throws SyncError INVALID for layers that cannot work together.
 */
export function chain(specs: readonly LayerSpec[], options: ChainOptions): Chain {
  const { runtime, clock, skewMaxMs = SKEW_MAX_MS, negativeTtlMs = 5_000, retentionMs = RETENTION_MS } = options;
  checkNumbers("chain", { skewMaxMs, negativeTtlMs, retentionMs });
  const layers = decideLayers(specs, retentionMs);
  const name = options.name ?? `chain(${layers.map((layer) => layer.name).join(",")})`;
  const authority = authorityOf(layers);
  const first = firstOf(layers);
  const report = options.onReport ?? (() => undefined);
  const state = chainState({ name, runtime, clock, skewMaxMs, negativeTtlMs, layers, authority, first, report });
  const closing = new AbortController();
  const carried = carryAll(state, closing.signal);
  let closed: Promise<void> | undefined;
  let flushes: Promise<void> = Promise.resolve();

  const check = (operation: string, call: CallOptions | undefined) => {
    if (closed !== undefined) throw closedError(name, operation);
    checkCall(runtime, call, name, operation);
  };

  const self: Chain = {
    name,
    supports: supportsOf(state),
    layers,
    runtime,
    clock,
    look: looker(state),
    async read(keys, call) {
      check("read", call);
      checkRead(self, keys);
      return readKeys(state, keys, call);
    },
    async write(writes, call) {
      check("write", call);
      checkWrite(self, writes);
      return writeThrough(state, self, writes, call);
    },
    async forget(items: readonly Forget[], call) {
      check("forget", call);
      checkForget(self, items);
      return forCaller(forgetEverywhere(state, items), call, runtime, name, "forget");
    },
    async *list(range, call) {
      check("list", call);
      for await (const item of itemsForCaller(listMerged(state, range, call), call, runtime, name, "list")) {
        check("list", call);
        yield item;
      }
    },
    async *watch(range, call = {}) {
      check("watch", call);
      yield* watchMerged(state, range, call, closing.signal);
    },
    async flush(call) {
      check("flush", call);
      // One at a time: what one flush is sending again is not in the list that the next one looks at.
      const work = flushes.then(() => flushLate(state));
      flushes = work.catch(() => undefined);
      return forCaller(work, call, runtime, name, "flush");
    },
    async where(key, call) {
      check("where", call);
      checkRead(self, [key]);
      return whereIs(state, key, call);
    },
    status: () => ({
      name,
      authority: layers[authority]?.name,
      layers: state.calls.map((calls, index) => ({
        ...calls.status(),
        complete: state.bootstraps.isComplete(index),
      })),
    }),
    ready: () => carried.begun,
    close() {
      closed ??= shut(state, closing, carried.ended);
      return closed;
    },
  };
  return self;
}

/** Starts the watches of the layers that others change. */
function carryAll(state: ChainState, signal: AbortSignal) {
  const begun: Promise<void>[] = [];
  const ended: Promise<void>[] = [];
  for (const [index, { watch, deadlineMs }] of state.layers.entries()) {
    if (!watch) continue;
    begun.push(
      new Promise<void>((resolve) => {
        // A watch that hangs at its start has failed for whoever waits for it.
        const timer = state.runtime.timer(Math.min(deadlineMs, READY_MS_MAX), resolve, true);
        const onBegun = () => {
          timer.cancel();
          resolve();
        };
        ended.push(carryUpwards(state, index, signal, onBegun));
      }),
    );
  }
  return { begun: Promise.all(begun).then(() => undefined), ended };
}

/**
 * Ends the watches, waits for what is under way, tries once more what a layer did not take, and closes every layer.
 * @throws SyncError naming the layers that still lack writes, or the error of a layer that did not close.
 */
async function shut(state: ChainState, closing: AbortController, watches: readonly Promise<void>[]): Promise<void> {
  closing.abort();
  await Promise.all(watches);
  await state.background.idle();
  const left = flushLate(state);
  await left.catch(() => undefined);
  const results = await Promise.allSettled(state.layers.map((layer) => layer.store.close()));
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
  await left;
}

/** What a chain can do follows from its `store` layers: a cache takes part in no promise. */
function supportsOf(state: ChainState): Supports {
  const stores = state.layers.filter((layer) => layer.role === "store");
  const writable = stores.filter((layer) => !layer.readonly);
  const watched = stores.map(({ store }) => store.supports.watch);
  return {
    keyBytesMax: Math.min(KEY_BYTES_MAX, ...stores.map(({ store }) => store.supports.keyBytesMax)),
    valueBytesMax: Math.min(...writable.map((layer) => layer.valueBytesMax)),
    batchMax: BATCH_MAX,
    conditional: state.authority !== -1,
    atomicBatch: false,
    stubs: false,
    watch: watched.every((kind) => kind === "push") ? "push" : "poll",
    expiry: stores.some(({ store }) => store.supports.expiry),
    writers: writable.some(({ store }) => store.supports.writers === "one") ? "one" : "many",
    durable: writable.every(({ store }) => store.supports.durable),
    shared: stores.some(({ store }) => store.supports.shared),
    asOf: "known",
    readonly: writable.length === 0,
  };
}
