/**
 * The walk of one read, as decisions over values. The shell (party.ts) asks the layer that {@link nextLayer} names,
 * tells {@link advance} what it heard, and does what {@link conclude} says. No clock, no store, no promise in here.
 *
 * The rules are those of docs/consistency.md; the letters in the comments are their names there.
 */
import type { Body } from "../body.ts";
import { compareEntries, isDead, isExpired, merge } from "../entry.ts";
import type { Copy, Entry } from "../entry.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import type { Role } from "./layer.ts";

/** What the walk has to know about a layer. */
export interface WalkLayer {
  readonly name: string;
  readonly role: Role;
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly jitter: number;
  /** See `Supports.asOf`. A "stored" asOf says nothing of the last layer, which is the truth itself. */
  readonly asOf: "stored" | "known";
  readonly staleWhileRefresh: boolean;
}

const JOURNAL_LAYER: WalkLayer = {
  name: "journal",
  role: "store",
  ttlMs: 0,
  graceMs: 0,
  jitter: 0,
  asOf: "stored",
  staleWhileRefresh: false,
};

/** What all walks of a chain have in common. */
export interface WalkPlan {
  readonly layers: readonly WalkLayer[];
  /** The index of the layer that `authority` reads ask; -1 when there is none. */
  readonly authority: number;
  /** The last layer may lose what it was given (it is not durable): then absence there is no alarm. */
  readonly forgetful: boolean;
}

export type Freshness =
  { readonly kind: "cached" } | { readonly kind: "maxAge"; readonly ms: number } | { readonly kind: "authority" };

/** The lowest version that may still be answered for a key: what this process wrote, answered, or was told of. */
export interface Floor {
  readonly version: Version;
  /** Whether that version gave no value. */
  readonly dead: boolean;
}

/** What a layer said when it was asked. */
export type Reply =
  | {
      readonly kind: "answer";
      readonly entry: Entry | undefined;
      readonly body?: Body | undefined;
      readonly asOf: number;
      readonly complete: boolean;
      readonly stale: boolean;
    }
  | { readonly kind: "failed" };

interface Seen extends Copy {
  readonly layer: number;
}

/**
 * The journal, as a place that a copy comes from: what this node wrote and some layer lacks. It stands above every
 * layer and speaks like a `store`, since what it says is acknowledged.
 */
export const JOURNAL = -1;

/** What of a walk stays as it is on the way. */
interface Course {
  readonly plan: WalkPlan;
  readonly key: string;
  readonly freshness: Freshness;
  /** Unix ms at which the asking began: no answer can be known to be newer than this. */
  readonly startedAt: number;
  /** Copies with an asOf up to this are suspect: changes that were missed, or floors that were forgotten. */
  readonly suspectUntil: number;
  /** The same of copies that came from layers: a watch that does not stand. */
  readonly gapUntil: number;
  readonly floor: Floor | undefined;
  readonly atLeast: Version;
  /** The layers that are for this key, in order. */
  readonly route: readonly number[];
  /** The deepest `store` of the route: the source of truth for this key; -1 when no store keeps it. */
  readonly truth: number;
  /** The layer of the route that `authority` reads ask first. */
  readonly authority: number;
}

/** A walk under way. Never changed in place. */
export interface Walk {
  readonly course: Course;
  /** How far along the route the walk is. */
  readonly step: number;
  /** The highest version met, in any form. Nothing below it stops the walk, is answered as fresh, or is filled. */
  readonly top: Version;
  readonly seen: readonly Seen[];
  /** A layer was skipped or failed; it was a `store`, or a chain that could not ask one of its own. */
  readonly failed: boolean;
  readonly silent: boolean;
  /** When the truth's answer was known to be true; undefined while it has not answered completely. */
  readonly lastAsOf: number | undefined;
  /** The layer whose copy ended the walk, and whether it is old and being refreshed. */
  readonly stopped: { readonly layer: number; readonly refresh: boolean } | undefined;
}

export interface Ghost {
  readonly layer: number;
  readonly version: Version;
}

