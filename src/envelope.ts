/**
 * The binary form of an entry: what a store writes that has no place of its own for version, expiry and metadata.
 * docs/format.md describes every byte; test/vectors/envelope.json is for other languages.
 *
 * One entry has exactly one uncompressed encoding. The key is not inside: it is the place where the bytes are kept. But
 * the checksum covers it, so that bytes in the wrong place are found.
 */
import { checksum, crc32c } from "./checksum.ts";
import { KEY_BYTES_MAX, META_BYTES_MAX, NO_META } from "./entry.ts";
import type { Entry, EntryState, Head, Meta } from "./entry.ts";
import { metaBlock, readMeta } from "./envelope-meta.ts";
import { SyncError } from "./error.ts";
import { VERSION_BYTES, versionFromBytes, versionToBytes } from "./version.ts";
import type { Version } from "./version.ts";

/** Compression, passed in because the core has none. `src/zlib.ts` is Node's. */
export interface Compression {
  /** Raw DEFLATE (RFC 1951). */
  deflate(bytes: Uint8Array): Uint8Array;
  /** The inverse. Throws when the stream is damaged or holds more than `lengthMax` bytes; never allocates far more. */
  inflate(bytes: Uint8Array, lengthMax: number): Uint8Array;
}

export interface EncodeEnvelopeOptions {
  /** Unix ms; see `Copy`. Written by caches only. */
  readonly asOf?: number | undefined;
  /** Default: nothing is compressed. */
  readonly compression?: Compression | undefined;
  /** Where in the bytes that are given the envelope begins: so many before it are the caller's. Default 0. */
  readonly from?: number | undefined;
}

export interface DecodeEnvelopeOptions {
  /** The key the bytes are kept under. */
  readonly key: string;
  /** Needed only for envelopes that were compressed. */
  readonly compression?: Compression | undefined;
  /** Where in the bytes the envelope begins; it goes to their end. Default 0. */
  readonly from?: number | undefined;
}

export interface Envelope {
  readonly entry: Entry;
  /** Null when none was written. */
  readonly asOf: number | null;
}

export interface EnvelopeHead {
  readonly head: Head;
  readonly asOf: number | null;
  /** Length of the value, uncompressed; null unless the state is "value". */
  readonly valueBytes: number | null;
}

/** 0xf5 is in no UTF-8 text, so no text is taken for an envelope. The fourth byte is the format's number. */
const MAGIC = 0xf5_53_59_01;
const VERSION_AT = 4;
const FLAGS_AT = VERSION_AT + VERSION_BYTES;
const HEAD_BYTES = FLAGS_AT + 1;
const CHECKSUM_BYTES = 8;
/** The shortest envelope: a tombstone or an empty value, without anything optional. */
export const ENVELOPE_BYTES_MIN = HEAD_BYTES + CHECKSUM_BYTES;
/** What an envelope has at most beside its value: times, lengths and the largest metadata. */
export const ENVELOPE_ROOM = ENVELOPE_BYTES_MIN + 32 + 8 * META_BYTES_MAX;

const STATES: readonly EntryState[] = ["value", "deleted", "stub"];
const STATE_BITS = 0b11;
const HAS_EXPIRES = 0b100;
const HAS_AS_OF = 0b1000;
const HAS_META = 0b1_0000;
const COMPRESSED = 0b10_0000;
const RESERVED_BITS = 0b1100_0000;

/** Below this a value is not worth the tens of microseconds that deflate and inflate cost. Measured, docs/format.md. */
export const COMPRESS_BYTES_MIN = 1024;
/** Above this a value would hold the thread for too long. */
export const COMPRESS_BYTES_MAX = 16 * 2 ** 20;
/** A value claims at most so many times the bytes that are stored for it. */
export const EXPANSION_MAX = 64;
/** Values above this are judged by a sample first, so that a large picture does not cost 30 ms per MiB for nothing. */
const PROBE_ABOVE_BYTES = 32 * 1024;
const PROBE_SLICE_BYTES = 4096;

const COPY_LOOP_MAX = 64;

const utf8Encoder = new TextEncoder();
const keyBytes = new Uint8Array(KEY_BYTES_MAX);

/**
 * @param entry passed `checkEntry`; its bytes are copied.
 * @throws SyncError INVALID when `asOf` is not a whole number.
 */
export function encodeEnvelope(entry: Entry, options: EncodeEnvelopeOptions = {}): Uint8Array {
  const { asOf, compression, from = 0 } = options;
  if (asOf !== undefined && !Number.isSafeInteger(asOf)) {
    throw new SyncError("INVALID", "asOf is a whole number of Unix milliseconds", { key: entry.key });
  }
  const meta = metaBlock(entry.meta);
  const deflated =
    entry.value === null || compression === undefined ? undefined : deflateIfWorth(entry.value, compression);
  const bytes = new Uint8Array(from + envelopeLength(entry, asOf, meta, deflated));
  const view = new DataView(bytes.buffer);
  put(entry, asOf, meta, deflated, bytes, view, from, bytes.length, keyChecksum(entry.key));
  return bytes;
}

