import type { Runtime } from "../runtime.ts";

/** What `work` gives, and how long it took in milliseconds. */
export async function timed<T>(runtime: Runtime, work: () => Promise<T>): Promise<readonly [T, number]> {
  const begun = runtime.monotonic();
  const result = await work();
  return [result, runtime.monotonic() - begun];
}

/** @param times at least one. */
export function medianOf(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Milliseconds for figures: finer than a microsecond says nothing. */
export function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** A time as a person reads it. */
export function msText(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(ms < 0.095 ? 3 : 1)} ms`;
  if (ms < 9_950) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** A number of bytes as a person reads it. */
export function sizeText(bytes: number): string {
  if (bytes === Infinity) return "any size";
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${plain(bytes / 1024)} KiB`;
  if (bytes < 1024 ** 3) return `${plain(bytes / 1024 ** 2)} MiB`;
  return `${plain(bytes / 1024 ** 3)} GiB`;
}

function plain(number: number): string {
  return number.toFixed(1).replace(/\.0$/, "");
}

export function countText(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
