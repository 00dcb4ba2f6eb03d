import { corruptValue } from "./corrupt.ts";
import { MESSAGEPACK_TYPE } from "./content-type.ts";
import { DEPTH_MAX, EXT, toLittleEndian, viewKind } from "./kinds.ts";

export interface Read {
  readonly value: unknown;
  /** Whether anything in it can be changed though it is frozen: Map, Set, Date, a buffer or a view. */
  readonly mutable: boolean;
  /** Whether every text in it is ASCII. */
  readonly ascii: boolean;
}

/** A text up to so many bytes is read byte by byte if it is ASCII. */
const SHORT_TEXT = 24;
/** Keys up to so many bytes are kept, each in one of so many places (a power of two). */
const KNOWN_KEY = 24;
const KNOWN_KEYS = 512;
/** V8 joins texts up to this length by copying; a longer one would be kept as the tree of its pieces. */
const FLAT_TEXT = 12;
/** V8 holds 2^30 bits. */
const BIGINT_BYTES_MAX = 2 ** 27;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads what {@link writeMessagePack} writes, and any other MessagePack that uses none but our extensions, text keys
 * and numbers that JavaScript holds exactly. What a length claims is compared with the bytes that are left before
 * anything is made; nesting ends at `DEPTH_MAX`; keys are unique and none is `__proto__`.
 *
 * @throws SyncError CORRUPT.
 */
export function readMessagePack(bytes: Uint8Array): Read {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw corrupt("it goes on after its end");
  // Nobody wrote it, and it would be taken for "no value".
  if (value === undefined) throw corrupt("it is undefined");
  return { value, mutable: reader.mutable, ascii: reader.ascii };
}

