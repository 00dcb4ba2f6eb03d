import { headOf } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { bytesGot, ownBytes } from "../slot.ts";
import type { Write } from "../store.ts";
import type { KeptBody } from "./bodies.ts";
import type { Route } from "./contract.ts";
import { weightOf } from "./queues.ts";
import type { Item } from "./queues.ts";

/** Items on their way to the disk in one group, in order. */
export interface UnsyncedGroup {
  readonly durable: Promise<void>;
  readonly placeOf: (seq: number) => NonNullable<Item["place"]>;
  readonly items: Item[];
}

/** Appended and not yet on disk; counted, so that limits hold before the disk has answered too. */
export class Unsynced {
  entries = 0;
  bytes = 0;
  private groups: UnsyncedGroup[] = [];

  /** The last group, where it is that one, or a new one. */
  groupOf({ durable, placeOf }: Pick<UnsyncedGroup, "durable" | "placeOf">): UnsyncedGroup {
    const last = this.groups.at(-1);
    if (last?.durable === durable) return last;
    const group = { durable, placeOf, items: [] };
    this.groups.push(group);
    return group;
  }

  add(group: UnsyncedGroup, item: Item): void {
    group.items.push(item);
    this.count(item, 1);
  }

  /** Takes out what is on disk: everything up to this sequence number. */
  landed(last: number): readonly UnsyncedGroup[] {
    const taken = this.groups.filter(({ items }) => (items[0]?.seq ?? 0) <= last);
    this.take(taken);
    return taken;
  }

  /** Takes out a group that the disk did not take. */
  refused(group: Promise<void>): readonly Item[] {
    const gone = this.groups.filter(({ durable }) => durable === group);
    this.take(gone);
    return gone.flatMap(({ items }) => items);
  }

  private take(groups: readonly UnsyncedGroup[]): void {
    this.groups = this.groups.filter((group) => !groups.includes(group));
    for (const { items } of groups) for (const item of items) this.count(item, -1);
  }

  private count(item: Item, by: 1 | -1): void {
    this.entries += by;
    this.bytes += by * weightOf(item);
  }
}

/** The entry with bytes that its caller cannot change afterwards. Memory, unless it keeps a text, and the queues share them. */
export function ownEntry(entry: Entry, isGiven: boolean): Entry {
  const { key, state, value, version, expires, meta } = entry;
  if (value === null) return entry;
  return { key, state, value: isGiven ? bytesGot(value) : ownBytes(value), version, expires, meta };
}

/** The item of a write that is being appended. @param entry of the write, with bytes that nobody changes. */
export function newItem(
  { asOf, if: condition, body }: Write,
  entry: Entry,
  seq: number,
  { mask, first }: Route,
  queuedAt: number,
  sealed: boolean,
  kept: boolean,
): Item {
  return {
    seq,
    head: kept ? entry : headOf(entry),
    valueBytes: entry.value?.length ?? 0,
    condition,
    asOf,
    knownAt: asOf,
    entry,
    body: body as KeptBody | undefined, // the chain gives the journal no other
    place: undefined,
    queuedAt,
    waits: mask,
    flying: 0,
    lines: 0,
    first,
    sealed,
    older: undefined,
    waiters: undefined,
    kept,
    void: false,
  };
}
