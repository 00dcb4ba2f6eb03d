import { BYTES_TYPE, JSON_TYPE, TEXT_TYPE, formOf } from "../codec/content-type.ts";
import { SyncError } from "../error.ts";
import { NO_META } from "../entry.ts";
import type { Meta } from "../entry.ts";
import { fromBase64, toBase64 } from "./base64.ts";

/** A value as a line holds it: its bytes and what they are said to be. */
export interface Raw {
  readonly bytes: Uint8Array;
  /** Undefined: not said, which is bytes. */
  readonly type: string | undefined;
}

/** One entry on its way into a chain. */
export interface Item {
  readonly key: string;
  readonly raw: Raw;
  readonly expires: number | null;
  readonly meta: Meta;
}

/** The longest line taken, in bytes. */
export const LINE_BYTES_MAX = 256 * 1024 ** 2;

export type Fields = Readonly<Record<string, unknown>>;

/** Those of a line that holds an entry, as docs/cli.md describes them. */
export const FIELDS: ReadonlySet<string> = new Set([
  "key",
  "value",
  "text",
  "base64",
  "type",
  "version",
  "expires",
  "meta",
]);

/** The entry of a line. The version is not taken over: an import is a write of now. @throws SyncError INVALID. */
export function itemOf(line: Uint8Array): Item {
  return itemFrom(fieldsOf(line, FIELDS));
}

/** The fields of a line, none but these. @throws SyncError INVALID. */
export function fieldsOf(line: Uint8Array, names: ReadonlySet<string>): Fields {
  const text = utf8(line);
  let parsed: unknown;
  try {
    parsed = text === undefined ? undefined : JSON.parse(text);
  } catch {
    parsed = undefined; // told below, without the parser's message, which quotes the line
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw wrong("the line is not an object of JSON in UTF-8");
  }
  const unknown = Object.keys(parsed).find((name) => !names.has(name));
  if (unknown !== undefined) throw wrong(`there is no field ${JSON.stringify(unknown.slice(0, 64))}`);
  return parsed as Fields;
}

/** @throws SyncError INVALID. */
export function itemFrom(fields: Fields): Item {
  const { key, expires = null, meta = NO_META } = fields;
  if (typeof key !== "string") throw wrong("the field key is not a text");
  if (expires !== null && !(typeof expires === "number" && Number.isSafeInteger(expires) && expires >= 0)) {
    throw wrong("the field expires is neither Unix milliseconds nor null");
  }
  return { key, raw: rawOf(fields), expires, meta: metaOf(meta) };
}

function rawOf(fields: Fields): Raw {
  const { value, text, base64, type } = fields;
  if (type !== undefined && typeof type !== "string") throw wrong("the field type is not a text");
  if ([value, text, base64].filter((part) => part !== undefined).length !== 1) {
    throw wrong("the line needs one of the fields value, text and base64");
  }
  const encoder = new TextEncoder();
  if (value !== undefined) return { bytes: encoder.encode(JSON.stringify(value)), type: type ?? JSON_TYPE };
  if (text !== undefined) {
    if (typeof text !== "string" || !text.isWellFormed()) throw wrong("the field text is not a well-formed text");
    return { bytes: encoder.encode(text), type: type ?? TEXT_TYPE };
  }
  // A damaged file must not become a damaged value.
  if (typeof base64 !== "string" || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) {
    throw wrong("the field base64 is not base64");
  }
  return { bytes: fromBase64(base64), type: type ?? BYTES_TYPE };
}

function metaOf(meta: unknown): Meta {
  const isTexts =
    typeof meta === "object" &&
    meta !== null &&
    !Array.isArray(meta) &&
    Object.values(meta).every((value) => typeof value === "string");
  if (!isTexts) throw wrong("the field meta is not an object of texts");
  return meta as Meta;
}

function wrong(what: string): SyncError {
  return new SyncError("INVALID", what, { cure: "correct the line; docs/cli.md describes it" });
}

/** A line with its number, from 1; `bytes` undefined when it is too long to be held. */
export interface Line {
  readonly number: number;
  readonly bytes: Uint8Array | undefined;
}

/** The lines of a stream of bytes, empty ones left out. */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax = LINE_BYTES_MAX,
): AsyncGenerator<Line, void> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 0;
  const take = (): Line | undefined => {
    number++;
    const bytes = length > bytesMax ? undefined : joined(parts, length);
    const empty = bytes?.length === 0 || (bytes?.length === 1 && bytes[0] === 0x0d);
    parts = [];
    length = 0;
    return empty ? undefined : { number, bytes };
  };
  const add = (part: Uint8Array) => {
    length += part.length;
    if (length > bytesMax) parts = [];
    else parts.push(part);
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      add(chunk.subarray(from, end));
      const line = take();
      if (line !== undefined) yield line;
      from = end + 1;
    }
    add(chunk.subarray(from));
  }
  if (length > 0) {
    const line = take();
    if (line !== undefined) yield line;
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only.slice();
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A value's part of a line of JSON: `value` for JSON, `text` for text, else `base64`; and its type where that is not told. */
export function rawToJson({ bytes, type }: Raw): Record<string, unknown> {
  const form = formOf(type);
  const named = type === undefined ? {} : { type };
  const text = form === "json" || form === "text" ? utf8(bytes) : undefined;
  if (form === "json" && text !== undefined) {
    const value = parsed(text);
    // Numbers beyond a double's digits, a key given twice or other spacing would not come back as the same bytes.
    if (value !== undefined && JSON.stringify(value) === text) return { value, ...(type === JSON_TYPE ? {} : named) };
  }
  if (form === "text" && text !== undefined) {
    return { text, ...(type === TEXT_TYPE ? {} : named) };
  }
  return { base64: toBase64(bytes), ...named };
}

/** The UTF-8 text of the bytes, or undefined when they are none. A byte order mark stays. */
export function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // not text: the caller writes base64
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // not JSON, whatever its type says: the caller writes base64
  }
}
