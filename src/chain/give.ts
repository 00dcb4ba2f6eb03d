import { SyncError, asSyncError } from "../error.ts";
import type { SlotStore } from "../slot.ts";
import { failed } from "../store.ts";
import type { CallOptions, Write, WriteResult } from "../store.ts";
import type { LayerCalls } from "./call.ts";
import type { Layer } from "./layer.ts";
import type { ChainState } from "./state.ts";
import { entriesFor } from "./stream.ts";

/** One result for each of any number of writes. Never rejects. */
export async function giveInBatches(
  state: ChainState,
  index: number,
  writes: readonly Write[],
): Promise<WriteResult[]> {
  const calls = state.calls[index] as LayerCalls;
  const slots = state.slots[index];
  if (slots !== undefined) return writes.map((write) => giveNow(calls, slots, write));
  const { batchMax } = calls.layer.store.supports;
  const results: WriteResult[] = [];
  for (let at = 0; at < writes.length; at += batchMax) {
    for (const result of await give(calls, writes.slice(at, at + batchMax))) results.push(result);
  }
  return results;
}

/** One result per write of a batch that the layer takes in one call. Never rejects. */
export function give(calls: LayerCalls, batch: readonly Write[]): Promise<WriteResult[]> {
  return new Promise((resolve) => {
    const send = (call: CallOptions) => calls.layer.store.write(batch, call);
    const next = (outcome: WriteResult[] | SyncError) => resolve(resultsOf(calls, batch, outcome));
    calls.ask("write", { send, next }, entriesFor(batch));
  });
}

/** What became of each write of a call: one that failed is the result of all of them. */
export function resultsOf(
  { layer, counts }: LayerCalls,
  batch: readonly Write[],
  outcome: WriteResult[] | SyncError,
): WriteResult[] {
  if (outcome instanceof SyncError) return batch.map(() => failed(outcome));
  counts.writes += batch.length;
  // A store of others may give anything. Which result is whose is not known then.
  if (Array.isArray(outcome) && outcome.length === batch.length) return outcome;
  return batch.map((write) => failed(noResult(layer, write)));
}

/** The same of one write, in a layer that takes it without a promise. */
export function giveNow({ counts, layer }: LayerCalls, slots: SlotStore, write: Write): WriteResult {
  counts.calls++;
  try {
    const result = slots.writeNow([write])[0];
    counts.writes++;
    return result ?? failed(noResult(layer, write));
  } catch (error) {
    return failed(asSyncError(error, { store: layer.name, operation: "write" }));
  }
}

function noResult({ name }: Layer, { entry: { key } }: Write): SyncError {
  return new SyncError("INTERNAL", "the layer gave no result for a write", { store: name, operation: "write", key });
}

/**
 * Whether the answer to a conditional write that was sent again leaves open what became of it the first time: what is
 * there may stand upon it. An older version that is there shows that it did not happen; so does nothing, unless it
 * expired.
 */
export function isUndecided({ entry, if: condition }: Write, result: WriteResult): boolean {
  if (condition === undefined) return false;
  if (result.status === "conflict") {
    const { current } = result;
    return current === undefined ? entry.expires !== null : current.version > entry.version;
  }
  return result.status === "superseded" || result.status === "too-old";
}

/** A conditional write whose answer is lost may have happened, and says so. */
export function undecided(error: SyncError, write: Write, layer: Layer): SyncError {
  return write.if === undefined || !error.retryable ? error : indeterminate(error, write.entry.key, layer);
}

export function indeterminate(cause: SyncError, key: string, layer: Layer): SyncError {
  return new SyncError("INDETERMINATE", "the conditional write may or may not have happened", {
    store: layer.name,
    operation: "write",
    key,
    cause,
    cure: "read the key to see whether it happened",
  });
}

/** A lost answer is asked for again with the same versions, which count as met if they are there. Never rejects. */
export async function giveOnCondition(calls: LayerCalls, writes: readonly Write[]): Promise<WriteResult[]> {
  const { layer } = calls;
  const send = () => calls.call("write", (call) => layer.store.write(writes, call), entriesFor(writes));
  const isLeftAlone = calls.isLeftAlone(); // then nothing is sent at all
  let lostAnswer: SyncError | undefined;
  try {
    const results = await send().catch((error: unknown) => {
      if (!(error instanceof SyncError) || !error.retryable) throw error;
      lostAnswer = error;
      return send();
    });
    calls.counts.writes += writes.length;
    return writes.map((write, i) => {
      const result = results[i] ?? failed(noResult(layer, write));
      return lostAnswer !== undefined && isUndecided(write, result)
        ? failed(undecided(lostAnswer, write, layer))
        : result;
    });
  } catch (thrown) {
    const error = asSyncError(thrown, { store: layer.name, operation: "write" });
    return writes.map((write) => failed(isLeftAlone ? error : undecided(error, write, layer)));
  }
}
