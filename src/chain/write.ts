import { SyncError, asSyncError } from "../error.ts";
import { stubOf } from "../entry.ts";
import type { Head } from "../entry.ts";
import { failed, refusal } from "../store.ts";
import type { CallOptions, Store, Write, WriteResult } from "../store.ts";
import { versionMs } from "../version.ts";
import { ackOf } from "./ack.ts";
import type { Era } from "./background.ts";
import type { LayerCalls, Question } from "./call.ts";
import { forCaller } from "../caller.ts";
import type { ChainWriteOptions } from "./chain.ts";
import { fillFromBelow } from "./from-below.ts";
import { give, giveInBatches, giveNow, giveOnCondition, resultsOf } from "./give.ts";
import { invalidate } from "./invalidate.ts";
import type { Layer } from "./layer.ts";
import { fits } from "./read.ts";
import type { ChainState, WriteRoute } from "./state.ts";
import { dropLate, holdLate } from "./spool.ts";
import { writeRouteOf } from "./state.ts";
import { bodyFor, entriesFor } from "./stream.ts";

/** One write on its way down: where it goes, and what became of it. */
interface Passage extends WriteRoute {
  readonly write: Write;
  result: WriteResult | undefined;
}

/** A write that goes by itself: it asks its first layer, and goes on with the answer. */
class Lone implements Passage, Question<WriteResult[]> {
  readonly write: Write;
  readonly first: number;
  readonly others: readonly number[];
  result: WriteResult | undefined = undefined;
  private readonly state: ChainState;
  private readonly batch: readonly [Write];
  private readonly calls: LayerCalls;
  private era: Era | undefined = undefined;
  private resolve: (results: WriteResult[] | Promise<WriteResult[]>) => void = nothing;
  private reject: (error: unknown) => void = nothing;

  constructor(state: ChainState, write: Write, { first, others }: WriteRoute) {
    this.state = state;
    this.write = write;
    this.first = first;
    this.others = others;
    this.calls = state.calls[first] as LayerCalls;
    this.batch = [inFirst(this.calls.layer, write)];
  }

  setOut(): Promise<WriteResult[]> {
    const { state, calls, batch } = this;
    const slots = state.slots[this.first];
    if (slots !== undefined) return Promise.resolve(passOn(state, this, giveNow(calls, slots, batch[0])));
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.era = state.background.begin();
      calls.ask("write", this, entriesFor(batch));
    });
  }

  send(call: CallOptions): Promise<WriteResult[]> {
    return this.calls.layer.store.write(this.batch, call);
  }

  next(outcome: WriteResult[] | SyncError): void {
    const { state, calls, batch, era } = this;
    try {
      this.resolve(passOn(state, this, resultsOf(calls, batch, outcome)[0]));
    } catch (error) {
      this.reject(error);
    }
    if (era !== undefined) state.background.end(era);
  }
}

function nothing(): void {}

/** Whether a caller waits for a layer: always, because the level names it, or not. */
type Wait = "yes" | "by name" | "no";

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
  const ack = ackOf(state, options?.ack, false);
  const waitFor = ack.kind === "layers" ? ack.indexes : "all";
  // The caller may use its bytes again when the call has ended: what memory keeps, and what goes on by itself, is copied.
  const isCopied = options?.givesBytes !== true && (waitFor !== "all" || state.keepsBytes);
  const own = isCopied ? writes.map(copied) : writes;
  const only = own.length === 1 ? own[0] : undefined;
  const work =
    only !== undefined && only.if === undefined && waitFor === "all"
      ? passOne(state, self, only)
      : passAll(state, self, own, waitFor);
  return forCaller(work, options, state.runtime, state.name, "write");
}

export function copied(write: Write): Write {
  const { value } = write.entry;
  return value === null ? write : { ...write, entry: { ...write.entry, value: new Uint8Array(value) } };
}

function plan(state: ChainState, self: Store, write: Write): Passage {
  const { first, others } = writeRouteOf(state, write.entry.key);
  return { write, first, others, result: refusalOf(state, self, write) };
}

/** The result of a write that the chain refuses before any layer is asked; undefined if it may be tried. */
export function refusalOf(state: ChainState, self: Store, write: Write): WriteResult | undefined {
  const { key, version } = write.entry;
  const refused = refusal(self, write);
  if (refused !== undefined) return refused;
  const from = versionMs(version) - state.skewMaxMs;
  // The coarse clock may lag behind: it can acquit and not convict.
  if (from > state.runtime.coarse.now() && from > state.runtime.now()) {
    const what = `version ${version} lies more than ${state.skewMaxMs} ms in the future`;
    const cure = "correct the clock of the machine that wrote it";
    return failed(new SyncError("SKEW", what, { store: state.name, operation: "write", key, cure }));
  }
  if (writeRouteOf(state, key).first === -1) {
    return failed(
      new SyncError("READONLY", "no layer that keeps this key takes writes", {
        store: state.name,
        operation: "write",
        key,
      }),
    );
  }
  return undefined;
}

