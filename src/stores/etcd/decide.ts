import { compareEntries, isDead } from "../../entry.ts";
import type { Head } from "../../entry.ts";
import { decodeEnvelope, envelopeHead } from "../../envelope.ts";
import type { Envelope } from "../../envelope.ts";
import { SyncError } from "../../error.ts";
import { STORED, TOO_OLD, failed } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import { zlibCompression } from "../../zlib.ts";
import { isOtherFormat, noteFromBytes, stem, stemEnd } from "./layout.ts";
import { EQUAL, GREATER, LESS, OF_CREATE, OF_MOD, OF_VALUE } from "./messages.ts";
import type { Compare, KeyValue, Op, ResponseOp } from "./messages.ts";

/*
 * One write as a piece of a transaction, and what etcd's answer makes of it. Nothing here waits or sends.
 *
 * The first try of a plain write is "if the value there is greater than my stem, show it, else put mine": absent and
 * older are one branch, so that the value travels once.
 */

/** A write on its way. */
export interface Pending {
  /** Its place in the call. */
  readonly at: number;
  readonly write: Write;
  readonly key: Uint8Array;
  /** What to put when it wins, the note of a cache with it. */
  puts: readonly Op[];
  /** Roughly what it takes in a request. */
  readonly bytes: number;
  /** What to look at when it does not win at once: the entry, and in a cache its note. */
  readonly looks: readonly Op[];
  /** The revision of the copy that this write was found to replace. */
  replaces: number | undefined;
  /** At or below the watermark: nothing may be put where nothing is. */
  low: boolean;
  /** An earlier try got no answer. */
  lost: boolean;
}

export function opOf(pending: Pending): Op {
  const { key, write, puts, looks, replaces, low } = pending;
  if (low) {
    const present = opOf({ ...pending, low: false });
    return { txn: { compare: [isAbsent(key)], success: [], failure: [present] } };
  }
  if (replaces !== undefined) {
    const same: Compare = { result: EQUAL, target: OF_MOD, key, modRevision: replaces };
    return { txn: { compare: [same], success: puts, failure: looks } };
  }
  const { entry, if: condition } = write;
  if (condition === undefined) return { txn: { compare: [above(key, entry.version)], success: looks, failure: puts } };
  if (condition === "absent") return { txn: { compare: [isAbsent(key)], success: puts, failure: looks } };
  // A write that is not newer than what it replaces is decided by looking.
  const success = entry.version > condition ? puts : looks;
  return { txn: { compare: exactly(key, condition), success, failure: looks } };
}

/** Whether the bytes of a value lie above the stem of a version: it has this version or a higher one. */
function above(key: Uint8Array, version: Version): Compare {
  return { result: GREATER, target: OF_VALUE, key, value: stem(version) };
}

/** Whether an entry of exactly this version is there. */
export function exactly(key: Uint8Array, version: Version): readonly Compare[] {
  return [above(key, version), { result: LESS, target: OF_VALUE, key, value: stemEnd(version) }];
}

function isAbsent(key: Uint8Array): Compare {
  return { result: EQUAL, target: OF_CREATE, key, createRevision: 0 };
}

/** What became of a try. */
export type Outcome =
  | { readonly kind: "put" }
  | { readonly kind: "absent and low" }
  | { readonly kind: "there"; readonly held: KeyValue | undefined; readonly note: KeyValue | undefined };

export function outcomeOf(pending: Pending, answer: ResponseOp | undefined): Outcome {
  const txn = answer?.txn;
  if (txn === undefined) throw new SyncError("INTERNAL", "etcd's answer has not the form of the request");
  if (pending.low) {
    return txn.succeeded ? { kind: "absent and low" } : outcomeOf({ ...pending, low: false }, txn.responses[0]);
  }
  const [held, note] = txn.responses.map(({ range }) => range);
  // A put is answered by no range.
  if (held === undefined) return { kind: "put" };
  return { kind: "there", held: held.kvs[0], note: note?.kvs[0] };
}

