import { crc32c } from "../../checksum.ts";
import { SyncError } from "../../error.ts";
import { VERSION_BYTES, VERSION_ZERO, versionFromBytes, versionToBytes } from "../../version.ts";
import type { Version } from "../../version.ts";

/*
 * How things are written in the tables of environment.ts. All integers are big-endian, so that LMDB's byte order is
 * that of the numbers.
 */
const INTEGER_BYTES = 8;
const CRC_BYTES = 4;
/** At the end of every envelope. */
const CHECKSUM_BYTES = 8;

export function integerKey(value: number): Uint8Array {
  const bytes = new Uint8Array(INTEGER_BYTES);
  setInteger(bytes, value);
  return bytes;
}

export function integerFrom(bytes: Uint8Array): number {
  return getInteger(viewOf(bytes), 0);
}

// ---- A row of `entries`: the number of the change that stored it, then the envelope. ----

/** Where in a row its envelope begins. */
export const ENVELOPE_AT = INTEGER_BYTES;

/** 0 for a row that is too short to have one. */
export function changeOf(row: Uint8Array): number {
  return row.length < INTEGER_BYTES ? 0 : integerFrom(row);
}

/** Change number and checksum: the number alone would come again after the folder was set back to a backup. */
export function tagOf(row: Uint8Array): string {
  let tag = changeOf(row).toString(36);
  for (const byte of row.subarray(-CHECKSUM_BYTES)) tag += byte.toString(16).padStart(2, "0");
  return tag;
}

// ---- A row of `renewals`: the version that was renewed, the later asOf, a checksum that covers the key. ----

const RENEWAL_BYTES = VERSION_BYTES + INTEGER_BYTES + CRC_BYTES;

export function renewalRow(key: Uint8Array, version: Version, asOf: number): Uint8Array {
  const row = new Uint8Array(RENEWAL_BYTES);
  const view = new DataView(row.buffer);
  versionToBytes(version, row);
  view.setFloat64(VERSION_BYTES, asOf);
  view.setInt32(RENEWAL_BYTES - CRC_BYTES, renewalCheck(key, row));
  return row;
}

/** The asOf that a renewal gives to `version`; undefined when it is of another version, or damaged. */
export function renewedAsOf(key: Uint8Array, version: Version, row: Uint8Array): number | undefined {
  // A damaged renewal is as good as none: the copy is then taken for older than it is.
  if (row.length !== RENEWAL_BYTES) return undefined;
  const view = viewOf(row);
  if (view.getInt32(RENEWAL_BYTES - CRC_BYTES) !== renewalCheck(key, row)) return undefined;
  return versionFromBytes(row) === version ? view.getFloat64(VERSION_BYTES) : undefined;
}

function renewalCheck(key: Uint8Array, row: Uint8Array): number {
  const bytes = new Uint8Array(key.length + RENEWAL_BYTES - CRC_BYTES);
  bytes.set(key);
  bytes.set(row.subarray(0, RENEWAL_BYTES - CRC_BYTES), key.length);
  return crc32c(bytes);
}

// ---- The row of `about` that every transaction rewrites that changes anything. ----

/** What is true of the whole store. */
export interface State {
  /** The number of the last change. */
  last: number;
  /** Removals up to this change have been trimmed from the log: an older cursor cannot be followed. */
  floor: number;
  /** What the entries take on disk, about. */
  bytes: number;
  /** Rows of `removals` and of `epochs`. */
  removals: number;
  epochs: number;
  watermark: Version;
}

const NUMBERS = ["last", "floor", "bytes", "removals", "epochs"] as const;
const STATE_BYTES = NUMBERS.length * INTEGER_BYTES + VERSION_BYTES + CRC_BYTES;

export function newState(): State {
  return { last: 0, floor: 0, bytes: 0, removals: 0, epochs: 0, watermark: VERSION_ZERO };
}

export function isSameState(a: State, b: State): boolean {
  return NUMBERS.every((name) => a[name] === b[name]) && a.watermark === b.watermark;
}

export function stateRow(state: State): Uint8Array {
  const row = new Uint8Array(STATE_BYTES);
  const view = new DataView(row.buffer);
  for (const [i, name] of NUMBERS.entries()) view.setFloat64(i * INTEGER_BYTES, state[name]);
  versionToBytes(state.watermark, row, NUMBERS.length * INTEGER_BYTES);
  view.setInt32(STATE_BYTES - CRC_BYTES, crc32c(row, STATE_BYTES - CRC_BYTES));
  return row;
}

/** @throws SyncError CORRUPT */
export function stateFrom(row: Uint8Array | undefined, store: string): State {
  const view = row === undefined ? undefined : viewOf(row);
  if (row?.length !== STATE_BYTES || view?.getInt32(STATE_BYTES - CRC_BYTES) !== crc32c(row, STATE_BYTES - CRC_BYTES)) {
    const cure = "a cache can be removed and fills again; otherwise restore the folder from a backup";
    throw new SyncError("CORRUPT", "the record of the store's state is damaged", { store, cure });
  }
  const state = newState();
  for (const [i, name] of NUMBERS.entries()) state[name] = view.getFloat64(i * INTEGER_BYTES);
  state.watermark = versionFromBytes(row, NUMBERS.length * INTEGER_BYTES);
  return state;
}

/** Writes the first bytes: without a DataView, of which there would be one for each number. */
export function setInteger(bytes: Uint8Array, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  for (let i = 0; i < 4; i++) {
    bytes[i] = high >>> (24 - 8 * i);
    bytes[i + 4] = value >>> (24 - 8 * i);
  }
}

function getInteger(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