class Reader {
  at = 0;
  mutable = false;
  ascii = true;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** The end of what is being read: of the input, or of the extension around. */
  private end: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.length;
  }

  value(depth: number): unknown {
    const lead = this.bytes[this.take(1)] ?? 0;
    if (lead < 0x80) return lead;
    if (lead < 0x90) return this.object({}, lead & 0x0f, depth);
    if (lead < 0xa0) return this.array(lead & 0x0f, depth);
    if (lead < 0xc0) return this.text(lead & 0x1f);
    if (lead >= 0xe0) return lead - 0x100;
    switch (lead) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.binary(this.view.getUint8(this.take(1)));
      case 0xc5:
        return this.binary(this.view.getUint16(this.take(2)));
      case 0xc6:
        return this.binary(this.view.getUint32(this.take(4)));
      case 0xc7:
        return this.extension(this.view.getUint8(this.take(1)), depth);
      case 0xc8:
        return this.extension(this.view.getUint16(this.take(2)), depth);
      case 0xc9:
        return this.extension(this.view.getUint32(this.take(4)), depth);
      case 0xca:
        return this.view.getFloat32(this.take(4));
      case 0xcb:
        return this.view.getFloat64(this.take(8));
      case 0xcc:
        return this.view.getUint8(this.take(1));
      case 0xcd:
        return this.view.getUint16(this.take(2));
      case 0xce:
        return this.view.getUint32(this.take(4));
      case 0xcf:
        return this.whole(this.view.getUint32(this.take(4)));
      case 0xd0:
        return this.view.getInt8(this.take(1));
      case 0xd1:
        return this.view.getInt16(this.take(2));
      case 0xd2:
        return this.view.getInt32(this.take(4));
      case 0xd3:
        return this.whole(this.view.getInt32(this.take(4)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.extension(1 << (lead - 0xd4), depth);
      case 0xd9:
        return this.text(this.view.getUint8(this.take(1)));
      case 0xda:
        return this.text(this.view.getUint16(this.take(2)));
      case 0xdb:
        return this.text(this.view.getUint32(this.take(4)));
      case 0xdc:
        return this.array(this.view.getUint16(this.take(2)), depth);
      case 0xdd:
        return this.array(this.view.getUint32(this.take(4)), depth);
      case 0xde:
        return this.object({}, this.view.getUint16(this.take(2)), depth);
      case 0xdf:
        return this.object({}, this.view.getUint32(this.take(4)), depth);
      default:
        throw corrupt("it has a byte that MessagePack does not use");
    }
  }

  /** The place of the next `length` bytes, which are there. */
  private take(length: number): number {
    const { at } = this;
    if (length > this.end - at) throw corrupt("it ends too early");
    this.at = at + length;
    return at;
  }

  private bytesOf(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.subarray(at, this.at);
  }

  /** A 64 bit integer of which the high half was read. */
  private whole(high: number): number {
    const value = high * 2 ** 32 + this.view.getUint32(this.take(4));
    if (!Number.isSafeInteger(value)) throw corrupt("it has a whole number beyond 2^53");
    return value;
  }

  private text(length: number): string {
    const at = this.take(length);
    if (length <= SHORT_TEXT) {
      const ascii = length <= FLAT_TEXT ? flatAscii(this.bytes, at, this.at) : shortAscii(this.bytes, at, this.at);
      if (ascii !== undefined) return ascii;
    }
    let text: string;
    try {
      text = decoder.decode(this.bytes.subarray(at, this.at));
    } catch {
      throw corrupt("it has a text that is not UTF-8");
    }
    if (text.length !== length) this.ascii = false;
    return text;
  }

  private array(length: number, depth: number): unknown[] {
    this.enter(length, depth);
    // Not made at its claimed length: a claim repeated in every level would add up. The copy has no room to spare.
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.value(depth + 1));
    return array.slice();
  }

  private object(object: object, length: number, depth: number): object {
    this.enter(2 * length, depth);
    const record = object as Record<string, unknown>;
    for (let i = 0; i < length; i++) {
      const key = this.key(depth);
      const value = this.value(depth + 1);
      if (key in Object.prototype) {
        // Assigning could meet an inherited setter, or a frozen prototype.
        Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true });
      } else record[key] = value;
    }
    if (Object.keys(record).length !== length) throw corrupt("it has a key twice");
    return record;
  }

  private key(depth: number): string {
    const lead = this.bytes[this.at] ?? 0;
    if (lead > 0xa0 && lead <= 0xa0 + KNOWN_KEY && this.at + 1 + (lead & 0x1f) <= this.end) {
      const known = knownKey(this.bytes, this.at + 1, lead & 0x1f);
      if (known !== undefined) {
        this.at += 1 + known.length;
        return known;
      }
    }
    const key = this.value(depth + 1);
    if (typeof key !== "string" || key === "__proto__") throw corrupt("it has a key that is refused");
    if (key.length > 0 && key.length <= KNOWN_KEY)
      knownKeys[keySlot(key.charCodeAt(0), key.charCodeAt(key.length - 1), key.length)] = key;
    return key;
  }

  private map(depth: number): Map<unknown, unknown> {
    const length = this.sizeHead(0x80, 0xde);
    this.enter(2 * length, depth);
    const map = new Map<unknown, unknown>();
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      map.set(key, this.value(depth + 1));
    }
    if (map.size !== length) throw corrupt("it has a Map key twice");
    return map;
  }

  private set(depth: number): Set<unknown> {
    const length = this.sizeHead(0x90, 0xdc);
    this.enter(length, depth);
    const set = new Set<unknown>();
    for (let i = 0; i < length; i++) set.add(this.value(depth + 1));
    if (set.size !== length) throw corrupt("it has a member of a Set twice");
    return set;
  }

  /** The length in the head of an array or map, which has to come here. */
  private sizeHead(short: number, two: number): number {
    const lead = this.bytes[this.take(1)] ?? 0;
    if ((lead & 0xf0) === short) return lead & 0x0f;
    if (lead === two) return this.view.getUint16(this.take(2));
    if (lead === two + 1) return this.view.getUint32(this.take(4));
    throw corrupt("it has an extension with another content than its own");
  }

  /** @param parts each of which has at least one byte. */
  private enter(parts: number, depth: number): void {
    if (parts > this.end - this.at) throw corrupt("it ends too early");
    if (depth >= DEPTH_MAX) throw corrupt(`it is nested deeper than ${DEPTH_MAX}`);
  }

  private binary(length: number): Uint8Array {
    this.mutable = true;
    return ownCopy(this.bytesOf(length));
  }

  private extension(length: number, depth: number): unknown {
    const type = this.view.getInt8(this.take(1));
    if (length > this.end - this.at) throw corrupt("it ends too early");
    const outer = this.end;
    this.end = this.at + length;
    const value = this.content(type, length, depth);
    if (this.at !== this.end) throw corrupt("it has an extension with more than its content");
    this.end = outer;
    return value;
  }

  private content(type: number, length: number, depth: number): unknown {
    switch (type) {
      case EXT.undefined:
        return undefined;
      case EXT.bigint:
        return bigintOf(this.bytesOf(length));
      case EXT.date:
        this.mutable = true;
        return dateOf(this.view.getFloat64(this.take(8)));
      case EXT.map:
        this.mutable = true;
        return this.map(depth);
      case EXT.set:
        this.mutable = true;
        return this.set(depth);
      case EXT.nullPrototype:
        return this.object(Object.create(null) as object, this.sizeHead(0x80, 0xde), depth);
      case EXT.buffer:
        this.mutable = true;
        return ownCopy(this.bytesOf(length)).buffer;
      case EXT.view:
        this.mutable = true;
        return this.viewOf(length);
      default:
        throw corrupt(`it has the extension ${type}, which this version does not know`);
    }
  }

  private viewOf(length: number): ArrayBufferView {
    const kind = viewKind(this.bytes[this.take(1)] ?? 0);
    if (kind === undefined) throw corrupt("it has a typed array that this platform does not know");
    if ((length - 1) % kind.width !== 0) throw corrupt("it has a typed array of a broken length");
    return kind.over(toLittleEndian(ownCopy(this.bytesOf(length - 1)), kind.width).buffer);
  }
}

