import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions } from "../store.ts";

/** How long, and for whom. */
export interface Bounds {
  readonly runtime: Runtime;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** For messages. */
  readonly store: string;
}

/**
 * `work`, or TIMEOUT or ABORTED as soon as either is due, whether the store obeys or not. What then goes on is told by
 * its own signal to end.
 */
export async function bounded<T>(bounds: Bounds, work: (call: CallOptions) => Promise<T>): Promise<T> {
  const { runtime, timeoutMs, signal, store } = bounds;
  const end = new AbortController();
  const deadline = runtime.monotonic() + timeoutMs;
  return new Promise<T>((resolve, reject) => {
    const finish = (settle: () => void) => {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      settle();
    };
    const giveUp = (error: SyncError) =>
      finish(() => {
        reject(error);
        end.abort(error);
      });
    const timer = runtime.timer(timeoutMs, () => {
      const cure = "see whether it is reachable; give it longer with --timeout";
      giveUp(new SyncError("TIMEOUT", `no end within ${timeoutMs} ms`, { store, cure }));
    });
    const onAbort = () => giveUp(new SyncError("ABORTED", "interrupted", { store }));
    if (signal?.aborted === true) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    work({ signal: end.signal, deadline }).then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error)),
    );
  });
}

/** Waits for what goes on after it was given up, so that it does not write behind a cleaning; for so long at most. */
export async function settled(runtime: Runtime, work: Promise<unknown>, waitMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = runtime.timer(waitMs, resolve);
    const over = () => {
      timer.cancel();
      resolve();
    };
    work.then(over, over); // its failure was told
  });
}
