import type { Gate } from "./gate.ts";
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

export function gaps(layers: readonly Layer[], gate: Gate): Gaps {
  return new LayerGaps(layers, gate);
}

/** A class, for the same reason as the floors are one: every hit in memory reads a field of it. */
class LayerGaps implements Gaps {
  isAny = false;
  private readonly layers: readonly Layer[];
  private readonly gate: Gate;
  private readonly known = new Map<number, Gap>();

  constructor(layers: readonly Layer[], gate: Gate) {
    this.layers = layers;
    this.gate = gate;
  }

  open(layer: number, now: number): void {
    this.known.set(layer, { since: this.known.get(layer)?.since ?? now });
    this.isAny = true;
    this.gate.shut();
  }

  of(layer: number): Gap | undefined {
    return this.known.get(layer);
  }

  close(layer: number, gap: Gap): void {
    if (this.known.get(layer) === gap) this.known.delete(layer);
    this.isAny = this.known.size > 0;
  }

  suspectUntil(route: readonly number[], now: number): number {
    let until = 0;
    if (!this.isAny) return until;
    for (const index of route) {
      const gap = this.known.get(index);
      const layer = this.layers[index];
      // Without its watch a layer is looked at as often as one that has to be polled.
      if (gap !== undefined) until = Math.max(until, gap.since, now - (layer?.watchIntervalMs ?? 0));
      // What is current whenever it is asked ends every walk: copies do not come from below it.
      if (layer?.role === "store" && layer.store.supports.asOf === "known") break;
    }
    return until;
  }
}
