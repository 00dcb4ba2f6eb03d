import { SyncError, asSyncError } from "../error.ts";
import { headOf } from "../entry.ts";
import type { Entry } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions, Write } from "../store.ts";
import type { Bodies } from "./bodies.ts";
import { checkLanes, forgetLane, saveCursors } from "./cursors.ts";
import type { Cursors } from "./cursors.ts";
import type { Appended, JournalHooks, JournalOptions, JournalStatus, Pending } from "./contract.ts";
import type { Files } from "./files.ts";
import { Letterbox } from "./letterbox.ts";
import { apart, letterId } from "./letters.ts";
import type { Letter, LetterList } from "./letters.ts";
import { plainWrites } from "./inspect.ts";
import type { Draft, Log } from "./log.ts";
import { decisionNote, draftOf } from "./notes.ts";
import { Replay, headOfRecord, itemOf } from "./replay.ts";
import { Queues, RECORD_BYTES } from "./queues.ts";
import type { Item, Lane, LaneSpec, Settled } from "./queues.ts";
import { Refusals } from "./refusals.ts";
import { limitsOf, room } from "./room.ts";
import type { Room } from "./room.ts";
import { Unsynced, newItem, ownEntry } from "./unsynced.ts";
import { Saver } from "./saver.ts";
import { segmentKeeper } from "./keeper.ts";
import type { SegmentKeeper } from "./keeper.ts";

const MEMORY_BYTES_MAX = 64 * 2 ** 20;
const KEPT_BYTES_MAX = 64 * 2 ** 20;
const REPLAY_RECORDS = 500;
/** Bits of a number that stay positive. */
export const LANES_MAX = 30;

export class Journal {
  readonly name: string;
  readonly ageMsMax: number;
  readonly bodies: Bodies;
  private readonly runtime: Runtime;
  private readonly files: Files;
  private readonly log: Log;
  private readonly loaded: Cursors;
  private readonly memoryBytesMax: number;
  private readonly room: Room;
  private readonly segments: SegmentKeeper;
  private readonly refusals = new Refusals();
  private readonly box: Letterbox;
  /** Acknowledged before they are on disk. */
  private readonly early = new Map<string, Item>();
  private readonly unsynced = new Unsynced();
  private readonly open = new Map<string, Item>();
  private attached: { readonly queues: Queues; readonly hooks: JournalHooks } | undefined;
  /** Until it is done the queues lack something. */
  private replay: Replay | undefined;
  private readonly replayRecords: number;
  private memoryBytes = 0;
  /** Appends are on their way from the disk to the queues: the rest of them is counted in neither. */
  private isLanding = false;
  private suspectUntil: number;
  private readonly saver: Saver;
  /** The group of the last append, and what comes after it. */
  private group: Promise<void> | undefined;
  private appended: Promise<unknown> = Promise.resolve();

  constructor(options: JournalOptions, cursors: Cursors, letters: readonly Letter[], log: Log, bodies: Bodies) {
    const { runtime, files } = options;
    this.name = files.name;
    this.runtime = runtime;
    this.files = files;
    this.log = log;
    this.bodies = bodies;
    this.loaded = cursors;
    this.suspectUntil = cursors.suspectUntil;
    this.ageMsMax = limitsOf(options).ageMsMax;
    this.memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
    this.replayRecords = options.replayRecords ?? REPLAY_RECORDS;
    this.room = room(this.name, limitsOf(options), runtime, () => this.load());
    this.segments = segmentKeeper(log, runtime, {
      keptBytesMax: options.keptBytesMax ?? KEPT_BYTES_MAX,
      needed: () => this.needed(),
      saved: () => this.save(),
      // This process knows them as floors; the next one would have learned of them here.
      droppedEarly: (asOf) => (this.suspectUntil = Math.max(this.suspectUntil, asOf)),
      report: (message) => this.attached?.hooks.report(message),
    });
    this.saver = new Saver({
      runtime,
      write: () => this.saveNow(),
      saved: () => this.segments.tidy(),
      report: (message) => this.parts.hooks.report(message),
    });
    bodies.roomLeft = () => limitsOf(options).bytesMax - this.load().bytes;
    bodies.onDoomed = () => this.attached && this.saver.soon();
    this.box = new Letterbox(files, letters, bodies);
    this.refusals.learn(log.recovered);
    log.onDurable = (_first, last) => this.onDurable(last);
  }

