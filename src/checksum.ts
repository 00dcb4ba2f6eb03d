/**
 * The checksum of an envelope: XXH32 and CRC-32C over the same bytes in one pass, 64 bits in all. CRC-32C proves that
 * every flipped bit and every burst of up to 32 bits is found; XXH32 adds an independent 32 bits against everything
 * else for about a sixth more time. Both are standard, so that another language has them in a library.
 *
 * Sources: RFC 3720 appendix B.4 (CRC-32C, polynomial 0x1edc6f41 reflected); the xxHash specification (XXH32).
 */
const TABLES = crcTables(0x82f63b78);
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES;

const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const P3 = 0xc2b2ae3d | 0;
const P4 = 0x27d4eb2f | 0;
const P5 = 0x165667b1 | 0;

export interface Checksum {
  /** XXH32 of the bytes, as a signed 32 bit integer. */
  hash: number;
  /** CRC-32C of `before`, the bytes and the hash (little-endian), as a signed 32 bit integer. */
  crc: number;
}

/**
 * CRC-32C of `bytes[from..to)`, as a signed 32 bit integer.
 *
 * @param before CRC-32C of what logically stands before the bytes.
 */
export function crc32c(bytes: Uint8Array, to = bytes.length, from = 0, before = 0): number {
  let crc = ~before;
  for (let i = from; i < to; i++) crc = step(crc, bytes[i] ?? 0);
  return ~crc;
}

/** The same, of `view[from..to)`: eight bytes at a time. */
export function crc32cOf(view: DataView, from: number, to: number, before = 0): number {
  let crc = ~before;
  let i = from;
  for (; i + 8 <= to; i += 8) crc = step8(crc, view.getInt32(i, true), view.getInt32(i + 4, true));
  for (; i < to; i++) crc = step(crc, view.getUint8(i));
  return ~crc;
}

/**
 * The checksum of `view[from..end)`.
 *
 * @param before CRC-32C of what logically stands before the bytes. It is also the seed of the hash.
 */
export function checksum(view: DataView, end: number, before: number, from = 0): Checksum {
  const length = end - from;
  let crc = ~before;
  let i = from;
  let hash: number;
  if (length >= 16) {
    let v1 = (before + P1 + P2) | 0;
    let v2 = (before + P2) | 0;
    let v3 = before;
    let v4 = (before - P1) | 0;
    for (; i + 16 <= end; i += 16) {
      const a = view.getInt32(i, true);
      const b = view.getInt32(i + 4, true);
      const c = view.getInt32(i + 8, true);
      const d = view.getInt32(i + 12, true);
      crc = step8(step8(crc, a, b), c, d);
      v1 = round(v1, a);
      v2 = round(v2, b);
      v3 = round(v3, c);
      v4 = round(v4, d);
    }
    hash = (rotate(v1, 1) + rotate(v2, 7) + rotate(v3, 12) + rotate(v4, 18)) | 0;
  } else {
    hash = (before + P5) | 0;
  }
  hash = (hash + length) | 0;
  for (; i + 4 <= end; i += 4) {
    const a = view.getInt32(i, true);
    crc = step(step(step(step(crc, a & 255), (a >>> 8) & 255), (a >>> 16) & 255), a >>> 24);
    hash = Math.imul(rotate((hash + Math.imul(a, P3)) | 0, 17), P4);
  }
  for (; i < end; i++) {
    const byte = view.getUint8(i);
    crc = step(crc, byte);
    hash = Math.imul(rotate((hash + Math.imul(byte, P5)) | 0, 11), P1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), P2);
  hash = Math.imul(hash ^ (hash >>> 13), P3);
  hash ^= hash >>> 16;
  crc = step(step(step(step(crc, hash & 255), (hash >>> 8) & 255), (hash >>> 16) & 255), hash >>> 24);
  return { hash, crc: ~crc };
}

function round(lane: number, word: number): number {
  return Math.imul(rotate((lane + Math.imul(word, P2)) | 0, 13), P1);
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function step(crc: number, byte: number): number {
  return (T0[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
}

/** Eight bytes at once, as two little-endian words ("slicing by 8", Kounavis and Berry 2005). */
function step8(crc: number, low: number, high: number): number {
  const a = crc ^ low;
  return (
    (T7[a & 255] ?? 0) ^
    (T6[(a >>> 8) & 255] ?? 0) ^
    (T5[(a >>> 16) & 255] ?? 0) ^
    (T4[a >>> 24] ?? 0) ^
    (T3[high & 255] ?? 0) ^
    (T2[(high >>> 8) & 255] ?? 0) ^
    (T1[(high >>> 16) & 255] ?? 0) ^
    (T0[high >>> 24] ?? 0)
  );
}

type Table = Int32Array;

function crcTables(polynomial: number): readonly [Table, Table, Table, Table, Table, Table, Table, Table] {
  const first = new Int32Array(256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? polynomial ^ (crc >>> 1) : crc >>> 1;
    first[n] = crc;
  }
  const shifted = (table: Table) => table.map((crc) => (crc >>> 8) ^ (first[crc & 255] ?? 0));
  const t1 = shifted(first);
  const t2 = shifted(t1);
  const t3 = shifted(t2);
  const t4 = shifted(t3);
  const t5 = shifted(t4);
  const t6 = shifted(t5);
  return [first, t1, t2, t3, t4, t5, t6, shifted(t6)];
}
