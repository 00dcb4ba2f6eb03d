import type { Bodies } from "../journal/bodies.ts";
import { COARSE_LAG_MS_MAX } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import type { SlotStore } from "../slot.ts";
import { isSlotStore } from "../slot.ts";
import type { VersionClock } from "../version.ts";
import { Background } from "./background.ts";
import type { Behind } from "./behind.ts";
import { bootstraps } from "./bootstrap.ts";
import type { Bootstraps } from "./bootstrap.ts";
import { layerCalls } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import type { Report } from "./chain.ts";
import { floors } from "./floors.ts";
import type { Floors } from "./floors.ts";
import { gaps } from "./gaps.ts";
import type { Gaps } from "./gaps.ts";
import { Gate } from "./gate.ts";
import { flights } from "./flight.ts";
import type { Flights } from "./flight.ts";
import { lateWrites } from "./late.ts";
import type { LateWrites } from "./late.ts";
import { isFor } from "./layer.ts";
import type { Layer } from "./layer.ts";
import { negatives } from "./negative.ts";
import type { Negatives } from "./negative.ts";
import type { WalkPlan } from "./walk.ts";

/** What the parts of one chain share. */
export interface ChainState {
  readonly name: string;
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  readonly skewMaxMs: number;
  /** A larger value is answered piece by piece, in bytes. */
  readonly wholeBytesMax: number;
  readonly layers: readonly Layer[];
  readonly calls: readonly LayerCalls[];
  readonly plan: WalkPlan;
  /** The layer that takes every write first: the authority, or the deepest `store` that takes writes. -1: none. */
  readonly first: number;
  /** The layer that decides conditional writes; -1: none can. */
  readonly authority: number;
  /** Layers that the chain looks at without a promise; undefined for the others. */
  readonly slots: readonly (SlotStore | undefined)[];
  /** One of them is looked at so, and keeps the bytes that it is given. */
  readonly keepsBytes: boolean;
  /** All of the layers, where each of them holds every key. */
  readonly everywhere: readonly number[] | undefined;
  /** Where each write goes, where each of the layers holds every key. */
  readonly writesTo: WriteRoute | undefined;
  readonly gate: Gate;
  readonly floors: Floors;
  readonly gaps: Gaps;
  readonly negatives: Negatives;
  readonly flights: Flights;
  readonly late: LateWrites;
  readonly bootstraps: Bootstraps;
  /** Where values that came as streams lie while they are written, in a chain without a journal. */
  readonly spooled: Bodies | undefined;
  /** The writes of a chain with a journal; undefined in one without, and while it is being made. */
  behind: Behind | undefined;
  /** For how long an older copy can be answered somewhere, in milliseconds: ttl, grace and skew. */
  readonly copyLifeMs: number;
  readonly report: (report: Report) => void;
  /** Work that outlives the call that began it (fills, late layers of a write). `close` waits for it. */
  readonly background: Background;
}

/** The layers that a write of one key goes to. */
export interface WriteRoute {
  /** The layer that takes it first: the first one of the chain, else the deepest store; -1 when none takes it. */
  readonly first: number;
  /** Those that get it once that one has it, in their order. */
  readonly others: readonly number[];
}

/** Floors are kept for at most so many keys; see floors.ts for what happens beyond. */
const FLOORS_MAX = 100_000;
const NEGATIVES_MAX = 100_000;
const LATE_WRITES_MAX = 10_000;

export interface StateOptions {
  readonly name: string;
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  readonly skewMaxMs: number;
  readonly negativeTtlMs: number;
  readonly wholeBytesMax: number;
  readonly spooled: Bodies | undefined;
  readonly layers: readonly Layer[];
  readonly authority: number;
  readonly first: number;
  readonly report: (report: Report) => void;
}

export function chainState(options: StateOptions): ChainState {
  const { layers, runtime, report, authority } = options;
  const last = layers.length - 1;
  const gate = new Gate();
  const everywhere = layers.every(({ prefixes }) => prefixes.length === 0) ? [...layers.keys()] : undefined;
  // An older copy is answered within its ttl, and marked stale within its grace; behind own writes it never is.
  const copyLifeMs =
    Math.max(...layers.slice(0, last).map((layer) => layer.ttlMs + layer.graceMs), options.negativeTtlMs) +
    options.skewMaxMs;
  return {
    ...options,
    calls: layers.map((layer, index) => layerCalls(layer, runtime, report, index === 0 ? gate : undefined)),
    plan: {
      layers: layers.map((layer) => ({ ...layer, asOf: layer.store.supports.asOf })),
      authority: authority === -1 ? last : authority,
      forgetful: layers[last]?.store.supports.durable === false,
    },
    everywhere,
    writesTo: everywhere && writeRoute(layers, options.first, everywhere),
    slots: layers.map(({ store }) => (isSlotStore(store) ? store : undefined)),
    keepsBytes: layers.some(({ store }) => isSlotStore(store)),
    copyLifeMs,
    gate,
    floors: floors(copyLifeMs + COARSE_LAG_MS_MAX, FLOORS_MAX, gate, runtime.now()),
    gaps: gaps(layers, gate),
    negatives: negatives(options.negativeTtlMs, NEGATIVES_MAX),
    flights: flights(),
    late: lateWrites(LATE_WRITES_MAX),
    bootstraps: bootstraps(layers),
    behind: undefined,
    spooled: options.spooled,
    background: new Background(),
  };
}

/**
 * The layers that hold a key, in order. A read-only store that stands above one that takes writes owns its prefixes
 * alone: what was written below it would never be seen.
 */
export function routeOf(state: ChainState, key: string): readonly number[] {
  if (state.everywhere !== undefined) return state.everywhere;
  const route: number[] = [];
  for (const [index, { prefixes, role, readonly }] of state.layers.entries()) {
    if (!isFor(prefixes, key)) continue;
    route.push(index);
    if (readonly && role === "store" && prefixes.length > 0) break;
  }
  return route;
}

/** Where a write of the key goes. */
export function writeRouteOf(state: ChainState, key: string): WriteRoute {
  return state.writesTo ?? writeRoute(state.layers, state.first, routeOf(state, key));
}

function writeRoute(layers: readonly Layer[], first: number, route: readonly number[]): WriteRoute {
  const takers = route.filter((index) => layers[index]?.readonly === false);
  const deepest = takers.findLast((index) => layers[index]?.role === "store") ?? -1;
  const taker = takers.includes(first) ? first : deepest;
  return { first: taker, others: takers.filter((index) => index !== taker) };
}

/** Whether a layer is one of those that hold a key. What else its store has is not part of the chain. */
export function holds(state: ChainState, layer: number, key: string): boolean {
  return routeOf(state, key).includes(layer);
}
