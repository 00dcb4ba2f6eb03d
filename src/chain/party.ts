import { SyncError } from "../error.ts";
import { stubOf } from "../entry.ts";
import type { Copy, Entry } from "../entry.ts";
import { PartialRead } from "../store.ts";
import type { Answer, CallOptions, ReadOptions, Write, WriteResult } from "../store.ts";
import type { SlotStore } from "../slot.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import type { Era } from "./background.ts";
import { messageOf } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import type { Layer } from "./layer.ts";
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
  from: string[] | undefined;
}

type Batch = readonly Trip[];

const NONE: readonly never[] = [];
const FAILED: Reply = { kind: "failed" };

/** Walks of several keys, down the layers in step, so that each layer is asked once for all of them. */
export class Party {
  private readonly state: ChainState;
  private readonly flights: readonly Flight[];
  private readonly freshness: Freshness;
  private readonly atLeast: ReadonlyMap<string, Version> | undefined;
  private readonly near: boolean;
  private readonly wholeBytesMax: number;
  private readonly startedAt: number;
  private readonly onEnd: (() => void) | undefined;
  /** Those that are still on their way. */
  private trips: Batch = NONE;
  private era: Era | undefined = undefined;

  /** @param onEnd every flight has its outcome. */
  constructor(
    state: ChainState,
    flights: readonly Flight[],
    freshness: Freshness,
    options: ChainReadOptions | undefined,
    onEnd?: () => void,
  ) {
    this.state = state;
    this.flights = flights;
    this.freshness = freshness;
    this.atLeast = options?.atLeast;
    this.near = options?.near === true;
    this.wholeBytesMax = options?.wholeBytesMax ?? state.wholeBytesMax;
    this.startedAt = state.runtime.now();
    this.onEnd = onEnd;
  }

  setOut(): void {
    const { state, flights, freshness, wholeBytesMax } = this;
    this.era = state.background.begin();
    try {
      const pending = state.behind?.copies(flights, freshness.kind === "authority", wholeBytesMax);
      if (pending instanceof Promise) pending.then((copies) => this.leave(copies)).catch((cause) => this.fail(cause));
      else this.leave(pending);
    } catch (cause) {
      this.fail(cause);
    }
  }

  private leave(pending: ReadonlyMap<string, Copy> | undefined): void {
    const { state, startedAt, freshness } = this;
    const { plan, floors, gaps } = state;
    const trips: Trip[] = [];
    for (const flight of this.flights) {
      const { key } = flight;
      const route = routeOf(state, key);
      const walk = begin({
        plan,
        key,
        route,
        freshness,
        startedAt,
        floor: floors.get(key, startedAt),
        suspectUntil: floors.suspectUntil,
        gapUntil: gaps.suspectUntil(route, startedAt),
        atLeast: this.atLeast?.get(key),
        pending: pending?.get(key),
      });
      trips.push({ flight, walk, from: undefined });
    }
    this.trips = trips;
    this.go(startedAt);
  }

  /** Goes on until a layer has to be waited for, or all is over. */
  private go(now: number): void {
    const { state } = this;
    for (;;) {
      const layer = this.next(now);
      if (layer === undefined) return this.end();
      const asked = this.trips.length === 1 ? this.trips : this.trips.filter(({ walk }) => nextLayer(walk) === layer);
      const slots = state.slots[layer];
      if (slots !== undefined) lookUp(state, layer, slots, asked, now);
      else if (this.near && !isNear(state, layer)) hear(state, layer, asked, NONE, now);
      else return this.ask(layer, asked, NONE);
    }
  }

  /** The nearest layer that some have to ask, once those that are over are done with; undefined when all are over. */
  private next(now: number): number | undefined {
    const going: Trip[] = [];
    let layer: number | undefined;
    let fills: Fills | undefined;
    for (const trip of this.trips) {
      const next = nextLayer(trip.walk);
      if (next === undefined) fills = finish(this.state, trip, now, fills);
      else {
        going.push(trip);
        if (layer === undefined || next < layer) layer = next;
      }
    }
    this.trips = going;
    if (fills !== undefined) for (const [index, writes] of fills) fill(this.state, index, writes);
    return layer;
  }

  /** Asks a layer for as many of these as it takes, and then for the rest, and goes on when it has answered the last. */
  private ask(layer: number, trips: Batch, rest: readonly Batch[]): void {
    const { store } = this.state.layers[layer] as Layer;
    const { batchMax } = store.supports;
    // What is left over has this layer before it still, and asks it next.
    if (trips.length > batchMax) return this.ask(layer, trips.slice(0, batchMax), rest);
    const keys = trips.map(({ flight }) => flight.key);
    const send = (call: CallOptions) => store.read(keys, this.optionsFor(layer, trips, call.deadline));
    const next = (outcome: Answer[] | SyncError) => {
      if (!(outcome instanceof SyncError)) return this.heard(layer, trips, rest, outcome);
      if (outcome instanceof PartialRead) return this.heard(layer, trips, rest, outcome.answers);
      // One damaged entry must not hide the others of its batch.
      const isDamaged = outcome.code === "CORRUPT" && trips.length > 1;
      if (isDamaged) this.heard(layer, NONE, [...trips.map((trip) => [trip]), ...rest], NONE);
      else this.heard(layer, trips, rest, NONE);
    };
    (this.state.calls[layer] as LayerCalls).ask("read", { send, next }, keys.length);
  }

