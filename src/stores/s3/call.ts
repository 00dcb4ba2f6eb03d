import { SyncError } from "../../error.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { aborted, checkCall } from "../../store.ts";
import type { CallOptions } from "../../store.ts";

/**
 * One call of a verb, which may be many requests: when its caller gives up or its deadline passes, all of them end with
 * that error. One timer and one listener for the whole call.
 */
export interface Call {
  readonly operation: string;
  readonly options: CallOptions;
  /** @throws SyncError ABORTED or TIMEOUT when the call should not go on. */
  check(): void;
  /** Calls `stop` when the call ends early, also when it has by now. @returns what takes that back. */
  onStop(stop: (error: SyncError) => void): () => void;
  /** Takes timer and listener away. */
  end(): void;
}

/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export function callOf(runtime: Runtime, store: string, operation: string, options: CallOptions = {}): Call {
  const { signal, deadline } = options;
  const stops = new Set<(error: SyncError) => void>();
  let stopped: SyncError | undefined;
  const stopAll = (error: SyncError) => {
    stopped = error;
    for (const stop of stops) stop(error);
  };
  const onAbort = () => {
    if (signal !== undefined) stopAll(aborted(signal, store, operation));
  };
  const onLate = () => {
    const cure = "what was sent may still take effect";
    stopAll(new SyncError("TIMEOUT", "the deadline passed", { store, operation, cure }));
  };
  const left = deadline === undefined ? undefined : Math.max(0, deadline - runtime.monotonic());
  const timer: Timer | undefined = left === undefined || left > TIMER_MS_MAX ? undefined : runtime.timer(left, onLate);
  signal?.addEventListener("abort", onAbort, { once: true });
  return {
    operation,
    options,
    check: () => checkCall(runtime, options, store, operation),
    onStop(stop) {
      if (stopped !== undefined) stop(stopped); // between the last check and now
      stops.add(stop);
      return () => stops.delete(stop);
    },
    end() {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      stops.clear();
    },
  };
}
