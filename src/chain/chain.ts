import { ending } from "../ending.ts";
import { SyncError } from "../error.ts";
import { KEY_BYTES_MAX } from "../entry.ts";
import type { Head } from "../entry.ts";
import { LANES_MAX } from "../journal/journal.ts";
import type { JournalStatus } from "../journal/contract.ts";
import type { Files } from "../journal/files.ts";
import type { Journal } from "../journal/journal.ts";
import type { Slot } from "../slot.ts";
import { checkCall, checkForget, checkRead, checkWrite, closedError } from "../store.ts";
import type { Answer, CallOptions, Forget, ReadOptions, Store, Supports, Write, WriteResult } from "../store.ts";
import { randomBelow } from "../runtime.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { SKEW_MAX_MS } from "../version.ts";
import type { Version, VersionClock } from "../version.ts";
import { ackOf } from "./ack.ts";
import { behind } from "./behind.ts";
import type { Behind } from "./behind.ts";
import { forCaller, itemsForCaller } from "../caller.ts";
import { messageOf } from "./call.ts";
import { carryUpwards } from "./carry.ts";
import { collect, proven } from "./collect.ts";
import type { Collected, CollectOptions } from "./collect.ts";
import { allTheWayDown, flushBelow } from "./flush-below.ts";
import { forgetEverywhere } from "./forget.ts";
import { checkNumbers } from "./layer.ts";
import type { Layer, LayerSpec, Role } from "./layer.ts";
import { listMerged } from "./list.ts";
import { looks } from "./look.ts";
import { RETENTION_MS, authorityOf, decideLayers, firstOf } from "./options.ts";
import { readKey, readKeys } from "./read.ts";
import { chainState } from "./state.ts";
import type { ChainState } from "./state.ts";
import { openSpool, spool } from "./spool.ts";
import type { Spooled } from "./spool.ts";
import { watchMerged } from "./watch.ts";
import { whereIs } from "./where.ts";
import { flushLate, writeThrough } from "./write.ts";

/** Layers as one store. It passes the conformance suite of the stores it is made of. */
export interface Chain extends Store {
  readonly layers: readonly Layer[];
  readonly runtime: Runtime;
  /** What stamps its writes. */
  readonly clock: VersionClock;
  /** Undefined without one. The chain closes it. */
  readonly journal: Journal | undefined;
  /**
   * The synchronous look: the slot of a memory first layer that may answer a `cached` read of the key now (fresh, not
   * expired, a value or a tombstone); undefined when the key has to be asked for.
   */
  look(key: string): Slot | undefined;
  /** Whether a slot that {@link look} has given may answer once more. Counts as a look does. */
  lookAgain(slot: Slot): boolean;
  /** A larger value is answered as a body where a read asks for nothing else. */
  readonly wholeBytesMax: number;
  /**
   * Takes a stream into a file of this machine, so that it can be written as a body.
   * @throws SyncError UNSUPPORTED without a place for it, OVERLOADED without room; what the stream throws.
   */
  spool(source: AsyncIterable<Uint8Array>, options?: CallOptions): Promise<Spooled>;
  read(keys: readonly string[], options?: ChainReadOptions): Promise<Answer[]>;
  /** The same for one key. Those who share a walk, without a signal or deadline of their own, are given one promise. */
  readOne(key: string, options?: ChainReadOptions): Promise<Answer>;
  write(writes: readonly Write[], options?: ChainWriteOptions): Promise<WriteResult[]>;
  /** Resolves when every write begun before it has reached every layer; rejects, naming the layers that lack some. */
  flush(options?: CallOptions): Promise<void>;
  /** Removes for good what was deleted or expired longer ago than the retention; see docs/consistency.md. */
  collect(options?: CollectOptions): Promise<Collected>;
  /** What each layer holds of a key, asked past all caches. Never throws for a layer that fails. */
  where(key: string, options?: CallOptions): Promise<readonly WhereAnswer[]>;
  status(): ChainStatus;
  /** Resolves when the watch of every watched layer has begun, failed for the first time, or used up its deadline. */
  ready(): Promise<void>;
}

export interface ChainReadOptions extends ReadOptions {
  /**
   * Only layers that are caches, or of this machine alone, are asked; the others count as silent, so that the read is
   * UNAVAILABLE, or its answer stale, where the near ones do not know. Default false.
   */
  readonly near?: boolean | undefined;
}