export type Outcome =
  | {
      readonly kind: "entry";
      readonly copy: Copy;
      /** Index of the layer that the answer came from. */
      readonly layer: number;
      readonly stale: boolean;
      readonly complete: boolean;
      /** Layers that shall get this copy. */
      readonly fill: readonly number[];
      readonly ghosts: readonly Ghost[];
      /** A fresh copy should be fetched though an old one is answered. */
      readonly refresh: boolean;
    }
  | {
      readonly kind: "none";
      readonly asOf: number;
      /** Whether the absence may be remembered. */
      readonly remember: boolean;
      readonly ghosts: readonly Ghost[];
    }
  | { readonly kind: "unavailable"; readonly reason: string };

export interface WalkStart {
  readonly plan: WalkPlan;
  readonly key: string;
  readonly route: readonly number[];
  readonly freshness: Freshness;
  readonly startedAt: number;
  readonly suspectUntil?: number;
  readonly gapUntil?: number;
  readonly floor?: Floor | undefined;
  readonly atLeast?: Version | undefined;
  /** What the journal has of the key, dated by its write: a copy like another while it is fresh, and a floor always. */
  readonly pending?: Copy | undefined;
}

export function begin(start: WalkStart): Walk {
  const { pending, startedAt } = start;
  if (pending === undefined) return beginAtLayers(start);
  const { version } = pending.entry;
  // A floor, also where its value cannot be read any more.
  const floor =
    start.floor !== undefined && start.floor.version > version
      ? start.floor
      : { version, dead: isDead(pending.entry, startedAt) };
  const walk = beginAtLayers({ ...start, floor });
  const copy: Seen = { ...pending, layer: JOURNAL, asOf: knownAsOf(walk, pending.asOf, startedAt) };
  const top = copy.entry.version > walk.top ? copy.entry.version : walk.top;
  const went: Walk = { ...walk, top, seen: [copy] };
  const isAnswer = !isLiveStub(copy, startedAt) && copy.entry.version === top && isFresh(went, copy);
  return isAnswer ? { ...went, stopped: { layer: JOURNAL, refresh: false } } : went;
}

function beginAtLayers(start: WalkStart): Walk {
  const { plan, key, freshness, startedAt, floor, route } = start;
  const { suspectUntil = 0, gapUntil = 0, atLeast = VERSION_ZERO } = start;
  const top = floor !== undefined && floor.version > atLeast ? floor.version : atLeast;
  let truth = -1;
  let authority = -1;
  for (const layer of route) {
    if (plan.layers[layer]?.role !== "store") continue;
    truth = layer;
    if (authority === -1 && layer >= plan.authority) authority = layer;
  }
  if (authority === -1) authority = truth;
  // An authority read asks nobody in front of the authority; what this process knows of them is in the floor.
  const step = freshness.kind === "authority" ? route.indexOf(authority) : 0;
  return {
    course: { plan, key, freshness, startedAt, suspectUntil, gapUntil, floor, atLeast, route, truth, authority },
    step: step === -1 ? route.length : step,
    top,
    seen: [],
    failed: false,
    silent: false,
    lastAsOf: truth === -1 ? startedAt : undefined,
    stopped: undefined,
  };
}

/** The layer to ask next; undefined when the walk is over. */
export function nextLayer(walk: Walk): number | undefined {
  return walk.stopped === undefined ? walk.course.route[walk.step] : undefined;
}

