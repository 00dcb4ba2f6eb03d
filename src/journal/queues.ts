import { compareEntries } from "../entry.ts";
import type { Head, Entry } from "../entry.ts";
import type { Version } from "../version.ts";
import type { KeptBody } from "./bodies.ts";
import { Line } from "./line.ts";
import type { Place } from "./log.ts";

/**
 * One record that some layer still waits for. Layers are bits: `waits` has those that have not got it, `flying` those
 * that it is being sent to.
 */
export interface Item {
  readonly seq: number;
  readonly head: Head;
  readonly valueBytes: number;
  /** Of a conditional write; it is sent to `first` by whoever made it, not by the flush. */
  readonly condition: "absent" | Version | undefined;
  /** Unix ms: when it was written. */
  readonly asOf: number;
  /** Unix ms: when it was written, or last found to be the newest by a complete walk. */
  knownAt: number;
  /** The body, while memory is spent on it. */
  entry: Entry | undefined;
  /** The value that the entry, a stub, stands for; in a file, and counted there. */
  readonly body: KeptBody | undefined;
  /** Where the record is on disk, if the body is not kept. Undefined while it is not there yet. */
  place: Place | undefined;
  /** Monotonic ms at which it was given to the lanes. */
  queuedAt: number;
  waits: number;
  flying: number;
  /** The lines that it stands in, as bits. */
  lines: number;
  /** The layer that takes it first; no other shared layer gets it before. */
  readonly first: number;
  /** Nothing newer takes its place. */
  sealed: boolean;
  /** The next older one of the same key. */
  older: Item | undefined;
  /** Who waits for a layer to have it. */
  waiters: Waiter[] | undefined;
  /** The body counts against the memory that is spent on bodies. */
  readonly kept: boolean;
  /** It is nobody's value: a condition that did not hold, or too old for the layer that takes it first. */
  void: boolean;
}

export type Settled =
  | { readonly status: "stored" }
  | { readonly status: "superseded"; readonly by: Version }
  | { readonly status: "too-old" }
  | { readonly status: "refused"; readonly error: Error }
  /** A condition that did not hold. */
  | { readonly status: "void" };

export interface Waiter {
  readonly lane: number;
  readonly settled: (outcome: Settled) => void;
}

export interface LaneSpec {
  /** The layer's name; its cursor is kept under it. */
  readonly name: string;
  readonly role: "cache" | "store";
  /** Other machines see what it is given. */
  readonly shared: boolean;
}

/** One layer's part of the queues. */
export interface Lane extends LaneSpec {
  readonly bit: number;
  /** What it may be sent now, oldest first. */
  readonly queue: Line;
  /** The sum of the sizes of the values in the queue. */
  bytes: number;
  /** Monotonic ms from which on the youngest item waits for it. */
  youngestAt: number;
  /** The same of the oldest item, or of one whose place a newer one of its key has taken; Infinity when all were sent. */
  oldestAt: number;
  /** How many wait for it, those that it may not be sent yet among them. */
  waiting: number;
}

/** A layer that waits for nothing. */
const EMPTY = { bytes: 0, youngestAt: 0, oldestAt: Infinity, waiting: 0 };
/** Above those of the lanes. */
const LIVE_BIT = 1 << 30;
/** What a record weighs beside its value, for limits. */
export const RECORD_BYTES = 128;

export function weightOf(item: Item): number {
  return item.valueBytes + RECORD_BYTES;
}

/**
 * What is in the journal and not in every layer, in memory: per key the versions, per layer a queue. Decides what may
 * take whose place and who may be sent when; knows neither disk nor network.
 */
export class Queues {
  readonly lanes: readonly Lane[];
  /** Everything that some layer waits for, by sequence number. */
  readonly live = new Line(LIVE_BIT);
  private readonly byKey = new Map<string, Item>();
  /** Keys with a conditional write that is not decided: what was written after it waits. */
  private readonly walls = new Map<string, number>();
  /** A `flush` began when this was the last record: nothing up to it is replaced by anything after it. */
  private sealedTo = 0;
  private readonly done: (item: Item) => void;
  private readonly now: () => number;
  private weight = 0;

  /**
   * @param now monotonic ms.
   * @param done called once for each item that no layer waits for any more.
   */
  constructor(lanes: readonly LaneSpec[], now: () => number, done: (item: Item) => void) {
    this.lanes = lanes.map((lane, index) => {
      return { ...lane, bit: 1 << index, queue: new Line(1 << index), ...EMPTY };
    });
    this.now = now;
    this.done = done;
  }

