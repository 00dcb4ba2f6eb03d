import type { Head } from "../entry.ts";
import { randomBelow, sleep } from "../runtime.ts";
import type { Change, Write } from "../store.ts";
import { messageOf } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import type { Gap } from "./gaps.ts";
import { isFor } from "./layer.ts";
import { invalidate } from "./invalidate.ts";
import { readKeys } from "./read.ts";
import { holds } from "./state.ts";
import type { ChainState } from "./state.ts";
import { HEADS_ONLY, copyFor, entriesFor } from "./stream.ts";
import { VERSION_ZERO } from "../version.ts";

/** How many changes wait for the layers above before the watch is no longer read. */
const QUEUE_MAX = 10_000;
/** How many changes are carried at once. */
const BATCH_MAX = 1_000;
/** How many changed keys that memory held are fetched again at once; the others wait for a reader. */
const REFRESH_MAX = 256;
/** A broken watch is begun again after a random time up to this, doubling from the first figure to the second. */
const RETRY_MS = 500;
const RETRY_MS_MAX = 30_000;

type Told = Extract<Change, { kind: "change" | "current" }>;

/**
 * Carries what others change in one layer to the layers above it, until the signal: caches get stubs, `store` layers
 * get the entries, and what memory held is fetched again. `onBegun` is called once, when the watch stands or failed.
 */
export async function carryUpwards(
  state: ChainState,
  index: number,
  signal: AbortSignal,
  onBegun: () => void,
): Promise<void> {
  const calls = state.calls[index];
  if (calls === undefined) return;
  let place: Place = { cursor: undefined, gap: false };
  let retryMs = RETRY_MS;
  calls.watch = "starting";
  while (!signal.aborted) {
    place = await carryUntilItEnds(state, index, calls, place, signal, (stands) => {
      onBegun();
      if (!stands) return;
      calls.watch = "live";
      retryMs = RETRY_MS;
    });
    onBegun();
    if (signal.aborted) break;
    interrupted(state, index);
    await sleep(state.runtime, 1 + randomBelow(state.runtime, retryMs), signal).catch(() => undefined);
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  }
  calls.watch = "off";
}

/** Where a watch goes on: after a change that was carried, or from now, after a gap or for the first time. */
interface Place {
  readonly cursor: string | undefined;
  readonly gap: boolean;
}

/** One watch of the layer until it breaks off. Never rejects. */
async function carryUntilItEnds(
  state: ChainState,
  index: number,
  calls: LayerCalls,
  { cursor, gap }: Place,
  signal: AbortSignal,
  onTold: (stands: boolean) => void,
): Promise<Place> {
  const { store, name, watchIntervalMs } = calls.layer;
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  signal.addEventListener("abort", stop, { once: true });
  // A change that could not be carried breaks the watch off, so that it is told again also if nothing else happens.
  const queue = changeQueue(state, index, calls, stop);
  // After a gap, and for a bootstrap, the stores above are given everything there is: they may have missed any of it.
  const isWanted = gap || (cursor === undefined && state.bootstraps.wanted(index));
  const initial = isWanted && storesAbove(state, index).length > 0;
  try {
    const options = { signal: attempt.signal, cursor, initial, intervalMs: watchIntervalMs };
    for await (const change of store.watch({ prefix: "" }, options)) {
      if (change.kind === "relist") {
        missed(state, name, change.reason);
        await state.behind?.resend(index);
        return { cursor: undefined, gap: true };
      }
      onTold(change.kind !== "interrupted");
      if (change.kind === "interrupted") {
        interrupted(state, index);
        failing(state, calls, change.reason);
        continue;
      }
      // What changed between the gap and this moment was told to nobody.
      if (change.kind === "current" && cursor === undefined && gap) missed(state, name, "the watch stands again");
      if (change.kind === "current" || holds(state, index, change.key)) await queue.add(change);
    }
    await queue.drained();
  } catch (error) {
    if (!signal.aborted) {
      failing(state, calls, messageOf(queue.failure?.error ?? error));
    }
  } finally {
    signal.removeEventListener("abort", stop);
    state.bootstraps.told(index, false);
  }
  // What was told but not carried is told again.
  return queue.carried === undefined ? { cursor, gap } : { cursor: queue.carried, gap: false };
}

/** For a while nothing is told of the layer. What it told before is good again when it has told what was missed. */
function interrupted(state: ChainState, index: number): void {
  state.gaps.open(index, state.runtime.now());
  state.flights.overtakeAll();
}

function failing(state: ChainState, calls: LayerCalls, message: string): void {
  if (calls.watch !== "failing") state.report({ kind: "watch-failed", layer: calls.layer.name, message });
  calls.watch = "failing";
}

/** Changes were missed: every copy from before now has to be asked for again. */
function missed(state: ChainState, layer: string, reason: string): void {
  state.floors.suspect(state.runtime.now());
  state.flights.overtakeAll();
  state.negatives.clear();
  state.report({ kind: "relist", layer, message: reason });
}

/** What was told, and of "current" the gap that it ends. */
interface Waiting {
  readonly change: Told;
  readonly gap: Gap | undefined;
}

/** Gathers changes while a batch of them is being carried, so that a burst costs each layer a few calls. */
interface ChangeQueue {
  /** @throws SyncError when an earlier batch could not be carried. */
  add(change: Told): Promise<void>;
  /** @throws SyncError when a batch could not be carried. */
  drained(): Promise<void>;
  /** The cursor of the last change that was carried. */
  readonly carried: string | undefined;
  readonly failure: { readonly error: unknown } | undefined;
}

