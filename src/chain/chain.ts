import type { SyncError } from "../error.ts";
import type { Head } from "../entry.ts";
import type { Slot } from "../slot.ts";
import type { Answer, CallOptions, ReadOptions, Store, Write, WriteResult } from "../store.ts";
import type { Runtime } from "../runtime.ts";
import type { Version, VersionClock } from "../version.ts";
import type { Layer, Role } from "./layer.ts";

/** Layers as one store. It passes the conformance suite of the stores it is made of. */
export interface Chain extends Store {
  readonly layers: readonly Layer[];
  /**
   * The synchronous look: the slot of a memory first layer that may answer a `cached` read of the key now (fresh, not
   * expired, a value or a tombstone); undefined when the key has to be asked for.
   */
  look(key: string): Slot | undefined;
  read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]>;
  write(writes: readonly Write[], options?: ChainWriteOptions): Promise<WriteResult[]>;
  /** Resolves when every write begun before it has reached every layer; rejects, naming the layers that lack some. */
  flush(options?: CallOptions): Promise<void>;
  /** What each layer holds of a key, asked past all caches. Never throws for a layer that fails. */
  where(key: string, options?: CallOptions): Promise<readonly WhereAnswer[]>;
  status(): ChainStatus;
}

export interface ChainWriteOptions extends CallOptions {
  /**
   * Which layer must have the writes before they are acknowledged: a layer's name, or "all" (default). The authority
   * always has them first.
   */
  readonly ack?: string | undefined;
}

export interface ChainOptions {
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  /** For messages and as the store's name. Default "chain". */
  readonly name?: string;
  /** How long "nowhere" is remembered, in milliseconds. Default 5,000. */
  readonly negativeTtlMs?: number;
  /** How far ahead of this machine's clock a version may lie before it is refused, in milliseconds. Default 60,000. */
  readonly skewMaxMs?: number;
  /** Told what an operator should know and no call can return: a future stamp, a collision, a failed fill. */
  readonly onReport?: (report: Report) => void;
}

export interface Report {
  readonly kind:
    "future-version" | "collision" | "fill-failed" | "watch-failed" | "relist" | "write-failed" | "breaker";
  readonly layer: string;
  readonly key?: string;
  readonly message: string;
}

/** One layer's view of one key. */
export type WhereAnswer = { readonly layer: string; readonly role: Role } & (
  | { readonly state: "has"; readonly head: Head; readonly ageMs: number; readonly version: Version }
  | { readonly state: "absent"; readonly ageMs: number }
  | { readonly state: "failed"; readonly error: SyncError }
  /** The layer is not for this key. */
  | { readonly state: "excluded" }
);

export interface ChainStatus {
  readonly name: string;
  /** The layer that decides conditional writes; undefined when none can. */
  readonly authority: string | undefined;
  readonly layers: readonly LayerStatus[];
}

export interface LayerStatus {
  readonly name: string;
  readonly role: Role;
  readonly store: string;
  readonly breaker: "closed" | "open" | "half-open";
  /** Reads that this layer answered, asked in vain, and could not answer. */
  readonly hits: number;
  readonly misses: number;
  readonly failures: number;
  readonly writes: number;
  /** Entries written to this layer because a read passed it. */
  readonly fills: number;
  /** Sum of the durations of the calls to this layer, in milliseconds, and their number. */
  readonly callMs: number;
  readonly calls: number;
}
