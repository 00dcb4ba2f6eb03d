import { SyncError } from "./error.ts";
import type { Runtime } from "./runtime.ts";
import { aborted, checkCall } from "./store.ts";
import type { CallOptions } from "./store.ts";

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
  if (options?.signal === undefined && options?.deadline === undefined) return work;
  return bounded(work, options, runtime, store, operation);
}

function bounded<T>(
  work: Promise<T>,
  options: CallOptions,
  runtime: Runtime,
  store: string,
  operation: string,
): Promise<T> {
  const { signal, deadline } = options;
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

/** The items of shared work, for one caller: his signal and deadline end his waiting for the next one. */
export async function* itemsForCaller<T>(
  items: AsyncIterable<T>,
  options: CallOptions | undefined,
  runtime: Runtime,
  store: string,
  operation: string,
): AsyncIterable<T> {
  const iterator = items[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await forCaller(iterator.next(), options, runtime, store, operation);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    // Not waited for: it comes after a step that may hang.
    iterator.return?.().catch(() => undefined);
  }
}