  /** Never throws. */
  private heard(
    layer: number,
    trips: Batch,
    [next, ...rest]: readonly Batch[],
    answers: readonly (Answer | SyncError)[],
  ): void {
    try {
      const now = this.state.runtime.now();
      hear(this.state, layer, trips, answers, now);
      if (next === undefined) this.go(now);
      else this.ask(layer, next, rest);
    } catch (cause) {
      this.fail(cause);
    }
  }

  /** How fresh an answer has to be: as asked for, or as the copies that will be filled from it have to be. */
  private optionsFor(layer: number, trips: Batch, deadline: number | undefined): ReadOptions {
    const { freshness, state, wholeBytesMax } = this;
    let atLeast: Map<string, Version> | undefined;
    let holds: Map<string, Version> | undefined;
    for (const { walk, flight } of trips) {
      if (walk.top > VERSION_ZERO) (atLeast ??= new Map<string, Version>()).set(flight.key, walk.top);
      const copy = heldBy(walk);
      if (copy !== undefined) (holds ??= new Map<string, Version>()).set(flight.key, copy.entry.version);
    }
    const filledMs = layer === 0 ? undefined : state.layers[0]?.ttlMs;
    return {
      deadline,
      authority: freshness.kind === "authority" ? true : undefined,
      maxAgeMs: freshness.kind === "maxAge" ? freshness.ms : freshness.kind === "cached" ? filledMs : undefined,
      atLeast,
      holds,
      wholeBytesMax,
    };
  }

  private end(): void {
    const { era } = this;
    if (era === undefined) return; // it has ended before
    this.era = undefined;
    this.state.background.end(era);
    this.onEnd?.();
  }

  /** A defect in here must not leave readers waiting for ever. */
  private fail(cause: unknown): void {
    const { state } = this;
    for (const flight of this.flights) {
      if (flight.outcome !== undefined) continue;
      state.flights.end(flight);
      flight.end(new SyncError("INTERNAL", "the walk failed", { store: state.name, cause, key: flight.key }));
    }
    this.end();
  }
}

/** Whether a layer can be asked without asking further away: what other machines share may be far. */
function isNear({ layers }: ChainState, index: number): boolean {
  const layer = layers[index];
  return layer?.role === "cache" || layer?.store.supports.shared === false;
}

/** Moves each walk on by what a layer has that can be looked at without a promise. */
function lookUp(state: ChainState, layer: number, slots: SlotStore, trips: readonly Trip[], now: number): void {
  for (const trip of trips) {
    const slot = slots.look(trip.flight.key);
    const asOf = slot?.asOf ?? trip.walk.course.startedAt;
    move(
      state,
      layer,
      trip,
      { kind: "answer", entry: slot?.entry, body: undefined, asOf, complete: true, stale: false },
      now,
    );
  }
}

/** Moves each walk on by what the layer said of its key, if anything. */
function hear(
  state: ChainState,
  index: number,
  trips: Batch,
  answers: readonly (Answer | SyncError | undefined)[],
  now: number,
): void {
  const { name, store } = state.layers[index] as Layer;
  for (let i = 0; i < trips.length; i++) {
    const trip = trips[i] as Trip;
    const answer = answers[i];
    if (answer === undefined || answer instanceof SyncError) {
      move(state, index, trip, FAILED, now);
      continue;
    }
    trip.from ??= [];
    trip.from[index] = answer.from === store.name ? name : `${name}/${answer.from}`;
    move(state, index, trip, replyOf(trip.walk, answer), now);
  }
}

/** A value that the walk has met and that may be the newest: it need not be sent again. */
function heldBy({ seen, top }: Walk): Copy | undefined {
  return seen.length === 0 ? undefined : seen.find(({ entry }) => entry.version === top && entry.value !== null);
}

/** What the layer said, with the value that the walk has where that is all it said. */
function replyOf(walk: Walk, { entry, body, asOf, complete, stale, unchanged }: Answer): Reply {
  if (unchanged !== true) return { kind: "answer", entry, body, asOf, complete, stale };
  const copy = heldBy(walk);
  if (copy === undefined || copy.entry.version !== entry?.version) return FAILED;
  return { kind: "answer", entry: copy.entry, body, asOf, complete, stale };
}

