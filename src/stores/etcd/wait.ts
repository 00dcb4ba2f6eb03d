import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Call } from "./connection.ts";

/** Work that several calls wait for: each as long as its own deadline and signal say. The work goes on behind them. */
export function unlessGivenUp<T>(work: Promise<T>, runtime: Runtime, call: Call, store: string): Promise<T> {
  const { operation, deadline, signal } = call;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(aborted(signal, store, operation));
    const late = () => reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation }));
    const timer = runtime.timer(Math.max(0, deadline - runtime.monotonic()), late);
    const onAbort = () => reject(aborted(signal as AbortSignal, store, operation));
    signal?.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    });
  });
}
