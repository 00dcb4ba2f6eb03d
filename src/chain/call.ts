import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { isSlotStore } from "../slot.ts";
import { PartialRead } from "../store.ts";
import type { CallOptions } from "../store.ts";
import type { LaneStatus } from "./lane.ts";
import type { Layer } from "./layer.ts";
import type { LayerStatus, Report } from "./chain.ts";

/** Calls to one layer: each with a deadline, counted, and not made while its circuit breaker is open. */
export interface LayerCalls {
  readonly layer: Layer;
  /**
   * One call of the layer for so many entries (1 if not said), which may take the longer for it.
   * @throws SyncError what `fn` throws, TIMEOUT, or UNAVAILABLE when the breaker is open.
   */
  readonly call: <T>(operation: string, fn: (options: CallOptions) => Promise<T>, entries?: number) => Promise<T>;
  /** The steps of an iteration, each with the layer's deadline. */
  readonly iterate: <T>(operation: string, fn: (options: CallOptions) => AsyncIterable<T>) => AsyncIterable<T>;
  readonly counts: Counts;
  /** Whether the layer is left alone, so that a call would not reach it. */
  isLeftAlone(): boolean;
  watch: LayerStatus["watch"];
  status(): Omit<LayerStatus, "complete" | keyof LaneStatus>;
}

/** What the walk and the write add to a layer's statistics. */
export interface Counts {
  hits: number;
  misses: number;
  failures: number;
  writes: number;
  fills: number;
  callMs: number;
  calls: number;
}

/** A call for more entries than this gets the layer's deadline once for each so many. */
const ENTRIES_PER_DEADLINE = 1_000;
const NO_DEADLINE: CallOptions = Object.freeze({});
/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** Failures that say the layer is in trouble. Others are about one call and leave the breaker alone. */
const TROUBLE = new Set(["UNAVAILABLE", "TIMEOUT", "OVERLOADED", "INTERNAL"]);

export function layerCalls(layer: Layer, runtime: Runtime, report: (report: Report) => void): LayerCalls {
  const { name, role, store } = layer;
  const isInstant = isSlotStore(store);
  const counts: Counts = { hits: 0, misses: 0, failures: 0, writes: 0, fills: 0, callMs: 0, calls: 0 };
  let failuresInRow = 0;
  let openUntil = 0; // monotonic ms; 0 when closed
  let probing = false;

  const breaker = (): LayerStatus["breaker"] => {
    if (openUntil === 0) return "closed";
    return runtime.monotonic() < openUntil ? "open" : "half-open";
  };

  /** Whether this call is the one that tries a layer that was left alone. @throws SyncError when it is left alone. */
  const admit = (operation: string): boolean => {
    const state = breaker();
    if (state === "closed") return false;
    if (state === "open" || probing) {
      const cure = `it is tried again after ${layer.breakerMs} ms`;
      throw new SyncError("UNAVAILABLE", "the layer failed and is left alone", { store: name, operation, cure });
    }
    probing = true;
    return true;
  };

  const answered = (isProbe: boolean) => {
    failuresInRow = 0;
    if (!isProbe) return;
    probing = false;
    openUntil = 0;
    report({ kind: "breaker", layer: name, message: "the layer answers again" });
  };

  const failedWith = (error: SyncError, isProbe: boolean) => {
    counts.failures++;
    // A layer that says what is wrong with one entry or call has answered.
    if (!TROUBLE.has(error.code) || error instanceof PartialRead) return answered(isProbe);
    failuresInRow++;
    if (isProbe) probing = false;
    // Calls that were under way before the breaker opened say nothing new.
    else if (openUntil !== 0 || failuresInRow < layer.breakerFailures) return;
    if (openUntil === 0) {
      report({ kind: "breaker", layer: name, message: `${failuresInRow} failures in a row, last: ${error.message}` });
    }
    openUntil = runtime.monotonic() + layer.breakerMs;
  };

  /** How long a call may take, in milliseconds; Infinity when nobody watches: what is in this process cannot hang. */
  const allowedMs = (entries: number) =>
    isInstant || layer.deadlineMs === Number.POSITIVE_INFINITY
      ? Number.POSITIVE_INFINITY
      : Math.min(layer.deadlineMs * Math.max(1, entries / ENTRIES_PER_DEADLINE), TIMER_MS_MAX);

  /**
   * `fn`'s promise, or TIMEOUT once the layer's time is up; what comes after that is dropped. The layer is told by the
   * deadline alone: making an AbortController costs more than a whole read of a memory layer. One promise in all, since
   * every key that is read or written passes here.
   */
  const counted = <T>(operation: string, fn: (options: CallOptions) => Promise<T>, entries = 1): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const isProbe = admit(operation);
      const startedAt = runtime.monotonic();
      const deadlineMs = allowedMs(entries);
      let isOver = false;
      counts.calls++;
      const end = () => {
        isOver = true;
        timer?.cancel();
        counts.callMs += runtime.monotonic() - startedAt;
      };
      const fail = (thrown: unknown) => {
        if (isOver) return;
        end();
        const error = asSyncError(thrown, { store: name, operation });
        failedWith(error, isProbe);
        reject(error);
      };
      const timer =
        deadlineMs === Number.POSITIVE_INFINITY
          ? undefined
          : runtime.timer(deadlineMs, () => {
              fail(new SyncError("TIMEOUT", `no answer within ${deadlineMs} ms`, { store: name, operation }));
            });
      try {
        fn(timer === undefined ? NO_DEADLINE : { deadline: startedAt + deadlineMs }).then((result) => {
          if (isOver) return;
          end();
          answered(isProbe);
          resolve(result);
        }, fail);
      } catch (thrown) {
        fail(thrown);
      }
    });

  const calls: LayerCalls = {
    layer,
    counts,
    watch: "off",
    call: counted,
    isLeftAlone: () => breaker() === "open",
    async *iterate(operation, fn) {
      const controller = new AbortController();
      const iterator = fn({ signal: controller.signal })[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await counted(operation, () => iterator.next());
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        controller.abort();
        // A step that hangs must not hold up whoever gave the iteration up.
        iterator.return?.().catch(() => undefined);
      }
    },
    status: () => ({ name, role, store: store.name, breaker: breaker(), watch: calls.watch, ...counts }),
  };
  return calls;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