/**
 * Writes what {@link encodeEnvelope} gives without options into `bytes` from `at` on, where `ENVELOPE_ROOM` and the
 * length of the value have room. For whoever writes many: nothing is allocated.
 *
 * @param view of the same bytes, at the same offset.
 * @param keyCrc CRC-32C of the key's UTF-8 bytes.
 * @returns where the envelope ends.
 */
export function encodeEnvelopeInto(
  entry: Entry,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  keyCrc: number,
): number {
  const meta = metaBlock(entry.meta);
  const end = at + envelopeLength(entry, undefined, meta, undefined);
  put(entry, undefined, meta, undefined, bytes, view, at, end, keyCrc);
  return end;
}

/** For a few bytes a loop beats the call. */
function copy(from: Uint8Array, into: Uint8Array, at: number): void {
  if (from.length > COPY_LOOP_MAX) into.set(from, at);
  else for (let i = 0; i < from.length; i++) into[at + i] = from[i] ?? 0;
}

function envelopeLength(
  { expires, value }: Entry,
  asOf: number | undefined,
  meta: Uint8Array,
  deflated: Uint8Array | undefined,
): number {
  // A stream that expands more than EXPANSION_MAX times is padded with zeros, so that no decoder need trust a claim.
  const payloadBytes =
    value === null
      ? 0
      : deflated === undefined
        ? value.length
        : Math.max(deflated.length, Math.ceil(value.length / EXPANSION_MAX));
  return (
    ENVELOPE_BYTES_MIN +
    (expires === null ? 0 : 8) +
    (asOf === undefined ? 0 : 8) +
    (meta.length === 0 ? 0 : 2 + meta.length) +
    (deflated === undefined ? 0 : 8) +
    payloadBytes
  );
}

/** Fills `bytes[from..to)`. What is padding must be zero already. */
function put(
  { state, version, expires, value }: Entry,
  asOf: number | undefined,
  meta: Uint8Array,
  deflated: Uint8Array | undefined,
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  keyCrc: number,
): void {
  view.setUint32(from, MAGIC);
  versionToBytes(version, bytes, from + VERSION_AT);
  bytes[from + FLAGS_AT] =
    STATES.indexOf(state) |
    (expires === null ? 0 : HAS_EXPIRES) |
    (asOf === undefined ? 0 : HAS_AS_OF) |
    (meta.length === 0 ? 0 : HAS_META) |
    (deflated === undefined ? 0 : COMPRESSED);
  let at = from + HEAD_BYTES;
  if (expires !== null) {
    setInteger(view, at, expires);
    at += 8;
  }
  if (asOf !== undefined) {
    setInteger(view, at, asOf);
    at += 8;
  }
  if (meta.length > 0) {
    view.setUint16(at, meta.length);
    copy(meta, bytes, at + 2);
    at += 2 + meta.length;
  }
  if (deflated !== undefined && value !== null) {
    view.setUint32(at, value.length);
    view.setUint32(at + 4, deflated.length);
    bytes.set(deflated, at + 8);
  } else if (value !== null) {
    copy(value, bytes, at);
  }
  const end = to - CHECKSUM_BYTES;
  const { hash, crc } = checksum(view, end, keyCrc, from);
  view.setInt32(end, hash, true);
  view.setInt32(end + 4, crc, true);
}

/**
 * The entry in `bytes`. Its value is a view of `bytes` where these fill a buffer of their own (the caller then gives
 * them away), else a copy: a value never keeps a larger buffer alive, nor changes when a driver reuses its buffer.
 *
 * @throws SyncError CORRUPT when the bytes are not exactly what was written for this key; UNSUPPORTED when they are
 * compressed and no `compression` was given.
 */
export function decodeEnvelope(bytes: Uint8Array, options: DecodeEnvelopeOptions): Envelope {
  const { key, compression, from = 0 } = options;
  const parts = parse(bytes, viewOf(bytes), from, bytes.length, key, keyChecksum(key));
  const { valueAt, valueBytes, deflatedBytes, asOf, state, expires, meta } = parts;
  const version = versionFromBytes(bytes, from + VERSION_AT);
  let value: Uint8Array | null = null;
  if (deflatedBytes !== null && valueBytes !== null) {
    value = inflate(bytes.subarray(valueAt, valueAt + deflatedBytes), valueBytes, key, compression);
  } else if (valueBytes !== null) {
    // Not by `subarray`: of a Buffer it makes a Buffer, which takes longer.
    value = new Uint8Array(bytes.buffer, bytes.byteOffset + valueAt, valueBytes);
    if (bytes.byteLength !== bytes.buffer.byteLength) value = new Uint8Array(value);
  }
  return { entry: { key, state, value, version, expires, meta }, asOf };
}

