/** What was used lately, up to a number of bytes. Objects are named by their content, so nothing here is ever old. */
export interface Kept<T> {
  get(id: string): T | undefined;
  put(id: string, value: T): void;
}

/**
 * Two halves: what is used goes into the newer one, and when that is full, the older one is dropped and they change
 * places. A use costs one look-up, where an exact order of uses would cost a removal and an insertion.
 */
export function kept<T>(bytesMax: number, bytesOf: (value: T) => number): Kept<T> {
  const halfBytes = bytesMax / 2;
  let newer = new Map<string, T>();
  let older = new Map<string, T>();
  let bytes = 0;
  const put = (id: string, value: T) => {
    const size = bytesOf(value);
    if (size > halfBytes) return;
    if (bytes + size > halfBytes) {
      older = newer;
      newer = new Map();
      bytes = 0;
    }
    newer.set(id, value);
    bytes += size;
  };
  return {
    get(id) {
      const found = newer.get(id);
      if (found !== undefined) return found;
      const before = older.get(id);
      if (before !== undefined) {
        older.delete(id);
        put(id, before);
      }
      return before;
    },
    put(id, value) {
      if (!newer.has(id)) put(id, value);
    },
  };
}
