import type { Files } from "./files.ts";
import type { Heads } from "./heads.ts";
import { LENGTH_AT, RECORD_BYTES_MAX, RECORD_BYTES_MIN, SEQ_AT, integerAt, readRecord, skimRecord } from "./record.ts";
import type { Malformed } from "./record.ts";
import { MARK_BYTES, mayBeMark, readMark, segmentFile } from "./segment.ts";

/** How much is read at once. A record that is longer is read on its own. */
const CHUNK_BYTES = 1 << 20;
/** How much of the end of one piece is in the next one too, which is asked for before it is known where it has to begin. */
const OVERLAP_BYTES = 1 << 14;
/** How many pieces are on their way at once. */
const AHEAD = 2;

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
 * commit mark speaks of exactly the bytes before it is whole. Where that fails each record is looked at: which of them
 * is damaged, and how, is told by its own checksums.
 */
export async function walkGroups(
  files: Files,
  segment: Readable,
  from: number,
  to: number,
  last: number,
  out: Heads,
): Promise<Walk> {
  const walk = await walkOnce(files, segment, from, to, last, out, skimRecord);
  if (walk.failure === undefined) return walk;
  const { saltCrc } = segment;
  const slow = await walkOnce(files, segment, walk.end, to, walk.last, out, (view, at, length, heads, bytes) =>
    readRecord(bytes, view, at, length, saltCrc, heads),
  );
  const { end, failure, group = walk.group } = slow;
  return { end, last: slow.last, group, failure };
}

/** Puts a record behind the others in `heads`, or says what is wrong with it. */
type Take = (view: DataView, at: number, length: number, heads: Heads, bytes: Uint8Array) => Malformed | undefined;

async function walkOnce(
  files: Files,
  segment: Readable,
  from: number,
  to: number,
  last: number,
  out: Heads,
  take: Take,
): Promise<Walk> {
  const pieces = new Pieces(files, segmentFile(segment.number), to);
  const walker = new Walker(files, segment, from, to, last, out, take);
  try {
    for (let wanted = 0; walker.failure === undefined && walker.at < to;) {
      const needed = Math.min(wanted, to - walker.at);
      const bytes = await pieces.read(walker.at, needed);
      if (bytes.length < needed) {
        walker.fail("the file ends too early");
        break;
      }
      wanted = walker.take(bytes);
      if (!walker.isKept) pieces.giveBack(bytes);
    }
  } finally {
    await pieces.end();
  }
  if (walker.failure === undefined && walker.end < to) walker.fail("the last group has no commit mark");
  out.truncate(walker.whole);
  return walker;
}

/**
 * The bytes of a file from front to back. While one piece is looked at, the next ones are on their way from the disk:
 * two, because the thread that looks at a piece begins no read meanwhile.
 */
class Pieces {
  private readonly ahead: Piece[] = [];
  /** Memory of pieces that nobody looks at any more. */
  private readonly free: Uint8Array[] = [];
  private readonly files: Files;
  private readonly file: string;
  private readonly to: number;

  constructor(files: Files, file: string, to: number) {
    this.files = files;
    this.file = file;
    this.to = to;
  }

  /** What follows `from`: at least `needed` bytes, which lie before `to`; fewer where the file ends. */
  async read(from: number, needed: number): Promise<Uint8Array> {
    const { ahead } = this;
    const next = ahead.shift();
    const fits = next !== undefined && next.from <= from && from + needed <= next.to;
    if (!fits) await this.end();
    const piece = fits ? next : this.ask(from, Math.max(needed, CHUNK_BYTES));
    for (let last = ahead.at(-1) ?? piece; ahead.length < AHEAD && last.to < this.to;) {
      last = this.ask(Math.max(from, last.to - OVERLAP_BYTES), CHUNK_BYTES);
      ahead.push(last);
    }
    return (await piece.bytes).subarray(from - piece.from);
  }

  /** Nobody looks at these bytes any more: others are read to where they are. */
  giveBack({ buffer }: Uint8Array): void {
    if (buffer.byteLength === CHUNK_BYTES) this.free.push(new Uint8Array(buffer));
  }

  /** Waits for what nobody is going to look at. */
  async end(): Promise<void> {
    // Only a read that somebody waits for can fail.
    await Promise.allSettled(this.ahead.splice(0).map(({ bytes }) => bytes));
  }

  private ask(from: number, length: number): Piece {
    const to = Math.min(from + length, this.to);
    const into = to - from === CHUNK_BYTES ? this.free.pop() : undefined;
    const bytes = this.files.read(this.file, from, to - from, into);
    bytes.catch(() => undefined); // told to whoever reads it, which is later
    return { from, to, bytes };
  }
}

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly bytes: Promise<Uint8Array>;
}

class Walker implements Walk {
  failure: WalkFailure | undefined;
  /** Whether `out` goes on using the bytes that were looked at last. */
  isKept = false;
  /** The next byte to look at. */
  at: number;
  end: number;
  last: number;
  group: GroupPlace | undefined;
  /** How many of `out` are in whole groups. */
  whole: number;
  private seq: number;
  /** Of the group that is not whole yet. */
  private firstSeq = 0;
  /** CRC-32 of that group up to `crcEnd`. */
  private crc = 0;
  private crcEnd: number;
  private readonly files: Files;
  private readonly segment: Readable;
  private readonly to: number;
  private readonly out: Heads;
  private readonly takeRecord: Take;

  constructor(files: Files, segment: Readable, from: number, to: number, last: number, out: Heads, takeRecord: Take) {
    this.files = files;
    this.segment = segment;
    this.takeRecord = takeRecord;
    this.crcEnd = from;
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
    const base = this.at;
    const view = this.out.begin(bytes, this.segment.number, base);
    const needed = this.takeAll(bytes, view, base);
    this.sum(bytes, base);
    this.isKept = this.out.end(this.at - base);
    return needed;
  }

  private takeAll(bytes: Uint8Array, view: DataView, base: number): number {
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
        if (!this.commit(bytes, view, at, base))
          return this.fail("a commit mark is damaged, or speaks of other records");
      } else if (!this.record(bytes, view, at, length)) return 0;
      at += length;
    }
    return 0;
  }

  private record(bytes: Uint8Array, view: DataView, at: number, length: number): boolean {
    const { out } = this;
    const isFirst = out.length === this.whole;
    const malformed = this.takeRecord(view, at, length, out, bytes);
    if (malformed !== undefined) {
      this.fail(`a record ${malformed.reason}`, malformed.unknown);
      return false;
    }
    const seq = integerAt(view, at + SEQ_AT);
    if (isFirst) this.firstSeq = seq;
    if (seq <= this.seq || (!isFirst && seq !== this.seq + 1)) {
      this.fail("a record is out of order");
      return false;
    }
    this.seq = seq;
    return true;
  }

  /** Sums up what has been looked at. @param base where the bytes begin in the segment. */
  private sum(bytes: Uint8Array, base: number): void {
    this.crc = this.files.crc32(bytes.subarray(this.crcEnd - base, this.at - base), this.crc);
    this.crcEnd = this.at;
  }

  private commit(bytes: Uint8Array, view: DataView, at: number, base: number): boolean {
    this.sum(bytes, base);
    const mark = readMark(bytes, view, at, this.segment.saltCrc);
    const { out, whole } = this;
    const fits =
      mark?.start === this.end &&
      mark.count === out.length - whole &&
      mark.firstSeq === this.firstSeq &&
      mark.crc === this.crc;
    if (!fits) return false;
    this.crc = 0;
    this.crcEnd = this.at + MARK_BYTES;
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