function changeQueue(state: ChainState, index: number, calls: LayerCalls, onFailure: () => void): ChangeQueue {
  let waiting: Waiting[] = [];
  let carrying: Promise<void> | undefined;
  let carried: string | undefined;
  let failure: { readonly error: unknown } | undefined;

  const carryAll = async () => {
    try {
      while (waiting.length > 0) {
        const batch = waiting.slice(0, BATCH_MAX);
        waiting = waiting.slice(BATCH_MAX);
        const changes = batch.map(({ change }) => change);
        await carry(state, index, calls, changes);
        carried = changes.at(-1)?.cursor;
        if (changes.some((change) => change.kind === "current")) state.bootstraps.told(index, true);
        for (const { gap } of batch) if (gap !== undefined) state.gaps.close(index, gap);
      }
    } catch (error) {
      failure = { error };
      onFailure();
    }
    carrying = undefined;
  };

  return {
    get carried() {
      return carried;
    },
    get failure() {
      return failure;
    },
    async add(change) {
      if (failure !== undefined) throw failure.error;
      waiting.push({ change, gap: change.kind === "current" ? state.gaps.of(index) : undefined });
      if (carrying === undefined) {
        carrying = carryAll();
        state.background.add(carrying);
      }
      if (waiting.length >= QUEUE_MAX) await carrying;
    },
    async drained() {
      await carrying;
      if (failure !== undefined) throw failure.error;
    },
  };
}

/** Carries one batch. @throws SyncError when a `store` above could not be given it. */
async function carry(state: ChainState, index: number, calls: LayerCalls, told: readonly Told[]): Promise<void> {
  const changes = told.filter((change) => change.kind === "change");
  const heads: Head[] = [];
  for (const { key, head } of changes) {
    if (head === null) await removed(state, key);
    else heads.push(head);
  }
  if (heads.length === 0) return;
  const held = heldInMemory(state, heads);
  invalidate(state, index, heads);
  for (const above of storesAbove(state, index)) await feed(state, calls, above, heads);
  if (held.length === 0) return;
  await readKeys(state, held.slice(0, REFRESH_MAX), undefined).catch((error: unknown) => {
    state.report({ kind: "fill-failed", layer: calls.layer.name, message: messageOf(error) });
  });
}

function storesAbove(state: ChainState, index: number): LayerCalls[] {
  return state.calls.slice(0, index).filter(({ layer }) => layer.role === "store" && !layer.readonly);
}

function heldInMemory(state: ChainState, heads: readonly Head[]): string[] {
  const slots = state.slots.find((store) => store !== undefined);
  if (slots === undefined) return [];
  const isHeld = ({ key, version }: Head) => (slots.held(key)?.version ?? version) < version;
  return heads.filter(isHeld).map((head) => head.key);
}

/** Writes what changed below into a store above, so that the authority and conditional writes know of it. */
async function feed(state: ChainState, from: LayerCalls, above: LayerCalls, heads: readonly Head[]): Promise<void> {
  const { prefixes, store, name } = above.layer;
  const { wholeBytesMax } = state;
  const own = heads.filter(({ key }) => isFor(prefixes, key));
  const batchMax = Math.min(from.layer.store.supports.batchMax, store.supports.batchMax);
  for (let at = 0; at < own.length; at += batchMax) {
    const batch = own.slice(at, at + batchMax);
    const asOf = state.runtime.now();
    const keys = batch.map((head) => head.key);
    const has = await above.call("read", (call) => store.read(keys, { ...call, ...HEADS_ONLY }), keys.length);
    const lacking = batch.filter(({ version }, i) => (has[i]?.entry?.version ?? VERSION_ZERO) < version);
    if (lacking.length === 0) continue;
    const wanted = lacking.map((head) => head.key);
    const answers = await from.call(
      "read",
      (call) => from.layer.store.read(wanted, { ...call, wholeBytesMax }),
      wanted.length,
    );
    const writes: Write[] = [];
    for (const { entry, body } of answers) {
      // What is too large there leaves a stub, so that the older, smaller value is not taken for the newest.
      if (entry !== undefined) writes.push(copyFor(above.layer, { entry, asOf, body }));
    }
    const results = await above.call("write", (call) => store.write(writes, call), entriesFor(writes));
    const error = results.find((result) => result.status === "failed")?.error;
    if (error?.retryable === true) throw error;
    if (error !== undefined) state.report({ kind: "write-failed", layer: name, message: error.message });
  }
}

/** A key left the layer for good: copies of it are nobody's truth any more. */
async function removed(state: ChainState, key: string): Promise<void> {
  state.flights.overtake(key);
  state.negatives.delete(key);
  const now = state.runtime.now();
  const floor = state.floors.get(key, now);
  if (floor !== undefined) state.floors.end(key, floor.version, now);
  for (const { layer, call } of state.calls) {
    if (layer.role !== "cache" || layer.readonly) continue;
    try {
      const [answer] = await call("read", (options) => layer.store.read([key], { ...options, ...HEADS_ONLY }));
      const version = answer?.entry?.version;
      if (version === undefined) continue;
      await call("forget", (options) => layer.store.forget([{ key, version, reason: "ghost" }], options));
    } catch (error) {
      state.report({ kind: "write-failed", layer: layer.name, key, message: messageOf(error) });
    }
  }
}
