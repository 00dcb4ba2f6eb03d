/** Small texts as bytes and back, without a buffer of its own for each: making one takes several times as long as that. */

/** A larger text gets its own buffer, whose cost is small beside the text's. */
export const SMALL_BYTES_MAX = 1_024;
const POOL_BYTES = 8_192;
/** What one unit of a text takes in UTF-8 at the most, in bytes. */
const UNIT_BYTES_MAX = 3;
const SMALL_UNITS_MAX = Math.floor(SMALL_BYTES_MAX / UNIT_BYTES_MAX);
const encoder = new TextEncoder();
/** Gives a text that is those very bytes in UTF-8, or throws. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

let pool = new Uint8Array(POOL_BYTES);
let used = 0;
/** What was encoded last: what a chain gives its layers next is often that. */
let last: { readonly text: string; readonly bytes: Uint8Array } | undefined;

/**
 * A well-formed text in UTF-8. A small one is a piece of a buffer that others share: whoever keeps it for long takes a
 * copy.
 */
export function utf8Of(text: string): Uint8Array {
  if (text.length > SMALL_UNITS_MAX) return encoder.encode(text);
  if (POOL_BYTES - used < UNIT_BYTES_MAX * text.length) {
    pool = new Uint8Array(POOL_BYTES);
    used = 0;
  }
  const from = used;
  used += encoder.encodeInto(text, pool.subarray(from)).written;
  const bytes = pool.subarray(from, used);
  last = { text, bytes };
  return bytes;
}

/** The text that these bytes are in UTF-8; undefined if they are none, or more than {@link SMALL_BYTES_MAX}. */
export function smallText(bytes: Uint8Array): string | undefined {
  if (bytes === last?.bytes) return last.text;
  if (bytes.length > SMALL_BYTES_MAX) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
