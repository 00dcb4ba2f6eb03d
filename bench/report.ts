import { cpus, loadavg } from "node:os";

/** The machine and what else it does, for the head of a report. */
export function machine(): string {
  const load = loadavg().map((n) => n.toFixed(1));
  return `${cpus().length} cores (${cpus()[0]?.model.trim() ?? "?"}), load ${load.join(" ")}, Node ${process.versions.node}`;
}

/** A median of several rounds, and the middle half of them. */
export interface Spread {
  readonly median: number;
  readonly from: number;
  readonly to: number;
}

export function spreadOf(numbers: readonly number[]): Spread {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { median: at(0.5), from: at(0.25), to: at(0.75) };
}

/** Three digits that count, with commas between thousands. */
export function short(n: number): string {
  if (Number.isNaN(n)) return "-";
  if (n >= 100) return Math.round(n).toLocaleString("en-US");
  return n.toFixed(n >= 10 ? 1 : 2);
}
