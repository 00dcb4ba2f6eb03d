import { SyncError, asSyncError } from "../error.ts";
import { stubOf } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { failed, refusal } from "../store.ts";
import type { CallOptions, Store, Write, WriteResult } from "../store.ts";
import { versionMs } from "../version.ts";
import type { LayerCalls } from "./call.ts";
import { forCaller } from "./caller.ts";
import type { ChainWriteOptions } from "./chain.ts";
import { invalidate } from "./invalidate.ts";
import type { Layer } from "./layer.ts";
import { fits, readKeys } from "./read.ts";
import type { ChainState } from "./state.ts";
import { routeOf } from "./state.ts";

/** One write on its way down: where it goes first, where next, and what became of it. */
interface Passage {
  readonly write: Write;
  readonly first: number;
  readonly others: readonly number[];
  result: WriteResult | undefined;
}

/**
 * Writes through the chain: the authority first, then every other layer at once. A write that the authority has is
 * this process's floor from that moment on, whatever the other layers say.
 */
export function writeThrough(
  state: ChainState,
  self: Store,
  writes: readonly Write[],
  options: ChainWriteOptions | undefined,
): Promise<WriteResult[]> {
  const waitFor = ackedLayers(state, options?.ack);
  // Layers that are not waited for are written when the caller may already use its bytes again.
  const own = waitFor === "all" ? writes : writes.map(copied);
  const passages = own.map((write) => plan(state, self, write));
  const work = pass(state, passages, waitFor);
  state.background.add(work.catch(() => undefined));
  return forCaller(work, options, state.runtime, state.name, "write");
}

function copied(write: Write): Write {
  const { value } = write.entry;
  return value === null ? write : { ...write, entry: { ...write.entry, value: value.slice() } };
}

/** The layers that an acknowledgement level waits for. @throws SyncError INVALID, or UNSUPPORTED for the journal. */
function ackedLayers(state: ChainState, ack: string | undefined): ReadonlySet<number> | "all" {
  if (ack === undefined || ack === "all") return "all";
  const index = state.layers.findIndex((layer) => layer.name === ack);
  if (index !== -1) return new Set([index]);
  if (ack === "journal") {
    throw new SyncError("UNSUPPORTED", 'this chain has no journal to acknowledge "journal"', {
      cure: "leave ack out: a write is then acknowledged when every layer has it, or name one of the layers",
    });
  }
  throw new SyncError("INVALID", `no acknowledgement level ${JSON.stringify(ack)} in this chain`, {
    cure: `use "all" or one of ${state.layers.map((layer) => JSON.stringify(layer.name)).join(", ")}`,
  });
}

function plan(state: ChainState, self: Store, write: Write): Passage {
  const { key, version } = write.entry;
  const writable = routeOf(state, key).filter((index) => state.layers[index]?.readonly === false);
  const first = writable.includes(state.first)
    ? state.first
    : (writable.findLast((index) => state.layers[index]?.role === "store") ?? -1);
  const others = writable.filter((index) => index !== first);
  const details = { store: state.name, operation: "write", key };
  let result = refusal(self, write);
  if (result === undefined && versionMs(version) > state.runtime.now() + state.skewMaxMs) {
    const what = `version ${version} lies more than ${state.skewMaxMs} ms in the future`;
    result = failed(
      new SyncError("SKEW", what, { ...details, cure: "correct the clock of the machine that wrote it" }),
    );
  }
  if (result === undefined && first === -1) {
    result = failed(new SyncError("READONLY", "no layer that keeps this key takes writes", details));
  }
  return { write, first, others, result };
}

async function pass(
  state: ChainState,
  passages: readonly Passage[],
  waitFor: ReadonlySet<number> | "all",
): Promise<WriteResult[]> {
  const open = passages.filter((passage) => passage.result === undefined);
  for (const [layer, group] of groupBy(open, (passage) => passage.first)) await writeFirst(state, layer, group);
  for (const passage of open) learn(state, passage);
  const stored = open.filter((passage) => passage.result?.status === "stored");
  const waits: Promise<void>[] = [];
  for (const layer of new Set(stored.flatMap((passage) => passage.others))) {
    const group = stored.filter((passage) => passage.others.includes(layer));
    const waited = waitFor === "all" || waitFor.has(layer);
    const work = writeNext(state, layer, group, waited);
    if (waited) waits.push(work);
    else state.background.add(work);
  }
  await Promise.all(waits);
  return passages.map(({ write, result }) => result ?? failed(lost(state, write)));
}

