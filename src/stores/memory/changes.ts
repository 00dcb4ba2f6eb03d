import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";

/**
 * The last changes of a store, numbered in the order they were made. Keys are kept only from the first watch on: a
 * cursor cannot be older than the watch that gave it, and nobody pays for a log that nobody reads.
 */
export class ChangeLog {
  /** The number of the last change. */
  last = 0;
  private readonly capacity: number;
  private keys: string[] | undefined = undefined;
  /** The first change whose key is kept. */
  private first = 1;
  private readonly waiting = new Set<() => void>();

  /** @param capacity how many changes are kept. */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  record(key: string): number {
    const change = ++this.last;
    if (this.keys !== undefined) {
      this.keys[change % this.capacity] = key;
      if (change - this.first >= this.capacity) this.first++;
      if (this.waiting.size > 0) this.wake();
    }
    return change;
  }

  /** From now on keys are kept. */
  open(): void {
    if (this.keys !== undefined) return;
    this.keys = [];
    this.first = this.last + 1;
  }

  /** Whether every change after number `after` can be told. */
  reaches(after: number): boolean {
    return after >= this.first - 1 && after <= this.last;
  }

  /** The key of a change that {@link reaches} has vouched for. */
  keyOf(change: number): string {
    return this.keys?.[change % this.capacity] as string;
  }

  /** Resolves at the next change or {@link wake}; rejects with ABORTED or TIMEOUT. */
  next(runtime: Runtime, store: string, { signal, deadline }: CallOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        this.waiting.delete(wake);
        timer?.cancel();
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const wake = () => end(resolve);
      const onAbort = () => end(() => reject(aborted(signal as AbortSignal, store, "watch")));
      const late = () =>
        end(() => reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation: "watch" })));
      const timer = deadline === undefined ? undefined : runtime.timer(deadline - runtime.monotonic(), late);
      this.waiting.add(wake);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  wake(): void {
    for (const wake of this.waiting) wake();
  }

  clear(): void {
    this.keys = undefined;
    this.first = this.last + 1;
    this.wake();
  }
}
