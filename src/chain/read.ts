import { SyncError, asSyncError } from "../error.ts";
import { stubOf } from "../entry.ts";
import type { Copy, Entry } from "../entry.ts";
import { PartialRead } from "../store.ts";
import type { Answer, CallOptions, ReadOptions, Write } from "../store.ts";
import type { SlotStore } from "../slot.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import { forCaller } from "../caller.ts";
import { messageOf } from "./call.ts";
import type { ChainReadOptions } from "./chain.ts";
import type { Flight } from "./flight.ts";
import { stubMemory } from "./invalidate.ts";
import type { ChainState } from "./state.ts";
import { routeOf } from "./state.ts";
import { copyFor, filling } from "./stream.ts";
import { JOURNAL, advance, begin, conclude, nextLayer } from "./walk.ts";
import type { Freshness, Ghost, Outcome, Reply, Walk } from "./walk.ts";

/** A walk with the flight it answers and, per layer, the name of the leaf that replied. */
interface Trip {
  readonly flight: Flight;
  walk: Walk;
  readonly from: string[];
}

/** Reads keys through the chain; see walk.ts for the rules. One answer per key. */
export async function readKeys(
  state: ChainState,
  keys: readonly string[],
  options: ChainReadOptions | undefined,
): Promise<Answer[]> {
  const freshness = freshnessOf(options);
  const isNear = options?.near === true;
  const answers = new Map<string, Promise<Answer>>();
  const begun: Flight[] = [];
  for (const key of keys) {
    if (answers.has(key)) continue;
    const isPlain = options?.wholeBytesMax === undefined && isBelowFloor(state, key, options?.atLeast?.get(key));
    const canShare = freshness.kind === "cached" && isPlain && !isNear;
    const isKnown = canShare || (isNear && freshness.kind === "cached" && isPlain);
    const absent = isKnown ? knownAbsence(state, key) : undefined;
    const shared = absent ?? (canShare ? state.flights.joinable(key)?.answer : undefined);
    if (shared !== undefined) {
      answers.set(key, shared);
      continue;
    }
    const flight = state.flights.begin(key, canShare);
    begun.push(flight);
    answers.set(key, flight.answer);
  }
  if (begun.length > 0) start(state, begun, freshness, options);
  const [only] = begun;
  if (keys.length === 1 && only !== undefined) {
    const one = only.answer.then((answer) => [answer]);
    return forCaller(one, options, state.runtime, state.name, "read");
  }
  const asked = keys.flatMap((key) => answers.get(key) ?? []);
  const all = asked.length > 1 ? Promise.all(asked).catch(() => partly(state, asked)) : Promise.all(asked);
  return forCaller(all, options, state.runtime, state.name, "read");
}

/** Throws what became of keys of which some failed: one that is unavailable does not hide the others. */
async function partly({ name }: ChainState, asked: readonly Promise<Answer>[]): Promise<never> {
  const settled = await Promise.allSettled(asked);
  const answers = settled.map((result) =>
    result.status === "fulfilled" ? result.value : asSyncError(result.reason, { store: name, operation: "read" }),
  );
  throw new PartialRead(answers, { store: name });
}

/** Whether no walk here answers with less than the caller has seen, so that there is no need of one of his own. */
function isBelowFloor(state: ChainState, key: string, seen: Version | undefined): boolean {
  return seen === undefined || (state.floors.version(key, state.runtime.now()) ?? VERSION_ZERO) >= seen;
}

function freshnessOf(options: ReadOptions | undefined): Freshness {
  if (options?.authority === true) return { kind: "authority" };
  if (options?.maxAgeMs !== undefined) return { kind: "maxAge", ms: options.maxAgeMs };
  return { kind: "cached" };
}

/** That a complete walk found the key nowhere a short time ago. */
function knownAbsence(state: ChainState, key: string): Promise<Answer> | undefined {
  const now = state.runtime.now();
  const asOf = state.negatives.get(key, now);
  if (asOf === undefined || state.floors.get(key, now)?.dead === false) return undefined;
  if (asOf <= state.gaps.suspectUntil(routeOf(state, key), now)) return undefined;
  return Promise.resolve({ entry: undefined, asOf, complete: true, stale: false, from: state.name });
}

