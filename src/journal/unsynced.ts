import { headOf } from "../entry.ts";
import type { Write } from "../store.ts";
import type { KeptBody } from "./bodies.ts";
import type { Route } from "./contract.ts";
import { weightOf } from "./queues.ts";
import type { Item } from "./queues.ts";

/** What one append put in, on its way to the disk. */
export interface UnsyncedAppend {
  /** The sequence number of its first item. */
  readonly first: number;
  readonly items: readonly Item[];
  /** Of the group that it is part of; the same object for all of a group. */
  readonly durable: Promise<void>;
  /** After `durable`. */
  readonly places: () => readonly NonNullable<Item["place"]>[];
}

/** Appended and not yet on disk, in order; counted, so that limits hold before the disk has answered too. */
export class Unsynced {
  entries = 0;
  bytes = 0;
  private appends: UnsyncedAppend[] = [];

  add(append: UnsyncedAppend): void {
    this.appends.push(append);
    this.count(append, 1);
  }

  /** Takes out what is on disk: everything up to this sequence number. */
  landed(last: number): readonly UnsyncedAppend[] {
    const { appends } = this;
    let count = 0;
    while (count < appends.length && (appends[count] as UnsyncedAppend).first <= last) count++;
    const taken = count === appends.length ? appends : appends.slice(0, count);
    this.appends = count === appends.length ? [] : appends.slice(count);
    for (const append of taken) this.count(append, -1);
    return taken;
  }

  /** Takes out a group that the disk did not take. */
  refused(group: Promise<void>): readonly UnsyncedAppend[] {
    const gone = this.appends.filter(({ durable }) => durable === group);
    this.appends = this.appends.filter(({ durable }) => durable !== group);
    for (const append of gone) this.count(append, -1);
    return gone;
  }

  private count({ items }: UnsyncedAppend, by: 1 | -1): void {
    this.entries += by * items.length;
    for (const item of items) this.bytes += by * weightOf(item);
  }
}

/** The item of a write that is being appended. */
export function newItem(
  { entry, asOf, if: condition, body }: Write,
  {
    seq,
    route,
    queuedAt,
    sealed,
    kept,
  }: Pick<Item, "seq" | "queuedAt" | "sealed" | "kept"> & { readonly route: Route },
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
    waits: route.mask,
    flying: 0,
    first: route.first,
    sealed,
    older: undefined,
    waiters: undefined,
    kept,
    void: false,
  };
}
