import type { CallOptions } from "../store.ts";

/** A system's clock, as it tells it to those who ask. */
export interface SystemClock {
  /** How coarse the time told is, in milliseconds: an HTTP `Date` is a whole second, so 1,000. */
  readonly resolutionMs: number;
  /** The system's time in Unix milliseconds, rounded down; undefined when it said none. */
  ask(options: CallOptions): Promise<number | undefined>;
}

/** One asking: this machine's time before and after it, and what the system said in between. All Unix ms. */
export interface Sample {
  readonly askedAt: number;
  readonly toldAt: number;
  readonly told: number;
}

/** By how much the system's clock is ahead of this machine's; negative: behind. */
export interface ClockDifference {
  readonly aheadMs: number;
  /** The truth lies within so much of `aheadMs` on both sides. */
  readonly uncertainMs: number;
}

/**
 * Each sample bounds the difference: what was told was true at some moment between asking and answer, and for as long as
 * the resolution. All bounds hold at once, so several coarse samples give a finer answer than one. A clock that was
 * set meanwhile satisfies no two of them; then the last sample counts alone.
 */
export function differenceOf(samples: readonly Sample[], resolutionMs: number): ClockDifference | undefined {
  const bounds = samples.map(({ askedAt, toldAt, told }) => [told - toldAt, told + resolutionMs - askedAt] as const);
  const last = bounds.at(-1);
  if (last === undefined) return undefined;
  const low = Math.max(...bounds.map(([least]) => least));
  const high = Math.min(...bounds.map(([, most]) => most));
  const [from, to] = low <= high ? [low, high] : last;
  return { aheadMs: (from + to) / 2, uncertainMs: (to - from) / 2 };
}