function start(
  state: ChainState,
  begun: readonly Flight[],
  freshness: Freshness,
  options: ChainReadOptions | undefined,
): void {
  const walked = walkTogether(state, begun, freshness, options).catch((cause: unknown) => {
    // A defect in here must not leave readers waiting for ever.
    for (const flight of begun) {
      state.flights.end(flight);
      flight.reject(new SyncError("INTERNAL", "the walk failed", { store: state.name, key: flight.key, cause }));
    }
  });
  state.background.add(walked);
}

/** Walks several keys down the layers in step, so that each layer is asked once for all of them. */
async function walkTogether(
  state: ChainState,
  begun: readonly Flight[],
  freshness: Freshness,
  { atLeast, near = false, wholeBytesMax = state.wholeBytesMax }: ChainReadOptions = {},
): Promise<void> {
  const startedAt = state.runtime.now();
  const { plan, floors, gaps, behind } = state;
  const own = behind?.copies(begun, freshness.kind === "authority", wholeBytesMax);
  const pending = own instanceof Promise ? await own : own;
  let trips: Trip[] = begun.map((flight) => {
    const { key } = flight;
    const floor = floors.get(key, startedAt);
    const route = routeOf(state, key);
    const suspect = { suspectUntil: floors.suspectUntil, gapUntil: gaps.suspectUntil(route, startedAt) };
    const seen = { floor, ...suspect, atLeast: atLeast?.get(key), pending: pending?.get(key) };
    return { flight, walk: begin({ plan, key, freshness, startedAt, route, ...seen }), from: [] };
  });
  for (;;) {
    const going = trips.filter((trip) => nextLayer(trip.walk) !== undefined);
    const over = going.length === trips.length ? [] : trips.filter((trip) => nextLayer(trip.walk) === undefined);
    if (over.length > 0) finish(state, over);
    if (going.length === 0) return;
    const layer = Math.min(...going.map((trip) => nextLayer(trip.walk) ?? 0));
    const asked = going.length === 1 ? going : going.filter((trip) => nextLayer(trip.walk) === layer);
    const slots = state.slots[layer];
    if (slots !== undefined) lookUp(state, layer, slots, asked);
    else if (near && !isNear(state, layer)) skip(state, layer, asked);
    else await ask(state, layer, asked, freshness, wholeBytesMax);
    trips = going;
  }
}

/** Whether a layer can be asked without asking further away: what other machines share may be far. */
function isNear({ layers }: ChainState, index: number): boolean {
  const layer = layers[index];
  return layer?.role === "cache" || layer?.store.supports.shared === false;
}

function skip(state: ChainState, layer: number, trips: readonly Trip[]): void {
  const now = state.runtime.now();
  for (const trip of trips) move(state, layer, trip, { kind: "failed" }, now);
}

/** What {@link ask} does, in a layer that can be looked at without a promise. */
function lookUp(state: ChainState, layer: number, slots: SlotStore, trips: readonly Trip[]): void {
  const now = state.runtime.now();
  for (const trip of trips) {
    const slot = slots.look(trip.walk.key);
    const asOf = slot?.asOf ?? trip.walk.startedAt;
    move(state, layer, trip, { kind: "answer", entry: slot?.entry, asOf, complete: true, stale: false }, now);
  }
}

/** Asks one layer for the keys of these walks and moves each of them on. Never rejects. */
async function ask(
  state: ChainState,
  layer: number,
  trips: readonly Trip[],
  freshness: Freshness,
  wholeBytesMax: number,
): Promise<void> {
  const { batchMax } = state.layers[layer]?.store.supports ?? { batchMax: 1 };
  for (let at = 0; at < trips.length; at += batchMax) {
    await askBatch(state, layer, trips.slice(at, at + batchMax), freshness, wholeBytesMax);
  }
}

async function askBatch(
  state: ChainState,
  layer: number,
  trips: readonly Trip[],
  freshness: Freshness,
  wholeBytesMax: number,
): Promise<void> {
  const calls = state.calls[layer];
  const store = state.layers[layer]?.store;
  if (calls === undefined || store === undefined) return;
  const keys = trips.map((trip) => trip.walk.key);
  try {
    const asked = askFor(state, layer, trips, freshness);
    const answers = await calls.call(
      "read",
      (call) => store.read(keys, { ...call, ...asked, wholeBytesMax }),
      keys.length,
    );
    hear(state, layer, trips, answers);
  } catch (error) {
    if (error instanceof PartialRead) return hear(state, layer, trips, error.answers);
    // One damaged entry must not hide the others of its batch.
    if (error instanceof SyncError && error.code === "CORRUPT" && trips.length > 1) {
      for (const trip of trips) await askBatch(state, layer, [trip], freshness, wholeBytesMax);
      return;
    }
    skip(state, layer, trips);
  }
}