  get queues(): Queues {
    return this.parts.queues;
  }

  /** Conditional writes that were sent, or may have been, and are not decided; by key. */
  get undecided(): ReadonlyMap<string, Item> {
    this.replayAll();
    return this.open;
  }

  /** The sequence number of the last record given out. */
  get last(): number {
    return this.log.last;
  }

  get letters(): readonly Letter[] {
    return this.box.letters;
  }

  /**
   * Says which layers there are, once. What they lack is put into their queues part by part; until that is done what
   * {@link newest} says is true all the same, and everything else that is called ends it first.
   * @throws SyncError INVALID when entries wait for a store that is not one of the layers.
   */
  attach(lanes: readonly LaneSpec[], hooks: JournalHooks): Queues {
    if (this.attached !== undefined) throw new SyncError("INVALID", `${this.name} belongs to another chain`);
    const { recovered } = this.log;
    const newest = recovered.length === 0 ? 0 : recovered.at(recovered.length - 1).seq;
    checkLanes(this.name, lanes, this.loaded, newest);
    const queues = new Queues(
      lanes,
      () => this.runtime.monotonic(),
      (item) => this.done(item),
    );
    this.attached = { queues, hooks };
    this.segments.floorMs = hooks.floorMs;
    this.replay = new Replay({
      runtime: this.runtime,
      atOnce: this.replayRecords,
      recovered,
      cursors: this.loaded,
      queues,
      route: hooks.route,
      floor: hooks.floor,
      letters: this.box.letters,
      undecided: (item) => this.open.set(item.head.key, item),
      done: () => {
        this.replay = undefined;
        this.log.forgetRecovered();
        this.bodies.doomUnheld();
        hooks.replayed();
      },
      bodies: this.bodies,
    });
    if (this.suspectUntil > 0) hooks.suspect(this.suspectUntil);
    // One that happened, though nobody wrote that down, may be in the layer that decides and in no copy of it.
    if (this.replay.hasUndecided()) hooks.suspect(this.runtime.now());
    return queues;
  }

  /** Takes up what the log had, part by part; from here on. */
  begin(): void {
    this.replay?.begin();
  }

  /** What an earlier process knew of a key that every layer has. */
  tell(key: string): void {
    this.replay?.tell(key);
  }

  /** Whether the queues have all that some layer lacks. */
  get isReplayed(): boolean {
    return this.replay === undefined;
  }

  /** Takes up all that is left of what the log had. */
  replayAll(): void {
    this.replay?.finish();
  }

  /** Undefined when there is room for so much; else a promise of it, with what to call right before appending. */
  enter(entries: number, bytes: number, call: CallOptions | undefined): Promise<() => void> | undefined {
    return this.room.enter(entries, bytes + entries * RECORD_BYTES, call);
  }

  /**
   * Appends writes, in order.
   * @param sealed Nothing newer takes their place: somebody waits for what becomes of each.
   * @param isGiven Nobody changes the values' bytes any more. Of others copies are kept.
   */
  append(writes: readonly Write[], { sealed = false, isGiven = false } = {}): Appended {
    const { hooks } = this.parts;
    const appended = this.log.append(writes.map(draftOf));
    const group = this.unsynced.groupOf(appended);
    const queuedAt = this.runtime.monotonic();
    let seq = appended.first;
    const items: Item[] = [];
    for (const write of writes) {
      const kept = this.memoryBytes < this.memoryBytesMax;
      const route = hooks.route(write.entry.key);
      const item = newItem(write, ownEntry(write.entry, isGiven), seq++, route, queuedAt, sealed, kept);
      if (kept) this.memoryBytes += item.valueBytes;
      if (item.body !== undefined) this.bodies.hold(item.body);
      this.unsynced.add(group, item);
      items.push(item);
    }
    const { durable } = appended;
    if (durable !== this.group) {
      this.group = durable;
      this.appended = durable.catch(() => this.notTaken(durable));
    }
    return { items, durable };
  }