  get bytes(): number {
    return this.weight;
  }

  /** The newest version of a key that some layer waits for. */
  newest(key: string): Item | undefined {
    let newest = this.byKey.get(key);
    for (let item = newest?.older; item !== undefined; item = item.older) {
      if (newest === undefined || beats(item, newest)) newest = item;
    }
    return newest;
  }

  keys(): IterableIterator<string> {
    return this.byKey.keys();
  }

  /** All items of a key, the latest first. */
  *of(key: string): IterableIterator<Item> {
    for (let item = this.byKey.get(key); item !== undefined; item = item.older) yield item;
  }

  /**
   * The item is on disk: it takes the place of older ones of its key, and the layers may have it.
   * @param at monotonic ms from which on it waits for them.
   */
  add(item: Item, at = item.queuedAt): void {
    this.replaceOlder(item);
    if (item.waits === 0) {
      this.live.delete(item);
      this.done(item);
      return;
    }
    item.older = this.byKey.get(item.head.key);
    this.byKey.set(item.head.key, item);
    this.live.add(item);
    this.weight += weightOf(item);
    for (const lane of this.lanes) if ((item.waits & lane.bit) !== 0) lane.waiting++;
    this.enqueueDue(item, at);
  }

  /** A conditional write that is not decided: it keeps its record, is nobody's value, and holds up what comes after. */
  hold(item: Item): void {
    this.live.add(item);
    this.weight += weightOf(item);
    this.walls.set(item.head.key, item.seq);
    for (const other of this.of(item.head.key)) other.sealed = true;
  }

  /** What is held was decided by the layer that decides: it happened, or it did not. */
  decided(item: Item, happened: boolean): void {
    this.walls.delete(item.head.key);
    this.weight -= weightOf(item);
    if (!happened) {
      this.live.delete(item);
      item.waits = 0;
      item.void = true;
      for (const lane of this.lanes) tell(item, lane.bit, { status: "void" });
      this.done(item);
      return;
    }
    item.sealed = true;
    item.waits &= ~item.first;
    tell(item, item.first, { status: "stored" });
    // It keeps its place in `live`, which is in the order of the sequence.
    this.add(item, this.now());
  }

  /** From now on nothing that is in the journal is replaced by anything newer. */
  seal(last: number): void {
    this.sealedTo = Math.max(this.sealedTo, last);
  }

  /** Whether anything of a lane may be sent now. */
  hasFree(lane: Lane): boolean {
    for (const item of lane.queue.values()) if (this.maySend(lane, item)) return true;
    return false;
  }

  /** Up to so many items and bytes (one at least) of a lane, oldest first, which are under way from here on. */
  take(lane: Lane, entriesMax: number, bytesMax: number): Item[] {
    const taken: Item[] = [];
    let bytes = 0;
    let isAll = true;
    for (const item of lane.queue.values()) {
      if (!this.maySend(lane, item)) {
        isAll &&= (item.flying & lane.bit) !== 0;
        continue;
      }
      bytes += item.body === undefined ? item.valueBytes : item.body.size;
      if (taken.length > 0 && (taken.length >= entriesMax || bytes > bytesMax)) {
        isAll = false;
        break;
      }
      item.flying |= lane.bit;
      taken.push(item);
    }
    if (isAll) lane.oldestAt = Infinity;
    return taken;
  }

  /** What a lane has of one key, oldest first; undefined while some of it is under way. */
  takeKey(lane: Lane, key: string): Item[] | undefined {
    const items = [...this.of(key)].filter((item) => (item.waits & lane.bit) !== 0).toReversed();
    if (items.some((item) => (item.flying & lane.bit) !== 0)) return undefined;
    const free = items.filter((item) => this.maySend(lane, item));
    for (const item of free) item.flying |= lane.bit;
    return free;
  }

  /** What was under way has not arrived. */
  release(lane: Lane, items: readonly Item[]): void {
    for (const item of items) {
      item.flying &= ~lane.bit;
      if ((item.waits & lane.bit) !== 0) lane.oldestAt = Math.min(lane.oldestAt, item.queuedAt);
    }
  }

  /** A layer has got the item, or never will. */
  settle(lane: Lane, item: Item, outcome: Settled): void {
    item.flying &= ~lane.bit;
    if ((item.waits & lane.bit) === 0) return;
    this.leave(lane, item, outcome);
    if (lane.bit === item.first && outcome.status !== "stored" && outcome.status !== "superseded") {
      // Authority first: what it refuses, no other shared layer gets.
      if (outcome.status === "too-old") item.void = true;
      for (const other of this.lanes) {
        if (!other.shared || (item.waits & other.bit) === 0) continue;
        this.leave(other, item, outcome);
      }
    } else if (lane.bit === item.first && item.waits !== 0) {
      this.enqueueDue(item, this.now());
    }
    if (item.waits === 0) this.end(item);
  }

