/**
 * What a segment file holds beside records: its header, and a commit mark at the end of each group.
 * docs/journal-format.md describes every byte.
 *
 * All checksums of a segment begin with the salt of its header, random bytes that no caller has seen, so that no value
 * can hold bytes that pass for a record or a mark.
 */
import { checksum, crc32c, crc32cOf } from "../checksum.ts";
import { CHECKSUM_AT, KIND_AT, LENGTH_AT, SEQ_AT, integerAt, putInteger } from "./record.ts";

export interface SegmentHeader {
  readonly number: number;
  readonly salt: Uint8Array;
  /** No record in it has a lower number. */
  readonly firstSeq: number;
  /** The segment before it, 0 for none, and where that one durably ended when this one was made. */
  readonly predecessor: number;
  readonly predecessorEnd: number;
}

/** 0xf5 is in no UTF-8 text. The fourth byte is the format's number. */
const MAGIC = 0xf5_53_4a_01;
export const SALT_BYTES = 8;
const NUMBER_AT = 4;
const SALT_AT = 8;
const FIRST_SEQ_AT = 16;
const PREDECESSOR_AT = 24;
const PREDECESSOR_END_AT = 32;
const HEADER_CHECKSUM_AT = 40;
export const HEADER_BYTES = 48;
const NUMBER_DIGITS = 10;

export function segmentFile(number: number): string {
  return `${String(number).padStart(NUMBER_DIGITS, "0")}.log`;
}

/** The number of a segment by the name of its file; undefined for other files. */
export function segmentNumber(file: string): number | undefined {
  const [, digits] = /^(\d{10})\.log$/.exec(file) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

export function encodeHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(NUMBER_AT, header.number);
  bytes.set(header.salt, SALT_AT);
  putInteger(view, FIRST_SEQ_AT, header.firstSeq);
  view.setUint32(PREDECESSOR_AT, header.predecessor);
  putInteger(view, PREDECESSOR_END_AT, header.predecessorEnd);
  const { hash, crc } = checksum(view, HEADER_CHECKSUM_AT, 0);
  view.setInt32(HEADER_CHECKSUM_AT, hash, true);
  view.setInt32(HEADER_CHECKSUM_AT + 4, crc, true);
  return bytes;
}

/** The header in the first bytes of a segment, or what is wrong with it. */
export function decodeHeader(bytes: Uint8Array): SegmentHeader | string {
  if (bytes.length < HEADER_BYTES) return `the segment ends within its header`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  if (magic >>> 8 !== MAGIC >>> 8) return "the segment's header is damaged";
  const { hash, crc } = checksum(view, HEADER_CHECKSUM_AT, 0);
  const [hashThere, crcThere] = [view.getInt32(HEADER_CHECKSUM_AT, true), view.getInt32(HEADER_CHECKSUM_AT + 4, true)];
  if (hash !== hashThere || crc !== crcThere) return "the segment's header does not match its checksum";
  if (magic !== MAGIC) return `the segment is of format ${bytes[3]}, which this version does not know`;
  return {
    number: view.getUint32(NUMBER_AT),
    salt: bytes.slice(SALT_AT, SALT_AT + SALT_BYTES),
    firstSeq: integerAt(view, FIRST_SEQ_AT),
    predecessor: view.getUint32(PREDECESSOR_AT),
    predecessorEnd: integerAt(view, PREDECESSOR_END_AT),
  };
}

/** What every checksum of the segment begins with. */
export function saltChecksum(salt: Uint8Array): number {
  return crc32c(salt);
}

// ---- The commit mark: everything from `start` to it was written by one append, in this order, and nothing else. ----

export interface CommitMark {
  readonly count: number;
  readonly firstSeq: number;
  /** Where in the file the group begins. */
  readonly start: number;
  /** CRC-32 of the group's bytes. */
  readonly crc: number;
}

/** In the place of a record's kind. */
export const MARK_KIND = 0xff;
const COUNT_AT = 12;
const START_AT = 24;
const CRC_AT = 32;
export const MARK_BYTES = 36;

export function putMark(view: DataView, at: number, mark: CommitMark, saltCrc: number): void {
  view.setUint32(at + LENGTH_AT, MARK_BYTES);
  view.setUint32(at + KIND_AT, MARK_KIND << 24);
  view.setUint32(at + COUNT_AT, mark.count);
  putInteger(view, at + SEQ_AT, mark.firstSeq);
  putInteger(view, at + START_AT, mark.start);
  view.setUint32(at + CRC_AT, mark.crc, true);
  view.setInt32(at + CHECKSUM_AT, markChecksum(view, at, saltCrc), true);
}

/** Whether a mark may begin here; {@link MARK_BYTES} are there. */
export function mayBeMark(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at + LENGTH_AT + 3] === MARK_BYTES &&
    bytes[at + KIND_AT] === MARK_KIND &&
    bytes[at + LENGTH_AT] === 0 &&
    bytes[at + LENGTH_AT + 1] === 0 &&
    bytes[at + LENGTH_AT + 2] === 0
  );
}

/** The mark that begins here, verified; undefined when there is none. */
export function readMark(bytes: Uint8Array, view: DataView, at: number, saltCrc: number): CommitMark | undefined {
  if (!mayBeMark(bytes, at) || view.getInt32(at + CHECKSUM_AT, true) !== markChecksum(view, at, saltCrc))
    return undefined;
  return {
    count: view.getUint32(at + COUNT_AT),
    firstSeq: integerAt(view, at + SEQ_AT),
    start: integerAt(view, at + START_AT),
    crc: view.getUint32(at + CRC_AT, true),
  };
}

function markChecksum(view: DataView, at: number, saltCrc: number): number {
  return crc32cOf(view, at + LENGTH_AT, at + MARK_BYTES, saltCrc);
}