  /** Appends a conditional write before it is sent. @throws SyncError UNAVAILABLE: then it must not be sent. */
  async intend(write: Write): Promise<Item> {
    const { entry, if: condition } = write;
    if (condition === undefined) throw new SyncError("INTERNAL", "an intent has a condition", { key: entry.key });
    const { items, durable } = this.append([write], { sealed: true });
    await durable;
    const [item] = items;
    if (item === undefined) throw new SyncError("INTERNAL", "an intent got no record", { key: entry.key });
    return item;
  }

  /**
   * A conditional write was decided, which is on disk when this resolves: that it happened, so that what is acknowledged
   * is readable after a crash whatever the layers hold; that it did not, because it could be sent again after a crash,
   * and happen then.
   * @throws SyncError UNAVAILABLE when it did not happen and that could not be written down.
   */
  async decide(item: Item, happened: boolean): Promise<void> {
    const { key } = item.head;
    const durable = this.decision(item.seq, key, happened);
    try {
      await durable;
    } catch (error) {
      if (!happened) throw error;
      this.parts.hooks.report(asSyncError(error).message, key); // the layer itself knows when it is asked again
    }
    this.open.delete(key);
    this.queues.decided(item, happened);
    this.saver.soon();
  }

  /** The newest entry of a key that some layer lacks, or that one refused. */
  newest(key: string): Pending | undefined {
    const queued = newer(this.attached?.queues.newest(key), this.replay?.newest(key));
    return newer(newer(queued, this.box.newest(key)), this.early.size === 0 ? undefined : this.early.get(key));
  }

  /** These are answered from now on, on disk or not; given back when the disk does not take them. */
  answerEarly(items: readonly Item[]): () => void {
    for (const item of items) this.early.set(item.head.key, item);
    return () => {
      for (const item of items) if (this.early.get(item.head.key) === item) this.early.delete(item.head.key);
    };
  }

  /** The keys of all such entries. */
  *keys(): IterableIterator<string> {
    yield* this.queues.keys();
    for (const key of this.box.keys()) if (this.queues.newest(key) === undefined) yield key;
    for (const key of this.early.keys()) {
      if (this.queues.newest(key) === undefined && this.box.newest(key) === undefined) yield key;
    }
  }

  /** @throws SyncError CORRUPT or UNAVAILABLE when it cannot be read from disk. */
  async body(pending: Pending): Promise<Entry> {
    if (pending.entry !== undefined) return pending.entry;
    if ("letter" in pending) return this.box.body(pending.letter as Letter);
    const { place, head } = pending as Item;
    if (place === undefined) throw new SyncError("INTERNAL", "a record has no place", { key: head.key });
    return this.log.read(place, head.key);
  }

  /** A layer has got an item, or needs it no more. */
  settle(lane: Lane, item: Item, outcome: Settled): void {
    this.queues.settle(lane, item, outcome);
    this.saver.soon();
  }

  /** A layer will never take an item: it is kept with its body until somebody decides. */
  async refuse(lane: Lane, item: Item, list: LetterList, error: SyncError): Promise<void> {
    const entry = await this.body(item);
    const { head, seq, valueBytes, asOf, body } = item;
    const why = { code: error.code, message: error.what, at: this.runtime.now() };
    const where = { layer: lane.name, nowhere: lane.bit === item.first };
    const letter: Letter = {
      id: letterId(seq, lane.name),
      list,
      seq,
      head: headOf(head),
      valueBytes,
      ...apart(body),
      asOf,
      ...where,
      ...why,
    };
    await this.box.add(letter, entry);
    this.settle(lane, item, list === "dead" ? { status: "refused", error } : { status: "too-old" });
  }

