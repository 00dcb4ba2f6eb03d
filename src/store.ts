/**
 * The contract. A leaf (memory, git), a wrapper, a chain and a remote node are all a {@link Store} and pass the same
 * conformance suite (microsync/testing).
 *
 * Duties of whoever implements one:
 * - `write` keeps the newest version of each key (`merge` in entry.ts) and ignores the rest, so that late, repeated and
 *   reordered writes are harmless.
 * - A miss is a value (`entry: undefined`), a failure is a thrown {@link SyncError}. Never the one for the other.
 * - Tombstones, stubs and expired entries are stored, read and listed like values. Expiry is judged by the caller.
 * - Every verb checks its arguments before any effect, obeys `signal` and `deadline`, and throws CLOSED after `close`.
 * - What a store cannot do is data in {@link Supports}, and is refused with UNSUPPORTED.
 *
 * Duties of whoever calls one: at most `supports.batchMax` keys or writes a call; no change to bytes given before the
 * call has ended, and none ever to bytes got.
 */
import type { Body } from "./body.ts";
import { SyncError } from "./error.ts";
import { KEY_BYTES_MAX, checkEntry, checkKey } from "./entry.ts";
import type { Entry, Head } from "./entry.ts";
import { isVersion } from "./version.ts";
import type { Version } from "./version.ts";
import type { Runtime } from "./runtime.ts";

export interface Store {
  /** For logs and statistics. A wrapper nests the name of what it wraps: `retry(etcd)`. */
  readonly name: string;
  readonly supports: Supports;
  /** One answer per key, in the order of the keys. A key may be asked twice. Where some fail: {@link PartialRead}. */
  read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]>;
  /** One result per write, in order. Two writes of one key in a call take effect in their order. */
  write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]>;
  /** Removes an entry physically if it still has exactly the version named; otherwise leaves it as it is. */
  forget(items: readonly Forget[], options?: CallOptions): Promise<void>;
  /** In the byte order of the keys in UTF-8, each key once. Sees at least what was stored before the call. */
  list(range: Range, options?: ListOptions): AsyncIterable<Listed>;
  /**
   * What was stored after a cursor, then what is stored from now on. Ends quietly on `close`, throws ABORTED on the
   * signal.
   */
  watch(range: Range, options?: WatchOptions): AsyncIterable<Change>;
  /** Waits for calls under way, gives back what the store holds. Idempotent. */
  close(): Promise<void>;
}

/** What a store can do, and how much of it. All fields required: an ability cannot be forgotten. */
export interface Supports {
  /** At most 512. */
  readonly keyBytesMax: number;
  /** A larger value fails with TOO_LARGE. May be Infinity. */
  readonly valueBytesMax: number;
  /** The largest value taken and given as a {@link Body}, in bytes; 0: bodies are refused with UNSUPPORTED. May be Infinity. */
  readonly streamBytesMax: number;
  /** How many keys, writes or items one call takes; more fails with TOO_LARGE before any effect. */
  readonly batchMax: number;
  /** `if` on a write is decided atomically with it. */
  readonly conditional: boolean;
  /** The writes of one call become visible together or not at all. */
  readonly atomicBatch: boolean;
  /** Takes entries of state "stub". */
  readonly stubs: boolean;
  /** "push": changes arrive by themselves. "poll": the store looks for them at an interval. */
  readonly watch: "push" | "poll";
  /** Removes expired entries by itself, some time after they expired. */
  readonly expiry: boolean;
  /** "one": two processes that write the same key at once may lose the newer write. */
  readonly writers: "many" | "one";
  /** What a resolved write stored is there after a power loss. */
  readonly durable: boolean;
  /** Other machines read and write the same data. */
  readonly shared: boolean;
  /**
   * What an answer's `asOf` is. "stored": what was last written with the copy. "known": what the store itself knows,
   * now for a store of record that keeps no asOf, the last fetch for a mirror; writing an asOf then has no effect.
   */
  readonly asOf: "stored" | "known";
  /** Every write is refused with READONLY. */
  readonly readonly: boolean;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** A point on `Runtime.monotonic()`, in milliseconds. Past it the call ends with TIMEOUT. */
  readonly deadline?: number | undefined;
}

