/**
 * Values as bytes and back. docs/values.md lists what goes round exactly, what is refused, and what is in between.
 *
 * Bytes and texts are stored as themselves, everything else as JSON where JSON gives back exactly the same, else as
 * MessagePack. Reading goes by the content type that stands with the bytes, never by how a codec was made.
 */
import { BYTES_TYPE, JSON_TYPE, MESSAGEPACK_TYPE, TEXT_TYPE, formOf } from "./codec/content-type.ts";
import { corruptValue } from "./codec/corrupt.ts";
import { Inspection, JSON_EXACT, NEEDS_MESSAGEPACK, REFUSED } from "./codec/inspect.ts";
import type { Texts } from "./codec/inspect.ts";
import { DEPTH_MAX } from "./codec/kinds.ts";
import { readMessagePack } from "./codec/messagepack-reader.ts";
import { writeMessagePack } from "./codec/messagepack-writer.ts";
import { freezePlain, sizeOf } from "./codec/size.ts";
import { utf8Of } from "./codec/utf8.ts";
import { SyncError } from "./error.ts";

export { cloneValue } from "./codec/clone.ts";
export { sizeOf } from "./codec/size.ts";
export { JSON_TYPE, MESSAGEPACK_TYPE, TEXT_TYPE, BYTES_TYPE } from "./codec/content-type.ts";

export interface Encoded {
  /** Shares nothing with the value, and is not used again by the codec. May be a piece of a larger buffer. */
  readonly bytes: Uint8Array;
  readonly contentType: string;
}

export interface Decoded {
  readonly value: unknown;
  /**
   * "shared": plain data, frozen to its depth; every caller may have this one. "cloned": something in it can be
   * changed whatever is frozen, so each caller gets a `cloneValue` of it.
   */
  readonly sharing: "shared" | "cloned";
  /** An estimate of what the value occupies on the heap, beside the bytes it was decoded from. */
  readonly bytes: number;
}

export interface Codec {
  /**
   * Runs no code of the value: no getter, no `toJSON`. Keeps nothing of it.
   *
   * @throws SyncError INVALID, naming the place inside the value, when it would not come back exactly; TOO_LARGE.
   */
  encode(value: unknown): Encoded;
  /**
   * Bytes of no known type come back as bytes: a view of the bytes given, which nobody may change.
   *
   * @throws SyncError CORRUPT when the bytes are not what their type says.
   */
  decode(bytes: Uint8Array, contentType: string | undefined): Decoded;
}

export interface CodecOptions {
  /** Arrays, objects, Maps and Sets inside one another. Default 128, at most 512. */
  readonly depthMax?: number | undefined;
  /** Values inside the value, in all. Default 16,777,216. */
  readonly nodesMax?: number | undefined;
}

export interface JsonCodecOptions extends CodecOptions {
  /** Spaces per level, 0 to 10. Above 0 the text ends with a line break, as files do. Default 0. */
  readonly indent?: number | undefined;
}

const DEPTH_DEFAULT = 128;
const NODES_DEFAULT = 2 ** 24;
/** A view's own objects; the bytes it shows are the entry's. */
const VIEW_BYTES = 200;
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A byte order mark, which is no part of a JSON document. */
const BOM = "\ufeff";
const jsonDecoder = new TextDecoder("utf-8", { fatal: true });

/** Bytes and texts as themselves, JSON where it is exact, else MessagePack. */
export function valueCodec(options: CodecOptions = {}): Codec {
  const limits = limitsOf(options);
  return {
    encode(value) {
      if (typeof value === "string") return encodeText(value);
      const verdict = inspect(value, limits);
      if (isBytes(value)) return { bytes: new Uint8Array(value), contentType: BYTES_TYPE };
      if (verdict === JSON_EXACT && !toJsonIsInherited()) return encodeJson(value, 0, limits);
      return encodeMessagePack(value, limits);
    },
    decode,
  };
}

/** JSON alone, for people to read: texts too are written as JSON, and what JSON does not hold exactly is refused. */
export function jsonCodec(options: JsonCodecOptions = {}): Codec {
  const limits = limitsOf(options);
  const indent = wholeOption("indent", options.indent, 0, 0, 10);
  return {
    encode(value) {
      if (inspect(value, limits) === NEEDS_MESSAGEPACK) {
        const cure =
          "use the default codec, or leave out -0, NaN, Infinity, undefined, BigInt, Date, Map, Set and bytes";
        throw new SyncError("INVALID", "JSON would not give the value back exactly", { cure });
      }
      if (toJsonIsInherited()) {
        const cure = "remove toJSON from Object.prototype and Array.prototype";
        throw new SyncError("UNSUPPORTED", "this program changes what JSON means for every object", { cure });
      }
      return encodeJson(value, indent, limits);
    },
    decode,
  };
}

export const defaultCodec: Codec = valueCodec();

function encodeText(text: string): Encoded {
  if (!text.isWellFormed()) throw refused("$", "holds half of a surrogate pair");
  return { bytes: utf8Of(text), contentType: TEXT_TYPE };
}

/** Found in what JSON.stringify makes of half of a surrogate pair, and of a text that has just this in it. */
const HALF_PAIR = "\\ud";

