import type { Runtime } from "../../runtime.ts";
import { aborted, checkCall } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { SyncError } from "../../error.ts";

/** The outcome of `work`, or ABORTED or TIMEOUT as soon as its caller does not wait any longer. The work goes on. */
export function within<T>(
  runtime: Runtime,
  store: string,
  operation: string,
  { signal, deadline }: CallOptions,
  work: Promise<T>,
): Promise<T> {
  if (signal === undefined && deadline === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const stop = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = () => {
      stop();
      if (signal !== undefined) reject(aborted(signal, store, operation));
    };
    const timer =
      deadline === undefined
        ? undefined
        : runtime.timer(Math.max(0, deadline - runtime.monotonic()), () => {
            stop();
            const cure = "what was sent may still take effect";
            reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation, cure }));
          });
    signal?.addEventListener("abort", onAbort, { once: true });
    work.then(
      (value) => {
        stop();
        resolve(value);
      },
      (error: unknown) => {
        stop();
        reject(error);
      },
    );
    try {
      checkCall(runtime, { signal, deadline }, store, operation);
    } catch (error) {
      stop();
      reject(error);
    }
  });
}
