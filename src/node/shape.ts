import type { Chain } from "../chain/chain.ts";
import { nodesOf } from "../protocol.ts";
import type { Shape } from "../protocol.ts";
import type { Store } from "../store.ts";

/** A store that stands for another node knows what that one last said of itself. */
interface Remote extends Store {
  below(): Shape | undefined;
}

function isRemote(store: Store): store is Remote {
  return "below" in store && typeof store.below === "function";
}

/** The node, its layers, and what is known of the nodes below it. */
export function shapeOf(node: string, chain: Chain): Shape {
  const layers = chain.layers.map(({ name, role, store }) => {
    const below = isRemote(store) ? store.below() : undefined;
    return below === undefined ? { name, role } : { name, role, below };
  });
  return { node, layers };
}

/** Whether there can be nodes below it. */
export function hasNodesBelow({ layers }: Chain): boolean {
  return layers.some(({ store }) => isRemote(store));
}

/** The names of all nodes below it, as far as they are known. */
export function namesBelow(node: string, chain: Chain): readonly string[] {
  return shapeOf(node, chain).layers.flatMap(({ below }) => (below === undefined ? [] : nodesOf(below)));
}
