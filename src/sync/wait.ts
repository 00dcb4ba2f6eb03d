import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions } from "../store.ts";
import type { CommonOptions } from "./types.ts";

/** What a caller's options say to the layers: a duration becomes a point in time. @throws SyncError INVALID. */
export function callOptions(runtime: Runtime, options: CommonOptions | undefined): CallOptions {
  if (options === undefined) return {};
  const { signal, timeoutMs } = options;
  if (timeoutMs === undefined) return signal === undefined ? {} : { signal };
  if (!(timeoutMs > 0)) {
    throw new SyncError("INVALID", "timeoutMs is a number of milliseconds above 0", { cure: "leave it out for none" });
  }
  return { signal, deadline: runtime.monotonic() + timeoutMs };
}

/**
 * The promise, but this caller stops waiting at its signal (ABORTED) or deadline (TIMEOUT). Others who wait for the same
 * promise are not touched.
 */
export function waitFor<T>(
  runtime: Runtime,
  promise: Promise<T>,
  { signal, deadline }: CallOptions,
  operation: string,
  key: string,
): Promise<T> {
  if (signal === undefined && deadline === undefined) return promise;
  return new Promise((resolve, reject) => {
    const end = (fn: () => void) => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      fn();
    };
    const onAbort = () =>
      end(() => reject(new SyncError("ABORTED", "the caller gave up", { operation, key, cause: signal?.reason })));
    const timer =
      deadline === undefined
        ? undefined
        : runtime.timer(Math.max(0, deadline - runtime.monotonic()), () =>
            end(() => reject(new SyncError("TIMEOUT", "the time given to this call passed", { operation, key }))),
          );
    promise.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    );
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}
