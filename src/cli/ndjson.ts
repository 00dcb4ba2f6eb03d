import { BYTES_TYPE, JSON_TYPE, TEXT_TYPE } from "../codec/content-type.ts";
import { SyncError } from "../error.ts";
import { NO_META } from "../entry.ts";
import type { Meta } from "../entry.ts";
import type { FoundStream, ListedEntry } from "../sync.ts";
import { jsonLine } from "./lines.ts";
import { rawToJson, utf8 } from "./raw.ts";
import type { Raw } from "./raw.ts";

/** One entry on its way into a chain. */
export interface Item {
  readonly key: string;
  readonly raw: Raw;
  readonly expires: number | null;
  readonly meta: Meta;
}

/** One whose value is read as it is sent, perhaps several times. */
export interface LargeItem extends Pick<Item, "key" | "expires" | "meta"> {
  readonly type: string | undefined;
  /** Of the value, in bytes. */
  readonly size: number;
  open(): AsyncIterable<Uint8Array>;
}

/** The longest line taken, in bytes. */
export const LINE_BYTES_MAX = 256 * 1024 ** 2;
/** What a line takes beside its value: a key and metadata, at most. */
const LINE_BYTES_BESIDE = 1024 ** 2;

/** An entry as a line, as docs/cli.md describes it. */
export function lineOf({ key, value, version, expires, meta }: ListedEntry<Raw>): string {
  const { "content-type": _type, ...own } = meta;
  const metadata = Object.keys(own).length === 0 ? {} : { meta: own };
  return jsonLine({ key, ...rawToJson(value), version, ...(expires === null ? {} : { expires }), ...metadata });
}

/** The same of a value that is read as the line is written, as base64. @throws SyncError TOO_LARGE above the longest line. */
export async function* linePieces(key: string, { stream, size, version, expires, meta }: FoundStream) {
  if (size > LINE_BYTES_MAX * (3 / 4) - LINE_BYTES_BESIDE) {
    const cure = "export to a folder, or this key by microsync get -o";
    throw new SyncError("TOO_LARGE", `the value has ${size} bytes, more than a line takes`, { key, cure });
  }
  const { "content-type": type, ...own } = meta;
  yield `${JSON.stringify({ key }).slice(0, -1)},"base64":"`;
  let held = Buffer.alloc(0);
  for await (const piece of stream) {
    const bytes = held.length === 0 ? piece : Buffer.concat([held, piece]);
    const whole = bytes.length - (bytes.length % 3);
    yield Buffer.from(bytes.buffer, bytes.byteOffset, whole).toString("base64");
    held = Buffer.from(bytes.subarray(whole));
  }
  const named = type === undefined || type === BYTES_TYPE ? {} : { type };
  const metadata = Object.keys(own).length === 0 ? {} : { meta: own };
  const rest = { ...named, version, ...(expires === null ? {} : { expires }), ...metadata };
  yield `${held.toString("base64")}",${jsonLine(rest).slice(1)}`;
}

const FIELDS = new Set(["key", "value", "text", "base64", "type", "version", "expires", "meta"]);

/** The entry of a line. The version is not taken over: an import is a write of now. @throws SyncError INVALID. */
export function itemOf(line: Uint8Array): Item {
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
  const unknown = Object.keys(parsed).find((name) => !FIELDS.has(name));
  if (unknown !== undefined) throw wrong(`there is no field ${JSON.stringify(unknown.slice(0, 64))}`);
  const fields = parsed as Readonly<Record<string, unknown>>;
  const { key, expires = null, meta = NO_META } = fields;
  if (typeof key !== "string") throw wrong("the field key is not a text");
  if (expires !== null && !(typeof expires === "number" && Number.isSafeInteger(expires) && expires >= 0)) {
    throw wrong("the field expires is neither Unix milliseconds nor null");
  }
  return { key, raw: rawOf(fields), expires, meta: metaOf(meta) };
}

function rawOf(fields: Readonly<Record<string, unknown>>): Raw {
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
  // Node ignores what is not base64; a damaged file must not become a damaged value.
  if (typeof base64 !== "string" || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) {
    throw wrong("the field base64 is not base64");
  }
  return { bytes: Uint8Array.from(Buffer.from(base64, "base64")), type: type ?? BYTES_TYPE };
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