/** One write that every layer is waited for: what {@link passAll} does where nothing has to be put into groups. */
function passOne(state: ChainState, self: Store, write: Write): Promise<WriteResult[]> {
  const refused = refusalOf(state, self, write);
  if (refused !== undefined) return Promise.resolve([refused]);
  return new Lone(state, write, writeRouteOf(state, write.entry.key)).setOut();
}

/** The other layers' turn, once the first one has answered. */
function passOn(
  state: ChainState,
  passage: Passage,
  result: WriteResult | undefined,
): WriteResult[] | Promise<WriteResult[]> {
  passage.result = result;
  learn(state, passage);
  let waits: Promise<void>[] | undefined;
  if (result?.status === "stored") {
    const { others } = passage;
    for (let i = 0; i < others.length; i++) {
      const index = others[i] as number;
      const calls = state.calls[index] as LayerCalls;
      const slots = state.slots[index];
      const write = forLayer(calls.layer, passage.write);
      if (slots === undefined) (waits ??= []).push(passTo(state, index, passage, write));
      else ended(state, index, passage, write, giveNow(calls, slots, write), "yes");
    }
  }
  return waits === undefined ? [resultOf(state, passage)] : passedTo(state, passage, waits);
}

async function passTo(state: ChainState, index: number, passage: Passage, write: Write): Promise<void> {
  const [outcome] = await give(state.calls[index] as LayerCalls, [write]);
  ended(state, index, passage, write, outcome, "yes");
}

function passedTo(state: ChainState, passage: Passage, waits: readonly Promise<void>[]): Promise<WriteResult[]> {
  const work = Promise.all(waits).then(() => [resultOf(state, passage)]);
  state.background.add(work);
  return work;
}

function passAll(
  state: ChainState,
  self: Store,
  writes: readonly Write[],
  waitFor: ReadonlySet<number> | "all",
): Promise<WriteResult[]> {
  const passages = writes.map((write) => plan(state, self, write));
  const unwaited: Promise<void>[] = [];
  const work = pass(state, passages, waitFor, unwaited);
  // To `flush` and `close` a write is under way until every layer was given it.
  state.background.add(work.then(() => Promise.all(unwaited)));
  return work;
}

async function pass(
  state: ChainState,
  passages: readonly Passage[],
  waitFor: ReadonlySet<number> | "all",
  unwaited: Promise<void>[],
): Promise<WriteResult[]> {
  const open = passages.filter((passage) => passage.result === undefined);
  for (const [layer, group] of groupBy(open, (passage) => passage.first)) {
    const writeAnew = async (write: Write) => {
      const [result] = await giveOnCondition(state.calls[layer] as LayerCalls, [write]);
      const { entry, asOf } = write;
      if (result?.status === "stored") open.push({ write: { entry, asOf }, ...writeRouteOf(state, entry.key), result });
      return result;
    };
    await writeFirst(state, layer, group, writeAnew);
  }
  for (const passage of open) learn(state, passage);
  const stored = open.filter((passage) => passage.result?.status === "stored");
  const waits: Promise<void>[] = [];
  for (const layer of new Set(stored.flatMap((passage) => passage.others))) {
    const group = stored.filter((passage) => passage.others.includes(layer));
    const wait = waitFor === "all" ? "yes" : waitFor.has(layer) ? "by name" : "no";
    const work = writeNext(state, layer, group, wait);
    (wait === "no" ? unwaited : waits).push(work);
  }
  await Promise.all(waits);
  return passages.map((passage) => resultOf(state, passage));
}

function resultOf(state: ChainState, { write, result }: Passage): WriteResult {
  return result ?? failed(lost(state, write));
}

function lost(state: ChainState, write: Write): SyncError {
  return new SyncError("INTERNAL", "the write got no result", { store: state.name, key: write.entry.key });
}

/** The authority decides. Sets every passage's result. Never rejects. @param writeAnew see {@link fillFromBelow}. */
async function writeFirst(
  state: ChainState,
  index: number,
  group: readonly Passage[],
  writeAnew: (write: Write) => Promise<WriteResult | undefined>,
): Promise<void> {
  const calls = state.calls[index] as LayerCalls;
  const { layer } = calls;
  const conditional = group.filter(({ write }) => write.if !== undefined);
  try {
    if (conditional.length > 0) await fillFromBelow(state, index, calls, writesOf(conditional), writeAnew);
  } catch (error) {
    const reason = asSyncError(error, { store: state.name, operation: "write" });
    for (const passage of conditional) passage.result = failed(reason);
  }
  const ready = group.filter((passage) => passage.result === undefined);
  const { batchMax } = layer.store.supports;
  for (let at = 0; at < ready.length; at += batchMax) {
    const batch = ready.slice(at, at + batchMax);
    const writes = writesOf(batch).map((write) => inFirst(layer, write));
    const isConditional = writes.some((write) => write.if !== undefined);
    const results = await (isConditional ? giveOnCondition(calls, writes) : giveInBatches(state, index, writes));
    for (const [i, passage] of batch.entries()) passage.result = results[i];
  }
}

