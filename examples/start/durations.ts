/** Durations in milliseconds, and what a person wants to know of them. */
export interface Durations {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly totalMs: number;
}

export function summarise(samplesMs: readonly number[]): Durations {
  const sorted = Float64Array.from(samplesMs).sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), totalMs: sorted.reduce((sum, ms) => sum + ms, 0) };
}

/** Three digits and the unit that fits: 0.83 µs, 12.4 ms, 1.20 s. */
export function formatMs(ms: number): string {
  if (ms === 0) return "0";
  const [value, unit] = ms < 1 ? [ms * 1_000, "µs"] : ms < 1_000 ? [ms, "ms"] : [ms / 1_000, "s"];
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${unit}`;
}

/** Times one call. */
export async function timed<T>(call: () => T | Promise<T>): Promise<readonly [result: T, ms: number]> {
  const begun = performance.now();
  const result = await call();
  return [result, performance.now() - begun];
}