function move(state: ChainState, layer: number, trip: Trip, reply: Reply, now: number): void {
  const counts = state.calls[layer]?.counts;
  trip.walk = advance(trip.walk, reply, now);
  if (reply.kind === "answer" && reply.entry !== undefined) observe(state, layer, trip.flight.key, reply.entry.version);
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

/** What layers are to be given, by their index. */
type Fills = Map<number, Write[]>;

/** Answers the readers of a walk that is over and drops ghosts in the background. @returns the fills, with its own. */
function finish(state: ChainState, trip: Trip, now: number, fills: Fills | undefined): Fills | undefined {
  const { flight, walk } = trip;
  const outcome = conclude(walk, now);
  state.flights.end(flight);
  let all = fills;
  if (outcome.kind === "entry" && !flight.isLateWith(outcome.copy.entry.version)) {
    for (const layer of outcome.fill) all = withFill(state, layer, outcome.copy, now, all);
  }
  settle(state, trip, outcome, now);
  return all;
}

function settle(state: ChainState, { flight, from }: Trip, outcome: Outcome, now: number): void {
  switch (outcome.kind) {
    case "entry": {
      const { copy, layer, stale, complete } = outcome;
      const counts = state.calls[layer]?.counts;
      if (counts !== undefined) counts.hits++;
      if (layer === JOURNAL && !stale) state.behind?.renew(copy);
      if (!stale) answered(state, flight, copy.entry, now);
      if (!flight.overtaken) dropGhosts(state, flight.key, outcome.ghosts);
      if (outcome.refresh) refresh(state, flight.key, layer);
      const name = layer === JOURNAL ? "journal" : (from?.[layer] ?? state.layers[layer]?.name ?? state.name);
      const answer = { entry: copy.entry, asOf: copy.asOf, complete, stale, from: name };
      const { body } = copy;
      if (body === undefined) return flight.end(answer);
      const layers = flight.isLateWith(copy.entry.version)
        ? []
        : outcome.fill.flatMap((index) => state.calls[index] ?? []);
      return flight.end({ ...answer, body: filling(state, { ...copy, body }, layers) });
    }
    case "none": {
      if (!flight.overtaken) {
        dropGhosts(state, flight.key, outcome.ghosts);
        if (outcome.remember) state.negatives.add(flight.key, outcome.asOf, now);
      }
      const name = state.layers.at(-1)?.name ?? state.name;
      return flight.end({ entry: undefined, asOf: outcome.asOf, complete: true, stale: false, from: name });
    }
    case "unavailable": {
      const details = { store: state.name, operation: "read", key: flight.key, cure: "try again" };
      return flight.end(new SyncError("UNAVAILABLE", outcome.reason, details));
    }
  }
}

/**
 * From here on this process does not go back behind what it answers: walks that began before may still bring less, and
 * memory, which answers without looking at floors, may hold less if this walk may not fill it.
 */
function answered(state: ChainState, flight: Flight, entry: Entry, now: number): void {
  if (!state.floors.raise(entry, now)) return;
  state.flights.overtake(entry.key, entry.version);
  if (flight.isLateWith(entry.version)) stubMemory(state, entry, now);
}

function withFill(state: ChainState, index: number, copy: Copy, now: number, fills: Fills = new Map()): Fills {
  const layer = state.layers[index] as Layer;
  // A copy that is already old on arrival would only be in the way of a newer one.
  if (layer.readonly || (layer.role === "cache" && now - copy.asOf > layer.ttlMs)) return fills;
  const { entry, asOf, body } = copy;
  // Of a value in pieces the layer first learns that it exists; whoever reads it brings it.
  const write = copyFor(layer, body === undefined ? copy : { entry: stubOf(entry), asOf });
  const writes = fills.get(index);
  if (writes === undefined) fills.set(index, [write]);
  else writes.push(write);
  return fills;
}

/** Puts copies into a layer that walks passed. Failing is reported and harms nobody: the next walk tries again. */
function fill(state: ChainState, index: number, writes: readonly Write[]): void {
  const calls = state.calls[index];
  if (calls === undefined) return;
  const { store, name } = calls.layer;
  const { batchMax } = store.supports;
  const filled = (results: readonly WriteResult[]) => {
    const error = results.find((result) => result.status === "failed")?.error;
    if (error !== undefined) throw error;
    calls.counts.fills += results.length;
  };
  const failed = (error: unknown) => state.report({ kind: "fill-failed", layer: name, message: messageOf(error) });
  const slots = state.slots[index];
  for (let at = 0; at < writes.length; at += batchMax) {
    const batch = writes.length <= batchMax ? writes : writes.slice(at, at + batchMax);
    if (slots === undefined) {
      const work = calls.call("fill", (call) => store.write(batch, call), batch.length);
      state.background.add(work.then(filled).catch(failed));
      continue;
    }
    calls.counts.calls++;
    try {
      filled(slots.writeNow(batch));
    } catch (error) {
      failed(error);
    }
  }
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
  new Party(state, [flight], { kind: "maxAge", ms }, undefined).setOut();
}
