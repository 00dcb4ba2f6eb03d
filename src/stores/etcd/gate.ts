import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted, closedError } from "../../store.ts";

export interface GateOptions {
  readonly runtime: Runtime;
  readonly store: string;
  /** How many may be inside at once. */
  readonly inFlightMax: number;
  /** How many may wait; more are refused with OVERLOADED. */
  readonly waitingMax: number;
}

export interface Waiting {
  readonly operation: string;
  /** Monotonic ms. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
}

/** Bounds the requests under way, first come first served. */
export class Gate {
  private readonly options: GateOptions;
  private readonly queue = new Set<{ enter(): void; refuse(error: SyncError): void }>();
  private inside = 0;
  private readonly idle: (() => void)[] = [];

  constructor(options: GateOptions) {
    this.options = options;
  }

  /** Resolves when there is room; whoever entered calls `leave`. Undefined when there is room at once. */
  enter(waiting: Waiting): Promise<void> | undefined {
    const { runtime, store, inFlightMax, waitingMax } = this.options;
    const { operation, deadline, signal } = waiting;
    if (this.inside < inFlightMax) {
      this.inside++;
      return undefined;
    }
    if (this.queue.size >= waitingMax) {
      const cure = "wait for calls to finish, or raise waitingMax";
      throw new SyncError("OVERLOADED", `${this.queue.size} requests wait`, { store, operation, cure });
    }
    return new Promise<void>((resolve, reject) => {
      const end = () => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
        this.queue.delete(entry);
      };
      const entry = {
        enter: () => {
          end();
          this.inside++;
          resolve();
        },
        refuse: (error: SyncError) => {
          end();
          reject(error);
        },
      };
      const onAbort = () => entry.refuse(aborted(signal as AbortSignal, store, operation));
      const timer = runtime.timer(deadline - runtime.monotonic(), () =>
        entry.refuse(new SyncError("TIMEOUT", "the deadline passed while waiting for a turn", { store, operation })),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      this.queue.add(entry);
    });
  }

  leave(): void {
    this.inside--;
    for (const next of this.queue) {
      next.enter();
      break;
    }
    if (this.inside === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  /** Refuses those who wait, and resolves when those inside have left. */
  async close(): Promise<void> {
    for (const waiting of this.queue) waiting.refuse(closedError(this.options.store, "call"));
    if (this.inside > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }
}
