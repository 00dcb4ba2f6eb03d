/**
 * How much goes into one request: more after each success, half after each failure of the kind that smaller requests
 * do not meet (502, 504, a timeout).
 */
export interface Pace {
  readonly size: number;
  grow(): void;
  /** False: it is as small as it may be. */
  shrink(): boolean;
}

export function pace(min: number, start: number, max: number): Pace {
  let size = start;
  return {
    get size() {
      return size;
    },
    grow() {
      size = Math.min(max, size * 2);
    },
    shrink() {
      if (size <= min) return false;
      size = Math.max(min, Math.floor(size / 2));
      return true;
    },
  };
}
