import { SyncError } from "./error.ts";
import type { CallOptions } from "./store.ts";

/**
 * A value that is too large to be held in memory: its bytes, to be had piece by piece. It stands beside an entry of state
 * "stub", which says all the rest: `write` stores the two as a value, `read` gives them in place of one.
 */
export interface Body {
  /** In bytes. */
  readonly size: number;
  /** SHA-256 of all of it, as 64 hexadecimal digits; undefined where a store does not know it. */
  readonly sha256: string | undefined;
  /**
   * The bytes, as often as it is called, unless it says otherwise by failing. Always those of the version that the body
   * was told with: a whole reading that brings other bytes than `sha256` says ends with CORRUPT in place of ending, and
   * when the version is gone NOT_FOUND is thrown. Of a part only the length is known to be right. Whoever stops early
   * ends the iteration, which gives back what it holds.
   */
  content(range?: ByteRange, options?: CallOptions): AsyncIterable<Uint8Array>;
}

/** From `start`, in bytes, up to but not including `end`. What lies behind the end of a value is left out. */
export interface ByteRange {
  /** Default 0. */
  readonly start?: number | undefined;
  /** Default: the end of the value. */
  readonly end?: number | undefined;
}

/** A value larger than this is handed on as a body, where its reader asks for pieces. */
export const BODY_BYTES_MIN = 1024 * 1024;

/** Where a range begins and ends in a value of `size` bytes. @throws SyncError INVALID. */
export function boundsOf({ start = 0, end = Infinity }: ByteRange = {}, size: number) {
  const isWhole = (value: number) => Number.isSafeInteger(value) && value >= 0;
  if (!isWhole(start) || !(end === Infinity || isWhole(end)) || end < start) {
    throw new SyncError("INVALID", "a range has a start of 0 or more, and an end that is not before it", {
      cure: "give whole numbers of bytes, as in { start: 0, end: 1024 }",
    });
  }
  return { from: Math.min(start, size), to: Math.min(end, size) };
}

export function isPart(range: ByteRange | undefined, size: number): boolean {
  const { from, to } = boundsOf(range, size);
  return from > 0 || to < size;
}

/** The bytes of a body at once. @throws SyncError CORRUPT when they are more or fewer than it says. */
export async function collected(body: Body, options?: CallOptions): Promise<Uint8Array> {
  const bytes = new Uint8Array(body.size);
  let at = 0;
  for await (const piece of body.content(undefined, options)) {
    if (at + piece.length > bytes.length) throw wrongBytes();
    bytes.set(piece, at);
    at += piece.length;
  }
  if (at < bytes.length) throw wrongBytes();
  return bytes;
}

/** What is in these pieces from `from` up to `to`. Stops asking when it has it. */
export async function* cut(pieces: AsyncIterable<Uint8Array>, from: number, to: number): AsyncIterable<Uint8Array> {
  let at = 0;
  if (to <= from) return;
  for await (const piece of pieces) {
    const wanted = piece.subarray(Math.max(0, from - at), Math.max(0, to - at));
    at += piece.length;
    if (wanted.length > 0) yield wanted;
    if (at >= to) return;
  }
}

/** The beginning of what comes, copied, until it has more than so many bytes or ends. */
export async function beginningOf(pieces: AsyncIterator<Uint8Array>, bytesMax: number) {
  const found: Uint8Array[] = [];
  for (let bytes = 0; bytes <= bytesMax;) {
    const next = await pieces.next();
    if (next.done === true) return { pieces: found, isAll: true };
    bytes += next.value.length;
    found.push(next.value.slice());
  }
  return { pieces: found, isAll: false };
}

/** What was taken of a source, then the rest of it. */
export async function* after(begun: Uint8Array[], rest: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for (let piece = begun.shift(); piece !== undefined; piece = begun.shift()) yield piece;
  yield* rest;
}

/** Pieces as one, in a buffer of its own. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

export function wrongBytes(details: { readonly store?: string; readonly key?: string } = {}): SyncError {
  return new SyncError("CORRUPT", "the value came with other bytes than were stored", {
    ...details,
    operation: "read",
    cure: "a layer below may have a good copy; otherwise write the key again",
  });
}
