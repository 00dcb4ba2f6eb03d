import type { Codec } from "../codec.ts";
import { BYTES_TYPE, JSON_TYPE, TEXT_TYPE, formOf } from "../codec/content-type.ts";

/** A value as the command line handles it: its bytes and what they are said to be. */
export interface Raw {
  readonly bytes: Uint8Array;
  /** Undefined: not said, which is bytes. */
  readonly type: string | undefined;
}

/** What a {@link Raw} takes beside its bytes. */
const RAW_BYTES = 64;

/** Values as their bytes, whatever they are: nothing is decoded, so everything can be read and copied. */
export const rawCodec: Codec = {
  encode(value) {
    const { bytes, type } = value as Raw;
    return { bytes, contentType: type ?? BYTES_TYPE };
  },
  decode(bytes, type) {
    const value: Raw = { bytes, type };
    // Nothing in the command line changes a value's bytes, so no copy is made of what may be large.
    return { value, sharing: "shared", bytes: RAW_BYTES };
  },
};

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

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
