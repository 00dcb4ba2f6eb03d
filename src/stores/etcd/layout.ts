import { KEY_BYTES_MAX } from "../../entry.ts";
import { VERSION_BYTES, versionFromBytes, versionToBytes } from "../../version.ts";
import type { Version } from "../../version.ts";

/*
 * What is stored where, all below the store's prefix: `k/KEY` is an entry as an envelope (docs/format.md), `a/KEY` what a
 * cache notes about it, `watermark` 16 bytes of version, `epoch` the name of whoever opened the store last and wrote.
 */

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface Span {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

export class Layout {
  readonly watermark: Uint8Array;
  readonly epoch: Uint8Array;
  /** Put where a transaction is refused for the watermark; it holds nothing. */
  readonly quota: Uint8Array;
  /** Put at each count of a cache, for its revision. */
  readonly counted: Uint8Array;
  readonly notes: Span;
  private readonly entries: Uint8Array;
  private readonly noted: Uint8Array;

  constructor(prefix: string) {
    this.watermark = utf8.encode(`${prefix}/watermark`);
    this.epoch = utf8.encode(`${prefix}/epoch`);
    this.quota = utf8.encode(`${prefix}/quota`);
    this.counted = utf8.encode(`${prefix}/counted`);
    this.entries = utf8.encode(`${prefix}/k/`);
    this.noted = utf8.encode(`${prefix}/a/`);
    this.notes = { key: this.noted, rangeEnd: after(this.noted) };
  }

  entry(key: string): Uint8Array {
    return joined(this.entries, key);
  }

  note(key: string): Uint8Array {
    return joined(this.noted, key);
  }

  /** The key that an entry is stored for; undefined when another program stored what can be no entry of ours. */
  keyOf(stored: Uint8Array): string | undefined {
    return this.decoded(stored, this.entries.length);
  }

  keyOfNote(stored: Uint8Array): string | undefined {
    return this.decoded(stored, this.noted.length);
  }

  /** All keys that begin with a text, or those of them after one key. */
  span(prefix: string, afterKey?: string): Span {
    const begin = joined(this.entries, prefix);
    const rangeEnd = after(begin);
    if (afterKey === undefined) return { key: begin, rangeEnd };
    const next = joined(this.entries, `${afterKey}\0`);
    return { key: Buffer.compare(next, begin) > 0 ? next : begin, rangeEnd };
  }

  private decoded(stored: Uint8Array, from: number): string | undefined {
    if (stored.length === from || stored.length - from > KEY_BYTES_MAX) return undefined;
    try {
      return text.decode(stored.subarray(from));
    } catch {
      return undefined;
    }
  }
}

export function isEmpty({ key, rangeEnd }: Span): boolean {
  return Buffer.compare(key, rangeEnd) >= 0;
}

function joined(base: Uint8Array, key: string): Uint8Array {
  const bytes = Buffer.allocUnsafe(base.length + Buffer.byteLength(key));
  bytes.set(base);
  bytes.write(key, base.length);
  return bytes;
}

/** The first key behind all that begin with these bytes; text never ends in ff, so that there is one. */
function after(begin: Uint8Array): Uint8Array {
  const end = Uint8Array.from(begin);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}

/** What every envelope of this format begins with; see docs/format.md. */
const MAGIC = [0xf5, 0x53, 0x59, 0x01];
const STEM_BYTES = MAGIC.length + VERSION_BYTES;

/**
 * The beginning of every envelope of a version. Etcd compares values from their first byte, so that an envelope of a
 * lower version is less than a stem, and one of the same or a higher version greater: no envelope ends with its stem.
 */
export function stem(version: Version): Uint8Array {
  const bytes = new Uint8Array(STEM_BYTES);
  bytes.set(MAGIC);
  return versionToBytes(version, bytes, MAGIC.length);
}

/** Above every envelope of the version, below all of higher ones: flags, which follow, are below ff. */
export function stemEnd(version: Version): Uint8Array {
  const bytes = new Uint8Array(STEM_BYTES + 1).fill(0xff);
  bytes.set(stem(version));
  return bytes;
}

/** Whether these bytes may be an entry of a later format, which must not be taken for damage. */
export function isOtherFormat(bytes: Uint8Array): boolean {
  return bytes[0] === MAGIC[0] && bytes[1] === MAGIC[1] && bytes[2] === MAGIC[2] && bytes[3] !== MAGIC[3];
}

/** What a cache keeps beside a copy, so that renewing its date does not write the value again. */
export interface Note {
  /** Of the copy that is meant; of another one the note says nothing. */
  readonly version: Version;
  readonly asOf: number;
  /** What the copy takes in etcd, roughly. */
  readonly bytes: number;
}

const NOTE_BYTES = VERSION_BYTES + 12;

export function noteToBytes({ version, asOf, bytes }: Note): Uint8Array {
  const note = new Uint8Array(NOTE_BYTES);
  versionToBytes(version, note, 0);
  const view = new DataView(note.buffer);
  view.setBigInt64(VERSION_BYTES, BigInt(asOf));
  view.setUint32(VERSION_BYTES + 8, bytes);
  return note;
}

export function noteFromBytes(note: Uint8Array): Note | undefined {
  if (note.length !== NOTE_BYTES) return undefined;
  const view = new DataView(note.buffer, note.byteOffset, note.byteLength);
  const asOf = Number(view.getBigInt64(VERSION_BYTES));
  return { version: versionFromBytes(note), asOf, bytes: view.getUint32(VERSION_BYTES + 8) };
}