/** The walk after its next layer replied. `now` is the time of the reply, Unix ms. */
export function advance(walk: Walk, reply: Reply, now: number): Walk {
  const index = walk.course.route[walk.step];
  if (index === undefined) return walk;
  const layer = layerAt(walk, index);
  const step = walk.step + 1;
  if (reply.kind === "failed") {
    return { ...walk, step, failed: true, silent: walk.silent || layer.role === "store" };
  }
  const reliable = reply.complete && !reply.stale;
  const failed = walk.failed || !reliable;
  const silent = walk.silent || !reliable;
  const isLast = index === walk.course.truth;
  // RENEW: what decides is current when it is asked, whatever date it keeps.
  const isDecider = walk.course.freshness.kind === "authority" && index === walk.course.authority && !silent;
  const isTruth = (isLast || isDecider) && layer.asOf === "stored";
  const lastAsOf =
    isLast && reliable ? (isTruth ? walk.course.startedAt : knownAsOf(walk, reply.asOf, now)) : walk.lastAsOf;
  if (reply.entry === undefined) return { ...walk, step, failed, silent, lastAsOf };

  const { entry, body } = reply;
  const asOf = isTruth ? walk.course.startedAt : knownAsOf(walk, reply.asOf, now);
  const copy: Seen = { layer: index, entry, body, asOf };
  const top = entry.version > walk.top ? entry.version : walk.top;
  const seen = [...walk.seen, copy];
  const went: Walk = { ...walk, step, top, seen, failed, silent, lastAsOf };
  if (isLiveStub(copy, now)) return went;
  // FLOOR: an older copy never ends a walk that has met a newer one.
  if (entry.version < top || !reliable) return went;
  if (isFresh(went, copy)) return { ...went, stopped: { layer: index, refresh: false } };
  if (maySend(went, copy, now)) return { ...went, stopped: { layer: index, refresh: true } };
  return went;
}

/** What the caller gets, and what is to be done about the copies that were met. */
export function conclude(walk: Walk, now: number): Outcome {
  return walk.stopped === undefined ? concludeAtEnd(walk, now) : concludeAtLayer(walk, walk.stopped, now);
}

function concludeAtLayer(walk: Walk, stopped: NonNullable<Walk["stopped"]>, now: number): Outcome {
  const copy = bestOf(walk.seen, now);
  if (copy === undefined) return unavailable("internal: a walk stopped without a copy");
  const layer = layerAt(walk, stopped.layer);
  // SILENT: below a store that did not answer, nobody knows what it would have said. A cache's copy is as good as ever.
  const stale = stopped.refresh || (walk.silent && layer.role === "store");
  if (stale && isDead(copy.entry, now)) return unavailable("a store that may know a value did not answer");
  if (stale && walk.course.freshness.kind === "authority") return unavailable("the authority did not answer");
  return {
    kind: "entry",
    copy,
    layer: stopped.layer,
    stale,
    complete: !walk.silent,
    fill: stale ? [] : layersToFill(walk, copy, stopped.layer),
    ghosts: [],
    refresh: stopped.refresh,
  };
}

function concludeAtEnd(walk: Walk, now: number): Outcome {
  const complete = walk.lastAsOf !== undefined && !walk.silent;
  const truth = complete ? withoutGhosts(walk, now) : undefined;
  const best = truth === undefined ? bestOf(walk.seen, now) : truth.best;
  // FLOOR: what this process knows to be gone and no store has is gone, though an old cache still shows a value.
  const { floor } = walk.course;
  const isDenied = !walk.seen.some((seen) => layerAt(walk, seen.layer).role === "store");
  const isGone = isDenied && floor?.dead === true && walk.top === floor.version;
  if (complete && isGone) return absent(walk, []);
  const top = truth?.top ?? walk.top;
  const ghosts = truth?.ghosts ?? [];
  return best === undefined
    ? concludeAbsent(walk, top, complete, ghosts, now)
    : concludeFound(walk, best, top, complete, ghosts, now);
}

/**
 * GHOST: when every store answered, what only caches hold is nobody's truth and is dropped, unless this process knows
 * of it (its floor): then a store went back, and saying so beats guessing.
 */
function withoutGhosts(walk: Walk, now: number) {
  const known = bestOf(
    walk.seen.filter((seen) => layerAt(walk, seen.layer).role === "store"),
    now,
  );
  const version = known?.entry.version ?? VERSION_ZERO;
  // What the journal has is no ghost, though its value cannot be read.
  if (walk.seen.some((seen) => seen.layer === JOURNAL && seen.entry.version > version)) return undefined;
  if (walk.course.floor !== undefined && version < walk.course.floor.version && !walk.course.plan.forgetful)
    return undefined;
  const ghosts = walk.seen
    .filter((seen) => layerAt(walk, seen.layer).role === "cache" && seen.entry.version > version)
    .map((seen) => ({ layer: seen.layer, version: seen.entry.version }));
  return { best: known, top: version, ghosts };
}

