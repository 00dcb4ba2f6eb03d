/** Keys that a complete walk found nowhere, for a short time, so that a missing key does not cost a walk per read. */
export interface Negatives {
  /** When the key was last known to be absent, in Unix ms; undefined when that is not known or too long ago. */
  get(key: string, now: number): number | undefined;
  add(key: string, asOf: number, now: number): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

/**
 * Two generations, each of half the size: when the young one is full, or as old as a key is believed, the old one is
 * dropped whole. Dropping the oldest key of a map one by one would make its iterator pass over all the holes before it,
 * every time.
 */
export function negatives(ttlMs: number, entriesMax: number): Negatives {
  let young = new Map<string, number>();
  let old = new Map<string, number>();
  let begunAt = 0;
  return {
    get(key, now) {
      const asOf = young.get(key) ?? old.get(key);
      return asOf !== undefined && asOf <= now && now - asOf < ttlMs ? asOf : undefined;
    },
    add(key, asOf, now) {
      if (young.size >= entriesMax / 2 || now - begunAt >= ttlMs) {
        old = young;
        young = new Map();
        begunAt = now;
      }
      young.set(key, asOf);
    },
    delete(key) {
      // Asking an empty map costs as much as asking a full one, and every write asks.
      if (young.size > 0) young.delete(key);
      if (old.size > 0) old.delete(key);
    },
    clear() {
      young = new Map();
      old = new Map();
    },
    get size() {
      return young.size + old.size;
    },
  };
}
