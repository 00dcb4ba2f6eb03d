import type { CallOptions } from "../../store.ts";
import type { Pointer } from "./pointer.ts";

/** A large value on its way up. */
export interface Upload extends Pointer {
  /** The value from its beginning, each time it is called: a transfer may be tried again. */
  content(): AsyncIterable<Uint8Array>;
}

/** From this byte up to but not including that one. What is wrong with a part shows only in its length. */
export interface Part {
  readonly from: number;
  readonly to: number;
}

/** Where large values lie. Nothing here holds a whole value in memory. */
export interface LfsFiles {
  /**
   * Resolves when all are there, for everybody who reads the repository. Those that are there already cost nothing
   * but the question. @throws SyncError UNSUPPORTED when the repository has no place for large files.
   */
  upload(objects: readonly Upload[], options: CallOptions): Promise<void>;
  /**
   * The value, piece by piece. That it is the one is known at its end: it throws CORRUPT in place of ending when it
   * is not. @throws SyncError NOT_FOUND when it is not there.
   */
  download(pointer: Pointer, options: CallOptions, part?: Part): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

export async function* oneChunk(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}