export interface ChainWriteOptions extends CallOptions {
  /**
   * What must have the writes before they are acknowledged: a layer's name, or "all"; with a journal also "journal",
   * the default there, and "memory". Without one the default is that every layer has them; "all" asks layers that have
   * layers of their own, as nodes do, to pass them on as well.
   */
  readonly ack?: string | undefined;
  /**
   * With a journal: until when that is waited for, on `Runtime.monotonic()`. A write that is on disk by then fails with
   * UNAVAILABLE and `stored`, and goes on by itself. Default: the deadline of the call, which then ends with TIMEOUT.
   */
  readonly ackDeadline?: number | undefined;
  /**
   * The caller gives the values' bytes away: neither he nor anybody else will change them, so that memory need not copy
   * them. Default false: they are his again when the call has ended.
   */
  readonly givesBytes?: boolean | undefined;
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
  /** How often what may go is collected, in milliseconds; 0: only when `collect` is called. Default one day. */
  readonly collectIntervalMs?: number;
  /** How far ahead of this machine's clock a version may lie before it is refused, in milliseconds. Default 60,000. */
  readonly skewMaxMs?: number;
  /** Where writes are durable before any layer has them. Default: none, every write goes through to the layers. */
  readonly journal?: Journal | undefined;
  /** The acknowledgement level when a write names none. Default "journal" where there is one, else "all". */
  readonly ack?: string | undefined;
  /**
   * With a journal: how long writes pause before they are sent to the first layer that other machines share, in
   * milliseconds. Each store after that one waits `syncMultiplier` times as long. Default 200.
   */
  readonly syncIntervalMs?: number | undefined;
  /** Default 5. */
  readonly syncMultiplier?: number | undefined;
  /** With a journal: for how long closing goes on sending what layers lack, in milliseconds. Default 10,000. */
  readonly drainMs?: number | undefined;
  /**
   * A larger value is read piece by piece only (`getStream`); up to this a read brings it into memory, in bytes. Default
   * 64 MiB.
   */
  readonly wholeBytesMax?: number | undefined;
  /**
   * Without a journal: a folder for values that come as streams, while they are written. Default: none, and such values
   * are refused.
   */
  readonly spool?: Files | undefined;
  /** How many bytes may lie in that folder at a time. Default 8 GiB. */
  readonly spoolBytesMax?: number | undefined;
  /** Told what an operator should know and no call can return: a future stamp, a collision, a failed fill. */
  readonly onReport?: (report: Report) => void;
}

export interface Report {
  /** "store": what a store says of itself, such as files that have no key, or changes by people that it took up. */
  readonly kind:
    | "future-version"
    | "collision"
    | "fill-failed"
    | "watch-failed"
    | "relist"
    | "write-failed"
    | "breaker"
    | "store"
    /** A layer refused an entry for good; the journal keeps it. */
    | "refused"
    /** A layer takes no writes until somebody acts. */
    | "paused"
    | "journal"
    | "collect-failed";
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
  /** Undefined without one. */
  readonly journal: JournalStatus | undefined;
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
  /** Entries of the journal that this layer lacks, and how long the oldest has waited, in milliseconds. */
  readonly pending: number;
  readonly oldestMs: number;
  /** Why the layer takes no writes until somebody acts, or why the last attempt to write to it failed. */
  readonly paused: string | undefined;
  readonly failing: string | undefined;
  /** Sum of the durations of the calls to this layer, in milliseconds, and their number. */
  readonly callMs: number;
  readonly calls: number;
}

/** How many keys or writes one call of a chain takes. Layers that take fewer get several calls. */
const BATCH_MAX = 10_000;
const SYNC_INTERVAL_MS = 200;
const SYNC_MULTIPLIER = 5;
const DRAIN_MS = 10_000;
const WHOLE_BYTES_MAX = 64 * 2 ** 20;
const SPOOL_BYTES_MAX = 8 * 2 ** 30;
const COLLECT_INTERVAL_MS = 24 * 3_600_000;
/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** An entry that waited as long as it may is still far from what collection has removed. */
const RETENTION_AGES = 4;
const NO_LANE = { pending: 0, oldestMs: 0, paused: undefined, failing: undefined };
/** How long `ready` waits for a watch of a layer without a deadline, in milliseconds. */
const READY_MS_MAX = 60_000;

/**
 * Makes one store of several layers, nearest first; the last `store` layer is the source of truth.
 * @throws SyncError INVALID for layers that cannot work together.
 */
