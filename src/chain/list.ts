import { SyncError, asSyncError } from "../error.ts";
import { NO_META, compareKeys, isExpired } from "../entry.ts";
import type { Head } from "../entry.ts";
import type { ListOptions, Listed, Range } from "../store.ts";
import type { Behind } from "./behind.ts";
import { readKeys } from "./read.ts";
import { wholeIfSmall } from "./spool.ts";
import { holds } from "./state.ts";
import type { ChainState } from "./state.ts";

type ListedEntry = Extract<Listed, { kind: "entry" }>;
type Partial = Extract<Listed, { kind: "partial" }>;

/** One layer's listing, or the journal's, with its next item in hand. */
interface Cursor {
  readonly name: string;
  /** Whether the layer is for a key. */
  readonly isOurs: (key: string) => boolean;
  readonly iterator: AsyncIterator<Listed>;
  item: ListedEntry | undefined;
}

/**
 * The keys of all `store` layers and of the journal, merged: the newest entry of each key. Caches are never listed, since they hold only
 * what somebody read, and layers below a complete one need not be. A layer that fails is left out from there on, and an
 * item says so.
 */
export async function* listMerged(state: ChainState, range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
  const { detail = "keys", after, limit = Number.POSITIVE_INFINITY, wholeBytesMax = state.wholeBytesMax } = options;
  const cursors: Cursor[] = [];
  if (state.behind !== undefined) {
    const iterator = pendingItems(state, state.behind, range, after, detail, wholeBytesMax)[Symbol.asyncIterator]();
    cursors.push({ name: "journal", isOurs: () => true, iterator, item: undefined });
  }
  for (const [index, calls] of state.calls.entries()) {
    if (calls.layer.role !== "store" || !overlaps(calls.layer.prefixes, range.prefix)) continue;
    const iterable = calls.iterate("list", (call) =>
      // Heads are needed to tell the newest; values only when they are asked for.
      calls.layer.store.list(range, {
        ...call,
        after,
        detail: detail === "values" ? "values" : "entries",
        wholeBytesMax,
      }),
    );
    const isOurs = (key: string) => holds(state, index, key);
    cursors.push({ name: calls.layer.name, isOurs, iterator: iterable[Symbol.asyncIterator](), item: undefined });
    if (state.bootstraps.isComplete(index)) break;
  }
  try {
    for (const cursor of cursors) yield* step(cursor);
    let left = limit;
    while (left > 0) {
      const key = lowestKey(cursors);
      if (key === undefined) return;
      const same = cursors.filter((cursor) => cursor.item?.key === key);
      const winner = newest(same);
      if (winner !== undefined) {
        yield await resolved(state, winner, detail);
        left--;
      }
      for (const cursor of same) yield* step(cursor);
    }
  } finally {
    for (const cursor of cursors) cursor.iterator.return?.().catch(() => undefined);
  }
}

/** What this node wrote and some layer lacks. */
async function* pendingItems(
  { runtime, name, floors }: ChainState,
  behind: Behind,
  { prefix }: Range,
  after: string | undefined,
  detail: NonNullable<ListOptions["detail"]>,
  wholeBytesMax: number,
): AsyncIterable<Listed> {
  for (const pending of behind.under(prefix)) {
    const { key, version, expires, meta } = pending.head;
    const state = pending.body === undefined ? pending.head.state : "value";
    if (after !== undefined && compareKeys(key, after) <= 0) continue;
    const floor = floors.get(key, runtime.now());
    if (floor?.dead === true && floor.version > version) {
      // What has overtaken it may have been collected, or be in no layer that is listed: it is told here.
      const gone: Head = { key, state: "deleted", version: floor.version, expires: null, meta: NO_META };
      yield { kind: "entry", key, tag: `${name} ${floor.version}`, head: gone, value: null };
      continue;
    }
    const isWanted = detail === "values" && state === "value" && !isExpired(pending.head, runtime.now());
    const value = isWanted ? (await wholeIfSmall(behind.journal, pending, wholeBytesMax)).entry.value : null;
    const head: Head = { key, state, version, expires, meta };
    yield { kind: "entry", key, tag: `${name} ${version}`, head, value };
  }
}

/** Takes the layer's next item. A failure ends the layer's part of the list. */
async function* step(cursor: Cursor): AsyncIterable<Partial> {
  cursor.item = undefined;
  const { name } = cursor;
  try {
    for (;;) {
      const next = await cursor.iterator.next();
      if (next.done === true) return;
      if (next.value.kind === "entry") {
        if (!cursor.isOurs(next.value.key)) continue;
        cursor.item = next.value;
        return;
      }
      yield { ...next.value, from: `${name}/${next.value.from}` };
    }
  } catch (error) {
    yield { kind: "partial", from: name, error: asSyncError(error, { store: name, operation: "list" }) };
  }
}

function lowestKey(cursors: readonly Cursor[]): string | undefined {
  let lowest: string | undefined;
  for (const { item } of cursors) {
    if (item !== undefined && (lowest === undefined || compareKeys(item.key, lowest) < 0)) lowest = item.key;
  }
  return lowest;
}

function newest(cursors: readonly Cursor[]): ListedEntry | undefined {
  let winner: ListedEntry | undefined;
  for (const { item } of cursors) {
    if (item !== undefined && (winner === undefined || beats(item.head, winner.head))) winner = item;
  }
  return winner;
}

function beats(a: Head | null, b: Head | null): boolean {
  if (a === null || b === null) return b === null && a !== null;
  if (a.version !== b.version) return a.version > b.version;
  return b.state === "stub" && a.state !== "stub";
}

/** A stub that wins stands for a value further down, which is looked up: no chain shows its stubs. */
async function resolved(
  state: ChainState,
  item: ListedEntry,
  detail: NonNullable<ListOptions["detail"]>,
): Promise<Listed> {
  if (item.head?.state !== "stub" || isExpired(item.head, state.runtime.now())) return item;
  try {
    const [answer] = await readKeys(state, [item.key], undefined);
    if (answer?.entry !== undefined) {
      const { value, ...known } = answer.entry;
      const head: Head = answer.body === undefined ? known : { ...known, state: "value" };
      return { ...item, head, value: detail === "values" ? value : null };
    }
    throw new SyncError("UNAVAILABLE", "the value of a stub was not found", { store: state.name, key: item.key });
  } catch (error) {
    return { kind: "partial", from: state.name, error: asSyncError(error, { store: state.name, operation: "list" }) };
  }
}

function overlaps(prefixes: readonly string[], wanted: string): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => prefix.startsWith(wanted) || wanted.startsWith(prefix));
}
