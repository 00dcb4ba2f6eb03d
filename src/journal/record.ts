/**
 * A record of the log as bytes. docs/journal-format.md describes every byte.
 *
 * Nothing is checked twice: the envelope carries its own checksums, which cover the key too, so the record's checksum
 * covers what stands before the envelope (of the key its checksum, which the envelope's needs anyway) and the envelope's
 * checksums.
 */
import { crc32cOf } from "../checksum.ts";
import { KEY_BYTES_MAX } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { ENVELOPE_BYTES_MIN, ENVELOPE_ROOM, encodeEnvelopeInto, envelopeParts } from "../envelope.ts";
import { SyncError } from "../error.ts";
import type { Heads } from "./heads.ts";

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

/** A record without its value, which stays on disk. `head` and `place` are computed: keep what you use often. */
export interface Indexed {
  readonly kind: RecordKind;
  readonly seq: number;
  readonly key: string;
  /** CRC-32C of the key, as a signed 32 bit integer. */
  readonly keyCrc: number;
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

/** Where the fields lie. A commit mark (segment.ts) has the first three in the same places. */
export const CHECKSUM_AT = 0;
export const LENGTH_AT = 4;
export const KIND_AT = 8;
export const NOTE_BYTES_AT = 10;
export const KEY_BYTES_AT = 12;
export const SEQ_AT = 16;
export const AS_OF_AT = 24;
export const RECORD_HEAD_BYTES = 32;
const ENVELOPE_CHECKSUM_BYTES = 8;
export const RECORD_BYTES_MIN = RECORD_HEAD_BYTES + 1;

/** By their number on disk. */
export const KINDS: readonly (RecordKind | undefined)[] = [undefined, "write", "intent", "decision"];
export const NO_NOTE = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** How many bytes {@link putRecord} may write for this draft. */
export function recordRoom({ key, note, entry }: Draft): number {
  const value = entry === null ? 0 : ENVELOPE_ROOM + (entry.value?.length ?? 0);
  return RECORD_HEAD_BYTES + 3 * key.length + (note?.length ?? 0) + value;
}

/**
 * Writes everything but the checksum, which needs the segment ({@link sealRecord}); the key's stands in its place.
 *
 * @param draft was checked.
 * @returns where the record ends.
 */
export function putRecord(draft: Draft, seq: number, bytes: Uint8Array, view: DataView, at: number): number {
  const { key, note = NO_NOTE, entry } = draft;
  const keyAt = at + RECORD_HEAD_BYTES;
  const keyEnd = putText(key, bytes, keyAt);
  const keyCrc = crc32cOf(view, keyAt, keyEnd);
  let end = keyEnd;
  if (note.length > 0) {
    bytes.set(note, end);
    end += note.length;
  }
  if (entry !== null) end = encodeEnvelopeInto(entry, bytes, view, end, keyCrc);
  view.setInt32(at + CHECKSUM_AT, keyCrc, true);
  view.setUint32(at + LENGTH_AT, end - at);
  view.setUint16(at + KIND_AT, KINDS.indexOf(draft.kind) << 8);
  view.setUint16(at + NOTE_BYTES_AT, note.length);
  view.setUint32(at + KEY_BYTES_AT, (keyEnd - keyAt) << 16);
  putInteger(view, at + SEQ_AT, seq);
  putInteger(view, at + AS_OF_AT, draft.asOf);
  return end;
}

/** Puts the checksum where the key's was. */
export function sealRecord(view: DataView, at: number, saltCrc: number): void {
  view.setInt32(at + CHECKSUM_AT, recordChecksum(view, at, view.getUint32(at + LENGTH_AT), saltCrc), true);
}

/** Makes a sealed record one that can be sealed for another segment. */
export function unsealRecord(view: DataView, at: number): void {
  const keyAt = at + RECORD_HEAD_BYTES;
  view.setInt32(at + CHECKSUM_AT, crc32cOf(view, keyAt, keyAt + view.getUint16(at + KEY_BYTES_AT)), true);
}

/** Of a record that has the key's checksum in the place of its own. */
function recordChecksum(view: DataView, at: number, length: number, saltCrc: number): number {
  const end = at + length;
  const noteAt = at + RECORD_HEAD_BYTES + view.getUint16(at + KEY_BYTES_AT);
  const noteEnd = noteAt + view.getUint16(at + NOTE_BYTES_AT);
  let crc = crc32cOf(view, at, at + RECORD_HEAD_BYTES, saltCrc);
  if (noteEnd > noteAt) crc = crc32cOf(view, noteAt, noteEnd, crc);
  return noteEnd === end ? crc : crc32cOf(view, end - ENVELOPE_CHECKSUM_BYTES, end, crc);
}

/** Whether something that could be a record of at most `room` bytes begins here, before anything is verified. */
export function mayBeRecord(view: DataView, at: number, room: number): boolean {
  const length = view.getUint32(at + LENGTH_AT);
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
 * Verifies the record in `bytes[at..at + length)` and puts it behind the others in `heads`, which were told of the bytes.
 *
 * @returns what is wrong with it, when it is not exactly what was written.
 */
export function readRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  saltCrc: number,
  heads: Heads,
): Malformed | undefined {
  if (!mayBeRecord(view, at, length)) return new Malformed("is damaged");
  const keyAt = at + RECORD_HEAD_BYTES;
  const noteAt = keyAt + view.getUint16(at + KEY_BYTES_AT);
  const keyCrc = crc32cOf(view, keyAt, noteAt);
  if (!isSealed(view, at, length, saltCrc, keyCrc)) return new Malformed("does not match its checksum");
  const kindNumber = view.getUint8(at + KIND_AT);
  const kind = KINDS[kindNumber];
  if (kind === undefined) return new Malformed(`is of kind ${kindNumber}, which this version does not know`, true);
  const envelopeAt = noteAt + view.getUint16(at + NOTE_BYTES_AT);
  const end = at + length;
  if ((kind === "decision") !== (envelopeAt === end)) return new Malformed("has an entry where none belongs, or none");
  if (!isText(bytes, keyAt, noteAt)) return new Malformed("has a key that is not UTF-8");
  if (envelopeAt < end) {
    try {
      const parts = envelopeParts(bytes, view, envelopeAt, end, undefined, keyCrc);
      if (parts.deflatedBytes !== null) return new Malformed("holds a compressed value, which no journal writes");
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      return new Malformed(`is damaged: ${error.what}`);
    }
  }
  heads.add(at, envelopeAt, keyCrc, kind);
  return undefined;
}

/**
 * The same of a record in a group whose bytes are known, or will be, to be those that were written: only what a later
 * version may have written is looked for.
 */
export function skimRecord(view: DataView, at: number, length: number, heads: Heads): Malformed | undefined {
  if (!mayBeRecord(view, at, length)) return new Malformed("is damaged");
  const keyAt = at + RECORD_HEAD_BYTES;
  const noteAt = keyAt + view.getUint16(at + KEY_BYTES_AT);
  const kindNumber = view.getUint8(at + KIND_AT);
  const kind = KINDS[kindNumber];
  if (kind === undefined) return new Malformed(`is of kind ${kindNumber}, which this version does not know`, true);
  heads.add(at, noteAt + view.getUint16(at + NOTE_BYTES_AT), crc32cOf(view, keyAt, noteAt), kind);
  return undefined;
}

/** The checksum, computed with the key's in its place; the bytes are left as they were. */
function isSealed(view: DataView, at: number, length: number, saltCrc: number, keyCrc: number): boolean {
  const there = view.getInt32(at + CHECKSUM_AT, true);
  view.setInt32(at + CHECKSUM_AT, keyCrc, true);
  const crc = recordChecksum(view, at, length, saltCrc);
  view.setInt32(at + CHECKSUM_AT, there, true);
  return crc === there;
}

function isText(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if ((bytes[i] ?? 0) < 0x80) continue;
    try {
      decoder.decode(bytes.subarray(from, to));
      return true;
    } catch {
      return false;
    }
  }
  return true;
}

/** The entry of a record that {@link readRecord} found at the beginning of `bytes`. Its value is a view of them. */
export function entryOf(bytes: Uint8Array, record: Pick<Indexed, "head" | "valueBytes">): Entry | null {
  const { head, valueBytes } = record;
  if (head === null) return null;
  // An uncompressed value is the last of an envelope before its checksums.
  const end = bytes.length - ENVELOPE_CHECKSUM_BYTES;
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
