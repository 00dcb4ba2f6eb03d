import type { Head } from "../entry.ts";
import type { Forget } from "../store.ts";
import { messageOf } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import { isFor } from "./layer.ts";
import type { ChainState } from "./state.ts";

/**
 * Removes exactly these versions from every layer, the deepest first, so that no layer can bring back what one below
 * it still had. Caches keep no watermark: they may forget, and be told again, anything. What a cache that fails keeps
 * is a ghost, which the next walk to the end drops.
 * @throws SyncError when a `store` layer fails.
 */
export async function forgetEverywhere(state: ChainState, items: readonly Forget[]): Promise<void> {
  for (const calls of state.calls.toReversed()) {
    try {
      await forgetInLayer(calls, items);
    } catch (error) {
      const { name, role } = calls.layer;
      if (role === "store") throw error;
      state.report({ kind: "write-failed", layer: name, message: messageOf(error) });
    }
  }
  const now = state.runtime.now();
  for (const { key, version, reason } of items) {
    // What was before a ghost may be true still.
    if (reason === "collected") state.floors.end(key, version, now);
    else state.floors.drop(key, version);
    state.flights.overtake(key);
    state.negatives.delete(key);
  }
}

/** This version is nobody's value: it leaves the caches that this process has given it to. Failing is reported. */
export async function forgetCopies(state: ChainState, { key, version }: Head): Promise<void> {
  for (const calls of state.calls) {
    if (calls.layer.role === "store") continue;
    try {
      await forgetInLayer(calls, [{ key, version, reason: "ghost" }]);
    } catch (error) {
      state.report({ kind: "write-failed", layer: calls.layer.name, key, message: messageOf(error) });
    }
  }
}

async function forgetInLayer({ layer, call }: LayerCalls, items: readonly Forget[]): Promise<void> {
  if (layer.readonly) return;
  const own = items.filter(({ key }) => isFor(layer.prefixes, key));
  const asked = layer.role === "store" ? own : own.map((item): Forget => ({ ...item, reason: "ghost" }));
  const { batchMax } = layer.store.supports;
  for (let at = 0; at < asked.length; at += batchMax) {
    const batch = asked.slice(at, at + batchMax);
    await call("forget", (options) => layer.store.forget(batch, options), batch.length);
  }
}
