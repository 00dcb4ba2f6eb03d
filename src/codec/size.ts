import { corruptValue } from "./corrupt.ts";
import { DEPTH_MAX, viewBytes, viewKindOf } from "./kinds.ts";
import { newShapes } from "./shapes.ts";

/**
 * Estimates of what values occupy in V8 with 64 bit pointers, as Node has them; smaller elsewhere. The layouts are
 * V8's (objects.h, ordered-hash-table.h), the rest is measured; test/codec.size.test.ts holds them to the truth.
 */
const POINTER = 8;
const TEXT_HEAD = 16;
const ARRAY_HEAD = 48;
const OBJECT_HEAD = 24;
/** Room for four properties in every object that was not parsed from JSON, then more in steps of three. */
const LITERAL_BYTES = OBJECT_HEAD + 4 * POINTER;
/** A fraction, or a whole number beyond 32 bits. */
const NUMBER_BOX = 16;
/** A hidden class and its frozen twin, with their share of descriptions and transitions. */
const SHAPE_BYTES = 150;
/** Above so many properties V8 keeps them in a hash table; one that was filled key by key, sooner. */
const FAST_PARSED_MAX = 128;
const FAST_FILLED_MAX = 16;
const TABLE_HEAD = 64;
const TABLE_ENTRY = 3 * POINTER;
const DATE_BYTES = 96;
const BUFFER_HEAD = 104;
const VIEW_HEAD = 112;

/** What was found out about a value while it was read, which makes it cheaper to measure. */
export interface Origin {
  /** Every text in it is ASCII, so none has to be looked at. */
  readonly ascii: boolean;
  /** Its objects were made by JSON.parse, as large as they need to be. */
  readonly parsed: boolean;
}

const UNKNOWN: Origin = { ascii: false, parsed: false };

/**
 * An estimate of the heap bytes of a decoded value: within a third of the truth for real documents, rarely below it.
 * It may fall when asked again, since what V8 shares between values is counted for the first of them.
 *
 * @param value came from a codec's `decode`.
 */
export function sizeOf(value: unknown, origin: Origin = UNKNOWN): number {
  if (typeof value !== "object" || value === null) return leafBytes(value, origin);
  if (Array.isArray(value)) {
    let bytes = arrayBytes(value.length);
    for (const part of value) bytes += sizeOf(part, origin);
    return bytes;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) {
    const record = value as Readonly<Record<string, unknown>>;
    const keys = Object.keys(record);
    let bytes = prototype === null ? tableBytes(keys) : objectBytes(keys, origin);
    for (const key of keys) bytes += sizeOf(record[key], origin);
    return bytes;
  }
  if (value instanceof Map) {
    let bytes = orderedTableBytes(value.size, 3);
    for (const [key, part] of value) bytes += sizeOf(key, origin) + sizeOf(part, origin);
    return bytes;
  }
  if (value instanceof Set) {
    let bytes = orderedTableBytes(value.size, 2);
    for (const part of value) bytes += sizeOf(part, origin);
    return bytes;
  }
  if (value instanceof Date) return DATE_BYTES;
  if (value instanceof ArrayBuffer) return BUFFER_HEAD + value.byteLength;
  return viewKindOf(prototype as object) === undefined ? 0 : VIEW_HEAD + BUFFER_HEAD + viewBytes(value).length;
}

/**
 * Freezes plain data to its depth and estimates its size, in one walk.
 *
 * @throws SyncError CORRUPT for what no codec writes: nesting beyond `DEPTH_MAX`, the key `__proto__`.
 */
export function freezePlain(value: unknown, origin: Origin, contentType: string, depth = 0): number {
  if (typeof value !== "object" || value === null) return leafBytes(value, origin);
  if (depth >= DEPTH_MAX) throw corruptValue(contentType, `it is nested deeper than ${DEPTH_MAX}`);
  let bytes: number;
  if (Array.isArray(value)) {
    bytes = arrayBytes(value.length);
    for (let i = 0; i < value.length; i++) bytes += freezePlain(value[i], origin, contentType, depth + 1);
  } else {
    const record = value as Readonly<Record<string, unknown>>;
    const keys = Object.keys(record);
    bytes = Object.getPrototypeOf(value) === null ? tableBytes(keys) : objectBytes(keys, origin);
    for (const key of keys) {
      if (key === "__proto__") throw corruptValue(contentType, 'it has the key "__proto__"');
      bytes += freezePlain(record[key], origin, contentType, depth + 1);
    }
  }
  Object.freeze(value);
  return bytes;
}

function leafBytes(value: unknown, origin: Origin): number {
  if (typeof value === "string") return textBytes(value, origin.ascii);
  if (typeof value === "number") return (value | 0) === value && !Object.is(value, -0) ? 0 : NUMBER_BOX;
  return typeof value === "bigint" ? bigintBytes(value) : 0;
}

function textBytes(text: string, ascii: boolean): number {
  const width = ascii || !isWide(text) ? 1 : 2;
  return TEXT_HEAD + Math.ceil((width * text.length) / POINTER) * POINTER;
}

/** Whether V8 needs two bytes for each unit of it. */
function isWide(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return true;
  return false;
}

function bigintBytes(value: bigint): number {
  if (BigInt.asIntN(64, value) === value) return TEXT_HEAD + POINTER;
  return TEXT_HEAD + POINTER + Math.ceil(value.toString(16).length / 2);
}

function arrayBytes(length: number): number {
  return ARRAY_HEAD + POINTER * length;
}

function objectBytes(keys: readonly string[], origin: Origin): number {
  const { length } = keys;
  if (length === 0) return LITERAL_BYTES;
  if (isIndex(keys[0])) {
    const isDense = keys[length - 1] === String(length - 1);
    return isDense ? LITERAL_BYTES + arrayBytes(1.5 * length) : tableBytes(keys);
  }
  if (length > (origin.parsed ? FAST_PARSED_MAX : FAST_FILLED_MAX)) return tableBytes(keys);
  const slots = origin.parsed ? OBJECT_HEAD + POINTER * length : filledBytes(length);
  return slots + SHAPE_BYTES * newShapes(keys);
}

function filledBytes(length: number): number {
  return length <= 4 ? LITERAL_BYTES : LITERAL_BYTES + TEXT_HEAD + POINTER * 3 * Math.ceil((length - 4) / 3);
}

/** Properties in a hash table, at most two thirds full, whose keys no other object shares. */
function tableBytes(keys: readonly string[]): number {
  let bytes = TABLE_HEAD + TABLE_ENTRY * powerOfTwo(1.5 * keys.length);
  for (const key of keys) bytes += textBytes(key, false);
  return bytes;
}

/** A Map's or Set's table: the entries, and a chain for every two. */
function orderedTableBytes(size: number, wordsPerEntry: number): number {
  const capacity = powerOfTwo(size);
  return TABLE_HEAD + POINTER * (capacity * wordsPerEntry + capacity / 2);
}

function powerOfTwo(atLeast: number): number {
  let power = 4;
  while (power < atLeast) power *= 2;
  return power;
}

/** Keys that are whole numbers come first, and live in a table of another kind. */
function isIndex(key: string | undefined): boolean {
  const unit = key?.charCodeAt(0) ?? 0;
  return unit >= 0x30 && unit <= 0x39;
}
