import type { Files } from "./files.ts";
import { LENGTH_AT, putRecord, recordRoom, sealRecord, unsealRecord } from "./record.ts";
import type { Draft, Place } from "./record.ts";
import { MARK_BYTES, putMark } from "./segment.ts";

const START_BYTES = 64 * 1024;

/** Space to encode into, used again and again, so that a record costs no allocation of its own. */
export class Space {
  bytes = new Uint8Array(START_BYTES);
  view = new DataView(this.bytes.buffer);

  /** Makes room for so many bytes; the first `used` of those there stay. */
  reserve(byteCount: number, used: number): void {
    if (byteCount <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(byteCount, 2 * this.bytes.length));
    larger.set(this.bytes.subarray(0, used));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}

/** Records that go to disk together: one append, one sync, one commit mark. */
export class Group {
  readonly firstSeq: number;
  readonly space: Space;
  /** Settled when the group is on disk, or failed. */
  readonly durable: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  count = 0;
  /** Takes no more. */
  isClosed = false;
  /** Of the records; the mark comes behind them. */
  length = 0;
  /** Where a record of it lies, once it is sealed. */
  readonly placeOf: (seq: number) => Place;
  /** Where the records begin in the group. */
  private readonly starts: number[] = [];
  private segment = 0;
  private start = 0;

  constructor(firstSeq: number, space: Space) {
    this.firstSeq = firstSeq;
    this.space = space;
    let settle: [() => void, (error: unknown) => void] = [() => undefined, () => undefined];
    this.durable = new Promise<void>((resolve, reject) => {
      settle = [resolve, reject];
    });
    [this.resolve, this.reject] = settle;
    this.placeOf = (seq) => {
      const from = this.starts[seq - firstSeq] ?? 0;
      const to = this.starts[seq - firstSeq + 1] ?? this.length;
      return { segment: this.segment, at: this.start + from, length: to - from };
    };
  }

  get lastSeq(): number {
    return this.firstSeq + this.count - 1;
  }

  /** Length with the mark. */
  get bytesOnDisk(): number {
    return this.length + MARK_BYTES;
  }

  /** Encodes a record. */
  add(draft: Draft): void {
    const { space, length } = this;
    space.reserve(length + recordRoom(draft) + MARK_BYTES, length);
    this.starts.push(length);
    this.length = putRecord(draft, this.firstSeq + this.count, space.bytes, space.view, length);
    this.count++;
  }

  /** The group's bytes for this place: checksums and mark are of the segment, which is known only now. */
  seal(segment: number, start: number, saltCrc: number, crc32: Files["crc32"]): Uint8Array {
    const { space, count, firstSeq } = this;
    this.segment = segment;
    this.start = start;
    const bytes = space.bytes.subarray(0, this.bytesOnDisk);
    sealGroup(bytes, space.view, { count, firstSeq, start }, saltCrc, crc32);
    return bytes;
  }
}

/** Gives the records in `bytes` the checksums of a segment, and fills in the commit mark, which has its room behind them. */
export function sealGroup(
  bytes: Uint8Array,
  view: DataView,
  mark: { readonly count: number; readonly firstSeq: number; readonly start: number },
  saltCrc: number,
  crc32: Files["crc32"],
): void {
  const length = bytes.length - MARK_BYTES;
  for (let at = 0; at < length; at += view.getUint32(at + LENGTH_AT)) sealRecord(view, at, saltCrc);
  putMark(view, length, { ...mark, crc: crc32(bytes.subarray(0, length)) }, saltCrc);
}

/** Makes the records of a sealed group ready for {@link sealGroup}. */
export function unsealGroup(view: DataView, length: number): void {
  for (let at = 0; at < length; at += view.getUint32(at + LENGTH_AT)) unsealRecord(view, at);
}
