/** What the output looks like: a box of aligned cells that fits into 80 columns, with colours where they are wanted. */
export interface Paint {
  readonly strong: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly good: (text: string) => string;
}

const plain = (text: string) => text;
const code = (open: number, close: number) => (text: string) => `\u001b[${open}m${text}\u001b[${close}m`;

/** Colours on a terminal only, and none where NO_COLOR is set (https://no-color.org). */
export function paintFor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Paint {
  const wanted = stream.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  return wanted
    ? { strong: code(1, 22), dim: code(2, 22), good: code(32, 39) }
    : { strong: plain, dim: plain, good: plain };
}

export interface Column {
  readonly title: string;
  /** Numbers stand to the right, words to the left. */
  readonly align: "left" | "right";
}

/** Lines of a box; every cell is plain text, the widest of a column decides its width. */
export function box(columns: readonly Column[], rows: readonly (readonly string[])[], paint: Paint): string[] {
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? "").length)));
  const rule = (left: string, middle: string, right: string) =>
    paint.dim(left + widths.map((width) => "─".repeat(width + 2)).join(middle) + right);
  const bar = paint.dim("│");
  const line = (cells: readonly string[], look: (text: string) => string) => {
    const padded = columns.map(({ align }, i) => {
      const cell = cells[i] ?? "";
      const width = widths[i] ?? 0;
      return ` ${look(align === "left" ? cell.padEnd(width) : cell.padStart(width))} `;
    });
    return bar + padded.join(bar) + bar;
  };
  const titles = columns.map(({ title }) => title);
  const body = rows.map((row) => line(row, plain));
  return [rule("┌", "┬", "┐"), line(titles, paint.strong), rule("├", "┼", "┤"), ...body, rule("└", "┴", "┘")];
}

/** 20968 as 20,968. */
export function count(n: number): string {
  return n.toLocaleString("en-US");
}

/** At most `length` characters of a text, with a mark where something is missing. */
export function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