/** Moves each walk on by what the layer said of its key. */
function hear(
  state: ChainState,
  index: number,
  trips: readonly Trip[],
  answers: readonly (Answer | SyncError | undefined)[],
): void {
  const layer = state.layers[index];
  const now = state.runtime.now();
  for (const [i, trip] of trips.entries()) {
    const answer = answers[i];
    if (answer === undefined || answer instanceof SyncError || layer === undefined) {
      move(state, index, trip, { kind: "failed" }, now);
      continue;
    }
    trip.from[index] = answer.from === layer.store.name ? layer.name : `${layer.name}/${answer.from}`;
    move(state, index, trip, replyOf(trip, answer), now);
  }
}

/** How fresh the layer's answer has to be: as asked for, or as the copies that will be filled from it have to be. */
function askFor(state: ChainState, layer: number, trips: readonly Trip[], freshness: Freshness): ReadOptions {
  let atLeast: Map<string, Version> | undefined;
  let holds: Map<string, Version> | undefined;
  for (const { walk } of trips) {
    if (walk.top > VERSION_ZERO) (atLeast ??= new Map<string, Version>()).set(walk.key, walk.top);
    const copy = heldBy(walk);
    if (copy !== undefined) (holds ??= new Map<string, Version>()).set(walk.key, copy.entry.version);
  }
  const floor = { ...(atLeast === undefined ? {} : { atLeast }), ...(holds === undefined ? {} : { holds }) };
  switch (freshness.kind) {
    case "authority":
      return { authority: true, ...floor };
    case "maxAge":
      return { maxAgeMs: freshness.ms, ...floor };
    case "cached":
      return layer === 0 ? floor : { maxAgeMs: state.layers[0]?.ttlMs, ...floor };
  }
}

/** A value that the walk has met and that may be the newest: it need not be sent again. */
function heldBy({ seen, top }: Walk): Copy | undefined {
  return seen.find(({ entry }) => entry.version === top && entry.value !== null);
}

/** What the layer said, with the value that the walk has where that is all it said. */
function replyOf({ walk }: Trip, answer: Answer): Reply {
  if (answer.unchanged !== true) return { kind: "answer", ...answer };
  const copy = heldBy(walk);
  if (copy === undefined || copy.entry.version !== answer.entry?.version) return { kind: "failed" };
  return { kind: "answer", ...answer, entry: copy.entry };
}

function move(state: ChainState, layer: number, trip: Trip, reply: Reply, now: number): void {
  const counts = state.calls[layer]?.counts;
  trip.walk = advance(trip.walk, reply, now);
  if (reply.kind === "answer" && reply.entry !== undefined) observe(state, layer, trip.walk.key, reply.entry.version);
  if (counts === undefined || reply.kind === "failed") return;
  if (trip.walk.stopped === undefined && reply.entry === undefined) counts.misses++;
}

/** The clock takes in what it sees; a stamp from the far future is served, but moves nothing and is reported. */
function observe(state: ChainState, layer: number, key: string, version: Version): void {
  if (state.clock.observe(version)) return;
  const name = state.layers[layer]?.name ?? "";
  const message = `version ${version} lies more than ${state.skewMaxMs} ms in the future: a clock was wrong`;
  state.report({ kind: "future-version", layer: name, key, message });
}

interface Fill extends Copy {
  readonly flight: Flight;
}

/** Answers the readers of walks that are over, then fills layers and drops ghosts in the background. */
function finish(state: ChainState, trips: readonly Trip[]): void {
  const now = state.runtime.now();
  const fills = new Map<number, Fill[]>();
  for (const trip of trips) {
    const { flight, walk } = trip;
    const outcome = conclude(walk, now);
    state.flights.end(flight);
    if (!flight.overtaken) collectFills(outcome, flight, fills);
    settle(state, trip, outcome, now);
  }
  for (const [layer, items] of fills) fill(state, layer, items, now);
}