export function chain(specs: readonly LayerSpec[], options: ChainOptions): Chain {
  const { runtime, clock, skewMaxMs = SKEW_MAX_MS, negativeTtlMs = 5_000, retentionMs = RETENTION_MS } = options;
  const { wholeBytesMax = WHOLE_BYTES_MAX, spoolBytesMax = SPOOL_BYTES_MAX, collectIntervalMs } = options;
  checkNumbers("chain", { skewMaxMs, negativeTtlMs, retentionMs, collectIntervalMs, wholeBytesMax, spoolBytesMax });
  const layers = decideLayers(specs, retentionMs);
  const name = options.name ?? `chain(${layers.map((layer) => layer.name).join(",")})`;
  const authority = authorityOf(layers);
  const first = firstOf(layers);
  const report = options.onReport ?? (() => undefined);
  const times = { skewMaxMs, negativeTtlMs, wholeBytesMax };
  const spooled = options.spool && openSpool(options.spool, runtime, spoolBytesMax);
  const state = chainState({ name, runtime, clock, ...times, spooled, layers, authority, first, report });
  if (options.journal !== undefined) state.behind = behindOf(state, options.journal, options, retentionMs);
  const closing = new AbortController();
  const watched = ending();
  closing.signal.addEventListener("abort", () => watched.end(), { once: true });
  const carried = carryAll(state, closing.signal);
  collectNowAndThen(state, retentionMs, options.collectIntervalMs ?? COLLECT_INTERVAL_MS, closing.signal);
  let closed: Promise<void> | undefined;
  let flushes: Promise<void> = Promise.resolve();

  const check = (operation: string, call: CallOptions | undefined) => {
    if (closed !== undefined) throw closedError(name, operation);
    checkCall(runtime, call, name, operation);
  };

  const { look, lookAgain } = looks(state);
  const self: Chain = {
    name,
    supports: supportsOf(state),
    layers,
    runtime,
    clock,
    journal: options.journal,
    wholeBytesMax,
    look,
    lookAgain,
    async spool(source, call) {
      check("write", call);
      return spool(state, source, call);
    },
    // Not `async`, which would cost each call a promise and some turns more.
    read(keys, call) {
      try {
        check("read", call);
        checkRead(self, keys);
        return readKeys(state, keys, call);
      } catch (error) {
        return Promise.reject(error);
      }
    },
    readOne(key, call) {
      try {
        check("read", call);
        checkRead(self, [key]);
        return readKey(state, key, call);
      } catch (error) {
        return Promise.reject(error);
      }
    },
    write(writes, call) {
      try {
        check("write", call);
        checkWrite(self, writes);
        const work = state.behind?.write(self, writes, call) ?? writeThrough(state, self, writes, call);
        return call?.ack === "all" ? toTheBottom(state, work, call) : work;
      } catch (error) {
        return Promise.reject(error);
      }
    },
    async forget(items: readonly Forget[], call) {
      check("forget", call);
      checkForget(self, items);
      const work = (async () => {
        // What is still on its way would bring back what is forgotten.
        await state.behind?.sendKeys(items.map(({ key }) => key));
        await forgetEverywhere(state, await proven(state, items));
      })();
      return forCaller(work, call, runtime, name, "forget");
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
      yield* watchMerged(state, range, call, watched);
    },
    async flush(call) {
      check("flush", call);
      if (state.behind !== undefined) return forCaller(state.behind.flush(call), call, runtime, name, "flush");
      // One at a time: what one flush is sending again is not in the list that the next one looks at.
      const work = flushes.then(async () => {
        await flushLate(state);
        await flushBelow(state, call);
      });
      flushes = work.catch(() => undefined);
      return forCaller(work, call, runtime, name, "flush");
    },
    async collect(call) {
      check("collect", call);
      return forCaller(collect(state, retentionMs, call), call, runtime, name, "collect");
    },
    async where(key, call) {
      check("where", call);
      checkRead(self, [key]);
      return whereIs(state, key, call);
    },
    status: () => ({
      name,
      journal: state.behind?.status(),
      authority: layers[authority]?.name,
      layers: state.calls.map((calls, index) => ({
        ...calls.status(),
        ...(state.behind?.laneStatus(index) ?? NO_LANE),
        complete: state.bootstraps.isComplete(index),
      })),
    }),
    ready: () => carried.begun,
    close() {
      closed ??= shut(state, closing, carried.ended, options.drainMs ?? DRAIN_MS);
      return closed;
    },
  };
  return self;
}

