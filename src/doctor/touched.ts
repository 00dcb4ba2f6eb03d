import type { Entry } from "../entry.ts";

/** Every key that was written, or may have been: remembered before the write is sent. */
export interface Touched {
  add(entries: readonly Entry[]): void;
  readonly keys: readonly string[];
  /** How many calls were made. */
  readonly calls: number;
}

export function touched(): Touched {
  const keys = new Set<string>();
  let calls = 0;
  return {
    add(entries) {
      calls++;
      for (const { key } of entries) keys.add(key);
    },
    get keys() {
      return [...keys];
    },
    get calls() {
      return calls;
    },
  };
}