/** How fresh an answer must be. A store of record always answers with the newest it has and may ignore all three. */
export interface ReadOptions extends CallOptions {
  /** The answer must have been the newest at some moment in the last so many milliseconds. */
  readonly maxAgeMs?: number | undefined;
  /** Ask the authority: the answer is at least as new as anything acknowledged before the call began. */
  readonly authority?: boolean | undefined;
  /** Versions the caller has seen: an answer below its key's version is not good enough if a newer one can be had. */
  readonly atLeast?: ReadonlyMap<string, Version> | undefined;
  /** Versions whose values the caller has: the answer with one of them may be `unchanged`. */
  readonly holds?: ReadonlyMap<string, Version> | undefined;
  /**
   * A larger value is answered as a `body`, if the store gives any, instead of being brought into memory. Default: the
   * store's `valueBytesMax`.
   */
  readonly wholeBytesMax?: number | undefined;
}

/** What a store knew about one key. */
export interface Answer {
  /** Tombstones, stubs and expired entries included. Undefined: it knows that it has none. */
  readonly entry: Entry | undefined;
  /** There is a value, too large to be given at once: its bytes. The entry is then of state "stub", with its metadata. */
  readonly body?: Body | undefined;
  /** The newest is the version that the caller holds: the entry is a stub of it, and the rest is what the caller has. */
  readonly unchanged?: boolean | undefined;
  /** Unix ms at which this was last known to be the newest (the moment the asking began). Absence has one too. */
  readonly asOf: number;
  /** Every layer that might know was asked. Always true of a leaf. */
  readonly complete: boolean;
  /** Older than was asked for, or from below a layer that did not answer. Never true of a leaf. */
  readonly stale: boolean;
  /** The name of the leaf that gave the answer. */
  readonly from: string;
}

/** Some keys of a read could not be answered, or all: thrown as the first of their errors. */
export class PartialRead extends SyncError {
  /** What became of each key, in their order. */
  readonly answers: readonly (Answer | SyncError)[];

  /** @param answers with at least one error among them. */
  constructor(answers: readonly (Answer | SyncError)[], place: { readonly store: string }) {
    const errors = answers.filter((answer) => answer instanceof SyncError);
    const [first] = errors;
    const { code = "INTERNAL", message = "" } = first ?? {};
    super(code, `${errors.length} of ${answers.length} keys could not be read; the first: ${message}`, {
      ...place,
      operation: "read",
      ...(first?.key === undefined ? {} : { key: first.key }),
      cause: first,
      retryable: errors.every(({ retryable }) => retryable),
    });
    this.answers = answers;
  }
}

export interface Write {
  readonly entry: Entry;
  /**
   * The value that the entry, which is of state "stub" then, stands for: what is stored is a value, with these bytes. The
   * store reads them before the call ends, at its own pace, perhaps several times, perhaps never; when reading them fails,
   * or ends early, nothing of this write is stored.
   */
  readonly body?: Body | undefined;
  readonly asOf: number;
  /**
   * The write happens only if: "absent", the store has no entry of the key, or a tombstone or expired one; a version,
   * the store's entry has exactly this version. An entry that already has the version being written counts as met, so
   * that a retry succeeds. The store must be `conditional`.
   */
  readonly if?: "absent" | Version | undefined;
}

export type WriteResult =
  | { readonly status: "stored" }
  /** The store has a newer entry and keeps it. Not an error. */
  | { readonly status: "superseded"; readonly by: Version }
  /** The condition did not hold; `current` is what the store has, a stub in place of what would be a body. */
  | { readonly status: "conflict"; readonly current: Entry | undefined }
  /** The key is absent and the version is at or below the collection watermark: it may have been deleted for good. */
  | { readonly status: "too-old" }
  | { readonly status: "failed"; readonly error: SyncError };

export interface Forget {
  readonly key: string;
  readonly version: Version;
  /**
   * "collected": the store's collection watermark is raised to at least `version`, durably, before the entry goes.
   * "ghost": a copy of something that no store of record has; the watermark stays.
   */
  readonly reason: "collected" | "ghost";
}

export interface Range {
  /** Keys that begin with this text; "" is all keys. */
  readonly prefix: string;
}