export type Decision =
  | { readonly kind: "done"; readonly result: WriteResult; readonly renew: boolean }
  /** The copy of this revision is to be replaced, by one that has this date at least; undefined: begin anew. */
  | { readonly kind: "again"; readonly replaces: number | undefined; readonly asOf?: number };

/** @param now Unix ms, for conditions on what has expired. */
export function decide(pending: Pending, outcome: Outcome, now: number, store: string): Decision {
  const { entry, if: condition } = pending.write;
  if (outcome.kind === "put") return done(STORED);
  if (outcome.kind === "absent and low") {
    if (condition === undefined || condition === "absent") return done(TOO_OLD);
    return done(conflict(pending, undefined, store));
  }
  const { held, note } = outcome;
  if (held === undefined) {
    if (condition === undefined || condition === "absent") return { kind: "again", replaces: undefined };
    return done(conflict(pending, undefined, store));
  }
  let copy: Held;
  try {
    copy = heldOf(entry.key, held, store);
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== "CORRUPT") throw error;
    // What it held is lost already, and a plain write heals it; but nobody knows whether a condition holds.
    if (condition !== undefined || isOtherFormat(held.value)) return done(failed(error));
    return { kind: "again", replaces: held.modRevision };
  }
  const { head } = copy;
  if (condition !== undefined && !isMet(pending.write, head, now)) return done(conflict(pending, copy, store));
  if (head.version > entry.version) return done({ status: "superseded", by: head.version });
  if (head.version < entry.version) return { kind: "again", replaces: held.modRevision };
  const whole = copy.whole();
  const asOf = asOfOf(head.version, whole.asOf, note?.value);
  if (compareEntries(entry, whole.entry) > 0) return { kind: "again", replaces: held.modRevision, asOf };
  return done(STORED, pending.write.asOf > asOf);
}

function done(result: WriteResult, renew = false): Decision {
  return { kind: "done", result, renew };
}

function isMet({ entry, if: condition }: Write, held: Head, now: number): boolean {
  if (held.version === entry.version) return true;
  return condition === "absent" ? isDead(held, now) : held.version === condition;
}

/** A conflict, unless the write may have happened by a try that got no answer, and been followed by another. */
function conflict({ write, lost }: Pending, copy: Held | undefined, store: string): WriteResult {
  const { entry } = write;
  const cannotHave = copy === undefined ? entry.expires === null : copy.head.version < entry.version;
  if (!lost || cannotHave) return { status: "conflict", current: copy?.whole().entry };
  const details = { store, operation: "write", key: entry.key, cure: "read the key to see whether it happened" };
  return failed(new SyncError("INDETERMINATE", "the conditional write may or may not have happened", details));
}

interface Held {
  readonly head: Head;
  readonly whole: () => Envelope;
}

function heldOf(key: string, held: KeyValue, store: string): Held {
  const { head } = named(store, key, () => envelopeHead(held.value, key));
  return { head, whole: () => copyOf(key, held.value, store) };
}

/** @throws SyncError CORRUPT */
export function copyOf(key: string, value: Uint8Array, store: string): Envelope {
  return named(store, key, () => decodeEnvelope(value, { key, compression: zlibCompression }));
}

/** @throws SyncError CORRUPT */
export function headOf(key: string, value: Uint8Array, store: string): Head {
  return named(store, key, () => envelopeHead(value, key).head);
}

/** The date of a copy: the later of those in the copy itself and in the note about it. */
export function asOfOf(version: Version, asOf: number | null, note: Uint8Array | undefined): number {
  const noted = note === undefined ? undefined : noteFromBytes(note);
  if (noted === undefined || noted.version !== version) return asOf ?? 0;
  return asOf === null ? noted.asOf : Math.max(asOf, noted.asOf);
}

function named<T>(store: string, key: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== "CORRUPT") throw error;
    const cure = "write the key again; if another program writes below this prefix, give each its own";
    const what = "what is stored is damaged, or no entry";
    throw new SyncError("CORRUPT", what, { store, operation: "read", key, cure, cause: error });
  }
}