/** What this process knows once the authority has answered. */
function learn(state: ChainState, { write, first, result }: Passage): void {
  const { entry } = write;
  const { key } = entry;
  const now = state.runtime.now();
  switch (result?.status) {
    case "stored":
      state.floors.raise(entry, now);
      state.flights.overtake(key, entry.version);
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

export function newer({ key, meta }: Head, version: Head["version"]): Head {
  return { key, state: "value", version, expires: null, meta };
}

/**
 * Any other layer. A `store` that does not get a write makes it fail, naming the layer, if the caller waits for it; in
 * any case the write is kept for the next `flush`. A cache that fails is reported, and makes the write fail only if its
 * name was given as the acknowledgement level. Never rejects.
 */
async function writeNext(state: ChainState, index: number, group: readonly Passage[], wait: Wait): Promise<void> {
  const layer = state.layers[index] as Layer;
  const writes = group.map(({ write }) => forLayer(layer, write));
  const outcomes = await giveInBatches(state, index, writes);
  for (const [i, passage] of group.entries()) ended(state, index, passage, writes[i] as Write, outcomes[i], wait);
}

/** What another layer made of a write. */
function ended(
  state: ChainState,
  index: number,
  passage: Passage,
  write: Write,
  outcome: WriteResult | undefined,
  wait: Wait,
): void {
  if (outcome === undefined || outcome.status === "stored") return;
  const layer = state.layers[index] as Layer;
  if (outcome.status === "superseded") {
    invalidate(state, index, [newer(write.entry, outcome.by)]);
    // A condition was decided by the authority, whatever others have.
    if (layer.role === "store" && passage.write.if === undefined) passage.result = outcome;
  }
  if (outcome.status === "too-old" && layer.role === "store") {
    refusedAsOld(state, passage, layer);
    if (wait === "no") keepLate(state, index, write);
  }
  if (outcome.status !== "failed") return;
  if (layer.role === "cache") {
    state.report({ kind: "write-failed", layer: layer.name, key: write.entry.key, message: outcome.error.message });
  } else {
    keepLate(state, index, write);
  }
  if (wait === "by name" || (wait === "yes" && layer.role === "store")) {
    passage.result = failed(incomplete(state, passage, layer, outcome.error));
  }
}

function keepLate(state: ChainState, index: number, write: Write): void {
  holdLate(state, write);
  dropLate(state, state.late.add(index, write));
}

/** The key may have been deleted for good in this layer: never silence, though the authority has the write. */
function refusedAsOld(state: ChainState, passage: Passage, layer: Layer): void {
  const { key, version } = passage.write.entry;
  const message = `version ${version} is older than what was collected there; ${layer.name} does not have it`;
  state.report({ kind: "write-failed", layer: layer.name, key, message });
  if (passage.result?.status === "stored") passage.result = { status: "too-old" };
}

function incomplete(state: ChainState, { write, first }: Passage, layer: Layer, cause: SyncError): SyncError {
  const what = `stored in ${state.layers[first]?.name}, but not in ${layer.name}: ${cause.message}`;
  // A conditional write has happened: made anew it would be judged against itself.
  const retryable = cause.retryable && write.if === undefined;
  const details = { store: state.name, operation: "write", key: write.entry.key, cause, retryable };
  return new SyncError("UNAVAILABLE", what, { ...details, cure: "flush once the layer is back" });
}

/** What a layer is given of a write: the entry, or its stub where the layer only invalidates or the value is too big. */
export function forLayer(layer: Layer, write: Write): Write {
  const { entry, asOf } = write;
  if (write.body !== undefined) return bodyFor(layer, write);
  const asStub = layer.role === "cache" && (layer.onWrite === "invalidate" || !fits(entry.value, layer.valueBytesMax));
  if (asStub && entry.state === "value") return { entry: stubOf(entry), asOf };
  return write.if === undefined ? write : { entry, asOf };
}

/** The layer that a write goes to first gets it as it is, under its condition. */
export function inFirst(layer: Layer, write: Write): Write {
  return write.body === undefined ? write : { ...bodyFor(layer, write), if: write.if };
}

/** @throws SyncError UNAVAILABLE, naming the layers that still lack writes. */
export async function flushLate(state: ChainState): Promise<void> {
  await state.background.settled();
  const lacking: string[] = [];
  for (const [index, writes] of state.late.take()) {
    const calls = state.calls[index];
    if (calls === undefined) continue;
    const results = await giveInBatches(state, index, writes);
    const left = writes.filter((_, i) => results[i]?.status === "failed" || results[i]?.status === "too-old");
    for (const write of left) keepLate(state, index, write);
    for (const write of writes) dropLate(state, write);
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
