import { SyncError } from "../error.ts";
import { keyChecksum } from "../envelope.ts";
import type { Head } from "../entry.ts";
import type { Runtime, Timer } from "../runtime.ts";
import type { Version } from "../version.ts";
import { readBodyNote } from "./bodies.ts";
import type { Bodies } from "./bodies.ts";
import type { Cursors } from "./cursors.ts";
import type { Route } from "./contract.ts";
import type { Letter } from "./letters.ts";
import type { Indexed, Records } from "./log.ts";
import { readCondition, readDecision } from "./notes.ts";
import type { Item, Queues } from "./queues.ts";

export interface ReplayOptions {
  readonly runtime: Runtime;
  /** How many records are taken up before others get a turn. */
  readonly atOnce: number;
  readonly recovered: Records;
  readonly cursors: Cursors;
  readonly queues: Queues;
  readonly route: (key: string) => Route;
  readonly letters: readonly Letter[];
  /** This node knows of the version since that Unix ms. */
  readonly floor: (head: Head, since: number) => void;
  /** A conditional write that nobody knows the outcome of. */
  readonly undecided: (item: Item) => void;
  /** Called once, when all records have been taken up. */
  readonly done: () => void;
  readonly bodies: Bodies;
}

/** What a record that was written before this process began means now. */
type Meaning =
  /** What did not happen, was given up, waits for somebody's decision; or is a decision itself. */
  | { readonly kind: "nothing" }
  /** Every layer has it. */
  | { readonly kind: "known"; readonly head: Head; readonly since: number }
  | { readonly kind: "pending"; readonly item: Item }
  /** A conditional write that is not decided. */
  | { readonly kind: "undecided"; readonly item: Item };

const NOTHING: Meaning = { kind: "nothing" };

/**
 * Puts into the queues what the layers had not got when the journal was closed, or its process died; in parts, so that
 * reads are answered meanwhile. What is not yet in the queues is found by its key.
 */
export class Replay {
  private readonly options: ReplayOptions;
  private readonly decisions = new Map<number, boolean>();
  private readonly intents: Indexed[] = [];
  /** Records that are on the conflict list: nobody's value until somebody decides. */
  private readonly forgone = new Set<number>();
  /** Dead letters of the layer that takes them first. */
  private readonly refused = new Set<number>();
  /** By key: its last record that the layer which takes it first did not take. */
  private readonly untaken = new Map<string, number>();
  /** By the number of the lane: what it has. */
  private readonly seqs: readonly number[];
  private readonly passed: number;
  /** By the low bits of the key's checksum: the last record, counted from one; and by record: the one before it. */
  private readonly lastOf: Int32Array;
  private readonly beforeIt: Int32Array;
  /** Made before their turn, because somebody read their key. */
  private readonly made = new Map<number, Item>();
  private readonly asked = new Set<string>();
  private readonly now: number;
  private at = 0;
  private isStepping = false;
  private timer: Timer | undefined;

  constructor(options: ReplayOptions) {
    const { recovered, queues, cursors } = options;
    this.options = options;
    this.now = options.runtime.monotonic();
    this.seqs = queues.lanes.map(({ name }) => cursors.lanes[name]?.seq ?? 0);
    this.passed = Math.min(...this.seqs);
    this.lastOf = new Int32Array(2 ** Math.ceil(Math.log2(recovered.length + 1)));
    this.beforeIt = new Int32Array(recovered.length);
    const bits = this.lastOf.length - 1;
    for (let i = 0; i < recovered.length; i++) {
      const slot = recovered.keyCrc(i) & bits;
      this.beforeIt[i] = this.lastOf[slot] ?? 0;
      this.lastOf[slot] = i + 1;
    }
    for (const { seq, head, layer, list } of options.letters) {
      if (list === "conflict") this.forgone.add(seq);
      if (!this.isFirst(head.key, layer)) continue;
      if (list === "dead") this.refused.add(seq);
      this.untook(head.key, seq);
    }
    const lastIntents = new Map<string, number>();
    for (const index of recovered.conditional) {
      const record = recovered.at(index);
      if (record.kind === "intent") {
        this.intents.push(record);
        // A key has one intent at a time, and only that one happened may be missing: the disk did not take the word of it.
        const before = lastIntents.get(record.key);
        if (before !== undefined && !this.decisions.has(before)) this.decisions.set(before, true);
        lastIntents.set(record.key, record.seq);
      }
      if (record.kind !== "decision") continue;
      const { intent, happened } = readDecision(record.note);
      this.decisions.set(intent, happened);
      if (!happened) this.untook(record.key, intent);
    }
  }

  private isFirst(key: string, layer: string): boolean {
    const { queues, route } = this.options;
    const { first } = route(key);
    return queues.lanes.some(({ bit, name }) => bit === first && name === layer);
  }

  private untook(key: string, seq: number): void {
    if (seq > (this.untaken.get(key) ?? 0)) this.untaken.set(key, seq);
  }

  /** Whether any conditional write is undecided. */
  hasUndecided(): boolean {
    return this.intents.some((record) => this.meaning(record).kind === "undecided");
  }

  /** Takes up the records: a few now, many by and by, and none of those before somebody had a turn. */
  begin(): void {
    const { runtime, atOnce, recovered } = this.options;
    if (recovered.length - this.at <= atOnce) this.finish();
    else this.timer = runtime.timer(0, () => this.next());
  }

