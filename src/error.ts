/**
 * The few ways a call can fail. The code and `retryable` are the interface: a program decides by them, a person reads
 * the message, which names store, operation, key, cause and cure. docs/errors.md has a heading for each code.
 */
export type ErrorCode =
  | "INVALID" // the caller's argument, option, key or value is malformed: correct the call
  | "TOO_LARGE" // a key, value or batch is above a limit that `supports` names: make it smaller
  | "UNSUPPORTED" // the store says in `supports` that it cannot do this: use another layer
  | "NOT_FOUND" // the folder, repository or branch that a URL names is not there: create it or correct the URL
  | "READONLY" // the store takes no writes
  | "UNAUTHORISED" // credentials are missing or refused
  | "UNAVAILABLE" // a store that might know could not be asked: try again
  | "TIMEOUT" // the deadline passed; what was sent may still take effect
  | "ABORTED" // the caller's signal
  | "CLOSED" // the store was closed
  | "CONFLICT" // the condition of a conditional write did not hold
  | "INDETERMINATE" // a conditional write may or may not have happened
  | "OVERLOADED" // a bounded queue is full: slow down, try again
  | "TOO_OLD" // the write is older than what collection has removed for good
  | "SKEW" // a version stamped too far in the future: correct the clock that made it
  | "CORRUPT" // stored bytes are damaged or not of a known format
  | "INTERNAL"; // a defect in Sync

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(["UNAVAILABLE", "TIMEOUT", "OVERLOADED"]);

/** Where an error happened; every part that is known goes into the message. */
export interface ErrorDetails {
  readonly store?: string;
  readonly operation?: string;
  readonly key?: string;
  /** What the reader can do about it, as a sentence without the full stop. */
  readonly cure?: string;
  readonly cause?: unknown;
  /** Overrides what the code says by default. */
  readonly retryable?: boolean;
  /** The server asked not to be tried again for so many milliseconds. */
  readonly retryAfterMs?: number;
  /** What was written is durable here all the same. */
  readonly stored?: boolean;
}

/** Every error that Sync throws or returns. It never holds a value or a credential. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: ErrorCode;
  /** What happened, without the place and the cure that `message` adds. */
  readonly what: string;
  /** Whether the same call may succeed later without a change. */
  readonly retryable: boolean;
  /** How long not to try again, in milliseconds, where a server said so. */
  readonly retryAfterMs: number | undefined;
  /** What was written is durable here, and sent on by itself: only the level that the call asked for is not met yet. */
  readonly stored: boolean;
  readonly store: string | undefined;
  readonly operation: string | undefined;
  readonly key: string | undefined;
  readonly cure: string | undefined;

  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    super(describe(what, details), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.what = what;
    this.retryable = details.retryable ?? RETRYABLE.has(code);
    this.retryAfterMs = details.retryAfterMs;
    this.stored = details.stored ?? false;
    this.store = details.store;
    this.operation = details.operation;
    this.key = details.key;
    this.cure = details.cure;
  }
}

function describe(what: string, { store, operation, key, cure }: ErrorDetails): string {
  const where = [store, operation, key === undefined ? undefined : JSON.stringify(key)].filter(Boolean).join(" ");
  return `${where === "" ? "" : `${where}: `}${what}${cure === undefined ? "" : ` (${cure})`}`;
}

/** Any thrown thing as a SyncError: itself, or UNAVAILABLE around a stranger's error, which keeps it as its cause. */
export function asSyncError(error: unknown, details: ErrorDetails = {}): SyncError {
  if (error instanceof SyncError) return error;
  const what = error instanceof Error ? error.message : String(error);
  return new SyncError("UNAVAILABLE", what, { ...details, cause: error });
}