  /** Sends a letter's entry once more. @throws SyncError NOT_FOUND; UNAVAILABLE when the disk does not take it. */
  async retry(id: string): Promise<void> {
    const letter = this.box.get(id);
    const entry = await this.box.body(letter).catch((error: unknown) => {
      this.box.get(id); // which says so when it was given up, or ended by a newer write, meanwhile
      throw error;
    });
    const body = letter.body && this.bodies.open(letter.body);
    await this.append([{ entry, asOf: letter.asOf, body }]).durable;
    // Being newer than itself it ended no letter.
    if (this.box.has(id)) await this.box.drop(id);
  }

  /** Gives up a letter and its body. @throws SyncError NOT_FOUND. */
  async drop(id: string): Promise<void> {
    const { seq, head, nowhere } = this.box.get(id);
    // Its record may stay for a while, and must not be taken for something that this node knows of.
    if (nowhere) await this.decision(seq, head.key, false);
    await this.box.drop(id).finally(() => {
      if (this.box.has(id)) return;
      if (nowhere) this.attached?.hooks.unfloor(head);
      this.room.freed();
    });
  }

  /** Writes down what became of a record: that it is a value, or nobody's. */
  private decision(seq: number, key: string, happened: boolean): Promise<void> {
    const note = decisionNote(seq, happened);
    const draft: Draft = { kind: "decision", key, asOf: this.runtime.now(), note, entry: null };
    const { first, durable } = this.log.append([draft]);
    if (!happened) this.refusals.add(first, seq);
    return durable;
  }

  /** The records whose segments have to stay. */
  private *needed(): Iterable<number> {
    this.replayAll();
    for (const { seq } of this.attached?.queues.live.values() ?? []) yield seq;
    yield* this.refusals.needed(this.log.segments());
  }

  /** Before the journal is attached. @throws SyncError NOT_FOUND when it keeps nothing for a layer of that name. */
  forgetLane(name: string): Promise<void> {
    return forgetLane(this.files, this.loaded, name);
  }

  /** Resolves when everything appended so far is on disk or was refused. @returns the last sequence number. */
  async quiet(): Promise<number> {
    this.replayAll();
    const { last } = this.log;
    await this.appended;
    return last;
  }

  /** Sends what the log still has to a layer that lost it, after the one that takes it first. @returns how many entries. */
  resend(lane: Lane): Promise<number> {
    return this.segments.keeping(async () => {
      const { queues, hooks } = this.parts;
      const records = await plainWrites(this.files);
      const kept = new Set([...this.box.letters, ...queues.live.values()].map(({ seq }) => seq));
      let count = 0;
      for (const record of records) {
        const { mask, first } = hooks.route(record.key);
        if (record.seq > this.log.durable || kept.has(record.seq) || (mask & lane.bit) === 0) continue;
        const where = { waits: lane.bit | first, first, queuedAt: this.runtime.monotonic() };
        const item = itemOf(record, headOfRecord(record), where, this.bodies);
        // A large value that every layer had is there no more: a read brings it.
        if (item.body !== undefined && !this.bodies.hold(item.body)) continue;
        queues.add(item);
        count++;
      }
      return count;
    });
  }

  status(): JournalStatus {
    this.replayAll();
    const { attached } = this;
    return {
      entries: attached?.queues.live.size ?? 0,
      bytes: (attached?.queues.bytes ?? 0) + this.bodies.bytes,
      diskBytes: this.log.bytes + this.bodies.bytes,
      oldestMs: this.oldestMs(),
      ...this.box.counts,
      undecided: this.open.size,
    };
  }

  /** Writes the cursors down. */
  save(): Promise<void> {
    return this.saver.save();
  }

