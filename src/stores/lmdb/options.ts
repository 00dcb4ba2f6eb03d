import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";

export interface LmdbOptions {
  readonly runtime: Runtime;
  /** Default "lmdb". */
  readonly name?: string | undefined;
  /** Whether a missing folder is created, with those above it. Default true; false refuses with NOT_FOUND. */
  readonly create?: boolean | undefined;
  /**
   * For use as a cache: how much disk the entries may take, in bytes. Above it those written longest ago leave, in
   * small batches beside the writes. Default: no limit. The file itself never shrinks; what is freed is used again.
   */
  readonly bytesMax?: number | undefined;
  /** The largest value taken, in bytes. Default 64 MiB; at most an eighth of `bytesMax`. */
  readonly valueBytesMax?: number | undefined;
  /** The largest value taken as a stream, in bytes. Default: no limit; at most an eighth of `bytesMax`. */
  readonly streamBytesMax?: number | undefined;
  /** How many removals (not tombstones) are kept for watches that resume. Default 10,000. */
  readonly removalsMax?: number | undefined;
  /** How many write calls may wait for the disk before more are refused with OVERLOADED. Default 10,000. */
  readonly waitingMax?: number | undefined;
}

const VALUE_BYTES_MAX = 64 * 1024 * 1024;
const BYTES_MAX_LEAST = 1024 * 1024;
const REMOVALS_MAX = 10_000;
const WAITING_MAX = 10_000;

export type Limits = ReturnType<typeof limitsOf>;

/** @throws SyncError INVALID for an option out of range. */
export function limitsOf({ bytesMax, valueBytesMax, streamBytesMax, removalsMax, waitingMax }: LmdbOptions) {
  const bytes = option("bytesMax", bytesMax, Infinity, BYTES_MAX_LEAST);
  return {
    bytesMax: bytes,
    valueBytesMax: Math.min(option("valueBytesMax", valueBytesMax, VALUE_BYTES_MAX, 0), Math.floor(bytes / 8)),
    streamBytesMax: Math.min(option("streamBytesMax", streamBytesMax, Infinity, 0), Math.floor(bytes / 8)),
    removalsMax: option("removalsMax", removalsMax, REMOVALS_MAX, 1),
    waitingMax: option("waitingMax", waitingMax, WAITING_MAX, 1),
  };
}

function option(name: string, given: number | undefined, otherwise: number, least: number): number {
  const value = given ?? otherwise;
  if (typeof value === "number" && value >= least && (Number.isSafeInteger(value) || value === Infinity)) return value;
  const cure = `give a whole number of ${least} or more`;
  throw new SyncError("INVALID", `option ${name} is ${String(value)}`, { store: "lmdb", cure });
}