function concludeAbsent(walk: Walk, top: Version, complete: boolean, ghosts: readonly Ghost[], now: number): Outcome {
  // STUB: a live stub says that there is a value; not reaching it is no miss. A ghost's stub says nothing.
  const isGhost = (seen: Seen) => ghosts.some(({ layer }) => layer === seen.layer);
  if (walk.seen.some((seen) => seen.entry.version >= top && isLiveStub(seen, now) && !isGhost(seen))) {
    return unavailable("a newer version is known but the layer that holds its value did not give it");
  }
  if (!complete && walk.silent) return unavailable("a store that may know the key did not answer");
  // A skipped cache cannot hide a value, except one that is known to exist.
  if (walk.failed && top > VERSION_ZERO) return unavailable("a layer that may hold the known version did not answer");
  if (walk.course.floor !== undefined && !walk.course.floor.dead && !(complete && walk.course.plan.forgetful)) {
    return unavailable("no layer gave the version that this process has written or answered");
  }
  return absent(walk, ghosts);
}

/** "None", if that was known recently enough. */
function absent(walk: Walk, ghosts: readonly Ghost[]): Outcome {
  const asOf = Math.min(walk.lastAsOf ?? 0, walk.course.startedAt);
  const age = walk.course.startedAt - asOf;
  const bound = boundMs(walk);
  if (age > bound) return unavailable(`the source of truth was last seen ${age} ms ago, ${bound} ms is asked for`);
  return { kind: "none", asOf, remember: walk.course.freshness.kind === "cached", ghosts };
}

function concludeFound(
  walk: Walk,
  best: Seen,
  top: Version,
  complete: boolean,
  ghosts: readonly Ghost[],
  now: number,
): Outcome {
  // RENEW: when every store was asked, the winner is known to be the newest as of the walk's start.
  const asOf = complete ? Math.max(best.asOf, Math.min(walk.lastAsOf ?? 0, walk.course.startedAt)) : best.asOf;
  const copy: Copy = { entry: best.entry, body: best.body, asOf };
  const behind = best.entry.version < top;
  const stale = walk.silent || behind || !complete || walk.course.startedAt - asOf > boundMs(walk);
  if (stale) {
    if (isDead(best.entry, now)) return unavailable("a store that may know a newer value did not answer");
    if (walk.course.freshness.kind === "authority") return unavailable("the authority did not answer");
    // FLOOR: this process never goes back behind what it wrote or answered.
    if (walk.course.floor !== undefined && best.entry.version < walk.course.floor.version) {
      return unavailable("no layer gave the version that this process has written or answered");
    }
    if (best.entry.version < walk.course.atLeast)
      return unavailable("no layer gave the version that the caller has seen");
    const source = layerAt(walk, best.layer);
    const age = walk.course.startedAt - best.asOf;
    if (source.role === "cache" && age > source.ttlMs + source.graceMs) {
      return unavailable(`the only copy is ${age} ms old, past its freshness and grace`);
    }
  }
  return {
    kind: "entry",
    copy,
    layer: best.layer,
    stale,
    complete,
    fill: stale ? [] : layersToFill(walk, copy, best.layer),
    ghosts,
    refresh: false,
  };
}

/** How old an answer may be, in milliseconds, to be fresh at the end of a walk. */
function boundMs({ course: { freshness, plan } }: Walk): number {
  if (freshness.kind === "authority") return 0;
  if (freshness.kind === "maxAge") return freshness.ms;
  return Math.max(...plan.layers.map((layer) => layer.ttlMs));
}

/** Layers above the source that lack the copy, or hold it with an older asOf. */
function layersToFill(walk: Walk, copy: Copy, source: number): number[] {
  const layers: number[] = [];
  for (const layer of walk.course.route) if (layer < source && !isHeld(walk, layer, copy)) layers.push(layer);
  return layers;
}

