import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { aborted } from "../store.ts";
import type { CallOptions } from "../store.ts";
import type { JournalOptions } from "./contract.ts";

/** How much a journal keeps for layers that have not got it. */
export interface RoomLimits {
  readonly entriesMax: number;
  readonly bytesMax: number;
  /** How long the oldest entry may wait for a layer before new ones are refused, in milliseconds. */
  readonly ageMsMax: number;
  /** How long a writer waits for room, in milliseconds. */
  readonly waitMs: number;
  /** How many writers may wait at a time. */
  readonly waitingMax: number;
}

const ENTRIES_MAX = 250_000;
const BYTES_MAX = 2 ** 30;
const AGE_MS_MAX = 7 * 24 * 3_600_000;
const WAIT_MS = 10_000;
const WAITING_MAX = 10_000;

export function limitsOf(options: JournalOptions): RoomLimits {
  return {
    entriesMax: options.entriesMax ?? ENTRIES_MAX,
    bytesMax: options.bytesMax ?? BYTES_MAX,
    ageMsMax: options.ageMsMax ?? AGE_MS_MAX,
    waitMs: options.waitMs ?? WAIT_MS,
    waitingMax: WAITING_MAX,
  };
}

/** How full it is. */
export interface Load {
  readonly entries: number;
  readonly bytes: number;
  readonly ageMs: number;
}

/** Back-pressure: writers wait for room in their order, and are then refused with the numbers. */
export interface Room {
  /**
   * Undefined when there is room now; else a promise of it, which is kept for the caller until he calls what it gives,
   * in the same turn as he takes the room.
   * @throws SyncError OVERLOADED, ABORTED, TIMEOUT.
   */
  enter(entries: number, bytes: number, call: CallOptions | undefined): Promise<() => void> | undefined;
  /** Some room was made. */
  freed(): void;
}

interface Waiter {
  readonly entries: number;
  readonly bytes: number;
  readonly go: () => void;
}

export function room(name: string, limits: RoomLimits, runtime: Runtime, load: () => Load): Room {
  const waiting: Waiter[] = [];
  /** What was promised to writers that have not taken it yet. */
  let promisedEntries = 0;
  let promisedBytes = 0;

  const fits = (entries: number, bytes: number): boolean => {
    const now = load();
    const nowEntries = now.entries + promisedEntries;
    // What is larger than the whole limit may go in alone.
    if (nowEntries === 0) return true;
    const isYoung = now.ageMs <= limits.ageMsMax;
    const nowBytes = now.bytes + promisedBytes;
    return isYoung && nowEntries + entries <= limits.entriesMax && nowBytes + bytes <= limits.bytesMax;
  };

  const letIn = (): void => {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (!fits(first.entries, first.bytes)) return;
      waiting.shift();
      promisedEntries += first.entries;
      promisedBytes += first.bytes;
      first.go();
    }
  };

  const full = (code: "OVERLOADED" | "TIMEOUT"): SyncError => {
    const { entries, bytes, ageMs } = load();
    const what =
      `${code === "TIMEOUT" ? "the deadline passed while " : ""}${entries} of ${limits.entriesMax} entries and ${bytes} of ${limits.bytesMax} bytes wait for layers, ` +
      `the oldest for ${Math.round(ageMs / 1000)} of ${Math.round(limits.ageMsMax / 1000)} s`;
    return new SyncError(code, what, {
      store: name,
      operation: "write",
      cure: "bring the layer back that status shows as failing, or raise the journal's limits",
    });
  };

  const wait = (entries: number, bytes: number, { signal, deadline }: CallOptions): Promise<() => void> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(aborted(signal, name, "write"));
      const leave = (error: SyncError) => {
        const at = waiting.indexOf(waiter);
        if (at !== -1) waiting.splice(at, 1);
        end();
        reject(error);
        if (at === 0) letIn(); // it may have been too large for what is free
      };
      const onAbort = () => {
        if (signal !== undefined) leave(aborted(signal, name, "write"));
      };
      const end = () => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const taken = () => {
        promisedEntries -= entries;
        promisedBytes -= bytes;
      };
      const go = () => {
        end();
        resolve(taken);
      };
      const waiter: Waiter = { entries, bytes, go };
      const leftMs = deadline === undefined ? Infinity : Math.max(0, deadline - runtime.monotonic());
      const code = leftMs < limits.waitMs ? "TIMEOUT" : "OVERLOADED";
      const timer: Timer = runtime.timer(Math.min(limits.waitMs, leftMs), () => leave(full(code)));
      signal?.addEventListener("abort", onAbort, { once: true });
      waiting.push(waiter);
    });

  return {
    enter(entries, bytes, call = {}) {
      if (waiting.length === 0 && fits(entries, bytes)) return undefined;
      if (limits.waitMs === 0 || waiting.length >= limits.waitingMax) return Promise.reject(full("OVERLOADED"));
      return wait(entries, bytes, call);
    },
    freed: letIn,
  };
}
