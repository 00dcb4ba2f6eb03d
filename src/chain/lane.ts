import { SyncError, asSyncError } from "../error.ts";
import type { Entry, Head } from "../entry.ts";
import { inParallel } from "../in-parallel.ts";
import { backoffMsMax, classify, decideFlush } from "../journal/flush.ts";
import type { Journal } from "../journal/journal.ts";
import type { Item, Lane, Settled } from "../journal/queues.ts";
import { randomBelow } from "../runtime.ts";
import type { Timer } from "../runtime.ts";
import type { WriteResult } from "../store.ts";
import type { LayerCalls } from "./call.ts";
import { forgetCopies } from "./forget.ts";
import { invalidate } from "./invalidate.ts";
import type { ChainState } from "./state.ts";
import { entriesFor } from "./stream.ts";
import { forLayer, newer } from "./write.ts";

/** How the flush of one layer stands. */
export interface LaneStatus {
  /** Entries that the layer lacks, and how long the oldest of them has waited, in milliseconds. */
  readonly pending: number;
  readonly oldestMs: number;
  /** Why the layer is left alone until somebody acts, or its last attempt failed; undefined when it is well. */
  readonly paused: string | undefined;
  readonly failing: string | undefined;
}

/** What one layer waits for, on its way there. */
export interface LaneShell {
  readonly lane: Lane;
  readonly index: number;
  readonly calls: LayerCalls;
  /** Something was queued. */
  poke(): void;
  /** Somebody waits for what is queued up to this sequence number: no interval, no pause, no backoff before it. */
  hurry(seq: number): void;
  /** Sends what the layer lacks of one key now. @throws SyncError when it did not take it. */
  sendKey(key: string): Promise<void>;
  /** Pays for one write beside the batches. @throws SyncError TIMEOUT when the budget does not allow it in time. */
  paid(): Promise<void>;
  /** The error of the last attempt, while the layer has not taken anything since. */
  readonly trouble: SyncError | undefined;
  /** How many attempts have ended. */
  readonly attempts: number;
  stop(): Promise<void>;
  status(): LaneStatus;
}

export interface LaneOptions {
  readonly state: ChainState;
  readonly journal: Journal;
  readonly lane: Lane;
  readonly index: number;
  readonly intervalMs: number;
  readonly delayMsMax: number;
  /** A cache needs nothing that was written so long ago, in milliseconds: older copies have ended there. */
  readonly copyLifeMs: number;
  /** An attempt ended: others may have something to send, and whoever waits may look again. */
  readonly onAttempt: () => void;
}

/** The first wait after a failure is random up to this, doubling up to the second figure, in milliseconds. */
const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 30_000;
/** How long a paused layer is left alone before one more attempt, in milliseconds. */
const PAUSE_MS = 60_000;
/** Values that are read from the journal at once. */
const READS_AT_ONCE = 8;
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Sends one layer what it waits for, one batch at a time: what is under way is never taken back, and what gathers
 * meanwhile goes with the next one.
 *
 * Source of the waits: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
 */
