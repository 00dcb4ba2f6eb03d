import { crc32, gunzipSync } from "node:zlib";
import type { Version } from "../../version.ts";

/**
 * RFC 1952 without compression, with a version in an extra field of the name "SY": gzip is here for that name alone. What
 * it takes to set a compressor up, and to undo it, costs more than a small request.
 */
const HEAD = Uint8Array.of(0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255); // deflate, an extra field, no time, no system
const SUBFIELD = [0x53, 0x59];
/** Of RFC 1951: what one stored block holds at most, and what goes before it. */
const BLOCK_BYTES_MAX = 0xffff;
const BLOCK_HEAD_BYTES = 5;
const TAIL_BYTES = 8;
const encoder = new TextEncoder();

export function gzipNaming(bytes: Uint8Array, version: Version): Uint8Array {
  const name = encoder.encode(version);
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK_BYTES_MAX));
  const bodyAt = HEAD.length + 2 + 4 + name.length;
  const all = new Uint8Array(bodyAt + blocks * BLOCK_HEAD_BYTES + bytes.length + TAIL_BYTES);
  const view = new DataView(all.buffer);
  all.set(HEAD);
  view.setUint16(HEAD.length, 4 + name.length, true);
  all.set([...SUBFIELD, name.length, 0], HEAD.length + 2);
  all.set(name, bodyAt - name.length);
  let at = bodyAt;
  for (let from = 0, block = 1; block <= blocks; block++) {
    const part = bytes.subarray(from, (from += BLOCK_BYTES_MAX));
    all[at] = block === blocks ? 1 : 0;
    view.setUint16(at + 1, part.length, true);
    view.setUint16(at + 3, ~part.length, true);
    all.set(part, at + BLOCK_HEAD_BYTES);
    at += BLOCK_HEAD_BYTES + part.length;
  }
  view.setUint32(at, crc32(bytes), true);
  view.setUint32(at + 4, bytes.length, true);
  return all;
}

/** How many bytes a gzip of so many has at most: blocks have heads, also those of a compressor that found nothing. */
export function gzipBytesMax(bytes: number): number {
  return bytes + Math.ceil(bytes / 1_000) + 1_024;
}

/** Undefined when the bytes are no gzip, or more than `bytesMax` come of them. */
export function gunzipped(bytes: Uint8Array, bytesMax: number): Uint8Array | undefined {
  const stored = storedIn(bytes, bytesMax);
  if (stored !== undefined) return stored;
  try {
    return new Uint8Array(gunzipSync(bytes, { maxOutputLength: Math.max(1, Math.min(bytesMax, 2 ** 31)) }));
  } catch {
    return undefined;
  }
}

/** What {@link gzipNaming} made of bytes; undefined for every other gzip, and for what is damaged. */
function storedIn(gzip: Uint8Array, bytesMax: number): Uint8Array | undefined {
  const view = new DataView(gzip.buffer, gzip.byteOffset, gzip.byteLength);
  const end = gzip.length - TAIL_BYTES;
  if (end < HEAD.length + 2 || HEAD.some((byte, i) => gzip[i] !== byte)) return undefined;
  const length = view.getUint32(end + 4, true);
  if (length > Math.min(bytesMax, end)) return undefined;
  const bytes = new Uint8Array(length);
  let at = HEAD.length + 2 + view.getUint16(HEAD.length, true);
  let to = 0;
  for (let kind = 0; kind === 0;) {
    if (at + BLOCK_HEAD_BYTES > end) return undefined;
    kind = gzip[at] ?? 0;
    const part = view.getUint16(at + 1, true);
    if ((part ^ view.getUint16(at + 3, true)) !== BLOCK_BYTES_MAX) return undefined;
    at += BLOCK_HEAD_BYTES;
    if (kind > 1 || at + part > end || to + part > length) return undefined;
    bytes.set(gzip.subarray(at, at + part), to);
    at += part;
    to += part;
  }
  const isWhole = at === end && to === length && crc32(bytes) === view.getUint32(end, true);
  return isWhole ? bytes : undefined;
}