export interface ListOptions extends CallOptions {
  /**
   * How much of each entry: "keys" (head and value may be null), "entries" (head is there), "values" (both are there,
   * unless the state is not "value"). Default "keys".
   */
  readonly detail?: "keys" | "entries" | "values" | undefined;
  /** The value of a larger one is null in a list, if the store gives bodies. Default: the store's `valueBytesMax`. */
  readonly wholeBytesMax?: number | undefined;
  /** Resume: only keys after this one. It need not exist. */
  readonly after?: string | undefined;
  /** At most so many items. */
  readonly limit?: number | undefined;
}

export type Listed =
  | {
      readonly kind: "entry";
      readonly key: string;
      /** Opaque; differs whenever the stored copy differs in more than its asOf. */
      readonly tag: string;
      readonly head: Head | null;
      readonly value: Uint8Array | null;
    }
  /** A layer could not be listed from here on: keys may be missing, or shown in an older state. Never from a leaf. */
  | { readonly kind: "partial"; readonly from: string; readonly error: SyncError };

export interface WatchOptions extends CallOptions {
  /** Continue after this change. Undefined: begin with every entry there is, unless `initial` is false. */
  readonly cursor?: string | undefined;
  /** Without a cursor: false skips what is stored already and begins with "current". Default true. */
  readonly initial?: boolean | undefined;
  /** How often a polling store looks, in milliseconds. Default 1,000. */
  readonly intervalMs?: number | undefined;
}

/**
 * A cursor is the store's own commit order, never a version: an entry with an old version that arrives late is a
 * change like any other. Several changes of one key may be told as one. A renewed asOf is not a change.
 */
export type Change =
  /** `head` is what is stored now; null when the key was removed without a tombstone. */
  | { readonly kind: "change"; readonly key: string; readonly head: Head | null; readonly cursor: string }
  /**
   * Everything up to the moment the watch began has been told. Comes once per watch, whatever its cursor, and once more
   * after each interruption.
   */
  | { readonly kind: "current"; readonly cursor: string }
  /**
   * From some moment before this on, changes may not have been told. The watch goes on by itself: what is missing is told
   * when it stands again, and then "current"; or it ends with "relist" or an error.
   */
  | { readonly kind: "interrupted"; readonly reason: string }
  /** Changes were missed (an old cursor, another epoch, a slow reader). The watch ends: begin again without a cursor. */
  | { readonly kind: "relist"; readonly reason: string };

// ---- What every store checks at its edge, and how it says no. ----

/** @throws SyncError as `read` must for these arguments. */
export function checkRead(store: Store, keys: readonly string[]): void {
  checkBatch(store, "read", keys.length);
  for (const key of keys) checkStoreKey(store, "read", key);
}

/**
 * @throws SyncError for what makes the whole call wrong: batch size, malformed entries, keys, conditions.
 * What a single write may fail by is {@link refusal}.
 */
export function checkWrite(store: Store, writes: readonly Write[]): void {
  checkBatch(store, "write", writes.length);
  for (let i = 0; i < writes.length; i++) checkOneWrite(store, writes[i] as Write);
}

function checkOneWrite(store: Store, { entry, asOf, if: condition, body }: Write): void {
  checkEntry(entry);
  if (body !== undefined) checkBody(store, entry, body);
  checkKeyBytes(store, "write", entry.key);
  if (!Number.isSafeInteger(asOf)) {
    throw new SyncError("INVALID", "asOf is a whole number of Unix milliseconds", at(store, "write", entry.key));
  }
  if (condition !== undefined && condition !== "absent" && !isVersion(condition)) {
    throw new SyncError("INVALID", 'a condition is "absent" or a version', at(store, "write", entry.key));
  }
}

function checkBody(store: Store, { key, state }: Entry, { size, sha256 }: Body): void {
  const isSum = sha256 === undefined || /^[0-9a-f]{64}$/.test(sha256);
  if (state === "stub" && Number.isSafeInteger(size) && size >= 0 && isSum) return;
  const what = state === "stub" ? "a body has a size, and a checksum or none" : "a body stands beside a stub";
  throw new SyncError("INVALID", what, at(store, "write", key));
}