function settle(state: ChainState, { flight, walk, from }: Trip, outcome: Outcome, now: number): void {
  switch (outcome.kind) {
    case "entry": {
      const { copy, layer, stale, complete } = outcome;
      const counts = state.calls[layer]?.counts;
      if (counts !== undefined) counts.hits++;
      if (layer === JOURNAL && !stale) state.behind?.renew(copy);
      if (!stale) answered(state, flight, copy.entry, now);
      if (!flight.overtaken) dropGhosts(state, walk.key, outcome.ghosts);
      if (outcome.refresh) refresh(state, walk.key, layer);
      const name = layer === JOURNAL ? "journal" : (from[layer] ?? state.layers[layer]?.name ?? state.name);
      const answer = { entry: copy.entry, asOf: copy.asOf, complete, stale, from: name };
      const { body } = copy;
      if (body === undefined) return flight.resolve(answer);
      const layers = flight.overtaken ? [] : outcome.fill.flatMap((index) => state.calls[index] ?? []);
      return flight.resolve({ ...answer, body: filling(state, { ...copy, body }, layers) });
    }
    case "none": {
      if (!flight.overtaken) {
        dropGhosts(state, walk.key, outcome.ghosts);
        if (outcome.remember) state.negatives.add(walk.key, outcome.asOf, now);
      }
      const name = state.layers.at(-1)?.name ?? state.name;
      return flight.resolve({ entry: undefined, asOf: outcome.asOf, complete: true, stale: false, from: name });
    }
    case "unavailable": {
      const details = { store: state.name, operation: "read", key: walk.key, cure: "try again" };
      return flight.reject(new SyncError("UNAVAILABLE", outcome.reason, details));
    }
  }
}

/**
 * From here on this process does not go back behind what it answers: walks that began before may still bring less, and
 * memory, which answers without looking at floors, may hold less if this walk may not fill it.
 */
function answered(state: ChainState, flight: Flight, entry: Entry, now: number): void {
  if (!state.floors.raise(entry, now)) return;
  state.flights.overtake(entry.key);
  if (flight.overtaken) stubMemory(state, entry, now);
}

function collectFills(outcome: Outcome, flight: Flight, fills: Map<number, Fill[]>): void {
  if (outcome.kind !== "entry") return;
  for (const layer of outcome.fill) {
    const items = fills.get(layer);
    const item = { ...outcome.copy, flight };
    if (items === undefined) fills.set(layer, [item]);
    else items.push(item);
  }
}

/** Puts copies into a layer that a walk passed. Failing is reported and harms nobody: the next walk tries again. */
function fill(state: ChainState, index: number, items: readonly Fill[], now: number): void {
  const layer = state.layers[index];
  const calls = state.calls[index];
  if (layer === undefined || calls === undefined || layer.readonly) return;
  const writes: Write[] = [];
  for (const { entry, asOf, body, flight } of items) {
    // A copy that is already old on arrival would only be in the way of a newer one.
    if (flight.overtaken || (layer.role === "cache" && now - asOf > layer.ttlMs)) continue;
    // Of a value in pieces the layer first learns that it exists; whoever reads it brings it.
    writes.push(copyFor(layer, { entry: body === undefined ? entry : stubOf(entry), asOf }));
  }
  const { batchMax } = layer.store.supports;
  for (let at = 0; at < writes.length; at += batchMax) {
    const batch = writes.slice(at, at + batchMax);
    const filled = calls
      .call("fill", (call) => layer.store.write(batch, call), batch.length)
      .then((results) => {
        const error = results.find((result) => result.status === "failed")?.error;
        if (error !== undefined) throw error;
        calls.counts.fills += batch.length;
      })
      .catch((error: unknown) => {
        state.report({ kind: "fill-failed", layer: layer.name, message: messageOf(error) });
      });
    state.background.add(filled);
  }
}

export function fits(value: Uint8Array | null, valueBytesMax: number): boolean {
  return value === null || value.length <= valueBytesMax;
}

function dropGhosts(state: ChainState, key: string, ghosts: readonly Ghost[]): void {
  for (const { layer, version } of ghosts) {
    const calls = state.calls[layer];
    if (calls === undefined || calls.layer.readonly) continue;
    const { name, store } = calls.layer;
    const forget = (call: CallOptions) => store.forget([{ key, version, reason: "ghost" }], call);
    const forgotten = calls.call("forget", forget).catch((error: unknown) => {
      state.report({ kind: "fill-failed", layer: name, key, message: messageOf(error) });
    });
    state.background.add(forgotten);
  }
}

/** Fetches a fresh copy of a key whose old one was answered. At most one walk of the key does so at a time. */
function refresh(state: ChainState, key: string, layer: number): void {
  if (state.flights.isUnderWay(key)) return;
  const flight = state.flights.begin(key, false);
  const ms = state.layers[layer]?.ttlMs ?? 0;
  start(state, [flight], { kind: "maxAge", ms }, undefined);
}
