import type { Io } from "./io.ts";

/** How often the line is drawn anew at most, in milliseconds. */
const INTERVAL_MS = 100;

/** A line on the terminal that says how far a command is; nothing where nobody looks. */
export interface Progress {
  /** Draws the line if it is time to. */
  tell(line: () => string): void;
  /** Removes the line, so that words can be written. */
  clear(): Promise<void>;
}

export function progress({ stderr, runtime, env }: Io): Progress {
  // NO_COLOR and dumb terminals ask for plain lines: a line that is drawn again and again is none.
  if (!stderr.isTTY || env["TERM"] === "dumb") return { tell: () => undefined, clear: async () => undefined };
  let drawnAt = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    tell(line) {
      const now = runtime.monotonic();
      if (now - drawnAt < INTERVAL_MS) return;
      drawnAt = now;
      shown = true;
      const text = line().slice(0, Math.max(0, (stderr.columns ?? 80) - 1));
      stderr.write(`\r${text}\u001b[K`).catch(() => undefined); // a terminal that went away does not stop the work
    },
    async clear() {
      if (!shown) return;
      shown = false;
      await stderr.write("\r\u001b[K");
    },
  };
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${(bytes / 1024).toFixed(1)} KB`;
  if (bytes < 1024 ** 3) return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
  return `${(bytes / 1024 ** 3).toFixed(2)} GB`;
}

export function countText(count: number, what: string): string {
  return `${count.toLocaleString("en-US")} ${what}${count === 1 ? "" : "s"}`;
}
