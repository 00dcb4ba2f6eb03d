/**
 * The append-only log under the journal: records in segment files, written in groups, each with one append and one sync.
 * docs/journal-format.md describes the files, what a crash can leave in them, and which damage is told from a torn tail.
 */
import { checkEntry, checkKey } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { Company } from "./company.ts";
import type { Claim, Files } from "./files.ts";
import { Group, Space } from "./group.ts";
import { Heads } from "./heads.ts";
import type { Records } from "./heads.ts";
import { Malformed, NOTE_BYTES_MAX, RECORD_BYTES_MAX, entryOf, readRecord, recordRoom } from "./record.ts";
import type { Draft, Place } from "./record.ts";
import { recover } from "./recover.ts";
import { segmentFile } from "./segment.ts";
import { Segments } from "./segments.ts";

export type { Records } from "./heads.ts";
export type { Draft, Indexed, LogRecord, Place, RecordKind } from "./record.ts";

export interface Log {
  /** What the log held when it was opened, oldest first; heads only, bodies stay on disk. */
  readonly recovered: Records;
  /** Nobody asks for `recovered` any more: it is empty from here on, and its memory is given back. */
  forgetRecovered(): void;
  /**
   * Numbers the drafts at once, in order, and resolves `durable` when they are on disk, all together. They are encoded
   * before it returns: the caller may change its bytes at once.
   *
   * When `durable` is rejected the drafts are not in the log and their numbers are not used again. Where
   * {@link mayReturn} says so of the error, they may appear after a power loss if nothing was acknowledged after them.
   *
   * @throws SyncError before any effect: INVALID or TOO_LARGE for a draft, OVERLOADED when too much waits for the disk,
   * CLOSED. `durable` is rejected with UNAVAILABLE, which is retryable, when the disk refuses.
   */
  append(drafts: readonly Draft[]): Appended;
  /**
   * Called with each group of appends right after it became durable, before their promises resolve. Set once by the
   * owner. It must not throw.
   */
  onDurable: ((first: number, last: number) => void) | undefined;
  /**
   * Reads a record's entry back.
   * @throws SyncError CORRUPT when it is not what was written for this key; UNAVAILABLE when the disk cannot be read.
   */
  read(place: Place, key: string): Promise<Entry>;
  /** The highest number given out. */
  readonly last: number;
  /** The highest number on disk. */
  readonly durable: number;
  /** Oldest first; the last is open. None before the first append of all. */
  segments(): readonly SegmentInfo[];
  /** Removes whole closed segments. Others stay, also older ones. Those that are gone already are no mistake. */
  removeSegments(numbers: readonly number[]): Promise<void>;
  /** Of all segments. */
  readonly bytes: number;
  /** Waits for what is under way and gives the folder back. Idempotent. */
  close(): Promise<void>;
}

export interface Appended {
  readonly first: number;
  /** Of the group that they are part of; the same object for all of a group. */
  readonly durable: Promise<void>;
  /** Where a record of that group lies; after `durable`. */
  readonly placeOf: (seq: number) => Place;
}

export interface SegmentInfo {
  readonly number: number;
  readonly first: number;
  /** `first - 1` while it has no record. */
  readonly last: number;
  readonly bytes: number;
}

export interface LogOptions {
  readonly files: Files;
  readonly runtime: Runtime;
  /** A segment that would grow beyond this is closed. Default 16 MiB. */
  readonly segmentBytes?: number | undefined;
  /** About how large a group gets; one append is never divided. Default 4 MiB. */
  readonly groupBytesMax?: number | undefined;
  /** More bytes than this do not wait for the disk: `append` throws OVERLOADED. Default 64 MiB. */
  readonly waitingBytesMax?: number | undefined;
}

export const SEGMENT_BYTES = 16 * 2 ** 20;
export const GROUP_BYTES_MAX = 4 * 2 ** 20;
export const WAITING_BYTES_MAX = 64 * 2 ** 20;
/**
 * How many microtasks a group waits for company before it is written. Callers that an acknowledgement woke append again
 * a few promises later; without this the first of them would have the disk for itself and all others would wait for it.
 */
const COMPANY_TURNS = 32;
/** Of the spaces that no group uses, together. */
const SPACE_BYTES_KEPT = 16 * 2 ** 20;
/** Head, envelope and short metadata: for counting what waits, where a little more or less does not matter. */
const RECORD_BYTES_ABOUT = 128;