/** The result of a write that this store refuses whatever it holds; undefined if it may be tried. */
export function refusal(store: Store, { entry, if: condition, body }: Write): WriteResult | undefined {
  const { supports } = store;
  if (supports.readonly)
    return failed(new SyncError("READONLY", "the store takes no writes", at(store, "write", entry.key)));
  if (condition !== undefined && !supports.conditional) {
    const cure = "send conditional writes to a layer that can compare-and-set";
    return failed(
      new SyncError("UNSUPPORTED", "the store has no conditional writes", { ...at(store, "write", entry.key), cure }),
    );
  }
  if (body !== undefined) {
    if (supports.streamBytesMax === 0) {
      const cure = "give it the value whole, or use a store that takes streams";
      return failed(
        new SyncError("UNSUPPORTED", "the store takes no value as a stream", {
          ...at(store, "write", entry.key),
          cure,
        }),
      );
    }
    if (body.size > supports.streamBytesMax) {
      const what = `the value has ${body.size} bytes, the limit is ${supports.streamBytesMax}`;
      return failed(
        new SyncError("TOO_LARGE", what, {
          ...at(store, "write", entry.key),
          cure: "split it, or use a store that takes more",
        }),
      );
    }
    return undefined;
  }
  if (entry.state === "stub" && !supports.stubs) {
    return failed(new SyncError("UNSUPPORTED", "the store takes no stubs", at(store, "write", entry.key)));
  }
  if (entry.value !== null && entry.value.length > supports.valueBytesMax) {
    const what = `the value has ${entry.value.length} bytes, the limit is ${supports.valueBytesMax}`;
    return failed(
      new SyncError("TOO_LARGE", what, {
        ...at(store, "write", entry.key),
        cure: "split it, or use a store that takes more",
      }),
    );
  }
  return undefined;
}

/** @throws SyncError as `forget` must for these arguments. */
export function checkForget(store: Store, items: readonly Forget[]): void {
  checkBatch(store, "forget", items.length);
  for (const { key, version } of items) {
    checkStoreKey(store, "forget", key);
    if (!isVersion(version)) throw new SyncError("INVALID", "the version is malformed", at(store, "forget", key));
  }
  if (store.supports.readonly && items.length > 0) {
    throw new SyncError("READONLY", "the store takes no writes", { store: store.name, operation: "forget" });
  }
}

/** @throws SyncError ABORTED or TIMEOUT when the call should not begin or go on. */
export function checkCall(runtime: Runtime, options: CallOptions | undefined, store: string, operation: string): void {
  if (options?.signal?.aborted === true) throw aborted(options.signal, store, operation);
  if (options?.deadline !== undefined && runtime.monotonic() >= options.deadline) {
    throw new SyncError("TIMEOUT", "the deadline passed", { store, operation });
  }
}

export function aborted(signal: AbortSignal, store: string, operation: string): SyncError {
  return new SyncError("ABORTED", "the caller gave up", { store, operation, cause: signal.reason });
}

export function closedError(store: string, operation: string): SyncError {
  return new SyncError("CLOSED", "the store is closed", { store, operation, cure: "open it again" });
}

export function failed(error: SyncError): WriteResult {
  return { status: "failed", error };
}

export const STORED: WriteResult = Object.freeze({ status: "stored" });
export const TOO_OLD: WriteResult = Object.freeze({ status: "too-old" });

function checkBatch(store: Store, operation: string, count: number): void {
  const { batchMax } = store.supports;
  if (count > batchMax) {
    const what = `${count} in one call, the limit is ${batchMax}`;
    throw new SyncError("TOO_LARGE", what, { store: store.name, operation, cure: "send smaller batches" });
  }
}

function checkStoreKey(store: Store, operation: string, key: string): void {
  checkKey(key);
  checkKeyBytes(store, operation, key);
}

function checkKeyBytes(store: Store, operation: string, key: string): void {
  const { keyBytesMax } = store.supports;
  // The common limit has been checked; a count is only due where this store's own is lower.
  if (keyBytesMax < KEY_BYTES_MAX && new TextEncoder().encode(key).length > keyBytesMax) {
    throw new SyncError("TOO_LARGE", `the key is above this store's ${keyBytesMax} bytes`, at(store, operation, key));
  }
}

function at(store: Store, operation: string, key: string) {
  return { store: store.name, operation, key };
}
