import type { Head } from "../entry.ts";
import { asSyncError } from "../error.ts";
import { checkCall } from "../store.ts";
import type { CallOptions } from "../store.ts";
import { forCaller } from "../caller.ts";
import type { WhereAnswer } from "./chain.ts";
import type { LayerCalls } from "./call.ts";
import { isFor } from "./layer.ts";
import type { ChainState } from "./state.ts";
import { HEADS_ONLY } from "./stream.ts";

/** What each layer holds of a key. A layer that fails is an answer too. */
export async function whereIs(
  state: ChainState,
  key: string,
  options: CallOptions | undefined,
): Promise<readonly WhereAnswer[]> {
  checkCall(state.runtime, options, state.name, "where");
  const layers = state.calls.map((calls) => whereInLayer(state, calls, key));
  const all = Promise.all(layers).then((answers) => [...whereInJournal(state, key), ...answers]);
  return forCaller(all, options, state.runtime, state.name, "where");
}

/** The journal is told only while it has something that a layer lacks. */
function whereInJournal({ behind, runtime }: ChainState, key: string): readonly WhereAnswer[] {
  const pending = behind?.journal.newest(key);
  if (pending === undefined) return [];
  const { state, version, expires, meta } = pending.head;
  const head = { key, state: pending.body === undefined ? state : ("value" as const), version, expires, meta };
  const ageMs = Math.max(0, runtime.now() - pending.knownAt);
  return [{ layer: "journal", role: "store", state: "has", head, version, ageMs }];
}

async function whereInLayer(state: ChainState, { layer, call }: LayerCalls, key: string): Promise<WhereAnswer> {
  const { name, role, store } = layer;
  if (!isFor(layer.prefixes, key)) return { layer: name, role, state: "excluded" };
  try {
    const [answer] = await call("where", (options) => store.read([key], { ...options, ...HEADS_ONLY }));
    const ageMs = Math.max(0, state.runtime.now() - (answer?.asOf ?? 0));
    if (answer?.entry === undefined) return { layer: name, role, state: "absent", ageMs };
    const { value: _, ...known } = answer.entry;
    const head: Head = answer.body === undefined ? known : { ...known, state: "value" };
    return { layer: name, role, state: "has", head, version: head.version, ageMs };
  } catch (error) {
    return { layer: name, role, state: "failed", error: asSyncError(error, { store: name, operation: "where" }) };
  }
}
