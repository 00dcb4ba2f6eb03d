import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Removal, SlotStore } from "../../slot.ts";
import type { Supports } from "../../store.ts";

export interface MemoryOptions {
  readonly runtime: Runtime;
  /** Default "memory". */
  readonly name?: string | undefined;
  /**
   * How much heap the entries and what is decoded of them may take, in bytes, overhead included. Default 64 MiB, at
   * least 64 KiB.
   */
  readonly bytesMax?: number | undefined;
  /** Default: only `bytesMax` limits. */
  readonly entriesMax?: number | undefined;
  /** The largest value taken, in bytes. Default and most: an eighth of `bytesMax`, so that one value cannot empty the store. */
  readonly valueBytesMax?: number | undefined;
  /** How many changes a watch may lag behind before it must list again. Default 4,096. Their keys are beside `bytesMax`. */
  readonly changesMax?: number | undefined;
  /**
   * How long an expired entry is kept after its expiry, or after it was stored, in milliseconds, so that a reader is
   * still told "expired" and not "unknown". When room is needed it goes first. Default 60,000.
   */
  readonly expiredKeepMs?: number | undefined;
  /**
   * Told of every entry that leaves, after the call that removed it took effect. What it throws is thrown again from
   * a timer, so that it reaches the process and does not make a finished write look failed.
   */
  readonly onRemoval?: ((removal: Removal) => void) | undefined;
}

export interface MemoryStats {
  readonly entries: number;
  /** What they take of `bytesMax`, decoded values included. */
  readonly bytes: number;
  readonly decodedBytes: number;
  readonly bytesMax: number;
  /** Keys that a look or read found, in whatever state, and did not find. */
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  readonly expirations: number;
}

export interface MemoryStore extends SlotStore {
  stats(): MemoryStats;
}

const BYTES_MAX = 64 * 1024 * 1024;
const BYTES_MAX_LEAST = 64 * 1024;
const BATCH_MAX = 10_000;
const CHANGES_MAX = 4096;
const EXPIRED_KEEP_MS = 60_000;

/** The limits of a memory store, every one decided. */
export interface Limits {
  readonly bytesMax: number;
  readonly entriesMax: number;
  readonly changesMax: number;
  readonly expiredKeepMs: number;
  readonly supports: Supports;
}

/** @throws SyncError INVALID for an option out of range. */
export function limitsOf(options: MemoryOptions): Limits {
  const bytesMax = option("bytesMax", options.bytesMax, BYTES_MAX, BYTES_MAX_LEAST);
  const valueBytesMax = Math.floor(bytesMax / 8);
  return {
    bytesMax,
    entriesMax: option("entriesMax", options.entriesMax, Infinity, 1),
    changesMax: option("changesMax", options.changesMax, CHANGES_MAX, 1),
    expiredKeepMs: option("expiredKeepMs", options.expiredKeepMs, EXPIRED_KEEP_MS, 0),
    supports: {
      keyBytesMax: 512,
      valueBytesMax: Math.min(option("valueBytesMax", options.valueBytesMax, valueBytesMax, 0), valueBytesMax),
      streamBytesMax: 0,
      batchMax: BATCH_MAX,
      conditional: true,
      atomicBatch: true,
      stubs: true,
      watch: "push",
      expiry: true,
      writers: "many",
      durable: false,
      shared: false,
      asOf: "stored",
      readonly: false,
    },
  };
}

function option(name: string, given: number | undefined, otherwise: number, least: number): number {
  const value = given ?? otherwise;
  if (typeof value === "number" && value >= least && (Number.isSafeInteger(value) || value === Infinity)) return value;
  const cure = `give a whole number of ${least} or more`;
  throw new SyncError("INVALID", `option ${name} is ${String(value)}`, { store: "memory", cure });
}
