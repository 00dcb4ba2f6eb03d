import { SyncError, asSyncError } from "../error.ts";
import { failed } from "../store.ts";
import type { CallOptions, Store, WriteResult } from "../store.ts";
import type { ChainState } from "./state.ts";

/** A store with layers of its own: another chain, or a node. */
interface Flushing extends Store {
  flush(call: CallOptions | undefined): Promise<void>;
}

function isFlushing(store: Store): store is Flushing {
  return "flush" in store && typeof store.flush === "function";
}

/** Everything that the layers have is in their own layers too, as deep as it goes. @throws SyncError what they throw. */
export async function flushBelow({ layers }: Pick<ChainState, "layers">, call: CallOptions | undefined): Promise<void> {
  for (const { store } of layers) if (isFlushing(store)) await store.flush(call);
}

/**
 * The results of writes that every layer is to have, those below the layers among them. What a layer took and could not
 * pass on is not where it was asked to be.
 */
export async function allTheWayDown(
  state: ChainState,
  results: readonly WriteResult[],
  call: CallOptions | undefined,
): Promise<WriteResult[]> {
  if (!results.some(({ status }) => status === "stored") || !state.layers.some(({ store }) => isFlushing(store))) {
    return [...results];
  }
  try {
    await flushBelow(state, call);
    return [...results];
  } catch (thrown) {
    const cause = asSyncError(thrown);
    const stored = state.behind !== undefined;
    const what = `${stored ? "in the journal" : "stored"}, but not yet in every layer below: ${cause.message}`;
    const cure = "flush once what stands in the way is gone";
    const error = new SyncError("UNAVAILABLE", what, {
      store: state.name,
      operation: "write",
      cause,
      cure,
      retryable: false,
      stored,
    });
    return results.map((result) => (result.status === "stored" ? failed(error) : result));
  }
}