/**
 * Opens the log in a folder, which has one owner at a time.
 *
 * @throws SyncError UNAVAILABLE when another process owns the folder or the disk refuses; CORRUPT, naming file and
 * offset, when bytes are damaged that had been on disk.
 */
export async function openLog(options: LogOptions): Promise<Log> {
  const { files } = options;
  const claim = await files.claim();
  try {
    const recovered = await recover(files);
    const segments = new Segments(files, options.runtime, options.segmentBytes ?? SEGMENT_BYTES, recovered);
    await segments.resume();
    const { records, last } = recovered;
    return new SegmentedLog(options, claim, segments, records, last);
  } catch (error) {
    await claim.release();
    throw error;
  }
}

class SegmentedLog implements Log {
  onDurable: ((first: number, last: number) => void) | undefined;
  readonly recovered: Heads;
  last: number;
  durable: number;
  private readonly files: Files;
  private readonly company: Company;
  private readonly claim: Claim;
  private readonly store: Segments;
  private readonly groupBytesMax: number;
  private readonly waitingBytesMax: number;
  private readonly waiting: Group[] = [];
  private readonly spaces: Space[] = [];
  private waitingBytes = 0;
  private writing: Promise<void> | undefined;
  private gathering: Promise<void> | undefined;
  private closing: Promise<void> | undefined;

  constructor(options: LogOptions, claim: Claim, store: Segments, recovered: Heads, last: number) {
    this.files = options.files;
    this.company = new Company(options.runtime);
    this.claim = claim;
    this.store = store;
    this.recovered = recovered;
    this.groupBytesMax = options.groupBytesMax ?? GROUP_BYTES_MAX;
    this.waitingBytesMax = options.waitingBytesMax ?? WAITING_BYTES_MAX;
    this.last = last;
    this.durable = last;
  }

  append(drafts: readonly Draft[]): Appended {
    if (this.closing !== undefined) throw this.closed("append");
    let room = 0;
    for (const draft of drafts) room += this.check(draft);
    if (drafts.length === 0) return { first: this.last + 1, durable: Promise.resolve(), placeOf: nowhere };
    if (this.waitingBytes > 0 && this.waitingBytes + room > this.waitingBytesMax) {
      throw new SyncError("OVERLOADED", `${this.waitingBytes} bytes wait for the disk already`, {
        store: this.files.name,
        operation: "append",
        cure: "wait for earlier writes before sending more",
      });
    }
    const group = this.groupFor(room);
    const first = this.last + 1;
    const before = group.length;
    for (const draft of drafts) group.add(draft);
    this.last += drafts.length;
    this.waitingBytes += group.length - before;
    this.stir();
    return { first, durable: group.durable, placeOf: group.placeOf };
  }

  forgetRecovered(): void {
    this.recovered.clear();
  }

  async read(place: Place, key: string): Promise<Entry> {
    if (this.closing !== undefined) throw this.closed("read");
    const details = { store: this.files.name, operation: "read", key };
    const { segment: number, at, length } = this.store.locate(place);
    const segment = this.store.find(number);
    if (segment === undefined) throw new SyncError("INTERNAL", `segment ${number} was removed`, details);
    const file = segmentFile(number);
    const bytes = await this.files.read(file, at, length);
    const heads = new Heads();
    const view = heads.begin(bytes, number, at);
    const malformed =
      bytes.length === length
        ? readRecord(bytes, view, 0, length, segment.saltCrc, heads)
        : new Malformed("ends too early");
    const record = malformed === undefined ? heads.at(0) : undefined;
    const entry = record?.key === key ? entryOf(bytes, record) : null;
    if (entry !== null) return entry;
    const reason = malformed?.reason ?? "is another one";
    throw new SyncError("CORRUPT", `the record in ${file} at offset ${at} ${reason}`, {
      ...details,
      cure: "a layer may have a good copy; take out what is whole with `microsync journal rescue`",
    });
  }

  segments(): readonly SegmentInfo[] {
    return this.store.all.map(({ number, first, last, end }) => ({ number, first, last, bytes: end }));
  }

  get bytes(): number {
    return this.store.all.reduce((sum, { end }) => sum + end, 0);
  }

  async removeSegments(numbers: readonly number[]): Promise<void> {
    if (this.closing !== undefined) throw this.closed("remove segments");
    await this.store.remove(numbers);
  }

