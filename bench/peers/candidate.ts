import type { Second } from "./second.ts";

/** How many entries every memory layer may hold, and for how long they are fresh, in milliseconds. */
export const ENTRIES_MAX = 10_000;
export const TTL_MS = 60_000;

/** A cache as its users would call it: each member is one call of its own. What a cache lacks is left out. */
export interface Cache {
  readonly get: (key: string) => Promise<unknown>;
  /** The synchronous look into memory. */
  readonly peek?: (key: string) => unknown;
  readonly set: (key: string, value: object) => unknown;
  readonly delete?: (key: string) => unknown;
  readonly getMany?: (keys: string[]) => Promise<unknown>;
  readonly getOrSet?: (key: string, load: () => Promise<object>) => Promise<unknown>;
  /** Where reading through to the second layer is another call than `get`. */
  readonly through?: (key: string) => Promise<unknown>;
  /** Waits until what was told as done is in the second layer, where a cache can tell. */
  readonly settle?: () => Promise<unknown>;
  readonly close: () => Promise<unknown>;
}

export interface Candidate {
  readonly name: string;
  /** The package that is measured, for its version; "" for this one. */
  readonly package: string;
  /** The oldest Node it allows. */
  readonly nodeMin: number;
  /** How its memory and the second layer lie: one over the other, either alone, or memory only. */
  readonly layers: "two" | "either" | "memory";
  /** What has a value when its `set` resolves. */
  readonly ack: string;
  /** Only asked for wrong answers, not measured. */
  readonly unmeasured?: boolean;
  /** `far`: over the second layer, or the second layer alone where it cannot have both. */
  open(second: Second, far: boolean): Promise<Cache>;
}
