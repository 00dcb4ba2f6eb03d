import type { Runtime } from "../../runtime.ts";
import { SyncError } from "../../error.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";

/** Wakes watches that wait for their next look. A ring that is lost costs them an interval and nothing else. */
export class Bell {
  private readonly waiting = new Set<() => void>();
  /** How often it rang: who saw an older number has something to look for. */
  rings = 0;

  ring(): void {
    this.rings++;
    for (const wake of this.waiting) wake();
  }

  /**
   * Resolves at the next ring, or after the interval.
   * @param seen `rings` before the last look.
   * @throws SyncError ABORTED or TIMEOUT.
   */
  wait(
    runtime: Runtime,
    ms: number,
    seen: number,
    { signal, deadline = Infinity }: CallOptions,
    store: string,
  ): Promise<void> {
    if (this.rings !== seen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const left = deadline - runtime.monotonic();
      const end = () => {
        timer.cancel();
        this.waiting.delete(wake);
        signal?.removeEventListener("abort", onAbort);
      };
      const wake = () => {
        end();
        resolve();
      };
      const onAbort = () => {
        end();
        reject(aborted(signal as AbortSignal, store, "watch"));
      };
      const timer = runtime.timer(Math.max(0, Math.min(ms, left)), () => {
        end();
        if (left > ms) resolve();
        else reject(new SyncError("TIMEOUT", "the deadline passed", { store, operation: "watch" }));
      });
      if (signal?.aborted === true) return onAbort();
      signal?.addEventListener("abort", onAbort, { once: true });
      this.waiting.add(wake);
    });
  }
}
