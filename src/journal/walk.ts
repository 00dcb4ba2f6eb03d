import { crc32cOf } from "../checksum.ts";
import type { Files } from "./files.ts";
import { CHECKSUM_AT, LENGTH_AT, Malformed, RECORD_BYTES_MAX, RECORD_BYTES_MIN, Heads, readRecord } from "./record.ts";
import type { StoredRecord } from "./record.ts";
import { MARK_BYTES, mayBeMark, readMark, segmentFile } from "./segment.ts";

/** How much is read at once. A record that is longer is read on its own. */
const CHUNK_BYTES = 1 << 20;

/** A segment to be read: what is known of it before its records are. */
export interface Readable {
  readonly number: number;
  readonly saltCrc: number;
}

export interface Walk {
  /** Where the last whole group ends. */
  readonly end: number;
  /** The highest number in whole groups, at least what the walk was given. */
  readonly last: number;
  /** The last whole group. */
  readonly group: GroupPlace | undefined;
  /** What stopped the walk before `to`. */
  readonly failure: WalkFailure | undefined;
}

/** Where a group lies in its segment. */
export interface GroupPlace {
  readonly start: number;
  /** Behind its commit mark. */
  readonly end: number;
  readonly firstSeq: number;
  readonly count: number;
}

export interface WalkFailure {
  readonly at: number;
  readonly reason: string;
  /** The record is whole, but of a kind that this version does not know. */
  readonly unknown: boolean;
}

/**
 * Reads the groups in `file[from..to)`, in order, and puts the records of whole ones into `out`. Only a group whose
 * commit mark speaks of exactly the records before it is whole.
 */
export async function walkGroups(
  files: Files,
  segment: Readable,
  from: number,
  to: number,
  last: number,
  out: StoredRecord[],
): Promise<Walk> {
  const file = segmentFile(segment.number);
  const walker = new Walker(segment, from, to, last, out);
  for (let wanted = CHUNK_BYTES; walker.failure === undefined && walker.at < to;) {
    const { at } = walker;
    const bytes = await files.read(file, at, Math.min(wanted, to - at));
    wanted = Math.max(CHUNK_BYTES, walker.take(bytes));
    if (walker.at === at && bytes.length < Math.min(wanted, to - at)) walker.fail("the file ends too early");
  }
  if (walker.failure === undefined && walker.end < to) walker.fail("the last group has no commit mark");
  out.length = walker.whole;
  return walker;
}

class Walker implements Walk {
  failure: WalkFailure | undefined;
  /** The next byte to look at. */
  at: number;
  end: number;
  last: number;
  group: GroupPlace | undefined;
  /** How many of `out` are in whole groups. */
  whole: number;
  private seq: number;
  private records = 0;
  private readonly heads = new Heads();
  private readonly segment: Readable;
  private readonly to: number;
  private readonly out: StoredRecord[];

  constructor(segment: Readable, from: number, to: number, last: number, out: StoredRecord[]) {
    this.segment = segment;
    this.at = from;
    this.end = from;
    this.to = to;
    this.last = last;
    this.seq = last;
    this.out = out;
    this.whole = out.length;
  }

  fail(reason: string, unknown = false): number {
    this.failure = { at: this.at, reason, unknown };
    return 0;
  }

  /** Reads what is whole in `bytes`, which begin at `at`. @returns how many bytes the next record needs. */
  take(bytes: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const base = this.at;
    for (let at = 0; this.at < this.to; this.at = base + at) {
      const there = bytes.length - at;
      const room = this.to - this.at;
      if (room < RECORD_BYTES_MIN) return this.fail("a record is cut off");
      if (there < RECORD_BYTES_MIN) return RECORD_BYTES_MIN;
      const length = view.getUint32(at + LENGTH_AT);
      if (length < RECORD_BYTES_MIN || length > Math.min(room, RECORD_BYTES_MAX)) {
        return this.fail("a record claims a length that it cannot have");
      }
      if (length > there) return length;
      if (length === MARK_BYTES && mayBeMark(bytes, at)) {
        if (!this.commit(bytes, view, at)) return this.fail("a commit mark is damaged, or speaks of other records");
      } else if (!this.record(bytes, view, at, length)) return 0;
      at += length;
    }
    return 0;
  }

  private record(bytes: Uint8Array, view: DataView, at: number, length: number): boolean {
    const { segment, out } = this;
    const record = readRecord(bytes, view, at, length, segment.saltCrc, segment.number, this.at, this.heads);
    if (record instanceof Malformed) {
      this.fail(`a record ${record.reason}`, record.unknown);
      return false;
    }
    const { seq } = record;
    if (seq <= this.seq || (out.length > this.whole && seq !== this.seq + 1)) {
      this.fail("a record is out of order");
      return false;
    }
    this.seq = seq;
    this.records = crc32cOf(view, at + CHECKSUM_AT, at + CHECKSUM_AT + 4, this.records);
    out.push(record);
    return true;
  }

  private commit(bytes: Uint8Array, view: DataView, at: number): boolean {
    const mark = readMark(bytes, view, at, this.segment.saltCrc);
    const { out, whole } = this;
    const fits =
      mark?.start === this.end &&
      mark.count === out.length - whole &&
      mark.firstSeq === out[whole]?.seq &&
      mark.records === this.records;
    if (!fits) return false;
    this.records = 0;
    this.whole = out.length;
    this.last = this.seq;
    this.end = this.at + MARK_BYTES;
    this.group = { start: mark.start, end: this.end, firstSeq: mark.firstSeq, count: mark.count };
    return true;
  }
}

/**
 * Where in `file[from..to)` the first commit mark lies whose group begins after `from`: a proof that whatever lies at
 * `from` was on disk once, since a group is written only when the one before it is.
 */
export async function findLaterMark(
  files: Files,
  segment: Readable,
  from: number,
  to: number,
): Promise<number | undefined> {
  const file = segmentFile(segment.number);
  for (let base = from; base + MARK_BYTES <= to; base += CHUNK_BYTES) {
    const bytes = await files.read(file, base, Math.min(CHUNK_BYTES + MARK_BYTES - 1, to - base));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + MARK_BYTES <= bytes.length; at++) {
      if (!mayBeMark(bytes, at)) continue;
      const mark = readMark(bytes, view, at, segment.saltCrc);
      if (mark !== undefined && mark.start > from && mark.start < base + at) return base + at;
    }
  }
  return undefined;
}
