import type { Runtime } from "../runtime.ts";
import { SyncError } from "../error.ts";
import type { VersionClock } from "../version.ts";

/** Which keys a session is about. What does not pass is neither written nor deleted, on either side. */
export interface Filter {
  /** Keys that match one of these: `*` is any text without a slash, `**` any text, `?` one character but a slash. */
  readonly glob?: readonly string[] | undefined;
  /** And that match none of these. */
  readonly exclude?: readonly string[] | undefined;
  /** The size of the value, of the source's where it has one, in bytes. Costs reading what the lists do not tell. */
  readonly minBytes?: number | undefined;
  readonly maxBytes?: number | undefined;
  /** How long ago the value was written, by its version, in milliseconds. A version that tells no time is very old. */
  readonly minAgeMs?: number | undefined;
  readonly maxAgeMs?: number | undefined;
}

export interface SessionOptions extends Filter {
  /** Only keys that begin with this. Default: all. */
  readonly prefix?: string | undefined;
  /**
   * When two values count as the same. "auto": of one version, or of the same bytes, metadata and expiry. "version": of one
   * version. "content": of the same content, whatever their versions; every value is read. Default "auto".
   */
  readonly compare?: "auto" | "version" | "content" | undefined;
  /** How many batches are under way at once. Default 4. */
  readonly parallel?: number | undefined;
  /** How many bytes of values one batch holds about, at most. Default 16 MiB. */
  readonly batchBytesMax?: number | undefined;
  /** How many keys one batch has at most. Default 1,000. */
  readonly batchKeysMax?: number | undefined;
  /** How long one call of a store may take, in milliseconds. Default: as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** No batch is begun after it; those under way come to their end. The session then ends with ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** A promise that it returns is waited for. */
  readonly onEvent?: ((event: SessionEvent) => unknown) | undefined;
  /** Default: the platform's. */
  readonly runtime?: Runtime | undefined;
}

export interface CopyOptions extends SessionOptions {
  /** Everything but the writes. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Where an interrupted session leaves how far it came, so that the next one begins there. Default: nowhere. */
  readonly position?: PositionKeeper | undefined;
}

export interface MirrorOptions extends CopyOptions {
  /**
   * The greatest number of keys, or share of the target's keys, that may be deleted. When more would have to be, nothing is
   * written at all. Default "50%".
   */
  readonly maxDelete?: number | `${number}%` | undefined;
  /** Stamps deletions, and values that go over newer ones. Default: a clock of its own. */
  readonly clock?: VersionClock | undefined;
}

/** Keeps one text, which only the session understands. */
export interface PositionKeeper {
  load(): Promise<string | undefined>;
  /** Resolves when it is kept. Called about once a second, and at the end. */
  save(position: string): Promise<void>;
  clear(): Promise<void>;
}

/** What became of a key. */
export type Action =
  /** The target was given the source's value. */
  | "copied"
  | "deleted"
  /** The target has the same. Only told by `diff`. */
  | "same"
  /** The target has a newer one, and keeps it. */
  | "kept"
  | "failed";

export type SessionEvent =
  | {
      readonly kind: "entry";
      readonly key: string;
      readonly action: Exclude<Action, "same">;
      /** Of the value that was copied. */
      readonly bytes: number;
      /** It would have been done. */
      readonly dryRun: boolean;
      readonly error: SyncError | undefined;
    }
  /** Now and then, at most after each batch. */
  | {
      readonly kind: "progress";
      readonly phase: Phase;
      readonly stats: SessionStats;
      /** How many keys there are, where a mirror has counted them. */
      readonly total: number | undefined;
    };

/** "planning": a mirror looks what there is to do. "deleting": after everything else, if nothing failed. */
export type Phase = "planning" | "copying" | "deleting";

export interface SessionStats {
  /** Keys looked at, those that only one side has included. */
  readonly keys: number;
  readonly same: number;
  readonly copied: number;
  readonly deleted: number;
  readonly kept: number;
  readonly failed: number;
  /** Of what was copied. */
  readonly bytes: number;
}

export interface SessionResult extends SessionStats {
  readonly dryRun: boolean;
  /** An earlier, interrupted session had come this far: this one began after this key, and did what is before it at its end. */
  readonly resumedAfter: string | undefined;
}

/** `=` the same, `+` only in the source, `-` only in the target, `*` different, `!` could not be compared. */
export type DiffSymbol = "=" | "+" | "-" | "*" | "!";

export interface Difference {
  readonly key: string;
  readonly symbol: DiffSymbol;
  /** Why it could not be compared. */
  readonly error: SyncError | undefined;
}

export interface SessionFailure {
  readonly key: string;
  readonly error: SyncError;
}

/** Not everything was done. The code is that of what ended the session, or of the first key that failed. */
export class SessionError extends SyncError {
  readonly result: SessionResult;
  /** The first failures by key, at most 1,000; `result.failed` counts all. */
  readonly failures: readonly SessionFailure[];

  constructor(cause: SyncError, result: SessionResult, failures: readonly SessionFailure[], operation: string) {
    const others = result.failed - 1;
    const rest = others > 0 ? `, and ${others} other ${others === 1 ? "key" : "keys"} failed` : "";
    const isKey = failures[0]?.error === cause;
    super(cause.code, isKey ? cause.message + rest : cause.what, {
      operation,
      ...(isKey || cause.store === undefined ? {} : { store: cause.store }),
      ...(isKey || cause.cure === undefined ? {} : { cure: cause.cure }),
      retryable: cause.retryable,
      cause,
    });
    this.result = result;
    this.failures = failures;
  }
}