function isHeld({ seen }: Walk, layer: number, copy: Copy): boolean {
  for (const held of seen) {
    if (held.layer !== layer || held.asOf < copy.asOf) continue;
    if (compareEntries(held.entry, copy.entry) === 0 && (held.body === undefined) === (copy.body === undefined))
      return true;
  }
  return false;
}

function isFresh(walk: Walk, copy: Seen): boolean {
  // What is pending is as fresh as the copy of it in the nearest layer.
  const layer = layerAt(walk, copy.layer === JOURNAL ? (walk.course.route[0] ?? JOURNAL) : copy.layer);
  if (copy.layer === JOURNAL && walk.course.freshness.kind === "authority") return false;
  if (walk.course.freshness.kind === "authority") {
    return layer.role === "store" && !walk.silent && copy.layer >= walk.course.authority && isCurrent(walk, copy);
  }
  if (isSuspect(walk, copy)) return false;
  const ttlMs = jittered(walk.course.key, layer);
  return (
    walk.course.startedAt - copy.asOf <=
    (walk.course.freshness.kind === "maxAge" ? Math.min(walk.course.freshness.ms, ttlMs) : ttlMs)
  );
}

/** What is pending was not got from a layer, and is not the older for a watch that does not stand. */
function isSuspect({ course: { suspectUntil, gapUntil } }: Walk, { asOf, layer }: Seen): boolean {
  return asOf <= suspectUntil || (asOf <= gapUntil && layer !== JOURNAL);
}

/** The authority's own copy is current by definition; below it only what was known when the walk began is. */
function isCurrent(walk: Walk, copy: Seen): boolean {
  const layer = layerAt(walk, copy.layer);
  return layer.asOf === "known" ? copy.asOf >= walk.course.startedAt : true;
}

/** GRACE while refreshing: a layer may answer its old value at once, marked, when it was told to. */
function maySend(walk: Walk, copy: Seen, now: number): boolean {
  const layer = layerAt(walk, copy.layer);
  return (
    layer.staleWhileRefresh &&
    walk.course.freshness.kind === "cached" &&
    !isSuspect(walk, copy) &&
    !isDead(copy.entry, now) &&
    walk.course.startedAt - copy.asOf <= layer.ttlMs + layer.graceMs
  );
}

/**
 * A layer's freshness for one key, shortened by a share that depends on the key, so that copies filled together do not
 * all end together. The same key always gets the same share: a copy does not flicker between fresh and old.
 */
export function jittered(key: string, layer: Pick<WalkLayer, "ttlMs" | "jitter">): number {
  if (layer.jitter === 0) return layer.ttlMs;
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return layer.ttlMs * (1 - layer.jitter * ((hash >>> 0) / 2 ** 32));
}

/** An asOf that the walk can use: never after the walk began; 0, of unknown age, if it lies in the future. */
function knownAsOf(walk: Walk, asOf: number, now: number): number {
  return asOf > now ? 0 : Math.min(asOf, walk.course.startedAt);
}

/** A stub whose value has to be looked for further down. */
function isLiveStub({ entry, body }: Copy, now: number): boolean {
  return entry.state === "stub" && body === undefined && !isExpired(entry, now);
}

/**
 * The winner among copies that say something about the value; live stubs only speak through the walk's top. Of layers
 * that hold the same, the deepest counts as the source, so that those above are renewed.
 */
function bestOf(copies: readonly Seen[], now: number): Seen | undefined {
  let best: Seen | undefined;
  for (const copy of copies) {
    if (isLiveStub(copy, now)) continue;
    if (best === undefined) best = copy;
    else best = { ...merge(best, copy), layer: compareEntries(best.entry, copy.entry) > 0 ? best.layer : copy.layer };
  }
  return best;
}

function layerAt(walk: Walk, index: number): WalkLayer {
  const layer = index === JOURNAL ? JOURNAL_LAYER : walk.course.plan.layers[index];
  if (layer === undefined) throw new RangeError(`no layer ${index}`);
  return layer;
}

function unavailable(reason: string): Outcome {
  return { kind: "unavailable", reason };
}