  close(): Promise<void> {
    this.closing ??= (async () => {
      while (this.waiting.length > 0 || this.writing !== undefined) await (this.writing ?? this.gathering);
      try {
        await this.store.close();
      } finally {
        await this.claim.release();
      }
    })();
    return this.closing;
  }

  /** Sees to it that what waits is written: one group at a time, when it has had company. */
  private stir(): void {
    const group = this.waiting[0];
    if (group === undefined || this.writing !== undefined) return;
    if (this.waiting.length > 1 || this.company.isEnough(group.count)) this.writeNext();
    else this.gathering ??= this.gather();
  }

  private async gather(): Promise<void> {
    await turns();
    this.gathering = undefined;
    if (this.writing === undefined) this.writeNext();
  }

  private writeNext(): void {
    const group = this.waiting.shift();
    if (group !== undefined) this.writing = this.writeGroup(group);
  }

  /** Never rejects. Begins to write before it returns, unless a new segment is needed. */
  private async writeGroup(group: Group): Promise<void> {
    let failure: unknown;
    try {
      await this.store.write(group);
      this.durable = group.lastSeq;
    } catch (cause) {
      failure = this.refused(cause);
    }
    const { company } = this;
    company.ends(group.count, this.last - group.lastSeq);
    const youngest = this.waiting.at(-1);
    // Whoever this group wakes are another one: joining they would wait for the disk together, and it for them.
    if (youngest !== undefined && company.isEnough(youngest.count)) youngest.isClosed = true;
    this.waitingBytes -= group.length;
    this.giveBack(group.space);
    this.writing = undefined;
    this.stir(); // first, so that the disk works while those who wrote this group are told
    this.settle(group, failure);
  }

  private settle(group: Group, failure: unknown): void {
    if (failure !== undefined) return group.reject(failure);
    try {
      this.onDurable?.(group.firstSeq, group.lastSeq);
      group.resolve();
    } catch (error) {
      group.reject(error); // a defect of the owner must not pass for an acknowledgement, nor stop the log
    }
  }

  /** The group that is being filled, or a new one. */
  private groupFor(room: number): Group {
    const open = this.waiting.at(-1);
    const fits = open?.isClosed === false && open.length + room <= this.groupBytesMax;
    if (fits && !this.company.isFull(open.count)) return open;
    const group = new Group(this.last + 1, this.spaces.pop() ?? new Space());
    this.waiting.push(group);
    return group;
  }

  private giveBack(space: Space): void {
    const kept = this.spaces.reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (kept + space.bytes.length <= SPACE_BYTES_KEPT) this.spaces.push(space);
  }

  /** @returns about how many bytes the record will take. */
  private check(draft: Draft): number {
    const { key, asOf, note, entry, kind } = draft;
    const refuse = (code: "INVALID" | "TOO_LARGE", what: string) =>
      new SyncError(code, what, { store: this.files.name, operation: "append", key });
    if (entry === null) checkKey(key);
    else checkEntry(entry);
    if ((kind === "decision") !== (entry === null)) throw refuse("INVALID", "every record but a decision has an entry");
    if (entry !== null && entry.key !== key) throw refuse("INVALID", "the entry is of another key");
    if (!Number.isSafeInteger(asOf)) throw refuse("INVALID", "asOf is a whole number of Unix milliseconds");
    if (note !== undefined && note.length > NOTE_BYTES_MAX) {
      throw refuse("TOO_LARGE", `the note has ${note.length} bytes, the limit is ${NOTE_BYTES_MAX}`);
    }
    if (recordRoom(draft) > RECORD_BYTES_MAX) {
      throw refuse("TOO_LARGE", `the record would have more than ${RECORD_BYTES_MAX} bytes`);
    }
    return RECORD_BYTES_ABOUT + key.length + (note?.length ?? 0) + (entry?.value?.length ?? 0);
  }

  private refused(cause: unknown): SyncError {
    const what = cause instanceof Error ? cause.message : String(cause);
    return new SyncError("UNAVAILABLE", `the journal could not be written: ${what}`, {
      store: this.files.name,
      operation: "append",
      cure: "nothing acknowledged before is lost; try again when the disk takes writes",
      cause,
    });
  }

  private closed(operation: string): SyncError {
    const cure = "open it again";
    return new SyncError("CLOSED", "the journal is closed", { store: this.files.name, operation, cure });
  }
}

function nowhere(seq: number): never {
  throw new SyncError("INTERNAL", `record ${seq} was not appended here`);
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < COMPANY_TURNS; turn++) await Promise.resolve();
}