/**
 * The last short keys that were read. A text that was a key before is found as such by V8 without being hashed, which
 * makes an object of known keys three times as fast.
 */
const knownKeys: (string | undefined)[] = Array.from({ length: KNOWN_KEYS });

function keySlot(first: number, last: number, length: number): number {
  return (Math.imul(first, 31) + Math.imul(last, 7) + length * 67) & (KNOWN_KEYS - 1);
}

/** The key in `bytes[from..from + length)` if it is one of the known. */
function knownKey(bytes: Uint8Array, from: number, length: number): string | undefined {
  const known = knownKeys[keySlot(bytes[from] ?? 0, bytes[from + length - 1] ?? 0, length)];
  if (known?.length !== length) return undefined;
  for (let i = 0; i < length; i++) {
    const byte = bytes[from + i] ?? 0;
    if (byte >= 0x80 || byte !== known.charCodeAt(i)) return undefined;
  }
  return known;
}

/** The text of `bytes[from..to)`; undefined when it is not ASCII. Four at a time is the fastest way, up to FLAT_TEXT. */
function flatAscii(bytes: Uint8Array, from: number, to: number): string | undefined {
  let text = "";
  let i = from;
  for (; i + 4 <= to; i += 4) {
    const [a = 0, b = 0, c = 0, d = 0] = [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
    if ((a | b | c | d) >= 0x80) return undefined;
    text += String.fromCharCode(a, b, c, d);
  }
  for (; i < to; i++) {
    const byte = bytes[i] ?? 0;
    if (byte >= 0x80) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

function shortAscii(bytes: Uint8Array, from: number, to: number): string | undefined {
  const units: number[] = [];
  for (let i = from; i < to; i++) {
    const byte = bytes[i] ?? 0;
    if (byte >= 0x80) return undefined;
    units.push(byte);
  }
  return String.fromCharCode(...units);
}

/** A copy in a buffer of its own. (`slice` of a Node Buffer would be neither.) */
function ownCopy(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function dateOf(ms: number): Date {
  const date = new Date(ms);
  if (!Object.is(date.getTime(), ms)) throw corrupt("it has a date that is out of range");
  return date;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function bigintOf(bytes: Uint8Array): bigint {
  const [sign = 2] = bytes;
  if (bytes.length > BIGINT_BYTES_MAX) throw corrupt("it has a BigInt that no platform holds");
  if (sign > 1 || bytes[1] === 0 || (sign === 1 && bytes.length === 1)) throw corrupt("it has a malformed BigInt");
  if (bytes.length === 1) return 0n;
  const digits: string[] = [];
  for (let i = 1; i < bytes.length; i++) digits.push(HEX[bytes[i] ?? 0] ?? "");
  const magnitude = BigInt(`0x${digits.join("")}`);
  return sign === 1 ? -magnitude : magnitude;
}

function corrupt(what: string): Error {
  return corruptValue(MESSAGEPACK_TYPE, what);
}
