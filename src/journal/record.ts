/**
 * A record of the log as bytes. docs/journal-format.md describes every byte.
 *
 * Nothing is checked twice: the envelope carries its own checksums, which cover the key too, so the record's checksum
 * covers what stands before the envelope and the envelope's checksums.
 */
import { crc32c } from "../checksum.ts";
import { KEY_BYTES_MAX } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { ENVELOPE_BYTES_MIN, ENVELOPE_ROOM, encodeEnvelopeInto, envelopeParts } from "../envelope.ts";
import { SyncError } from "../error.ts";

/** "write": an entry to be flushed. "intent": a conditional write about to be tried. "decision": what became of one. */
export type RecordKind = "write" | "intent" | "decision";

/** What {@link import("./log.ts").Log.append} takes: a record without its number. */
export interface Draft {
  readonly kind: RecordKind;
  readonly key: string;
  /** Unix ms; what the copy's asOf is. */
  readonly asOf: number;
  /** Small opaque bytes for the layer above, at most {@link NOTE_BYTES_MAX}. Default none. */
  readonly note?: Uint8Array;
  /** Null for a decision, and only there. Its key is the draft's. */
  readonly entry: Entry | null;
}

/** One thing that happened, in the order of `seq`. */
export interface LogRecord {
  readonly kind: RecordKind;
  readonly seq: number;
  readonly key: string;
  readonly asOf: number;
  readonly note: Uint8Array;
  readonly entry: Entry | null;
}

/** Where a record lies; valid as long as its segment is there. */
export interface Place {
  readonly segment: number;
  readonly at: number;
  readonly length: number;
}

/** A record without its value, which stays on disk. */
export interface Indexed {
  readonly kind: RecordKind;
  readonly seq: number;
  readonly key: string;
  readonly asOf: number;
  readonly note: Uint8Array;
  /** Null for a decision. */
  readonly head: Head | null;
  /** 0 where there is no value. */
  readonly valueBytes: number;
  readonly place: Place;
}

export const NOTE_BYTES_MAX = 1024;
/** Of one record. The next power of two is where offsets within a buffer stop being small integers on every engine. */
export const RECORD_BYTES_MAX = 2 ** 30;

/** Where the fields lie. A commit mark (segment.ts) has the first four in the same places. */
export const CHECKSUM_AT = 4;
export const KIND_AT = 8;
const NOTE_BYTES_AT = 10;
const KEY_BYTES_AT = 12;
export const SEQ_AT = 16;
const AS_OF_AT = 24;
export const RECORD_HEAD_BYTES = 32;
const ENVELOPE_CHECKSUM_BYTES = 8;
export const RECORD_BYTES_MIN = RECORD_HEAD_BYTES + 1;

const KINDS: readonly (RecordKind | undefined)[] = [undefined, "write", "intent", "decision"];
export const NO_NOTE = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** How many bytes {@link putRecord} may write for this draft. */
export function recordRoom({ key, note, entry }: Draft): number {
  const value = entry === null ? 0 : ENVELOPE_ROOM + (entry.value?.length ?? 0);
  return RECORD_HEAD_BYTES + 3 * key.length + (note?.length ?? 0) + value;
}

/**
 * Writes everything but the checksum, which needs the segment ({@link sealRecord}).
 *
 * @param draft was checked.
 * @returns where the record ends.
 */
export function putRecord(draft: Draft, seq: number, bytes: Uint8Array, view: DataView, at: number): number {
  const { key, note = NO_NOTE, entry } = draft;
  const keyAt = at + RECORD_HEAD_BYTES;
  const keyEnd = putText(key, bytes, keyAt);
  let end = keyEnd;
  if (note.length > 0) {
    bytes.set(note, end);
    end += note.length;
  }
  if (entry !== null) end = encodeEnvelopeInto(entry, bytes, view, end, crc32c(bytes, keyEnd, keyAt));
  view.setUint32(at, end - at);
  view.setUint16(at + KIND_AT, KINDS.indexOf(draft.kind) << 8);
  view.setUint16(at + NOTE_BYTES_AT, note.length);
  view.setUint32(at + KEY_BYTES_AT, (keyEnd - keyAt) << 16);
  putInteger(view, at + SEQ_AT, seq);
  putInteger(view, at + AS_OF_AT, draft.asOf);
  return end;
}

/** @returns the checksum that it wrote. */
export function sealRecord(bytes: Uint8Array, view: DataView, at: number, saltCrc: number): number {
  const crc = recordChecksum(bytes, view, at, view.getUint32(at), saltCrc);
  view.setInt32(at + CHECKSUM_AT, crc, true);
  return crc;
}

