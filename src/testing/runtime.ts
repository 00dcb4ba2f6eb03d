import { SyncError } from "../error.ts";
import { exactClock } from "../runtime.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { random } from "./random.ts";

/**
 * Time that stands still until the test moves it. Timers wait in a heap; `advance` runs what falls due, one timer at a
 * time in the order of (time, order of creation), and lets the code that each one woke come to rest before the next.
 * With everything else passed in as well, the same seed gives the same run.
 */
export interface SimulatedRuntime extends Runtime {
  readonly seed: number;
  /** Timers that neither fired nor were cancelled. */
  readonly pendingTimers: number;
  /** Moves the wall clock alone, by so many milliseconds; negative: it steps back, as clocks do. Nothing fires. */
  stepWall(byMs: number): void;
  /** Lets `ms` pass. @throws whatever a timer's function throws. */
  advance(ms: number): Promise<void>;
  /**
   * Lets time pass until no timer is left but background ones.
   * @throws Error when that takes longer than `limitMs` of simulated time, default one hour.
   */
  run(limitMs?: number): Promise<void>;
  /** Lets everything come to rest that waits for no timer. */
  settle(): Promise<void>;
}

export interface SimulationOptions {
  readonly seed: number;
  /** Unix ms at which the wall clock begins. */
  readonly startMs?: number | undefined;
  /**
   * Lets all microtasks run, and whatever real input and output is to be waited for. The core knows no macrotask, so
   * the default awaits a bounded number of microtasks, which is enough for short chains of promises; a test in Node
   * passes `() => new Promise(setImmediate)`, which lets every one of them run.
   */
  readonly drain?: (() => Promise<void>) | undefined;
}

const START_MS = 1_700_000_000_000;
const DRAIN_MICROTASKS = 512;
const RUN_LIMIT_MS = 3_600_000;
/** Above this, platforms' timers overflow and fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

interface Pending {
  readonly atMs: number;
  readonly order: number;
  readonly fn: () => void;
  background: boolean;
  live: boolean;
}

export function simulatedRuntime(options: SimulationOptions): SimulatedRuntime {
  const { seed, startMs = START_MS, drain = drainMicrotasks } = options;
  const chance = random(seed);
  const heap: Pending[] = [];
  let elapsedMs = 0;
  let wallOffsetMs = 0;
  let created = 0;
  let pending = 0;
  let foreground = 0;

  const end = (timer: Pending) => {
    if (!timer.live) return false;
    timer.live = false;
    pending--;
    if (!timer.background) foreground--;
    return true;
  };

  const timer = (delayMs: number, fn: () => void, background = false): Timer => {
    if (!(delayMs <= DELAY_MS_MAX)) {
      throw new SyncError("INTERNAL", `a timer of ${delayMs} ms would fire at once on a real platform`);
    }
    const entry = { atMs: elapsedMs + Math.max(0, delayMs), order: created++, fn, background, live: true };
    push(heap, entry);
    pending++;
    if (!background) foreground++;
    return {
      cancel: () => {
        end(entry);
      },
      hold(isHeld) {
        if (entry.live && entry.background === isHeld) foreground += isHeld ? 1 : -1;
        entry.background = !isHeld;
      },
    };
  };

  /** Runs the next timer that is due at `untilMs`; false if there is none. */
  const step = async (untilMs: number): Promise<boolean> => {
    for (;;) {
      const next = heap[0];
      if (next === undefined || next.atMs > untilMs) return false;
      pop(heap);
      if (!end(next)) continue; // it was cancelled
      elapsedMs = Math.max(elapsedMs, next.atMs);
      next.fn();
      await drain();
      return true;
    }
  };

  const now = () => Math.floor(startMs + elapsedMs + wallOffsetMs);
  return {
    seed,
    now,
    coarse: exactClock(now),
    monotonic: () => elapsedMs,
    idle: () => elapsedMs, // what is computed takes no time
    timer,
    random(bytes) {
      bytes.set(chance.bytes(bytes.length));
      return bytes;
    },
    get pendingTimers() {
      return pending;
    },
    stepWall(byMs) {
      wallOffsetMs += byMs;
    },
    async advance(ms) {
      const untilMs = elapsedMs + ms;
      await drain();
      while (await step(untilMs));
      elapsedMs = Math.max(elapsedMs, untilMs);
    },
    async run(limitMs = RUN_LIMIT_MS) {
      const untilMs = elapsedMs + limitMs;
      await drain();
      for (;;) {
        if (foreground === 0) return;
        if (!(await step(untilMs))) throw new Error(`seed ${seed}: ${foreground} timers are left after ${limitMs} ms`);
      }
    },
    settle: drain,
  };
}

async function drainMicrotasks(): Promise<void> {
  for (let i = 0; i < DRAIN_MICROTASKS; i++) await Promise.resolve();
}

function before(a: Pending, b: Pending): boolean {
  return a.atMs !== b.atMs ? a.atMs < b.atMs : a.order < b.order;
}

/** A binary heap in an array: the children of `i` are `2i + 1` and `2i + 2`. */
function push(heap: Pending[], item: Pending): void {
  let i = heap.length;
  heap.push(item);
  while (i > 0) {
    const above = (i - 1) >> 1;
    const parent = heap[above] as Pending;
    if (!before(item, parent)) break;
    heap[i] = parent;
    i = above;
  }
  heap[i] = item;
}

function pop(heap: Pending[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right !== undefined && before(right, heap[child] as Pending)) child++;
    const smaller = heap[child] as Pending;
    if (!before(smaller, last)) break;
    heap[i] = smaller;
    i = child;
  }
  heap[i] = last;
}