export function laneShell(options: LaneOptions): LaneShell {
  const { state, journal, lane, index, onAttempt } = options;
  const { runtime } = state;
  const calls = state.calls[index] as LayerCalls;
  const { layer } = calls;
  const entriesMax = Math.min(layer.flushEntriesMax, layer.store.supports.batchMax);
  const terms = {
    intervalMs: options.intervalMs,
    delayMsMax: options.delayMsMax,
    entriesMax,
    bytesMax: layer.flushBytesMax,
  };
  let limit = entriesMax; // smaller for a while after a batch was refused or took too long
  let urgentTo = -1;
  let failures = 0;
  let retryAt = 0;
  let notBefore = 0;
  let paused: string | undefined;
  let trouble: SyncError | undefined;
  let attempts = 0;
  let flight: Promise<void> | undefined;
  /** Sendings of one key that are under way beside the flight. */
  const keySends = new Set<Promise<void>>();
  let timer: Timer | undefined;
  let stopped = false;

  const poke = (): void => {
    if (stopped || flight !== undefined) return;
    timer?.cancel();
    timer = undefined;
    const now = runtime.monotonic();
    const first = lane.queue.first();
    if (first === undefined) return;
    const stands = {
      entries: lane.queue.size,
      bytes: lane.bytes,
      oldestAt: lane.oldestAt,
      youngestAt: lane.youngestAt,
      urgent: first.seq <= urgentTo,
      retryAt,
      notBefore,
    };
    const decision = decideFlush(terms, stands, now);
    if (decision === "idle") return;
    if (decision === "send") {
      flight = attempt().finally(() => {
        flight = undefined;
        attempts++;
        onAttempt();
        poke();
      });
      state.background.add(flight);
      return;
    }
    // Rounded up: a timer that fires a hair too early would be set again for no time at all.
    const waitMs = Math.min(Math.ceil(decision.waitUntil - now), TIMER_MS_MAX);
    timer = runtime.timer(waitMs, poke, true);
  };

  /** One batch. Never rejects. */
  const attempt = async (): Promise<void> => {
    let items: readonly Item[] = [];
    try {
      if (!journal.queues.hasFree(lane)) {
        // All of it waits for a conditional write to be decided, which is paid from the same budget.
        if (lane.queue.size > 0) retryAt = runtime.monotonic() + BACKOFF_MS;
        return;
      }
      await layer.budget?.take({ push: 1, write: 1 });
      if (stopped) return;
      items = needed(journal.queues.take(lane, limit, terms.bytesMax));
      if (items.length === 0) return;
      await send(items);
      failures = 0;
      retryAt = 0;
      limit = Math.min(entriesMax, limit * 2);
      if (trouble !== undefined) say("the layer takes writes again");
      trouble = undefined;
      paused = undefined;
    } catch (thrown) {
      const error = asSyncError(thrown, { store: layer.name, operation: "flush" });
      const again = items.length === 1 ? await alone(items[0] as Item, error) : error;
      if (again !== undefined) failed(again, items.length);
    } finally {
      journal.queues.release(lane, items);
    }
  };

  /** One entry alone made the call fail. @returns the error when it can be tried again. */
  const alone = async (item: Item, error: SyncError): Promise<SyncError | undefined> => {
    try {
      return await refuse(item, error);
    } catch (thrown) {
      return asSyncError(thrown, { store: layer.name, operation: "flush" });
    }
  };

  /** What cannot wait for the interval waits for the budget as long as for the layer itself. */
  const paid = async (): Promise<void> => {
    const { budget, deadlineMs } = layer;
    await budget?.take({ push: 1, write: 1 }, { deadline: runtime.monotonic() + deadlineMs });
  };

  /** Without what a cache needs no more. */
  const needed = (items: readonly Item[]): readonly Item[] => {
    if (layer.role === "store") return items;
    const endedBefore = runtime.now() - options.copyLifeMs;
    const [old, young]: [Item[], Item[]] = [[], []];
    for (const item of items) (item.asOf < endedBefore ? old : young).push(item);
    for (const item of old) journal.settle(lane, item, { status: "stored" });
    return young;
  };

  /** Sends items that are marked as under way, and settles those that arrived. @throws what keeps others. */
  const send = async (items: readonly Item[]): Promise<void> => {
    // Soon, since the budget counts them as sent when it was paid.
    const entries = await inParallel(items, READS_AT_ONCE, async (item) => item.entry ?? (await journal.body(item)));
    const writes = items.map((item, i) => {
      return forLayer(layer, { entry: entries[i] as Entry, asOf: item.asOf, body: item.body });
    });
    const results = await calls.call("write", (call) => layer.store.write(writes, call), entriesFor(writes));
    calls.counts.writes += writes.length;
    let again: SyncError | undefined;
    for (const [i, item] of items.entries()) {
      const result = results[i];
      if (result?.status === "stored") {
        settle(item, result);
        continue;
      }
      const error = await judge(item, result);
      if (error !== undefined) again = error;
    }
    if (again !== undefined) throw again;
  };

  /** @returns why the item has to be sent again; undefined when it is settled. */
  const judge = async (item: Item, result: WriteResult | undefined): Promise<SyncError | undefined> => {
    switch (result?.status) {
      case "stored":
        settle(item, { status: "stored" });
        return undefined;
      case "superseded":
        // A private layer is newer by what this node has written itself, which others may not know before the authority.
        if (layer.store.supports.shared) invalidate(state, index, [newer(item.head, result.by)]);
        settle(item, result);
        return undefined;
      case "too-old":
        return refuse(item, tooOld(item.head));
      case "failed":
        return refuse(item, result.error);
      case "conflict":
      case undefined:
        return asSyncError(new Error("the layer gave a write no result"), { store: layer.name, operation: "write" });
    }
  };

  const settle = (item: Item, outcome: Settled) => journal.settle(lane, item, outcome);

  /** @returns the error when it can be tried again. */
  const refuse = async (item: Item, error: SyncError): Promise<SyncError | undefined> => {
    const kind = classify(error);
    if (kind === "again" || kind === "pause") return error;
    if (layer.role === "cache") {
      state.report({ kind: "write-failed", layer: layer.name, key: item.head.key, message: error.message });
      settle(item, { status: "refused", error });
      return undefined;
    }
    await journal.refuse(lane, item, kind === "too-old" ? "conflict" : "dead", error);
    const list = kind === "too-old" ? "conflict list" : "dead letters";
    const message = `${error.what}; the entry is in the ${list} of the journal`;
    state.report({ kind: "refused", layer: layer.name, key: item.head.key, message });
    if (item.void) await forgetCopies(state, item.head);
    return undefined;
  };

  const failed = (error: SyncError, count: number): void => {
    const now = runtime.monotonic();
    const kind = classify(error);
    if (error.retryAfterMs !== undefined) notBefore = Math.max(notBefore, now + error.retryAfterMs);
    if (kind === "pause") {
      trouble = error;
      if (paused === undefined) say(`it takes no writes: ${error.message}`, "paused");
      paused = error.message;
      retryAt = now + PAUSE_MS;
      return;
    }
    if (kind === "refused" || kind === "too-old") {
      // The call as a whole was refused: halves of it tell by and by which entry is to blame.
      limit = Math.max(1, Math.floor(count / 2));
      return;
    }
    trouble = error;
    if (error.code === "TIMEOUT") limit = Math.max(1, Math.floor(limit / 2));
    failures++;
    retryAt = now + 1 + randomBelow(runtime, backoffMsMax(failures, BACKOFF_MS, BACKOFF_MS_MAX));
  };

  const say = (message: string, kind: "journal" | "paused" = "journal") => {
    state.report({ kind, layer: layer.name, message });
  };

  return {
    lane,
    index,
    calls,
    poke,
    hurry(seq) {
      urgentTo = Math.max(urgentTo, seq);
      retryAt = 0;
      poke();
    },
    paid,
    async sendKey(key) {
      for (;;) {
        const items = journal.queues.takeKey(lane, key);
        if (items === undefined) {
          await Promise.race([flight, ...keySends].filter((work) => work !== undefined));
          continue;
        }
        if (items.length === 0) return;
        const work = paid()
          .then(() => send(items))
          .finally(() => journal.queues.release(lane, items));
        const ended = work.then(
          () => undefined,
          () => undefined,
        );
        keySends.add(ended);
        try {
          await work;
        } finally {
          keySends.delete(ended);
          // Other layers waited for this one to have it.
          onAttempt();
        }
      }
    },
    get trouble() {
      return trouble;
    },
    get attempts() {
      return attempts;
    },
    async stop() {
      stopped = true;
      timer?.cancel();
      await flight;
    },
    status() {
      const first = lane.queue.first();
      const oldestMs = first === undefined ? 0 : Math.max(0, runtime.now() - first.asOf);
      return {
        pending: lane.queue.size,
        oldestMs,
        paused,
        failing: paused === undefined ? trouble?.message : undefined,
      };
    },
  };
}

function tooOld({ key, version }: Head): SyncError {
  const what = `version ${version} is older than what was collected there: the key may have been deleted for good`;
  return new SyncError("TOO_OLD", what, { key, cure: "microsync journal shows it; write the value again, or drop it" });
}
