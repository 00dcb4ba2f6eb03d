import type { Layer } from "./layer.ts";

/**
 * Which `store` layers have everything that the layers below them hold. A layer with the option `bootstrap` is given it
 * all when the chain is opened and after each gap, and stands for the layers below it in lists from then on, for as long
 * as their watches keep it up to date.
 */
export interface Bootstraps {
  /** Whether a layer above this one waits to be given everything. */
  wanted(below: number): boolean;
  /** The watch of a layer has told, and the layers above have got, all there is; or it broke off. */
  told(below: number, everything: boolean): void;
  isComplete(layer: number): boolean;
}

export function bootstraps(layers: readonly Layer[]): Bootstraps {
  const told = new Set<number>();
  return {
    wanted: (below) => layers.slice(0, below).some((layer) => layer.bootstrap),
    told(below, everything) {
      if (everything) told.add(below);
      else told.delete(below);
    },
    isComplete(index) {
      if (layers[index]?.bootstrap !== true) return false;
      return layers.every(({ role }, below) => below <= index || role === "cache" || told.has(below));
    },
  };
}
