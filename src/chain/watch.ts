import type { Ending } from "../ending.ts";
import type { Change, Range, WatchOptions } from "../store.ts";
import { aborted } from "../store.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import type { LayerCalls } from "./call.ts";
import { channel } from "./channel.ts";
import { learn } from "./invalidate.ts";
import { listMerged } from "./list.ts";
import { holds } from "./state.ts";
import type { ChainState } from "./state.ts";

type Told = Extract<Change, { kind: "change" }>;

/** Where a watcher of a chain stands: a cursor per watched layer, and how far the first listing got. */
interface Position {
  readonly cursors: Readonly<Record<string, string>>;
  /** The last key told of the first listing, "" before the first; null when it is finished or was not wanted. */
  readonly listedTo: string | null;
}

/**
 * What changed in any `store` layer. A version is told once although it arrives in several layers, and an older one
 * that arrives after a newer is not told. Cursors are taken before the first listing, so that nothing falls between.
 */
export async function* watchMerged(
  state: ChainState,
  range: Range,
  options: WatchOptions,
  closing: Ending,
): AsyncIterable<Change> {
  const sources = state.calls.filter(({ layer }) => layer.role === "store");
  const position = startOf(sources, options);
  if (position === undefined) {
    yield { kind: "relist", reason: "the cursor is not one of this chain" };
    return;
  }
  const controller = new AbortController();
  const stop = () => controller.abort();
  closing.add(stop);
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    if (options.signal?.aborted === true) throw aborted(options.signal, state.name, "watch");
    yield* merged(state, sources, range, { ...options, signal: controller.signal }, position);
  } catch (error) {
    if (!closing.isOver) throw error;
  } finally {
    controller.abort();
    closing.delete(stop);
    options.signal?.removeEventListener("abort", stop);
  }
}

async function* merged(
  state: ChainState,
  sources: readonly LayerCalls[],
  range: Range,
  options: WatchOptions,
  start: Position,
): AsyncIterable<Change> {
  const cursors: Record<string, string> = { ...start.cursors };
  const here = (listedTo: string | null) => JSON.stringify({ cursors, listedTo } satisfies Position);
  const isNews = newsFilter();
  const events = channel<{ readonly name: string; readonly change: Change }>();
  for (const source of sources) {
    const { layer } = source;
    const cursor = start.cursors[layer.name];
    const isOurs = (key: string) => holds(state, state.calls.indexOf(source), key);
    const changes = layer.store.watch(range, { ...options, cursor, initial: false });
    events.follow(named(layer.name, changes, isOurs));
  }
  const early: Told[] = [];
  const waiting = new Set(sources.map(({ layer }) => layer.name));
  let isTold = false;
  while (waiting.size > 0) {
    const event = await events.next();
    if (event === undefined) return;
    const { name, change } = event;
    if (change.kind === "relist") return yield change;
    if (change.kind === "interrupted") {
      waiting.add(name);
      if (!isTold) yield interruptedAt(name, change);
      isTold = true;
      continue;
    }
    cursors[name] = change.cursor;
    if (change.kind === "current") waiting.delete(name);
    else if (isNews(change)) early.push(change);
  }
  if (start.listedTo !== null) {
    const after = start.listedTo === "" ? undefined : start.listedTo;
    for await (const item of listMerged(state, range, { after, detail: "entries", signal: options.signal })) {
      if (item.kind === "partial") throw item.error;
      const change: Told = { kind: "change", key: item.key, head: item.head, cursor: here(item.key) };
      if (isNews(change)) yield change;
    }
  }
  for (const change of early) yield told(state, change, here(null));
  yield { kind: "current", cursor: here(null) };
  for (;;) {
    const event = await events.next();
    if (event === undefined) return;
    const { name, change } = event;
    if (change.kind === "relist") return yield change;
    if (change.kind === "interrupted") {
      if (waiting.size === 0) yield interruptedAt(name, change);
      waiting.add(name);
      continue;
    }
    cursors[name] = change.cursor;
    if (change.kind === "change" && isNews(change)) yield told(state, change, here(null));
    // The last of the watches that were interrupted stands again.
    if (change.kind === "current" && waiting.delete(name) && waiting.size === 0) {
      yield { kind: "current", cursor: here(null) };
    }
  }
}

function interruptedAt(name: string, { reason }: Extract<Change, { kind: "interrupted" }>): Change {
  return { kind: "interrupted", reason: `${name}: ${reason}` };
}

/** A change as it is told, once this process can no longer answer with anything older. */
function told(state: ChainState, change: Told, cursor: string): Told {
  if (change.head !== null) learn(state, change.head);
  return { ...change, cursor };
}

async function* named(name: string, changes: AsyncIterable<Change>, isOurs: (key: string) => boolean) {
  for await (const change of changes) {
    if (change.kind !== "change" || isOurs(change.key)) yield { name, change };
  }
}

/** Where to begin; undefined for a cursor that this chain, with these layers, did not give out. */
function startOf(sources: readonly LayerCalls[], { cursor, initial }: WatchOptions): Position | undefined {
  if (cursor === undefined) return { cursors: {}, listedTo: initial === false ? null : "" };
  const names = sources.map(({ layer }) => layer.name);
  try {
    const parsed: unknown = JSON.parse(cursor);
    if (!isPosition(parsed)) return undefined;
    return names.every((name) => Object.hasOwn(parsed.cursors, name)) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isPosition(parsed: unknown): parsed is Position {
  if (typeof parsed !== "object" || parsed === null || !("cursors" in parsed) || !("listedTo" in parsed)) return false;
  const { cursors, listedTo } = parsed;
  if (listedTo !== null && typeof listedTo !== "string") return false;
  if (typeof cursors !== "object" || cursors === null) return false;
  return Object.values(cursors).every((cursor) => typeof cursor === "string");
}

/** How many keys' last told versions are remembered to tell each version once. Forgetting one repeats it at worst. */
const TOLD_MAX = 10_000;

function newsFilter(): (change: Told) => boolean {
  const told = new Map<string, Version>();
  return ({ key, head }) => {
    const version = head?.version ?? VERSION_ZERO;
    const before = told.get(key);
    if (before !== undefined && head !== null && before >= version) return false;
    told.delete(key);
    told.set(key, version);
    if (told.size > TOLD_MAX) {
      for (const oldest of told.keys()) {
        told.delete(oldest);
        break;
      }
    }
    return true;
  };
}
