import type { Output } from "./io.ts";

/** One line of JSON. Line separators of Unicode are escaped: some readers split at them. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029")}\n`;
}

/** Rows under headings, in columns as wide as their widest cell. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `${cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd()}\n`;
  return [headings, ...rows].map(line).join("");
}

/** A duration as a person reads it. */
export function duration(ms: number): string {
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** What JSON has no word for is null. */
export function orNull<T>(value: T | undefined): T | null {
  return value ?? null;
}

/** How much text is gathered before it is written, in units: a call of the system per key would cost more than the key. */
const GATHER_UNITS = 32 * 1024;

/** Text that is gathered and written in larger pieces; on a terminal, at once. */
export function gathered(output: Output): { add(text: string): Promise<void>; end(): Promise<void> } {
  let held = "";
  const end = async () => {
    const text = held;
    held = "";
    if (text !== "") await output.write(text);
  };
  return {
    async add(text) {
      held += text;
      if (output.isTTY || held.length >= GATHER_UNITS) await end();
    },
    end,
  };
}
