import { utf8Length } from "../entry.ts";
import { SyncError } from "../error.ts";
import { EXT, toLittleEndian, typedArrayName, viewBytes, viewKindOf } from "./kinds.ts";

/** A larger value is refused; shared parts, written as often as they are met, can make one from little. */
const BYTES_MAX = 2 ** 30;
const BYTES_START = 512;
/** A text up to so many units is written unit by unit: faster than the encoder when it is ASCII, as most are. */
const SHORT_TEXT = 32;
const encoder = new TextEncoder();

/**
 * MessagePack with the extensions of docs/values.md.
 *
 * @param value passed `Inspection`.
 * @returns undefined when a text in it is not well-formed.
 * @throws SyncError TOO_LARGE above 1 GiB.
 */
export function writeMessagePack(value: unknown): Uint8Array | undefined {
  const writer = new Writer();
  writer.value(value);
  return writer.isWellFormed ? writer.bytes.slice(0, writer.length) : undefined;
}

class Writer {
  bytes = new Uint8Array(BYTES_START);
  length = 0;
  isWellFormed = true;
  private view = new DataView(this.bytes.buffer);

  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.text(value);
      case "number":
        return this.number(value);
      case "boolean":
        return this.byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.extension(EXT.undefined, NO_CONTENT);
      case "bigint":
        return this.extension(EXT.bigint, bigintBytes(value));
      case "object":
        return value === null ? this.byte(0xc0) : this.object(value);
      case "function":
      case "symbol":
        throw new SyncError("INTERNAL", `a ${typeof value} passed the inspection`);
    }
  }

  private object(value: object): void {
    if (Array.isArray(value)) return this.array(value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) return this.plain(value as Record<string, unknown>);
    if (prototype === null) {
      const start = this.openExtension(EXT.nullPrototype);
      this.plain(value as Record<string, unknown>);
      return this.closeExtension(start);
    }
    if (typedArrayName.call(value) !== undefined || value instanceof DataView) return this.viewOf(value);
    if (value instanceof Map) {
      const start = this.openExtension(EXT.map);
      this.map(value);
      return this.closeExtension(start);
    }
    if (value instanceof Set) {
      const start = this.openExtension(EXT.set);
      this.array([...value]);
      return this.closeExtension(start);
    }
    if (value instanceof Date) return this.extension(EXT.date, dateBytes(value));
    if (value instanceof ArrayBuffer) return this.extension(EXT.buffer, new Uint8Array(value));
    throw new SyncError("INTERNAL", "an object of no known kind passed the inspection");
  }

  private array(values: readonly unknown[]): void {
    this.head(values.length, 0x90, 16, 0xdc, 0xdd);
    for (const value of values) this.value(value);
  }

  private plain(value: Readonly<Record<string, unknown>>): void {
    const keys = Object.keys(value);
    this.head(keys.length, 0x80, 16, 0xde, 0xdf);
    for (const key of keys) {
      this.text(key);
      this.value(value[key]);
    }
  }

  private map(map: ReadonlyMap<unknown, unknown>): void {
    this.head(map.size, 0x80, 16, 0xde, 0xdf);
    for (const [key, value] of map) {
      this.value(key);
      this.value(value);
    }
  }

  private viewOf(value: object): void {
    const bytes = viewBytes(value);
    const kind = viewKindOf(Object.getPrototypeOf(value));
    if (kind === undefined || kind.prototype === Uint8Array.prototype) return this.binary(bytes);
    const content = new Uint8Array(1 + bytes.length);
    content[0] = kind.code;
    content.set(bytes, 1);
    toLittleEndian(content.subarray(1), kind.width);
    this.extension(EXT.view, content);
  }

  private binary(bytes: Uint8Array): void {
    if (bytes.length < 0x100) this.word(0xc4, 1, bytes.length);
    else if (bytes.length < 0x1_0000) this.word(0xc5, 2, bytes.length);
    else this.word(0xc6, 4, bytes.length);
    this.raw(bytes);
  }

  private text(text: string): void {
    const bytes = utf8Length(text);
    if (bytes !== text.length && !text.isWellFormed()) this.isWellFormed = false;
    if (bytes < 32) this.byte(0xa0 | bytes);
    else if (bytes < 0x100) this.word(0xd9, 1, bytes);
    else if (bytes < 0x1_0000) this.word(0xda, 2, bytes);
    else this.word(0xdb, 4, bytes);
    this.reserve(bytes);
    if (bytes <= SHORT_TEXT && bytes === text.length) {
      for (let i = 0; i < bytes; i++) this.bytes[this.length + i] = text.charCodeAt(i);
    } else encoder.encodeInto(text, this.bytes.subarray(this.length));
    this.length += bytes;
  }

  /** Whole numbers that 32 bits hold in their shortest form; every other number, and -0, as a double: exactly itself. */
  private number(value: number): void {
    if (value >= 0 && value <= 0xffff_ffff && Number.isInteger(value) && !Object.is(value, -0)) {
      if (value < 0x80) this.byte(value);
      else if (value < 0x100) this.word(0xcc, 1, value);
      else if (value < 0x1_0000) this.word(0xcd, 2, value);
      else this.word(0xce, 4, value);
    } else if (value < 0 && value >= -0x8000_0000 && Number.isInteger(value)) {
      if (value >= -32) this.byte(value & 0xff);
      else if (value >= -0x80) this.word(0xd0, 1, value);
      else if (value >= -0x8000) this.word(0xd1, 2, value);
      else this.word(0xd2, 4, value);
    } else {
      this.reserve(9);
      this.bytes[this.length] = 0xcb;
      this.view.setFloat64(this.length + 1, value);
      this.length += 9;
    }
  }

  private head(size: number, short: number, shortMax: number, two: number, four: number): void {
    if (size < shortMax) this.byte(short | size);
    else if (size < 0x1_0000) this.word(two, 2, size);
    else this.word(four, 4, size);
  }

  private extension(type: number, content: Uint8Array): void {
    if (content.length < 0x100) this.word(0xc7, 1, content.length);
    else if (content.length < 0x1_0000) this.word(0xc8, 2, content.length);
    else this.word(0xc9, 4, content.length);
    this.byte(type);
    this.raw(content);
  }

  /** An extension whose content is MessagePack. Its length is known only afterwards, so it always has four bytes. */
  private openExtension(type: number): number {
    this.word(0xc9, 4, 0);
    this.byte(type);
    return this.length;
  }

  private closeExtension(start: number): void {
    this.view.setUint32(start - 5, this.length - start);
  }

  private byte(byte: number): void {
    this.reserve(1);
    this.bytes[this.length++] = byte;
  }

  private word(lead: number, width: 1 | 2 | 4, value: number): void {
    this.reserve(1 + width);
    this.bytes[this.length] = lead;
    if (width === 1) this.view.setUint8(this.length + 1, value);
    else if (width === 2) this.view.setUint16(this.length + 1, value);
    else this.view.setUint32(this.length + 1, value);
    this.length += 1 + width;
  }

  private raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  private reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.bytes.length) return;
    if (needed > BYTES_MAX) {
      throw new SyncError("TOO_LARGE", `the value is above ${BYTES_MAX} bytes when written`, { cure: "split it" });
    }
    const grown = new Uint8Array(Math.min(BYTES_MAX, Math.max(needed, 2 * this.bytes.length)));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

const NO_CONTENT = new Uint8Array(0);

function dateBytes(date: Date): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, Date.prototype.getTime.call(date));
  return bytes;
}

/** A sign byte (1 is negative), then the magnitude, big-endian, without leading zeros. */
function bigintBytes(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array(1);
  const digits = (value < 0n ? -value : value).toString(16);
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  const bytes = new Uint8Array(1 + even.length / 2);
  bytes[0] = value < 0n ? 1 : 0;
  for (let i = 1; i < bytes.length; i++) bytes[i] = Number.parseInt(even.slice(2 * i - 2, 2 * i), 16);
  return bytes;
}
