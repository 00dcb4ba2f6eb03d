/** Keys that a complete walk found nowhere, for a short time, so that a missing key does not cost a walk per read. */
export interface Negatives {
  /** When the key was last known to be absent, in Unix ms; undefined when that is not known or too long ago. */
  get(key: string, now: number): number | undefined;
  add(key: string, asOf: number): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

export function negatives(ttlMs: number, entriesMax: number): Negatives {
  const known = new Map<string, number>();
  return {
    get(key, now) {
      const asOf = known.get(key);
      if (asOf === undefined) return undefined;
      if (asOf <= now && now - asOf < ttlMs) return asOf;
      known.delete(key);
      return undefined;
    },
    add(key, asOf) {
      known.delete(key);
      known.set(key, asOf);
      if (known.size <= entriesMax) return;
      for (const oldest of known.keys()) {
        known.delete(oldest);
        return;
      }
    },
    delete: (key) => void known.delete(key),
    clear: () => known.clear(),
    get size() {
      return known.size;
    },
  };
}