function lost(state: ChainState, write: Write): SyncError {
  return new SyncError("INTERNAL", "the write got no result", { store: state.name, key: write.entry.key });
}

/** The authority decides. Sets every passage's result. Never rejects. */
async function writeFirst(state: ChainState, layer: number, group: readonly Passage[]): Promise<void> {
  const calls = state.calls[layer];
  if (calls === undefined) return;
  const conditional = group.filter(({ write }) => write.if !== undefined);
  try {
    if (conditional.length > 0) await fillFromBelow(state, layer, calls, conditional);
  } catch (error) {
    const reason = asSyncError(error, { store: state.name, operation: "write" });
    for (const passage of conditional) passage.result = failed(reason);
  }
  const ready = group.filter((passage) => passage.result === undefined);
  const { batchMax } = calls.layer.store.supports;
  for (let at = 0; at < ready.length; at += batchMax) await writeBatch(calls, ready.slice(at, at + batchMax));
}

async function writeBatch(calls: LayerCalls, batch: readonly Passage[]): Promise<void> {
  const { layer } = calls;
  const send = () => calls.call("write", (call) => layer.store.write(writesOf(batch), call));
  const isConditional = batch.some(({ write }) => write.if !== undefined);
  try {
    // A lost answer of a conditional write is asked for again with the same version, which counts as met if it is there.
    const results = await send().catch((error: unknown) => {
      if (isConditional && error instanceof SyncError && error.retryable) return send();
      throw error;
    });
    calls.counts.writes += batch.length;
    for (const [i, passage] of batch.entries()) passage.result = results[i];
  } catch (thrown) {
    const error = asSyncError(thrown, { store: layer.name, operation: "write" });
    for (const passage of batch) passage.result = failed(undecided(error, passage.write, layer));
  }
}

/** A conditional write whose answer is lost may have happened, and says so. */
function undecided(error: SyncError, write: Write, layer: Layer): SyncError {
  if (write.if === undefined || !error.retryable) return error;
  const details = { store: layer.name, operation: "write", key: write.entry.key, cause: error };
  const cure = "read the key to see whether it happened";
  return new SyncError("INDETERMINATE", "the conditional write may or may not have happened", { ...details, cure });
}

/** A key that the authority lacks is brought up from the layers below, so that a condition is judged on what is true. */
async function fillFromBelow(
  state: ChainState,
  authority: number,
  calls: LayerCalls,
  passages: readonly Passage[],
): Promise<void> {
  if (!state.layers.slice(authority + 1).some((layer) => layer.role === "store")) return;
  const keys = passages.map(({ write }) => write.entry.key);
  const answers = await readKeys(state, keys, { authority: true });
  const missing: Write[] = [];
  for (const { entry, asOf, from } of answers) {
    if (entry !== undefined && from !== calls.layer.name) missing.push({ entry, asOf });
  }
  if (missing.length > 0) await calls.call("fill", (call) => calls.layer.store.write(missing, call));
}

/** What this process knows once the authority has answered. */
function learn(state: ChainState, { write, first, result }: Passage): void {
  const { entry } = write;
  const { key } = entry;
  const now = state.runtime.now();
  switch (result?.status) {
    case "stored":
      state.floors.raise(entry, now);
      state.flights.overtake(key);
      state.negatives.delete(key);
      return;
    case "superseded":
      return invalidate(state, first, [newer(entry, result.by)]);
    case "conflict":
      if (result.current !== undefined) invalidate(state, first, [result.current]);
      return;
    case "too-old":
    case undefined:
      return;
    case "failed":
      // What was sent may have taken effect: no walk that began before may count on the old state.
      state.flights.overtake(key);
      return;
  }
}