function encodeJson(value: unknown, indent: number, limits: Limits): Encoded {
  let text: string;
  try {
    text = JSON.stringify(value, null, indent);
  } catch (cause) {
    // All else was seen by the inspection: the text is longer than the platform's strings can be.
    throw new SyncError("TOO_LARGE", "the value is too large to be written as JSON", { cause, cure: "split it" });
  }
  if (text.includes(HALF_PAIR)) inspect(value, limits, "looked at");
  return { bytes: utf8Of(indent > 0 ? `${text}\n` : text), contentType: JSON_TYPE };
}

function encodeMessagePack(value: unknown, limits: Limits): Encoded {
  const bytes = writeMessagePack(value);
  if (bytes !== undefined) return { bytes, contentType: MESSAGEPACK_TYPE };
  inspect(value, limits, "looked at");
  throw new SyncError("INTERNAL", "a text of the value is not well-formed, and none was found");
}

/** Whether someone gave every object a `toJSON`, which JSON.stringify would call. */
function toJsonIsInherited(): boolean {
  return "toJSON" in Object.prototype || "toJSON" in Array.prototype;
}

/** @throws SyncError INVALID or TOO_LARGE for a value that cannot be stored, naming the place inside it. */
function inspect(
  value: unknown,
  limits: Limits,
  texts: Texts = "left to the writer",
): typeof JSON_EXACT | typeof NEEDS_MESSAGEPACK {
  if (value === undefined) throw refused("$", "is undefined", "delete the key instead, or store null");
  const inspection = new Inspection(limits, texts);
  let verdict;
  try {
    verdict = inspection.visit(value, 0);
  } catch (cause) {
    throw new SyncError("INVALID", "the value cannot be looked at: a Proxy in it threw", { cause });
  }
  if (verdict !== REFUSED) return verdict;
  const { path, why } = inspection.refused;
  if (inspection.tooMany) {
    const what = `the value has more than ${limits.nodesMax} parts`;
    throw new SyncError("TOO_LARGE", `${what}, at ${path}`, { cure: "split it, or raise nodesMax" });
  }
  throw refused(path, why);
}

function refused(
  path: string,
  why: string,
  cure = "store plain data; docs/values.md lists what can be stored",
): SyncError {
  return new SyncError("INVALID", `the value cannot be stored: ${path} ${why}`, { cure });
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

/** How every codec of this module reads. @throws SyncError as {@link Codec.decode}. */
export function decode(bytes: Uint8Array, contentType: string | undefined): Decoded {
  switch (formOf(contentType)) {
    case "bytes":
      return { value: plainView(bytes), sharing: "cloned", bytes: VIEW_BYTES };
    case "text": {
      const value = utf8(bytes, textDecoder, contentType ?? TEXT_TYPE);
      return ofText(value, value.length === bytes.length);
    }
    case "json": {
      const text = utf8(bytes, jsonDecoder, contentType ?? JSON_TYPE);
      return ofJson(text, text.length === bytes.length, contentType ?? JSON_TYPE);
    }
    case "messagepack": {
      const { value, mutable, ascii } = readMessagePack(bytes);
      const origin = { ascii, parsed: false };
      if (mutable) return { value, sharing: "cloned", bytes: sizeOf(value, origin) };
      return { value, sharing: "shared", bytes: freezePlain(value, origin, MESSAGEPACK_TYPE) };
    }
  }
}

/** The same of so many bytes that are this text in UTF-8. @throws SyncError CORRUPT. */
export function decodeText(text: string, size: number, contentType: string | undefined): Decoded {
  switch (formOf(contentType)) {
    case "text":
      return ofText(text, text.length === size);
    case "json":
      return ofJson(text.startsWith(BOM) ? text.slice(1) : text, text.length === size, contentType ?? JSON_TYPE);
    case "bytes":
    case "messagepack":
      return decode(utf8Of(text), contentType);
  }
}

function ofText(value: string, ascii: boolean): Decoded {
  return { value, sharing: "shared", bytes: sizeOf(value, { ascii, parsed: false }) };
}

function ofJson(text: string, ascii: boolean, contentType: string): Decoded {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // The message quotes the text, which has no place in an error; where it broke may be told.
    const place = /at position \d+/.exec(error instanceof Error ? error.message : "")?.[0];
    throw corruptValue(contentType, `it is not JSON${place === undefined ? "" : ` (${place})`}`);
  }
  return { value, sharing: "shared", bytes: freezePlain(value, { ascii, parsed: true }, contentType) };
}

interface Utf8Decoder {
  decode(bytes: Uint8Array): string;
}

function utf8(bytes: Uint8Array, decoder: Utf8Decoder, contentType: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw corruptValue(contentType, "it is not UTF-8");
  }
}

/** The same bytes as a plain Uint8Array: a Node Buffer is one in its own way only. */
function plainView(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Limits {
  readonly depthMax: number;
  readonly nodesMax: number;
}

function limitsOf(options: CodecOptions): Limits {
  return {
    depthMax: wholeOption("depthMax", options.depthMax, DEPTH_DEFAULT, 1, DEPTH_MAX),
    nodesMax: wholeOption("nodesMax", options.nodesMax, NODES_DEFAULT, 1, Number.MAX_SAFE_INTEGER),
  };
}

function wholeOption(name: string, value: number | undefined, otherwise: number, min: number, max: number): number {
  if (value === undefined) return otherwise;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new SyncError("INVALID", `${name} is a whole number from ${min} to ${max}`);
}