/** What {@link decodeEnvelope} gives, checked as fully, without copying or inflating the value. @throws as it does. */
export function envelopeHead(bytes: Uint8Array, key: string, from = 0): EnvelopeHead {
  const parts = parse(bytes, viewOf(bytes), from, bytes.length, key, keyChecksum(key));
  const { state, expires, meta, asOf, valueBytes } = parts;
  const version = versionFromBytes(bytes, from + VERSION_AT);
  return { head: { key, state, version, expires, meta }, asOf, valueBytes };
}

/** The parts of an envelope that lies among other bytes: `bytes[from..to)`, checked as fully. @throws as the others. */
export function envelopeParts(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  key: string | undefined,
  keyCrc: number,
): EnvelopeParts {
  return parse(bytes, view, from, to, key, keyCrc);
}

/**
 * The same of an envelope that was verified before and of which only the part before the value was kept.
 *
 * @param to where the whole envelope would end.
 */
export function verifiedParts(bytes: Uint8Array, view: DataView, from: number, to: number): EnvelopeParts {
  return partsOf(bytes, view, from, to, undefined);
}

/** Where the value of an uncompressed envelope in `bytes[from..to)` begins, by what its head says; at most `to`. */
export function envelopeValueAt(bytes: Uint8Array, view: DataView, from: number, to: number): number {
  const flags = bytes[from + FLAGS_AT] ?? 0;
  let at = from + HEAD_BYTES;
  if ((flags & HAS_EXPIRES) !== 0) at += 8;
  if ((flags & HAS_AS_OF) !== 0) at += 8;
  if ((flags & HAS_META) !== 0 && at + 2 <= to) at += 2 + view.getUint16(at);
  return Math.min(at, to);
}

/**
 * The version in an envelope, read at its fixed place: for comparing, before a decode. The checksum is not verified.
 *
 * @throws SyncError CORRUPT when the bytes are not an envelope of this format.
 */
export function envelopeVersion(bytes: Uint8Array, from = 0): Version {
  checkMagic(bytes, from, bytes.length, undefined);
  return versionFromBytes(bytes, from + VERSION_AT);
}

/** The state in an envelope, read at its fixed place as {@link envelopeVersion} does; undefined where there is none. */
export function envelopeState(bytes: Uint8Array, from = 0): EntryState | undefined {
  return STATES[(bytes[from + FLAGS_AT] ?? 0) & STATE_BITS];
}

export interface EnvelopeParts {
  readonly state: EntryState;
  /** Where the version's {@link VERSION_BYTES} are: as text it would be a third of what a head costs. */
  readonly versionAt: number;
  readonly expires: number | null;
  readonly asOf: number | null;
  readonly meta: Meta;
  /** Where the value's bytes, compressed or not, begin. */
  readonly valueAt: number;
  readonly valueBytes: number | null;
  /** Null when the value is not compressed. */
  readonly deflatedBytes: number | null;
}

function parse(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  key: string | undefined,
  keyCrc: number,
): EnvelopeParts {
  checkMagic(bytes, from, to, key);
  const flags = bytes[from + FLAGS_AT] ?? 0;
  const state = STATES[flags & STATE_BITS];
  if (state === undefined || (flags & RESERVED_BITS) !== 0) throw corrupt(key, "has unknown flags");
  if ((flags & COMPRESSED) !== 0 && state !== "value") throw corrupt(key, "compresses no value");
  const end = to - CHECKSUM_BYTES;
  const { hash, crc } = checksum(view, end, keyCrc, from);
  if (view.getInt32(end, true) !== hash || view.getInt32(end + 4, true) !== crc) {
    throw corrupt(key, "does not match its checksum: damaged, or kept under another key");
  }
  // From here on the bytes are as some encoder wrote them; whether it was a friendly one is still open.
  return partsOf(bytes, view, from, to, key);
}