function recordChecksum(bytes: Uint8Array, view: DataView, at: number, length: number, saltCrc: number): number {
  const keyEnd = at + RECORD_HEAD_BYTES + view.getUint16(at + KEY_BYTES_AT);
  const headEnd = keyEnd + view.getUint16(at + NOTE_BYTES_AT);
  const crc = crc32c(bytes, headEnd, at + KIND_AT, crc32c(bytes, at + CHECKSUM_AT, at, saltCrc));
  const end = at + length;
  return headEnd === end ? crc : crc32c(bytes, end, end - ENVELOPE_CHECKSUM_BYTES, crc);
}

/** Whether something that could be a record of at most `room` bytes begins here, before anything is verified. */
export function mayBeRecord(view: DataView, at: number, room: number): boolean {
  const length = view.getUint32(at);
  const keyBytes = view.getUint16(at + KEY_BYTES_AT);
  const noteBytes = view.getUint16(at + NOTE_BYTES_AT);
  return (
    length <= room &&
    view.getUint8(at + KIND_AT + 1) === 0 &&
    view.getUint16(at + KEY_BYTES_AT + 2) === 0 &&
    keyBytes > 0 &&
    keyBytes <= KEY_BYTES_MAX &&
    noteBytes <= NOTE_BYTES_MAX &&
    hasWhole(length - RECORD_HEAD_BYTES - keyBytes - noteBytes)
  );
}

function hasWhole(rest: number): boolean {
  return rest === 0 || rest >= ENVELOPE_BYTES_MIN;
}

/** What is wrong with a record, in words that end "the record …". */
export class Malformed {
  readonly reason: string;
  /** Not damage: a later version of this software wrote it. */
  readonly unknown: boolean;

  constructor(reason: string, unknown = false) {
    this.reason = reason;
    this.unknown = unknown;
  }
}

/**
 * The record in `bytes[at..at + length)`, verified; {@link Malformed} when it is not exactly what was written.
 *
 * @param place is handed on with the record.
 */
export function readRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  saltCrc: number,
  place: Place,
): Indexed | Malformed {
  const { length } = place;
  if (!mayBeRecord(view, at, length)) return new Malformed("is damaged");
  const crc = recordChecksum(bytes, view, at, length, saltCrc);
  if (view.getInt32(at + CHECKSUM_AT, true) !== crc) return new Malformed("does not match its checksum");
  const kindNumber = view.getUint8(at + KIND_AT);
  const kind = KINDS[kindNumber];
  if (kind === undefined) return new Malformed(`is of kind ${kindNumber}, which this version does not know`, true);
  const keyAt = at + RECORD_HEAD_BYTES;
  const noteAt = keyAt + view.getUint16(at + KEY_BYTES_AT);
  const envelopeAt = noteAt + view.getUint16(at + NOTE_BYTES_AT);
  const end = at + length;
  if ((kind === "decision") !== (envelopeAt === end)) return new Malformed("has an entry where none belongs, or none");
  try {
    const key = decoder.decode(bytes.subarray(keyAt, noteAt));
    const seq = integerAt(view, at + SEQ_AT);
    const asOf = integerAt(view, at + AS_OF_AT);
    const note = envelopeAt === noteAt ? NO_NOTE : bytes.slice(noteAt, envelopeAt);
    if (envelopeAt === end) return { kind, seq, key, asOf, note, head: null, valueBytes: 0, place };
    const parts = envelopeParts(bytes, view, envelopeAt, end, key, crc32c(bytes, noteAt, keyAt));
    const { state, version, expires, meta, valueBytes } = parts;
    if (parts.deflatedBytes !== null) return new Malformed("holds a compressed value, which no journal writes");
    const head: Head = { key, state, version, expires, meta };
    return { kind, seq, key, asOf, note, head, valueBytes: valueBytes ?? 0, place };
  } catch (error) {
    return new Malformed(error instanceof SyncError ? `is damaged: ${error.what}` : "has a key that is not UTF-8");
  }
}

/** The entry of a record that {@link readRecord} accepted. Its value is a view of `bytes`. */
export function entryOf(bytes: Uint8Array, { head, place, valueBytes }: Indexed): Entry | null {
  if (head === null) return null;
  // An uncompressed value is the last of an envelope before its checksums.
  const end = place.length - ENVELOPE_CHECKSUM_BYTES;
  return { ...head, value: head.state === "value" ? bytes.subarray(end - valueBytes, end) : null };
}

/** UTF-8. Keys are short and as a rule ASCII, where a loop beats the call into the encoder. */
function putText(text: string, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return at + encoder.encodeInto(text, bytes.subarray(at)).written;
    bytes[at + i] = unit;
  }
  return at + text.length;
}

/** A signed 64 bit integer, big-endian, within the integers that a number holds exactly. */
export function putInteger(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  view.setInt32(at, high);
  view.setUint32(at + 4, value - high * 2 ** 32);
}

export function integerAt(view: DataView, at: number): number {
  return view.getInt32(at) * 2 ** 32 + view.getUint32(at + 4);
}