function newer({ key, meta }: Entry, version: Head["version"]): Head {
  return { key, state: "value", version, expires: null, meta };
}

/**
 * Any other layer. A `store` that does not get a write makes it fail, naming the layer, if the caller waits for it;
 * otherwise the write is kept for the next `flush`. A cache that fails is reported. Never rejects.
 */
async function writeNext(state: ChainState, index: number, group: readonly Passage[], waited: boolean): Promise<void> {
  const calls = state.calls[index];
  if (calls === undefined) return;
  const { layer } = calls;
  const writes = group.map(({ write }) => forLayer(layer, write));
  const outcomes = await writeInBatches(calls, writes);
  for (const [i, passage] of group.entries()) {
    const write = writes[i];
    const outcome = outcomes[i];
    if (write === undefined || outcome === undefined) continue;
    if (outcome.status === "superseded") {
      invalidate(state, index, [newer(write.entry, outcome.by)]);
      if (layer.role === "store") passage.result = outcome;
    }
    if (outcome.status !== "failed") continue;
    if (layer.role === "cache") {
      state.report({ kind: "write-failed", layer: layer.name, key: write.entry.key, message: outcome.error.message });
    } else if (waited) {
      passage.result = failed(incomplete(state, passage, layer, outcome.error));
    } else {
      state.late.add(index, write);
    }
  }
}

function incomplete(state: ChainState, { write, first }: Passage, layer: Layer, cause: SyncError): SyncError {
  const what = `stored in ${state.layers[first]?.name}, but not in ${layer.name}: ${cause.message}`;
  const details = { store: state.name, operation: "write", key: write.entry.key, cause, retryable: cause.retryable };
  return new SyncError("UNAVAILABLE", what, { ...details, cure: "write it again once the layer is back" });
}

/** What a layer is given of a write: the entry, or its stub where the layer only invalidates or the value is too big. */
function forLayer(layer: Layer, { entry, asOf }: Write): Write {
  const asStub = layer.role === "cache" && (layer.onWrite === "invalidate" || !fits(entry.value, layer.valueBytesMax));
  return { entry: asStub && entry.state === "value" ? stubOf(entry) : entry, asOf };
}

/** One result per write; a call that fails is the result of all its writes. Never rejects. */
async function writeInBatches(calls: LayerCalls, writes: readonly Write[]): Promise<WriteResult[]> {
  const { layer, counts } = calls;
  const { batchMax } = layer.store.supports;
  const results: WriteResult[] = [];
  for (let at = 0; at < writes.length; at += batchMax) {
    const batch = writes.slice(at, at + batchMax);
    try {
      results.push(...(await calls.call("write", (call: CallOptions) => layer.store.write(batch, call))));
      counts.writes += batch.length;
    } catch (error) {
      const result = failed(asSyncError(error, { store: layer.name, operation: "write" }));
      results.push(...batch.map(() => result));
    }
  }
  return results;
}

/** @throws SyncError UNAVAILABLE, naming the layers that still lack writes. */
export async function flushLate(state: ChainState): Promise<void> {
  await state.background.settled();
  const lacking: string[] = [];
  for (const [index, writes] of state.late.take()) {
    const calls = state.calls[index];
    if (calls === undefined) continue;
    const results = await writeInBatches(calls, writes);
    const left = writes.filter((_, i) => results[i]?.status === "failed");
    for (const write of left) state.late.add(index, write);
    if (left.length > 0) lacking.push(`${calls.layer.name} (${left.length})`);
  }
  const dropped = state.late.dropped();
  if (dropped > 0) lacking.push(`${dropped} more that could not be kept`);
  if (lacking.length === 0) return;
  throw new SyncError("UNAVAILABLE", `writes have not reached ${lacking.join(", ")}`, {
    store: state.name,
    operation: "flush",
    cure: "bring the layer back and flush again",
  });
}

function writesOf(batch: readonly Passage[]): Write[] {
  return batch.map(({ write }) => write);
}

function groupBy<T>(items: readonly T[], by: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(by(item));
    if (group === undefined) groups.set(by(item), [item]);
    else group.push(item);
  }
  return groups;
}
