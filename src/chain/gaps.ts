import type { Layer } from "./layer.ts";

/**
 * Watches of layers that do not stand: what changed there is told when they go on, or never. Until then a copy from
 * before the gap has to be asked for again before it counts as fresh, and one from within it after an interval each time.
 */
export interface Gaps {
  /** Nothing more is told of the layer; what was last known of it may be older than that. */
  open(layer: number, now: number): void;
  /** The gap of a layer, for whoever is about to know what was missed; undefined while its watch stands. */
  of(layer: number): Gap | undefined;
  /** Everything that was missed in this gap is known. One that was opened since stays open. */
  close(layer: number, gap: Gap): void;
  readonly isAny: boolean;
  /** For keys with this route: copies with an asOf up to this do not count as fresh. 0 when none are suspect. */
  suspectUntil(route: readonly number[], now: number): number;
}

export interface Gap {
  /** Unix ms of the moment it was noticed. */
  readonly since: number;
}

export function gaps(layers: readonly Layer[]): Gaps {
  const known = new Map<number, Gap>();
  return {
    open(layer, now) {
      known.set(layer, { since: known.get(layer)?.since ?? now });
    },
    of: (layer) => known.get(layer),
    close(layer, gap) {
      if (known.get(layer) === gap) known.delete(layer);
    },
    get isAny() {
      return known.size > 0;
    },
    suspectUntil(route, now) {
      let until = 0;
      if (known.size === 0) return until;
      for (const index of route) {
        const gap = known.get(index);
        const layer = layers[index];
        // Without its watch a layer is looked at as often as one that has to be polled.
        if (gap !== undefined) until = Math.max(until, gap.since, now - (layer?.watchIntervalMs ?? 0));
        // What is current whenever it is asked ends every walk: copies do not come from below it.
        if (layer?.role === "store" && layer.store.supports.asOf === "known") break;
      }
      return until;
    },
  };
}