  /** Waits for what is under way and gives the folder back; what layers lack stays in it. */
  async close(): Promise<void> {
    this.segments.stop();
    try {
      await this.quiet();
      await this.saver.stop();
      if (this.attached !== undefined) await this.save().catch((error: unknown) => this.notSaved(error));
    } finally {
      await this.log.close();
    }
  }

  private get parts() {
    if (this.attached === undefined) throw new SyncError("INTERNAL", "the journal has no layers yet");
    this.replayAll();
    return this.attached;
  }

  /** The disk did not take a group. */
  private notTaken(group: Promise<void>): void {
    const gone = this.unsynced.refused(group);
    for (const item of gone) this.letGo(item);
    if (gone.length > 0) this.room.freed();
  }

  private onDurable(last: number): void {
    if (this.unsynced.entries === 0) return;
    const { queues, hooks } = this.parts;
    const landed: Item[] = [];
    this.isLanding = true;
    for (const { items, placeOf } of this.unsynced.landed(last)) {
      for (const item of items) {
        if (!item.kept) item.place = placeOf(item.seq);
        if (item.condition !== undefined) {
          this.open.set(item.head.key, item);
          queues.hold(item);
          continue;
        }
        queues.add(item);
        landed.push(item);
        this.supersedeLetters(item);
      }
    }
    this.isLanding = false;
    this.room.freed();
    if (landed.length > 0) hooks.landed(landed);
    for (const item of landed) {
      if (this.early.size > 0 && this.early.get(item.head.key) === item) this.early.delete(item.head.key);
      if (!item.kept) item.entry = undefined;
    }
  }

  private supersedeLetters({ head }: Item): void {
    for (const { id } of this.box.endedBy(head)) {
      this.box.drop(id).catch((error: unknown) => this.parts.hooks.report(asSyncError(error).message, head.key));
    }
  }

  private letGo(item: Item): void {
    if (item.kept) this.memoryBytes -= item.valueBytes;
    if (item.body !== undefined) this.bodies.drop(item.body);
  }

  private done(item: Item): void {
    this.letGo(item);
    if (!this.isLanding) this.room.freed();
    if (item.void) this.attached?.hooks.unfloor(item.head);
    else this.attached?.hooks.floor(item.head, this.runtime.coarse.now());
  }

  private load() {
    this.replayAll();
    const { attached, box } = this;
    const bytes = Math.max(attached?.queues.bytes ?? 0, this.segments.neededBytes) + this.unsynced.bytes + box.bytes;
    const entries = (attached?.queues.live.size ?? 0) + this.unsynced.entries + box.size;
    return { entries, bytes: bytes + this.bodies.bytes, ageMs: this.oldestMs() };
  }

  private oldestMs(): number {
    const oldest = this.attached?.queues.live.first();
    return oldest === undefined ? 0 : Math.max(0, this.runtime.coarse.now() - oldest.asOf);
  }

  /** Older cursors cost sending again what the layers have: no reason to keep anybody from closing. */
  private notSaved(error: unknown): void {
    this.attached?.hooks.report(`the cursors could not be saved: ${asSyncError(error).message}`);
  }

  private async saveNow(): Promise<void> {
    const { queues } = this.parts;
    const { durable } = this.log;
    const lanes = queues.lanes.map((lane) => {
      const seq = Math.min(durable, (queues.firstOf(lane) ?? Infinity) - 1);
      return [lane.name, { role: lane.role, seq }] as const;
    });
    const savedAt = this.runtime.now();
    const cursors = { lanes: Object.fromEntries(lanes), savedAt, suspectUntil: this.suspectUntil };
    await this.bodies.tidyAfter(() => saveCursors(this.files, cursors));
  }
}

function newer(a: Pending | undefined, b: Pending | undefined): Pending | undefined {
  return a === undefined || (b !== undefined && a.head.version < b.head.version) ? b : a;
}
