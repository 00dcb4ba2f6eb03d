/**
 * Time and chance, passed in. Nothing else in Sync may call a clock, a timer or a random source, so that tests never
 * sleep and a whole federation runs in simulated time from a seed. `systemRuntime` (system.ts) is the real one;
 * `simulatedRuntime` (microsync/testing) is the other.
 */
export interface Runtime {
  /** The wall clock: Unix time in whole milliseconds. It may step back. */
  now(): number;
  /** The wall clock to within a few milliseconds, for the hot path. See {@link coarseClock}. */
  readonly coarse: CoarseClock;
  /** Milliseconds since an arbitrary point. It never steps back; deadlines are points on it. */
  monotonic(): number;
  /** For how many milliseconds this thread has had nothing to do, since an arbitrary point; NaN where nobody can tell. */
  idle(): number;
  /**
   * Calls `fn` once after `delayMs`. `background` timers do not keep a process alive.
   * A timer that fired or was cancelled is ignored by `cancel`.
   */
  timer(delayMs: number, fn: () => void, background?: boolean): Timer;
  /** Fills `bytes` with random bytes fit for identifiers, and returns it. */
  random(bytes: Uint8Array): Uint8Array;
}

export interface CoarseClock {
  /** Milliseconds since the epoch, as {@link Runtime.now}. */
  now(): number;
  /** A new reading, for one who goes by what he makes of it: as many times as he is allowed to, until he is told otherwise. */
  lend(borrower: Borrower): number;
}

/** Who goes by what he made of a reading, as a chain's gate does. */
export interface Borrower {
  /** From now on so many more times. 0: the reading is over. */
  allow(uses: number): void;
}

/** One that is never behind: each reading is a new one. */
export function exactClock(now: () => number): CoarseClock {
  return {
    now,
    lend(borrower) {
      borrower.allow(0);
      return now();
    },
  };
}

export interface Timer {
  cancel(): void;
  /** From now on it keeps the process alive, or does not, as a `background` timer. Ignored when it has fired. */
  hold(isHeld: boolean): void;
}

/** How far a coarse reading may lag behind the clock, in milliseconds, with room to spare. */
export const COARSE_LAG_MS_MAX = 1_000;
/** How many readings in a row may come from one look at the clock. */
const COARSE_CALLS_MAX = 256;
/** How long one look at the clock is good for, in milliseconds. */
const COARSE_MS = 4;

/**
 * A clock reading that costs a comparison. A real clock call costs more than everything else in a cache hit, so a
 * reading is kept until it was used {@link COARSE_CALLS_MAX} times (a microtask loop lets no timer run) or a timer of
 * {@link COARSE_MS} fired (an idle process counts nothing). The timer exists only while the clock is in use.
 */
export function coarseClock(now: () => number, timer: Runtime["timer"]): CoarseClock {
  return new KeptReading(now, timer);
}

/** A class: what a closure changes costs three times as much to read. */
class KeptReading implements CoarseClock {
  private readonly clock: () => number;
  private readonly timer: Runtime["timer"];
  private readonly borrowers = new Set<Borrower>();
  private reading = 0;
  private left = 0;
  private armed = false;

  constructor(clock: () => number, timer: Runtime["timer"]) {
    this.clock = clock;
    this.timer = timer;
  }

  now(): number {
    if (this.left > 0) {
      this.left--;
      return this.reading;
    }
    return this.look();
  }

  lend(borrower: Borrower): number {
    this.borrowers.add(borrower);
    const reading = this.look();
    borrower.allow(this.left);
    return reading;
  }

  private look(): number {
    this.left = COARSE_CALLS_MAX - 1;
    this.reading = this.clock();
    if (!this.armed) {
      this.armed = true;
      this.timer(COARSE_MS, () => this.expire(), true);
    }
    return this.reading;
  }

  private expire(): void {
    this.armed = false;
    this.left = 0;
    for (const borrower of this.borrowers) borrower.allow(0);
    this.borrowers.clear();
  }
}

/** A random whole number from 0 up to but not including `limit` (at most 2^32), for jitter and choices. */
export function randomBelow(runtime: Runtime, limit: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = runtime.random(new Uint8Array(4));
  return Math.floor((((a << 24) | (b << 16) | (c << 8) | d) >>> 0) * (limit / 2 ** 32));
}

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as it is aborted. */
export function sleep(runtime: Runtime, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = runtime.timer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
