import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { aborted, checkCall, closedError } from "../store.ts";
import type { CallOptions } from "../store.ts";

/** Holds calls until it is opened, their caller gives up, or the store is closed. */
export class Gate {
  private readonly runtime: Runtime;
  private readonly store: string;
  private readonly held = new Set<{ readonly go: () => void; readonly stop: (error: SyncError) => void }>();
  private closed = false;

  constructor(runtime: Runtime, store: string) {
    this.runtime = runtime;
    this.store = store;
  }

  /** @throws SyncError ABORTED, TIMEOUT or CLOSED. */
  wait(options: CallOptions | undefined, operation: string): Promise<void> {
    if (this.closed) return Promise.reject(closedError(this.store, operation));
    let leave: () => void = () => undefined;
    const opened = new Promise<void>((resolve, reject) => {
      const call = { go: resolve, stop: reject };
      this.held.add(call);
      leave = () => this.held.delete(call);
    });
    return within(this.runtime, options, opened, this.store, operation).finally(leave);
  }

  open(): void {
    for (const { go } of this.held) go();
    this.held.clear();
  }

  close(): void {
    this.closed = true;
    for (const { stop } of this.held) stop(closedError(this.store, "close"));
    this.held.clear();
  }
}

/**
 * The outcome of `work`, unless the caller's signal (ABORTED) or deadline (TIMEOUT) comes first; what `work` then
 * comes to is nobody's concern.
 */
export function within<T>(
  runtime: Runtime,
  options: CallOptions | undefined,
  work: Promise<T>,
  store: string,
  operation: string,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined;
    const { signal, deadline } = options ?? {};
    const end = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = () => {
      end();
      reject(aborted(signal as AbortSignal, store, operation));
    };
    work.then(resolve, reject).finally(end);
    try {
      checkCall(runtime, options, store, operation);
    } catch (error) {
      return reject(error);
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    if (deadline === undefined) return;
    timer = runtime.timer(deadline - runtime.monotonic(), () => {
      end();
      reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation }));
    });
  });
}
