import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { aborted } from "../store.ts";
import type { CallOptions } from "../store.ts";

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

/** How full it is. */
export interface Load {
  readonly entries: number;
  readonly bytes: number;
  readonly ageMs: number;
}

/** Back-pressure: writers wait for room in their order, and are then refused with the numbers. */
export interface Room {
  /**
   * Undefined when there is room now; else a promise of it. Whoever got in keeps that room until he leaves it.
   * @throws SyncError OVERLOADED, ABORTED, TIMEOUT.
   */
  enter(entries: number, bytes: number, call: CallOptions | undefined): Promise<void> | undefined;
  /** What entered is part of the load by now, or came to nothing. */
  leave(entries: number, bytes: number): void;
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
  /** Of those who are inside, and not yet part of the load. */
  let [entriesInside, bytesInside] = [0, 0];

  const fits = (entries: number, bytes: number): boolean => {
    const now = load();
    // What is larger than the whole limit may go in alone.
    const isEmpty = now.entries + entriesInside === 0;
    return (
      isEmpty ||
      (now.entries + entriesInside + entries <= limits.entriesMax &&
        now.bytes + bytesInside + bytes <= limits.bytesMax &&
        now.ageMs <= limits.ageMsMax)
    );
  };

  const admit = (entries: number, bytes: number): void => {
    entriesInside += entries;
    bytesInside += bytes;
  };

  const freed = (): void => {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (!fits(first.entries, first.bytes)) return;
      waiting.shift();
      admit(first.entries, first.bytes);
      first.go();
    }
  };

  const overloaded = (): SyncError => {
    const { entries, bytes, ageMs } = load();
    const what =
      `${entries} of ${limits.entriesMax} entries and ${bytes} of ${limits.bytesMax} bytes wait for layers, ` +
      `the oldest for ${Math.round(ageMs / 1000)} of ${Math.round(limits.ageMsMax / 1000)} s`;
    return new SyncError("OVERLOADED", what, {
      store: name,
      operation: "write",
      cure: "bring the layer back that status shows as failing, or raise the journal's limits",
    });
  };

  return {
    enter(entries, bytes, call) {
      if (waiting.length === 0 && fits(entries, bytes)) {
        admit(entries, bytes);
        return undefined;
      }
      if (limits.waitMs === 0 || waiting.length >= limits.waitingMax) return Promise.reject(overloaded());
      return new Promise((resolve, reject) => {
        const timers: Timer[] = [];
        const { signal, deadline } = call ?? {};
        if (signal?.aborted === true) return reject(aborted(signal, name, "write"));
        const leave = (error: SyncError) => {
          const at = waiting.indexOf(waiter);
          if (at !== -1) waiting.splice(at, 1);
          end();
          reject(error);
        };
        const onAbort = () => {
          if (signal !== undefined) leave(aborted(signal, name, "write"));
        };
        const end = () => {
          for (const timer of timers) timer.cancel();
          signal?.removeEventListener("abort", onAbort);
        };
        const waiter: Waiter = {
          entries,
          bytes,
          go: () => {
            end();
            resolve();
          },
        };
        const leftMs = deadline === undefined ? Infinity : Math.max(0, deadline - runtime.monotonic());
        timers.push(runtime.timer(Math.min(limits.waitMs, leftMs), () => leave(overloaded())));
        signal?.addEventListener("abort", onAbort, { once: true });
        waiting.push(waiter);
      });
    },
    leave(entries, bytes) {
      admit(-entries, -bytes);
      freed();
    },
    freed,
  };
}
