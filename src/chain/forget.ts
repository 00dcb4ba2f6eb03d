import type { Forget } from "../store.ts";
import type { LayerCalls } from "./call.ts";
import { isFor } from "./layer.ts";
import type { ChainState } from "./state.ts";

/**
 * Removes exactly these versions from every layer, the deepest first, so that no layer can bring back what one below
 * it still had. Caches keep no watermark: they may forget, and be told again, anything.
 */
export async function forgetEverywhere(state: ChainState, items: readonly Forget[]): Promise<void> {
  for (const calls of state.calls.toReversed()) await forgetInLayer(calls, items);
  for (const { key, version } of items) {
    state.floors.drop(key, version);
    state.flights.overtake(key);
    state.negatives.delete(key);
  }
}

async function forgetInLayer({ layer, call }: LayerCalls, items: readonly Forget[]): Promise<void> {
  if (layer.readonly) return;
  const own = items.filter(({ key }) => isFor(layer.prefixes, key));
  const asked = layer.role === "store" ? own : own.map((item): Forget => ({ ...item, reason: "ghost" }));
  const { batchMax } = layer.store.supports;
  for (let at = 0; at < asked.length; at += batchMax) {
    const batch = asked.slice(at, at + batchMax);
    await call("forget", (options) => layer.store.forget(batch, options));
  }
}
