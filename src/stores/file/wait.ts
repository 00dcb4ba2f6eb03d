import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";

/**
 * `work`, or ABORTED or TIMEOUT as soon as the caller has given up. The work goes on behind it: what was begun may still
 * take effect.
 */
export async function unlessGivenUp<T>(
  work: Promise<T>,
  runtime: Runtime,
  { signal, deadline }: CallOptions,
  store: string,
  operation: string,
): Promise<T> {
  if (signal === undefined && deadline === undefined) return work;
  let end = () => {};
  const givenUp = new Promise<never>((_, reject) => {
    const late = () => reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation }));
    const timer = deadline === undefined ? undefined : runtime.timer(deadline - runtime.monotonic(), late);
    const onAbort = () => reject(aborted(signal as AbortSignal, store, operation));
    signal?.addEventListener("abort", onAbort, { once: true });
    end = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
  });
  try {
    return await Promise.race([work, givenUp]);
  } finally {
    end();
  }
}