  private next(): void {
    this.step(this.options.atOnce);
    this.begin();
  }

  /** Takes up all that are left now. */
  finish(): void {
    if (this.isStepping) return;
    this.timer?.cancel();
    this.step(Infinity);
    this.options.done();
  }

  private step(count: number): void {
    const { recovered, queues, floor, undecided, bodies } = this.options;
    const end = Math.min(this.at + count, recovered.length);
    this.isStepping = true;
    while (this.at < end) {
      const record = recovered.at(this.at);
      const meaning = this.meaning(record);
      this.at++;
      if ("item" in meaning && meaning.item.body !== undefined) bodies.hold(meaning.item.body);
      switch (meaning.kind) {
        case "known":
          floor(meaning.head, meaning.since);
          break;
        case "undecided":
          undecided(meaning.item);
          queues.hold(meaning.item);
          break;
        case "pending":
          // What is in the queues is its own floor, and gets one when it leaves them: there is no room for floors of them all.
          queues.add(meaning.item);
          break;
        case "nothing":
      }
    }
    this.isStepping = false;
  }

  /** The newest entry of a key that some layer lacks, of those that are not in the queues yet. */
  newest(key: string): Item | undefined {
    let newest: Item | undefined;
    for (const record of this.recordsOf(key)) {
      const meaning = this.meaning(record);
      if (meaning.kind !== "pending") continue;
      const { item } = meaning;
      if (newest === undefined || item.head.version > newest.head.version) newest = item;
      this.made.set(item.seq, item);
    }
    return newest;
  }

  /** What the records of a key that every layer has say: this node knows of their versions. Once for each key. */
  tell(key: string): void {
    if (this.isStepping || this.asked.has(key)) return;
    this.asked.add(key);
    for (const record of this.recordsOf(key)) {
      const meaning = this.meaning(record);
      if (meaning.kind === "known") this.options.floor(meaning.head, meaning.since);
    }
  }

  /** Those of a key that had no turn yet, the last one first. */
  private *recordsOf(key: string): Iterable<Indexed> {
    const { recovered } = this.options;
    const crc = keyChecksum(key);
    for (
      let i = (this.lastOf[crc & (this.lastOf.length - 1)] ?? 0) - 1;
      i >= this.at;
      i = (this.beforeIt[i] ?? 0) - 1
    ) {
      if (recovered.keyCrc(i) !== crc) continue;
      const record = recovered.at(i);
      if (record.key === key) yield record;
    }
  }

  private meaning(record: Indexed): Meaning {
    const { now, options } = this;
    const { cursors, queues, route, bodies } = options;
    const { kind, seq } = record;
    if (kind === "decision" || this.decisions.get(seq) === false || this.forgone.has(seq)) return NOTHING;
    const made = this.made.get(seq);
    if (made !== undefined) return { kind: "pending", item: made };
    const head = headOfRecord(record);
    const { mask, first } = route(head.key);
    let waits = 0;
    if (seq > this.passed) {
      for (let i = 0; i < this.seqs.length; i++) if (seq > (this.seqs[i] ?? 0)) waits |= mask & (1 << i);
    }
    if (kind === "intent") {
      // Without a decision on disk, that the cursor of the deciding layer has passed it says that it happened.
      if (!this.decisions.has(seq) && (waits & first) !== 0) {
        return { kind: "undecided", item: itemOf(record, head, { waits, first, queuedAt: now }, bodies) };
      }
      waits &= ~first;
    } else if (waits !== 0 && seq < (this.untaken.get(head.key) ?? 0)) {
      // Whether the first layer got it is not known: the record that it did not take may have had taken its place.
      waits |= first;
    }
    // Authority first: what the first layer has refused, no other shared layer gets.
    if (this.refused.has(seq) && (waits & first) === 0) {
      for (const { bit, shared } of queues.lanes) if (shared) waits &= ~bit;
    }
    if (waits === 0) return { kind: "known", head, since: Math.max(record.asOf, cursors.savedAt) };
    return { kind: "pending", item: itemOf(record, head, { waits, first, queuedAt: now }, bodies) };
  }
}

/** A head is decoded anew each time that it is asked for. */
export function headOfRecord({ head, key }: Indexed): Head {
  if (head === null) throw new SyncError("INTERNAL", "a decision is no entry", { key });
  return head;
}

/** The item of a record on disk. In one piece, since a start makes a hundred thousand of them. */
export function itemOf(
  record: Indexed,
  head: Head,
  { waits, first, queuedAt }: Pick<Item, "waits" | "first" | "queuedAt">,
  bodies: Bodies,
): Item {
  const { seq, kind, asOf } = record;
  const body = head.state === "stub" ? readBodyNote(record.note) : undefined;
  const condition: "absent" | Version | undefined = kind === "intent" ? readCondition(record.note) : undefined;
  return {
    seq,
    head,
    valueBytes: record.valueBytes,
    condition,
    asOf,
    knownAt: asOf,
    entry: undefined,
    body: body && bodies.open(body),
    place: record.place,
    queuedAt,
    waits,
    flying: 0,
    lines: 0,
    first,
    sealed: kind === "intent",
    older: undefined,
    waiters: undefined,
    kept: false,
    void: false,
  };
}
