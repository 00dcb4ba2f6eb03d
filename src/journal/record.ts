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
import { ENVELOPE_BYTES_MIN, ENVELOPE_ROOM, encodeEnvelopeInto, envelopeParts, verifiedParts } from "../envelope.ts";
import type { EnvelopeParts } from "../envelope.ts";
import { SyncError } from "../error.ts";
import { versionFromBytes } from "../version.ts";

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

/** Puts the checksum where the key's was. @returns it. */
export function sealRecord(view: DataView, at: number, saltCrc: number): number {
  const crc = recordChecksum(view, at, view.getUint32(at + LENGTH_AT), saltCrc);
  view.setInt32(at + CHECKSUM_AT, crc, true);
  return crc;
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

/** The beginnings of many records, up to where their values begin, one after the other. */
export class Heads {
  private block = new Block();
  private used = 0;

  /** Keeps `bytes[from..to)`. */
  keep(bytes: Uint8Array, from: number, to: number, keyCrc: number, segment: number, fileAt: number): StoredRecord {
    const length = to - from;
    if (this.used + PLACE_BYTES + length > this.block.bytes.length) {
      this.block = new Block();
      this.used = 0;
    }
    const { block, used } = this;
    const at = used + PLACE_BYTES;
    const into = block.bytes;
    for (let i = 0; i < length; i++) into[at + i] = bytes[from + i] ?? 0;
    this.used = at + length;
    const record = new StoredRecord(block, at);
    block.view.setInt32(at - KEY_CRC_BYTES, keyCrc);
    record.moveTo(segment, fileAt);
    return record;
  }
}

/** Before each head: the segment and the offset in it, and the key's checksum. */
const PLACE_BYTES = 16;
const KEY_CRC_BYTES = 4;
/** Some hundred heads. One that is kept keeps its block. */
const BLOCK_BYTES = 32 * 1024;

class Block {
  readonly bytes = new Uint8Array(BLOCK_BYTES);
  readonly view = new DataView(this.bytes.buffer);
}

/**
 * A record as it was read. A log may hold very many and what they say is asked of once, so it stays as bytes until then:
 * a hundred thousand objects of ten fields each cost more than everything else in opening a log. A copy by `{...record}`
 * would be empty.
 */
export class StoredRecord implements Indexed {
  // Only declared: to define fields that are assigned next takes as long as reading what is in them.
  declare private readonly block: Block;
  declare private readonly at: number;

  constructor(block: Block, at: number) {
    this.block = block;
    this.at = at;
  }

  get kind(): RecordKind {
    return KINDS[this.block.bytes[this.at + KIND_AT] ?? 0] ?? "write";
  }

  get seq(): number {
    return integerAt(this.block.view, this.at + SEQ_AT);
  }

  get key(): string {
    const from = this.at + RECORD_HEAD_BYTES;
    return decoder.decode(this.block.bytes.subarray(from, from + this.keyBytes));
  }

  get keyCrc(): number {
    return this.block.view.getInt32(this.at - KEY_CRC_BYTES);
  }

  get asOf(): number {
    return integerAt(this.block.view, this.at + AS_OF_AT);
  }

  get note(): Uint8Array {
    const to = this.envelopeAt;
    const from = this.at + RECORD_HEAD_BYTES + this.keyBytes;
    return from === to ? NO_NOTE : this.block.bytes.slice(from, to);
  }

  get head(): Head | null {
    const { block, key, envelope } = this;
    if (envelope === null) return null;
    const { state, versionAt, expires, meta } = envelope;
    return { key, state, version: versionFromBytes(block.bytes, versionAt), expires, meta };
  }

  get valueBytes(): number {
    return this.envelope?.valueBytes ?? 0;
  }

  get place(): Place {
    const { view } = this.block;
    const at = integerAt(view, this.at - PLACE_BYTES + 4);
    return { segment: view.getUint32(this.at - PLACE_BYTES), at, length: view.getUint32(this.at + LENGTH_AT) };
  }

  /** Where it lies on disk. */
  moveTo(segment: number, fileAt: number): void {
    this.block.view.setUint32(this.at - PLACE_BYTES, segment);
    putInteger(this.block.view, this.at - PLACE_BYTES + 4, fileAt);
  }

  private get keyBytes(): number {
    return this.block.view.getUint16(this.at + KEY_BYTES_AT);
  }

  private get envelopeAt(): number {
    return this.at + RECORD_HEAD_BYTES + this.keyBytes + this.block.view.getUint16(this.at + NOTE_BYTES_AT);
  }

  private get envelope(): EnvelopeParts | null {
    const { bytes, view } = this.block;
    const { envelopeAt } = this;
    const end = this.at + view.getUint32(this.at + LENGTH_AT);
    return envelopeAt === end ? null : verifiedParts(bytes, view, envelopeAt, end);
  }
}

/**
 * The record in `bytes[at..at + length)`, verified; {@link Malformed} when it is not exactly what was written.
 *
 * @param segment and `fileAt` are where it lies on disk.
 */
export function readRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  saltCrc: number,
  segment: number,
  fileAt: number,
  heads: Heads,
): StoredRecord | Malformed {
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
  if (envelopeAt === end) return heads.keep(bytes, at, end, keyCrc, segment, fileAt);
  try {
    const parts = envelopeParts(bytes, view, envelopeAt, end, undefined, keyCrc);
    if (parts.deflatedBytes !== null) return new Malformed("holds a compressed value, which no journal writes");
    return heads.keep(bytes, at, parts.valueAt, keyCrc, segment, fileAt);
  } catch (error) {
    if (!(error instanceof SyncError)) throw error;
    return new Malformed(`is damaged: ${error.what}`);
  }
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
