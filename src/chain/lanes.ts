import type { Route } from "../journal/contract.ts";
import type { Ack } from "./ack.ts";
import { routeOf } from "./state.ts";
import type { ChainState } from "./state.ts";

/** The layers that are written behind, each a lane, and how many stores that take writes stand before it. */
export function lanePlan(state: ChainState): readonly { readonly index: number; readonly depth: number }[] {
  const lanes: { index: number; depth: number }[] = [];
  let below = 0;
  for (const [index, layer] of state.layers.entries()) {
    if (layer.readonly || isMemory(state, index)) continue;
    const isStore = layer.role === "store" && layer.store.supports.shared && index !== state.first;
    if (isStore) below++;
    lanes.push({ index, depth: isStore ? below : 0 });
  }
  return lanes;
}

/** Memory of this process is written at once, and keeps nothing that anybody has to wait for. */
export function isMemory(state: ChainState, index: number): boolean {
  return state.slots[index] !== undefined && state.layers[index]?.role === "cache" && !state.layers[index].readonly;
}

/** Where the entries of a key go. */
export function router(state: ChainState, lanes: readonly { readonly index: number }[]): (key: string) => Route {
  const bitOf = new Map(lanes.map(({ index }, i) => [index, 1 << i]));
  const of = (key: string): Route => {
    let mask = 0;
    let lastStore = 0;
    let first = 0;
    for (const index of routeOf(state, key)) {
      const bit = bitOf.get(index) ?? 0;
      mask |= bit;
      if (index === state.first) first = bit;
      if (bit !== 0 && state.layers[index]?.role === "store") lastStore = bit;
    }
    return { mask, first: first === 0 ? lastStore : first };
  };
  // Without prefixes every key goes the same way.
  const same = state.layers.every(({ prefixes }) => prefixes.length === 0) ? of("a") : undefined;
  return same === undefined ? of : () => same;
}

/** The lanes that an acknowledgement waits for, as bits. */
export function maskOf(lanes: readonly { readonly index: number }[], ack: Ack): number {
  if (ack.kind !== "layers") return -1;
  return lanes.reduce((mask, { index }, i) => (ack.indexes.has(index) ? mask | (1 << i) : mask), 0);
}
