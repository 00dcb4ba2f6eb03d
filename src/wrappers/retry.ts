import { SyncError, asSyncError } from "../error.ts";
import { randomBelow } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { aborted, checkCall, closedError, failed } from "../store.ts";
import type {
  Answer,
  CallOptions,
  Change,
  Forget,
  ListOptions,
  Listed,
  Range,
  ReadOptions,
  Store,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../store.ts";

export interface RetryOptions {
  readonly runtime: Runtime;
  /** How often a call is tried in all; a list or watch, how often in a row without getting on. Default 4. */
  readonly attempts?: number | undefined;
  /** The first wait is random up to this, in milliseconds; each next up to twice as much. Default 50. */
  readonly baseMs?: number | undefined;
  /** No wait is longer than this, in milliseconds. Default 5,000. */
  readonly waitMsMax?: number | undefined;
}

const ATTEMPTS = 4;
const BASE_MS = 50;
const WAIT_MS_MAX = 5_000;

/**
 * The store, tried again where trying again may help: on errors that say so (`retryable`), as often as `attempts`, with
 * exponential waits and full jitter, never past the caller's signal or deadline. Writes are sent again as they are,
 * which the merge rule makes harmless; a conditional write whose first answer was lost fails with INDETERMINATE when
 * the next answer leaves open what became of it. A list goes on after its last key, a watch from its last cursor.
 *
 * Source of the waits: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
 * @throws SyncError INVALID for an option out of range.
 */
export function retry(store: Store, options: RetryOptions): Store {
  const { attempts = ATTEMPTS, baseMs = BASE_MS, waitMsMax = WAIT_MS_MAX } = options;
  if (!(Number.isSafeInteger(attempts) && attempts >= 1)) {
    throw new SyncError("INVALID", "option attempts is a whole number of 1 or more", { store: store.name });
  }
  for (const [name, value] of Object.entries({ baseMs, waitMsMax })) {
    if (typeof value === "number" && value >= 0 && value < 2 ** 31) continue;
    throw new SyncError("INVALID", `option ${name} is a number of 0 or more, below 2^31`, { store: store.name });
  }
  return new Retry(store, { runtime: options.runtime, attempts, baseMs, waitMsMax });
}

/** What is left of a call after some failures. */
interface Budget {
  failures: number;
}

class Retry implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly inner: Store;
  private readonly runtime: Runtime;
  private readonly attempts: number;
  private readonly baseMs: number;
  private readonly waitMsMax: number;
  /** Ends the waits of calls under way. */
  private readonly closing = new Set<() => void>();
  private closed: Promise<void> | undefined = undefined;

  constructor(inner: Store, options: { runtime: Runtime; attempts: number; baseMs: number; waitMsMax: number }) {
    this.name = `retry(${inner.name})`;
    this.supports = inner.supports;
    this.inner = inner;
    this.runtime = options.runtime;
    this.attempts = options.attempts;
    this.baseMs = options.baseMs;
    this.waitMsMax = options.waitMsMax;
  }

  read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    return this.insist("read", options, () => this.inner.read(keys, options));
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    const results: (WriteResult | undefined)[] = writes.map(() => undefined);
    const lost = new Set<number>(); // what was sent in a call that failed
    const budget: Budget = { failures: 0 };
    this.enter("write", options);
    let open = writes.map((_, i) => i);
    for (;;) {
      let error: SyncError | undefined;
      try {
        const answers = await this.inner.write(
          open.map((i) => writes[i] as Write),
          options,
        );
        for (const [at, i] of open.entries()) {
          results[i] = settled(this.name, writes[i] as Write, answers[at], lost.has(i));
        }
      } catch (thrown) {
        error = asSyncError(thrown, { store: this.name, operation: "write" });
        for (const i of open) lost.add(i);
      }
      open = open.filter((i) => isOpen(results[i]));
      if (open.length === 0) return results as WriteResult[];
      const reason = error ?? firstError(open.map((i) => results[i]));
      try {
        await this.waitOrThrow("write", reason, budget, options);
      } catch (final) {
        // What has been answered is not taken back by what has not.
        if (open.length === writes.length && error !== undefined) throw final;
        const why = asSyncError(final, { store: this.name, operation: "write" });
        return results.map((result) => (result === undefined ? failed(why) : result));
      }
      if (error === undefined) for (const i of open) results[i] = undefined;
    }
  }

  forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    return this.insist("forget", options, () => this.inner.forget(items, options));
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    const budget: Budget = { failures: 0 };
    this.enter("list", options);
    let { after, limit } = options;
    for (;;) {
      try {
        for await (const item of this.inner.list(range, { ...options, after, limit })) {
          budget.failures = 0;
          if (item.kind === "entry") {
            after = item.key;
            if (limit !== undefined) limit--;
          }
          yield item;
        }
        return;
      } catch (error) {
        // The end was lost, but nothing was left to come.
        if (limit !== undefined && limit <= 0) return;
        await this.waitOrThrow("list", error, budget, options);
      }
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    const budget: Budget = { failures: 0 };
    this.enter("watch", options);
    let { cursor } = options;
    let isInterrupted = false;
    for (;;) {
      try {
        for await (const change of this.inner.watch(range, { ...options, cursor })) {
          budget.failures = 0;
          if (change.kind === "relist") return yield change;
          if (change.kind === "interrupted") isInterrupted = true;
          else cursor = change.cursor;
          if (change.kind === "current") isInterrupted = false;
          yield change;
        }
        return;
      } catch (error) {
        const { retryable, what } = asSyncError(error);
        if (retryable && !isInterrupted && this.closed === undefined) yield { kind: "interrupted", reason: what };
        isInterrupted = true;
        try {
          await this.waitOrThrow("watch", error, budget, options);
        } catch (final) {
          // A watch that was under way ends quietly.
          if (this.closed !== undefined && final instanceof SyncError && final.code === "CLOSED") return;
          throw final;
        }
      }
    }
  }

  close(): Promise<void> {
    this.closed ??= this.inner.close();
    for (const wake of this.closing) wake();
    return this.closed;
  }

  private async insist<T>(operation: string, options: CallOptions | undefined, run: () => Promise<T>): Promise<T> {
    const budget: Budget = { failures: 0 };
    this.enter(operation, options);
    for (;;) {
      try {
        return await run();
      } catch (error) {
        await this.waitOrThrow(operation, error, budget, options);
      }
    }
  }

  private enter(operation: string, options: CallOptions | undefined): void {
    if (this.closed !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  /** Returns when it is time to try again. @throws `thrown` when that cannot help; CLOSED, ABORTED or TIMEOUT. */
  private async waitOrThrow(
    operation: string,
    thrown: unknown,
    budget: Budget,
    options: CallOptions | undefined,
  ): Promise<void> {
    const error = asSyncError(thrown, { store: this.name, operation });
    budget.failures++;
    if (!error.retryable || budget.failures >= this.attempts) throw error;
    const limitMs = Math.min(this.waitMsMax, this.baseMs * 2 ** (budget.failures - 1));
    const waitMs = randomBelow(this.runtime, Math.floor(limitMs) + 1);
    // No time left: the reason says more than TIMEOUT would.
    if (options?.deadline !== undefined && this.runtime.monotonic() + waitMs >= options.deadline) throw error;
    await this.pause(waitMs, options?.signal, operation);
    this.enter(operation, options);
  }

  private pause(waitMs: number, signal: AbortSignal | undefined, operation: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(aborted(signal, this.name, operation));
      const end = () => {
        timer.cancel();
        this.closing.delete(wake);
        signal?.removeEventListener("abort", onAbort);
      };
      const wake = () => {
        end();
        resolve();
      };
      const onAbort = () => {
        end();
        reject(aborted(signal as AbortSignal, this.name, operation));
      };
      const timer = this.runtime.timer(waitMs, wake);
      this.closing.add(wake);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}

function isOpen(result: WriteResult | undefined): boolean {
  return result === undefined || (result.status === "failed" && result.error.retryable);
}

function firstError(results: readonly (WriteResult | undefined)[]): SyncError {
  for (const result of results) if (result?.status === "failed") return result.error;
  return new SyncError("INTERNAL", "a write got no result");
}

/** What an answer means for a write. `wasLost`: it was sent before, and nobody knows what became of that. */
function settled(store: string, write: Write, result: WriteResult | undefined, wasLost: boolean): WriteResult {
  const { entry, if: condition } = write;
  if (result === undefined) return failed(new SyncError("INTERNAL", "a write got no result", { store }));
  if (!wasLost || condition === undefined || result.status === "stored" || result.status === "failed") return result;
  // An older version that is there shows that the write has not happened, and so does nothing, unless it expired.
  // Anything else may stand upon it.
  if (result.status === "conflict") {
    const { current } = result;
    if (current === undefined ? entry.expires === null : current.version < entry.version) return result;
  }
  const details = { store, operation: "write", key: entry.key, cure: "read the key to see whether it happened" };
  return failed(new SyncError("INDETERMINATE", "the conditional write may or may not have happened", details));
}
