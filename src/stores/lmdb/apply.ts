import { compareEntries, isDead } from "../../entry.ts";
import type { Entry, Head } from "../../entry.ts";
import { decodeEnvelope, encodeEnvelope, envelopeHead, envelopeVersion } from "../../envelope.ts";
import { SyncError } from "../../error.ts";
import { STORED, TOO_OLD, failed } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import { zlibCompression } from "../../zlib.ts";
import type { Table } from "./staged.ts";
import type { Writer } from "./log.ts";
import { envelopeOf } from "./rows.ts";

const compression = zlibCompression;

function encode(entry: Entry, asOf: number): Uint8Array {
  return encodeEnvelope(entry, { asOf, compression });
}

/** @throws SyncError CORRUPT */
export function headOf(key: string, row: Uint8Array, store: string): { head: Head; asOf: number } {
  return named(store, () => {
    const { head, asOf } = envelopeHead(envelopeOf(row), key);
    return { head, asOf: asOf ?? 0 };
  });
}

/** @throws SyncError CORRUPT */
export function copyOf(key: string, row: Uint8Array, store: string): { entry: Entry; asOf: number } {
  return named(store, () => {
    const { entry, asOf } = decodeEnvelope(envelopeOf(row), { key, compression });
    return { entry, asOf: asOf ?? 0 };
  });
}

function named<T>(store: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== "CORRUPT") throw error;
    const cure = "write the key again, or remove the folder if it is a cache; otherwise restore it from a backup";
    const { key } = error;
    throw new SyncError("CORRUPT", "the stored entry is damaged", {
      store,
      operation: "read",
      key,
      cure,
      cause: error,
    });
  }
}

/** Whether there are bytes apart for the entry, which is a stub then: of the write, and of the row that is held. */
export interface Apart {
  readonly isGiven: boolean;
  readonly isHeld: (version: Version) => boolean;
}

/** What an unconditional write of this entry comes to while the store holds `row`, if nothing has to be stored. */
export function settled(
  entry: Entry,
  row: Uint8Array,
  store: string,
  apart: Apart,
): "renewed" | WriteResult | undefined {
  if (isBelow(row, entry.version)) return undefined;
  const held = intactHead(entry.key, row, store);
  if (held === undefined || held.version < entry.version) return undefined;
  if (held.version > entry.version) return { status: "superseded", by: held.version };
  // A version has one value: whether it is in one piece or apart is no difference.
  if (held.state === "stub" && apart.isHeld(held.version)) return "renewed";
  if (apart.isGiven) return held.state === "stub" ? undefined : "renewed";
  return compareEntries(entry, copyOf(entry.key, row, store).entry) > 0 ? undefined : "renewed";
}

/**
 * Whether the row says that it holds an older version. It is not verified, which costs more than all else in a write: an
 * older one and a damaged one are both replaced.
 */
function isBelow(row: Uint8Array, version: Version): boolean {
  try {
    return envelopeVersion(envelopeOf(row)) < version;
  } catch (error) {
    if (error instanceof SyncError && error.code === "CORRUPT") return false; // as damaged, it is looked at in full
    throw error;
  }
}

/** Undefined for a damaged row, which any unconditional write replaces: what it held is lost already. */
function intactHead(key: string, row: Uint8Array, store: string): Head | undefined {
  try {
    return headOf(key, row, store).head;
  } catch (error) {
    if (error instanceof SyncError && error.code === "CORRUPT") return undefined;
    throw error;
  }
}

export interface Applied {
  readonly result: WriteResult;
  /** The copy held is as new as the write: its asOf may have to be renewed. */
  readonly renewed: boolean;
}

/** Decides one write inside a transaction and stores what is to be stored. `asOfHeld` is that of the row held. */
export function applyWrite(
  { entry, asOf, if: condition }: Write,
  key: Uint8Array,
  entries: Table,
  writer: Writer,
  now: number,
  store: string,
  asOfHeld: (row: Uint8Array) => number,
  apart: Apart,
  body: Uint8Array | undefined,
): Applied {
  const row = entries.get(key);
  if (condition !== undefined) {
    try {
      const held = row === undefined ? undefined : headOf(entry.key, row, store).head;
      if (!isMet(entry, condition, held, now)) {
        const current = row === undefined ? undefined : copyOf(entry.key, row, store).entry;
        return done({ status: "conflict", current });
      }
    } catch (error) {
      if (error instanceof SyncError && error.code === "CORRUPT") return done(failed(error)); // nobody knows what it held
      throw error;
    }
  }
  if (row === undefined) {
    if (entry.version <= writer.state.watermark) return done(TOO_OLD);
    writer.store(key, encode(entry, asOf), undefined, body);
    return done(STORED);
  }
  const outcome = settled(entry, row, store, apart);
  if (outcome === "renewed") return { result: STORED, renewed: true };
  if (outcome !== undefined) return done(outcome);
  // Copies of one version share the latest asOf; of two versions each has its own.
  const isSame = !isBelow(row, entry.version) && intactHead(entry.key, row, store)?.version === entry.version;
  const later = isSame ? Math.max(asOf, asOfHeld(row)) : asOf;
  writer.store(key, encode(entry, later), row, body);
  return done(STORED);
}

function isMet({ version }: Entry, condition: Write["if"], held: Head | undefined, now: number): boolean {
  if (held?.version === version) return true;
  if (condition === "absent") return held === undefined || isDead(held, now);
  return held?.version === condition;
}

function done(result: WriteResult): Applied {
  return { result, renewed: false };
}
