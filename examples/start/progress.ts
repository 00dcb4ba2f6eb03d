/** A bar that redraws itself in place, on a terminal only; elsewhere it says nothing. */
export interface Progress {
  /** `done` of `total`. */
  show(done: number, total: number): void;
  end(): void;
}

export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const SILENT: Progress = { show: () => undefined, end: () => undefined };
const BAR_MAX = 40;
const CLEAR = "\r\u001b[2K";

export function progress(label: string, stream: Terminal): Progress {
  if (stream.isTTY !== true) return SILENT;
  return {
    show(done, total) {
      const share = total === 0 ? 1 : done / total;
      const numbers = ` ${String(Math.floor(share * 100)).padStart(3)} %  ${done.toLocaleString("en-US")}`;
      const width = Math.max(0, Math.min(BAR_MAX, (stream.columns ?? 80) - label.length - numbers.length - 4));
      const full = Math.round(share * width);
      stream.write(`${CLEAR}${label}  ${"█".repeat(full)}${"░".repeat(width - full)}${numbers}`);
    },
    end: () => stream.write(CLEAR),
  };
}

/**
 * A bar for each of many steps, one after the other: the next step begins where another one is named. Elsewhere than on a
 * terminal the name of each is a line, once.
 */
export interface Steps {
  readonly show: (step: string, done: number, total: number) => void;
  readonly end: () => void;
}

export function steps(stream: Terminal): Steps {
  let shown = { step: "", bar: SILENT };
  const named = new Set<string>();
  return {
    show(step, done, total) {
      if (step !== shown.step) {
        shown.bar.end();
        shown = { step, bar: progress(step, stream) };
        if (stream.isTTY !== true && !named.has(step)) stream.write(`${step}\n`);
        named.add(step);
      }
      shown.bar.show(done, total);
    },
    end: () => shown.bar.end(),
  };
}
