import { SyncError } from "../error.ts";
import type { Head } from "../entry.ts";
import { isLow, versionMs } from "../version.ts";
import { globOf } from "./glob.ts";
import type { Filter } from "./types.ts";

/** A filter with its patterns read. */
export interface Sieve {
  /** By all that a list tells. @param head the source's, where it has a value. */
  passes(key: string, head: Head, now: number): boolean;
  /** Undefined: sizes do not matter, so nobody need know them. */
  readonly passesSize: ((bytes: number) => boolean) | undefined;
  /** The same for the same filter, so that a position is not used with another one. */
  readonly id: string;
}

const GLOBS_MAX = 1_000;

/** @throws SyncError INVALID for what is out of range. */
export function sieve(filter: Filter): Sieve {
  const { glob = [], exclude = [], minBytes, maxBytes, minAgeMs, maxAgeMs } = filter;
  if (glob.length + exclude.length > GLOBS_MAX) {
    throw new SyncError("INVALID", `a filter has at most ${GLOBS_MAX} patterns`, { operation: "session" });
  }
  for (const [name, value] of Object.entries({ minBytes, maxBytes, minAgeMs, maxAgeMs })) {
    if (value === undefined || (typeof value === "number" && value >= 0)) continue;
    throw new SyncError("INVALID", `${name} is a number of 0 or more`, { operation: "session" });
  }
  const [wanted, unwanted] = [glob.map(globOf), exclude.map(globOf)];
  const sizes = minBytes !== undefined || maxBytes !== undefined;
  return {
    passes(key, head, now) {
      if (wanted.length > 0 && !wanted.some((matches) => matches(key))) return false;
      if (unwanted.some((matches) => matches(key))) return false;
      if (minAgeMs === undefined && maxAgeMs === undefined) return true;
      const ageMs = isLow(head.version) ? Infinity : now - versionMs(head.version);
      return ageMs >= (minAgeMs ?? -Infinity) && ageMs <= (maxAgeMs ?? Infinity);
    },
    passesSize: sizes ? (bytes) => bytes >= (minBytes ?? 0) && bytes <= (maxBytes ?? Infinity) : undefined,
    id: JSON.stringify([glob, exclude, minBytes, maxBytes, minAgeMs, maxAgeMs]),
  };
}
