import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { aborted, checkCall } from "../store.ts";
import type { CallOptions } from "../store.ts";

/**
 * Shared work, for one caller: his signal and his deadline end his waiting, not the work.
 * @throws SyncError ABORTED, TIMEOUT, or what the work throws.
 */
export function forCaller<T>(
  work: Promise<T>,
  options: CallOptions | undefined,
  runtime: Runtime,
  store: string,
  operation: string,
): Promise<T> {
  const { signal, deadline } = options ?? {};
  if (signal === undefined && deadline === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    work.catch(() => undefined);
    checkCall(runtime, options, store, operation);
    const onAbort = () => {
      if (signal !== undefined) finish(() => reject(aborted(signal, store, operation)));
    };
    const timer =
      deadline === undefined
        ? undefined
        : runtime.timer(Math.max(0, deadline - runtime.monotonic()), () =>
            finish(() => reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation }))),
          );
    const finish = (end: () => void) => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      end();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    work.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error)),
    );
  });
}