function toTheBottom(state: ChainState, work: Promise<WriteResult[]>, call: ChainWriteOptions): Promise<WriteResult[]> {
  const until = state.behind === undefined ? undefined : call.ackDeadline;
  return work.then((results) => allTheWayDown(state, results, { ...call, deadline: until ?? call.deadline }));
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

/** Collects in the background, at random moments so that the nodes of one store do not all do it at once. */
function collectNowAndThen(state: ChainState, retentionMs: number, intervalMs: number, signal: AbortSignal): void {
  if (intervalMs === 0 || state.first === -1) return;
  const { runtime } = state;
  let timer: Timer | undefined;
  const wait = () => {
    if (signal.aborted) return;
    const waitMs = Math.min(intervalMs / 2 + randomBelow(runtime, Math.floor(intervalMs)), TIMER_MS_MAX);
    timer = runtime.timer(waitMs, () => state.background.add(once().finally(wait)), true);
  };
  const once = async () => {
    try {
      const { error } = await collect(state, retentionMs, { signal });
      if (error !== undefined) throw error;
    } catch (error) {
      if (!signal.aborted) state.report({ kind: "collect-failed", layer: state.name, message: messageOf(error) });
    }
  };
  signal.addEventListener("abort", () => timer?.cancel(), { once: true });
  wait();
}

/**
 * Ends the watches, waits for what is under way, tries once more what a layer did not take, and closes every layer.
 * @throws SyncError naming the layers that still lack writes, or the error of a layer that did not close.
 */
async function shut(
  state: ChainState,
  closing: AbortController,
  watches: readonly Promise<void>[],
  drainMs: number,
): Promise<void> {
  closing.abort();
  await Promise.all(watches);
  const kept = state.behind?.close(drainMs);
  await kept?.catch(() => undefined);
  await state.background.idle();
  const left = flushLate(state);
  await left.catch(() => undefined);
  const results = await Promise.allSettled(state.layers.map((layer) => layer.store.close()));
  for (const calls of state.calls) calls.stop();
  await state.spooled?.removeAll().catch(() => undefined); // what cannot be removed goes with the other temporary files
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
  await kept;
  await left;
}

/** @throws SyncError INVALID for what cannot work with a journal. */
function behindOf(state: ChainState, journal: Journal, options: ChainOptions, retentionMs: number): Behind {
  const { syncIntervalMs = SYNC_INTERVAL_MS, syncMultiplier = SYNC_MULTIPLIER, ack, drainMs } = options;
  checkNumbers("chain", { syncIntervalMs, syncMultiplier, drainMs });
  if (state.layers.length > LANES_MAX) {
    throw new SyncError("INVALID", `a chain with a journal has at most ${LANES_MAX} layers`, { store: state.name });
  }
  if (state.first === -1) {
    throw new SyncError("INVALID", "no layer of the chain takes writes: a journal has nothing to do", {
      store: state.name,
      cure: "leave the journal out",
    });
  }
  if (journal.ageMsMax * RETENTION_AGES >= retentionMs) {
    const what = `entries may wait in the journal for ${journal.ageMsMax} ms, too long for a retention of ${retentionMs} ms`;
    throw new SyncError("INVALID", what, {
      store: state.name,
      cure: `lower the journal's ageMsMax: the retention is more than ${RETENTION_AGES} times as long`,
    });
  }
  ackOf(state, ack, true);
  return behind(state, { journal, ack, syncIntervalMs, syncMultiplier, copyLifeMs: state.copyLifeMs });
}

/** A store above the last that takes no streams holds stubs of them, if it can. */
function streamLimit({ streamBytesMax, store }: Layer, isLast: boolean): number {
  return isLast || !store.supports.stubs ? streamBytesMax : Number.POSITIVE_INFINITY;
}

/** What a chain can do follows from its `store` layers: a cache takes part in no promise. */
function supportsOf(state: ChainState): Supports {
  const stores = state.layers.filter((layer) => layer.role === "store");
  const writable = stores.filter((layer) => !layer.readonly);
  const watched = stores.map(({ store }) => store.supports.watch);
  return {
    keyBytesMax: Math.min(KEY_BYTES_MAX, ...stores.map(({ store }) => store.supports.keyBytesMax)),
    valueBytesMax: Math.min(...writable.map((layer) => layer.valueBytesMax)),
    streamBytesMax: Math.min(...writable.map((layer, i) => streamLimit(layer, i === writable.length - 1))),
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
