/** What was used last, up to a number of bytes. Objects are named by their content, so nothing here is ever old. */
export interface Kept<T> {
  get(id: string): T | undefined;
  has(id: string): boolean;
  put(id: string, value: T): void;
}

export function kept<T>(bytesMax: number, bytesOf: (value: T) => number): Kept<T> {
  const all = new Map<string, T>();
  let bytes = 0;
  return {
    get(id) {
      const value = all.get(id);
      if (value !== undefined) {
        all.delete(id);
        all.set(id, value);
      }
      return value;
    },
    has: (id) => all.has(id),
    put(id, value) {
      const size = bytesOf(value);
      if (all.has(id) || size > bytesMax) return;
      all.set(id, value);
      bytes += size;
      for (const [oldest, old] of all) {
        if (bytes <= bytesMax) return;
        all.delete(oldest);
        bytes -= bytesOf(old);
      }
    },
  };
}