function partsOf(bytes: Uint8Array, view: DataView, from: number, to: number, key: string | undefined): EnvelopeParts {
  const end = to - CHECKSUM_BYTES;
  const flags = bytes[from + FLAGS_AT] ?? 0;
  const state = STATES[flags & STATE_BITS] ?? "value";
  let at = from + HEAD_BYTES;
  let expires: number | null = null;
  let asOf: number | null = null;
  if ((flags & HAS_EXPIRES) !== 0) {
    expires = integerAt(view, at, end, key);
    if (expires < 0) throw corrupt(key, "has a negative expiry");
    at += 8;
  }
  if ((flags & HAS_AS_OF) !== 0) {
    asOf = integerAt(view, at, end, key);
    at += 8;
  }
  let meta = NO_META;
  if ((flags & HAS_META) !== 0) {
    const length = at + 2 <= end ? view.getUint16(at) : 0;
    at += 2;
    if (length === 0 || at + length > end) throw corrupt(key, "has metadata of a wrong length");
    const block = readMeta(bytes, at, at + length);
    if (block === undefined) throw corrupt(key, "has malformed metadata");
    meta = block;
    at += length;
  }
  let valueBytes: number | null = end - at;
  let deflatedBytes: number | null = null;
  if (state !== "value") {
    if (valueBytes !== 0) throw corrupt(key, `holds bytes for a ${state} entry`);
    valueBytes = null;
  } else if ((flags & COMPRESSED) !== 0) {
    if (at + 8 > end) throw corrupt(key, "ends too early");
    valueBytes = view.getUint32(at);
    deflatedBytes = view.getUint32(at + 4);
    at += 8;
    const stored = Math.max(deflatedBytes, Math.ceil(valueBytes / EXPANSION_MAX));
    if (stored !== end - at) throw corrupt(key, "claims another length than it has");
    for (let i = at + deflatedBytes; i < end; i++)
      if (bytes[i] !== 0) throw corrupt(key, "has padding that is not zero");
  }
  return {
    state,
    versionAt: from + VERSION_AT,
    expires,
    asOf,
    meta,
    valueAt: at,
    valueBytes,
    deflatedBytes,
  };
}

function checkMagic(bytes: Uint8Array, from: number, to: number, key: string | undefined): void {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]];
  if (to - from < ENVELOPE_BYTES_MIN) throw corrupt(key, `has ${to - from} bytes, fewer than any envelope`);
  const magic = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  if (magic === MAGIC) return;
  if (magic >>> 8 === MAGIC >>> 8) throw corrupt(key, `is of format ${d}, which this version does not know`);
  throw corrupt(key, "is not an envelope");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** CRC-32C of the key in UTF-8, as a signed 32 bit integer. */
export function keyChecksum(key: string): number {
  const { written } = utf8Encoder.encodeInto(key, keyBytes);
  return crc32c(keyBytes, written);
}

/** A signed 64 bit integer, big-endian, within the integers that a number holds exactly. */
function setInteger(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  view.setInt32(at, high);
  view.setUint32(at + 4, value - high * 2 ** 32);
}

function integerAt(view: DataView, at: number, end: number, key: string | undefined): number {
  if (at + 8 > end) throw corrupt(key, "ends too early");
  const value = view.getInt32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (!Number.isSafeInteger(value)) throw corrupt(key, "has a time out of range");
  return value;
}

// ---- Compression. ----

/** Kept only if it saves at least an eighth. */
function isWorth(deflatedBytes: number, bytes: number): boolean {
  return deflatedBytes <= bytes - bytes / 8;
}

function deflateIfWorth(value: Uint8Array, compression: Compression): Uint8Array | undefined {
  if (value.length < COMPRESS_BYTES_MIN || value.length > COMPRESS_BYTES_MAX) return undefined;
  if (value.length > PROBE_ABOVE_BYTES) {
    const sample = sampleOf(value);
    if (!isWorth(compression.deflate(sample).length, sample.length)) return undefined;
  }
  const deflated = compression.deflate(value);
  return isWorth(deflated.length + 8, value.length) ? deflated : undefined;
}

/** The beginning, the middle and the end. */
function sampleOf(value: Uint8Array): Uint8Array {
  const sample = new Uint8Array(3 * PROBE_SLICE_BYTES);
  const middle = (value.length - PROBE_SLICE_BYTES) >>> 1;
  sample.set(value.subarray(0, PROBE_SLICE_BYTES), 0);
  sample.set(value.subarray(middle, middle + PROBE_SLICE_BYTES), PROBE_SLICE_BYTES);
  sample.set(value.subarray(value.length - PROBE_SLICE_BYTES), 2 * PROBE_SLICE_BYTES);
  return sample;
}

function inflate(bytes: Uint8Array, length: number, key: string, compression: Compression | undefined): Uint8Array {
  if (compression === undefined) {
    const cure = "open the store with the compression it was written with";
    throw new SyncError("UNSUPPORTED", "the stored value is compressed", { key, cure });
  }
  let value: Uint8Array;
  try {
    value = compression.inflate(bytes, length);
  } catch (cause) {
    throw corrupt(key, "cannot be inflated", cause);
  }
  if (value.length !== length) throw corrupt(key, "inflates to another length than it claims");
  return value;
}

function corrupt(key: string | undefined, what: string, cause?: unknown): SyncError {
  return new SyncError("CORRUPT", `the stored entry ${what}`, {
    ...(key === undefined ? {} : { key }),
    ...(cause === undefined ? {} : { cause }),
    cure: "a layer below may have a good copy; otherwise restore it from a backup",
  });
}