  /** The lowest sequence number that a lane waits for; undefined when it waits for none. */
  firstOf(lane: Lane): number | undefined {
    for (const item of this.live.values()) if ((item.waits & lane.bit) !== 0) return item.seq;
    return undefined;
  }

  private maySend(lane: Lane, item: Item): boolean {
    if ((item.flying & lane.bit) !== 0) return false;
    const wall = lane.bit === item.first ? this.walls.get(item.head.key) : undefined;
    return wall === undefined || item.seq < wall;
  }

  private replaceOlder(item: Item): void {
    const { key, version } = item.head;
    let next: Item | undefined;
    for (let other = this.byKey.get(key); other !== undefined; other = next) {
      next = other.older;
      // One version with two contents is an alarm: each layer decides by the merge rule, as ever.
      if (other.head.version === version) continue;
      if (other.head.version > version) {
        // It came late: a layer that waits for the newer one needs no older one. What a condition decided is told all.
        if (item.sealed) continue;
        for (const lane of this.lanes) {
          if ((other.waits & item.waits & lane.bit) === 0) continue;
          item.waits &= ~lane.bit;
          handOver(item, other, lane.bit);
        }
        continue;
      }
      if (other.sealed || other.seq <= this.sealedTo) continue;
      for (const lane of this.lanes) {
        if ((other.waits & item.waits & lane.bit) === 0 || (other.flying & lane.bit) !== 0) continue;
        this.clear(lane, other);
        handOver(other, item, lane.bit);
      }
      if (other.waits === 0) this.end(other);
      else this.enqueueDue(other, this.now());
    }
  }

  private enqueueDue(item: Item, at: number): void {
    for (const lane of this.lanes) {
      if ((item.waits & lane.bit) === 0 || !isDue(lane, item) || lane.queue.has(item)) continue;
      lane.queue.add(item);
      lane.bytes += item.valueBytes;
      lane.youngestAt = Math.max(lane.youngestAt, at);
      lane.oldestAt = Math.min(lane.oldestAt, item.queuedAt);
    }
  }

  /** A layer waits for the item no more. */
  private leave(lane: Lane, item: Item, outcome: Settled): void {
    this.clear(lane, item);
    if (lane.waiting === 0) lane.oldestAt = Infinity;
    tell(item, lane.bit, outcome);
  }

  private clear(lane: Lane, item: Item): void {
    item.waits &= ~lane.bit;
    lane.waiting--;
    if (lane.queue.delete(item)) lane.bytes -= item.valueBytes;
  }

  private end(item: Item): void {
    const { key } = item.head;
    this.live.delete(item);
    this.weight -= weightOf(item);
    const newest = this.byKey.get(key);
    if (newest === item) {
      if (item.older === undefined) this.byKey.delete(key);
      else this.byKey.set(key, item.older);
    } else {
      for (let at = newest; at !== undefined; at = at.older) if (at.older === item) at.older = item.older;
    }
    this.done(item);
  }
}

function beats(a: Item, b: Item): boolean {
  if (a.head.version !== b.head.version) return a.head.version > b.head.version;
  return a.entry !== undefined && b.entry !== undefined && compareEntries(a.entry, b.entry) > 0;
}

/** Private layers may have an item at once, the first layer of a key too; other shared layers after that one. */
function isDue(lane: Lane, item: Item): boolean {
  return !lane.shared || lane.bit === item.first || (item.waits & item.first) === 0;
}

function tell(item: Item, lane: number, outcome: Settled): void {
  const { waiters } = item;
  if (waiters === undefined) return;
  item.waiters = waiters.filter((waiter) => waiter.lane !== lane);
  for (const waiter of waiters) if (waiter.lane === lane) waiter.settled(outcome);
}

/** Who waited for the older version in a lane waits for the one that took its place. */
function handOver(from: Item, to: Item, lane: number): void {
  const { waiters } = from;
  if (waiters === undefined) return;
  const by = to.head.version;
  from.waiters = waiters.filter((waiter) => waiter.lane !== lane);
  for (const { settled } of waiters.filter((waiter) => waiter.lane === lane)) {
    (to.waiters ??= []).push({
      lane,
      settled: (outcome) => settled(outcome.status === "stored" ? { status: "superseded", by } : outcome),
    });
  }
}
