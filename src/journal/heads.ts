import { crc32cOf } from "../checksum.ts";
import type { Head } from "../entry.ts";
import { envelopeValueAt, verifiedParts } from "../envelope.ts";
import type { EnvelopeParts } from "../envelope.ts";
import { versionFromBytes } from "../version.ts";
import { AS_OF_AT, KEY_BYTES_AT, KINDS, KIND_AT, LENGTH_AT, NOTE_BYTES_AT, NO_NOTE } from "./record.ts";
import { RECORD_HEAD_BYTES, SEQ_AT, integerAt, putInteger } from "./record.ts";
import type { Indexed, Place, RecordKind } from "./record.ts";

/** Records in the order of the log. What {@link at} gives is made anew each time. */
export interface Records extends Iterable<Indexed> {
  readonly length: number;
  /** @param index from 0 on, below `length`. */
  at(index: number): Indexed;
  /** What {@link at} says of it, without making the rest. */
  keyCrc(index: number): number;
  /** Which of them are intents and decisions, ascending. */
  readonly conditional: readonly number[];
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes are kept as they were read where so large a part of them is heads: a copy would cost more than it saves. */
const HEADS_PART = 3 / 4;
/** Of an envelope, what stands before the value, with short metadata. */
const ENVELOPE_HEAD_ABOUT = 64;
const COLUMNS_MIN = 512;
/** Before a head that was copied: where it lies in its segment. */
const PLACE_BYTES = 8;

/** Bytes with heads in them. */
interface Block {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly segment: number;
  /** Where the bytes begin in the segment; undefined for copies. */
  readonly fileAt: number | undefined;
}

/**
 * Records as they were read, of which the values need not be kept. A log may hold very many, and of most it is asked
 * once what they say: until then they stay bytes, because a hundred thousand objects would cost more than reading it.
 */
export class Heads implements Records {
  length = 0;
  readonly conditional: number[] = [];
  private readonly blocks: Block[] = [];
  private columns = columnsOf(COLUMNS_MIN);
  /** The first record of the last block, and about how long the heads in it are. */
  private first = 0;
  private headBytes = 0;
  /** For putting copies together. */
  private scratch = new Uint8Array(0);

  /** The records that are added next are in these bytes, which lie at `fileAt` of a segment. @returns a view of them. */
  begin(bytes: Uint8Array, segment: number, fileAt: number): DataView {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.blocks.push({ bytes, view, segment, fileAt });
    this.first = this.length;
    this.headBytes = 0;
    return view;
  }

  /** A record that begins at `at`. */
  add(at: number, envelopeAt: number, keyCrc: number, kind: RecordKind): void {
    const index = this.length++;
    if (index === this.columns.at.length) this.columns = columnsOf(4 * index, this.columns);
    const { columns } = this;
    columns.block[index] = this.blocks.length - 1;
    columns.at[index] = at;
    columns.keyCrc[index] = keyCrc;
    this.headBytes += envelopeAt - at + ENVELOPE_HEAD_ABOUT;
    if (kind !== "write") this.conditional.push(index);
  }

  /** No more records in these bytes, of which so many have been looked at. @returns whether they are kept. */
  end(byteCount: number): boolean {
    const { blocks, first, length, headBytes, columns } = this;
    const from = blocks.at(-1);
    if (from === undefined || headBytes >= byteCount * HEADS_PART) return true;
    const roomMax = byteCount + PLACE_BYTES * (length - first);
    if (this.scratch.length < roomMax) this.scratch = new Uint8Array(roomMax);
    const { scratch } = this;
    const places = new DataView(scratch.buffer);
    let room = 0;
    for (let i = first; i < length; i++) {
      const start = columns.at[i] ?? 0;
      const end = headEnd(from, start);
      putInteger(places, room, (from.fileAt ?? 0) + start);
      room += PLACE_BYTES;
      scratch.set(from.bytes.subarray(start, end), room);
      columns.at[i] = room;
      room += end - start;
    }
    const bytes = scratch.slice(0, room);
    const view = new DataView(bytes.buffer);
    blocks[blocks.length - 1] = { bytes, view, segment: from.segment, fileAt: undefined };
    return false;
  }

  /** Forgets those behind the first so many. */
  truncate(length: number): void {
    this.length = length;
    while ((this.conditional.at(-1) ?? -1) >= length) this.conditional.pop();
  }

  clear(): void {
    this.truncate(0);
    this.blocks.length = 0;
    this.scratch = new Uint8Array(0);
    this.columns = columnsOf(COLUMNS_MIN);
  }

  at(index: number): Indexed {
    const { block, at } = this.columns;
    return new StoredRecord(this.blocks[block[index] ?? 0] as Block, at[index] ?? 0);
  }

  keyCrc(index: number): number {
    return this.columns.keyCrc[index] ?? 0;
  }

  *[Symbol.iterator](): Iterator<Indexed> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}

/** Of each record: the block, the place in it, and the checksum of its key. */
interface Columns {
  readonly block: Uint32Array;
  readonly at: Uint32Array;
  readonly keyCrc: Int32Array;
}

function columnsOf(length: number, before?: Columns): Columns {
  const columns = { block: new Uint32Array(length), at: new Uint32Array(length), keyCrc: new Int32Array(length) };
  if (before === undefined) return columns;
  columns.block.set(before.block);
  columns.at.set(before.at);
  columns.keyCrc.set(before.keyCrc);
  return columns;
}

/** Where the value of the record at this place begins, or the record ends that has none. */
function headEnd({ bytes, view }: Block, at: number): number {
  const envelopeAt = at + RECORD_HEAD_BYTES + view.getUint16(at + KEY_BYTES_AT) + view.getUint16(at + NOTE_BYTES_AT);
  return envelopeValueAt(bytes, view, envelopeAt, at + view.getUint32(at + LENGTH_AT));
}

/** A record as it was read: what it says is computed from its bytes. A copy by `{...record}` would be empty. */
class StoredRecord implements Indexed {
  private readonly block: Block;
  private readonly at: number;

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
    const from = this.at + RECORD_HEAD_BYTES;
    return crc32cOf(this.block.view, from, from + this.keyBytes);
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
    const { view, segment, fileAt } = this.block;
    const at = fileAt === undefined ? integerAt(view, this.at - PLACE_BYTES) : fileAt + this.at;
    return { segment, at, length: view.getUint32(this.at + LENGTH_AT) };
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
