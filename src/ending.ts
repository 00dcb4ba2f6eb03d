/**
 * The end of something that many wait for. An AbortSignal would do, but the platform takes more than ten listeners on one
 * for a leak, and says so on standard error.
 */
export interface Ending {
  readonly isOver: boolean;
  /** Calls `stop` when it comes; at once, when it has come. */
  add(stop: () => void): void;
  delete(stop: () => void): void;
  end(): void;
}

export function ending(): Ending {
  const stops = new Set<() => void>();
  let isOver = false;
  return {
    get isOver() {
      return isOver;
    },
    add(stop) {
      if (isOver) stop();
      else stops.add(stop);
    },
    delete: (stop) => void stops.delete(stop),
    end() {
      if (isOver) return;
      isOver = true;
      for (const stop of stops) stop();
      stops.clear();
    },
  };
}
