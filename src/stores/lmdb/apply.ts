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
import { ENVELOPE_AT } from "./rows.ts";

const compression = zlibCompression;

function rowOf(entry: Entry, asOf: number): Uint8Array {
  return encodeEnvelope(entry, { asOf, compression, from: ENVELOPE_AT });
}

/** @throws SyncError CORRUPT */
export function headOf(key: string, row: Uint8Array, store: string): { head: Head; asOf: number } {
  return named(store, () => {
    const { head, asOf } = envelopeHead(row, key, ENVELOPE_AT);
    return { head, asOf: asOf ?? 0 };
  });
}

/** @throws SyncError CORRUPT */
export function copyOf(key: string, row: Uint8Array, store: string): { entry: Entry; asOf: number } {
  return named(store, () => {
    const { entry, asOf } = decodeEnvelope(row, { key, compression, from: ENVELOPE_AT });
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

/** What is held, as a write has to know it. */
export interface Holding {
  /** The store's name. */
  readonly store: string;
  readonly entries: Table;
  /** Unix ms. */
  now(): number;
  /** The latest asOf of the copy in a row. @throws SyncError CORRUPT */
  asOfIn(row: Uint8Array, keyText: string, key: Uint8Array): number;
  /** Whether the bytes of a version, which is a stub then, lie apart. */
  isApart(version: Version, keyText: string, key: Uint8Array): boolean;
}

/** What an unconditional write comes to while the store holds `row`, if nothing has to be stored. */
export function settled(
  { entry, body }: Write,
  key: Uint8Array,
  row: Uint8Array,
  holding: Holding,
): "renewed" | WriteResult | undefined {
  const { store } = holding;
  if (isBelow(row, entry.version)) return undefined;
  const held = intactHead(entry.key, row, store);
  if (held === undefined || held.version < entry.version) return undefined;
  if (held.version > entry.version) return { status: "superseded", by: held.version };
  // A version has one value: whether it is in one piece or apart is no difference.
  if (held.state === "stub" && holding.isApart(held.version, entry.key, key)) return "renewed";
  if (body !== undefined) return held.state === "stub" ? undefined : "renewed";
  return compareEntries(entry, copyOf(entry.key, row, store).entry) > 0 ? undefined : "renewed";
}

/**
 * Whether the row says that it holds an older version. It is not verified, which costs more than all else in a write: an
 * older one and a damaged one are both replaced.
 */
function isBelow(row: Uint8Array, version: Version): boolean {
  try {
    return envelopeVersion(row, ENVELOPE_AT) < version;
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

/**
 * Decides one write inside a transaction and stores what is to be stored.
 * @param body The row of the body that was kept apart for it.
 */
export function applyWrite(
  write: Write,
  key: Uint8Array,
  writer: Writer,
  holding: Holding,
  body: Uint8Array | undefined,
): Applied {
  const { entry, asOf, if: condition } = write;
  const { store } = holding;
  const row = holding.entries.get(key);
  if (condition !== undefined) {
    try {
      const held = row === undefined ? undefined : headOf(entry.key, row, store).head;
      if (!isMet(entry, condition, held, holding.now())) {
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
    writer.store(key, rowOf(entry, asOf), undefined, body);
    return DONE;
  }
  const outcome = settled(write, key, row, holding);
  if (outcome === "renewed") return { result: STORED, renewed: true };
  if (outcome !== undefined) return done(outcome);
  // Copies of one version share the latest asOf; of two versions each has its own.
  const isSame = !isBelow(row, entry.version) && intactHead(entry.key, row, store)?.version === entry.version;
  const later = isSame ? Math.max(asOf, holding.asOfIn(row, entry.key, key)) : asOf;
  writer.store(key, rowOf(entry, later), row, body);
  return DONE;
}

const DONE = done(STORED);

function isMet({ version }: Entry, condition: Write["if"], held: Head | undefined, now: number): boolean {
  if (held?.version === version) return true;
  if (condition === "absent") return held === undefined || isDead(held, now);
  return held?.version === condition;
}

function done(result: WriteResult): Applied {
  return { result, renewed: false };
}
