/**
 * What a node and its client say to each other, beside what docs/protocol.md says to everybody: messages that carry whole
 * entries exactly, and errors as problem documents.
 *
 * A message is four bytes with the length of its head, four with the length of what follows it (big-endian), the head as
 * JSON in UTF-8, and the parts that the head names by their lengths: envelopes, one after the other.
 */
import { SyncError } from "./error.ts";
import type { ErrorCode } from "./error.ts";
import { decodeEnvelope, encodeEnvelope } from "./envelope.ts";
import { NO_META, checkEntry, isExpired } from "./entry.ts";
import type { Entry, Head, Meta } from "./entry.ts";
import type { Supports, WriteResult } from "./store.ts";
import type { Version } from "./version.ts";

export const MESSAGE_TYPE = "application/vnd.microsync.messages";
export const PROBLEM_TYPE = "application/problem+json";
/** The status of a request that has come through the node before (RFC 5842). */
export const LOOP_DETECTED = 508;

/** Names of headers, in lower case as both sides see them. */
export const HEADER = {
  /** How long the caller still waits, in milliseconds. */
  timeout: "sync-timeout-ms",
  /** The nodes that the request came through, the first of them first. */
  via: "sync-via",
  version: "sync-version",
  state: "sync-state",
  expires: "sync-expires",
  ttl: "sync-ttl",
  ageMs: "sync-age-ms",
  atLeast: "sync-at-least",
  stale: "sync-stale",
  ack: "sync-ack",
  pending: "sync-pending",
  supersededBy: "sync-superseded-by",
  sha256: "sync-sha256",
  condition: "sync-if",
  meta: "sync-meta-",
} as const;

const UTF8 = new TextEncoder();
const TEXT = new TextDecoder("utf-8", { fatal: true });
const LENGTHS_BYTES = 8;

export interface Message {
  readonly head: unknown;
  /** The parts, one after the other, in a buffer of their own. */
  readonly parts: Uint8Array;
}

export function encodeMessage(head: object, parts: readonly Uint8Array[] = []): Uint8Array {
  const text = UTF8.encode(JSON.stringify(head));
  const partBytes = parts.reduce((sum, { length }) => sum + length, 0);
  const bytes = new Uint8Array(LENGTHS_BYTES + text.length + partBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, text.length);
  view.setUint32(4, partBytes);
  bytes.set(text, LENGTHS_BYTES);
  let at = LENGTHS_BYTES + text.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * The messages in pieces of bytes.
 * @param bytesMax a message that claims more is refused before anything is allocated for it.
 * @throws SyncError INVALID for what is no message, TOO_LARGE, CORRUPT when the pieces end within one.
 */
export async function* decodeMessages(pieces: AsyncIterable<Uint8Array>, bytesMax: number): AsyncIterable<Message> {
  const waiting: Uint8Array[] = [];
  let have = 0;
  /** The first `count` of the bytes that wait, copied; undefined while there are fewer. */
  const take = (count: number): Uint8Array | undefined => {
    if (have < count) return undefined;
    const taken = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const piece = waiting[0] as Uint8Array;
      const part = piece.subarray(0, count - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === piece.length) waiting.shift();
      else waiting[0] = piece.subarray(part.length);
    }
    have -= count;
    return taken;
  };
  let lengths: { readonly head: number; readonly parts: number } | undefined;
  for await (const piece of pieces) {
    if (piece.length === 0) continue;
    waiting.push(piece);
    have += piece.length;
    for (;;) {
      if (lengths === undefined) {
        const first = take(LENGTHS_BYTES);
        if (first === undefined) break;
        const view = new DataView(first.buffer);
        lengths = { head: view.getUint32(0), parts: view.getUint32(4) };
        if (lengths.head + lengths.parts > bytesMax) throw tooLarge(lengths.head + lengths.parts, bytesMax);
      }
      if (have < lengths.head + lengths.parts) break;
      const head = take(lengths.head) as Uint8Array;
      const parts = take(lengths.parts) as Uint8Array;
      lengths = undefined;
      yield { head: parseHead(head), parts };
    }
  }
  if (lengths !== undefined || have > 0) throw new SyncError("CORRUPT", "the messages end within one");
}

function parseHead(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(TEXT.decode(bytes)) as unknown;
  } catch (cause) {
    throw new SyncError("INVALID", "the head of a message is not JSON", { cause });
  }
}

function tooLarge(bytes: number, bytesMax: number): SyncError {
  const what = `a message has ${bytes} bytes, the limit is ${bytesMax}`;
  return new SyncError("TOO_LARGE", what, { cure: "send smaller batches" });
}

// ---- Heads. A field that is left out is what its comment says. ----

export interface ReadHead {
  readonly op: "read";
  readonly keys: readonly string[];
  /** Place among the keys, and version. */
  readonly atLeast?: readonly (readonly [number, Version])[] | undefined;
  /** Places of keys of whose version in `atLeast` the caller has the value. */
  readonly holds?: readonly number[] | undefined;
  readonly maxAgeMs?: number | undefined;
  readonly authority?: boolean | undefined;
  /** A larger value is answered as a body. */
  readonly wholeBytesMax?: number | undefined;
}

/** Part of the answers to a read: those of the keys that follow the ones answered before. */
export interface AnswersHead {
  readonly answers: readonly AnswerHead[];
}

export interface AnswerHead {
  /** Length of the envelope; left out: there is no entry. */
  readonly bytes?: number | undefined;
  /** How long before the request arrived this was known to be the newest, in milliseconds; null: unknown. */
  readonly ageMs: number | null;
  /** Left out: true. */
  readonly complete?: false | undefined;
  /** Left out: false. */
  readonly stale?: true | undefined;
  readonly from: string;
  /** The key could not be answered; nothing else is said of it then. */
  readonly error?: Problem | undefined;
  /** It is what the caller holds; left out: false. */
  readonly unchanged?: true | undefined;
  readonly body?: { readonly size: number; readonly sha256?: string | undefined } | undefined;
}

export interface WriteHead {
  readonly op: "write";
  readonly ack?: string | undefined;
  readonly writes: readonly {
    readonly key: string;
    readonly bytes: number;
    /** How long before the sending the asking began that found it, in milliseconds. */
    readonly ageMs: number;
    readonly if?: "absent" | Version | undefined;
  }[];
}

export interface ResultsHead {
  readonly results: readonly ResultHead[];
}

export type ResultHead =
  | { readonly status: "stored" | "too-old" }
  | { readonly status: "superseded"; readonly by: Version }
  | { readonly status: "conflict"; readonly key: string; readonly bytes?: number | undefined }
  | { readonly status: "failed"; readonly error: Problem };

export interface ForgetHead {
  readonly op: "forget";
  readonly items: readonly { readonly key: string; readonly version: Version; readonly reason: string }[];
}

/** Part of a list, in the order of the keys. */
export interface ListHead {
  readonly items: readonly ListedHead[];
  /** The list is complete up to here: nothing follows. */
  readonly end?: true | undefined;
  /** The list broke off. */
  readonly error?: Problem | undefined;
}

export type ListedHead =
  | {
      readonly key: string;
      readonly tag: string;
      /** Length of the envelope, where the value was asked for and there is one. */
      readonly bytes?: number | undefined;
      /** Without its value; left out with `bytes`, and where only keys were asked for. */
      readonly head?: WireHead | undefined;
    }
  | { readonly from: string; readonly error: Problem };

/** A head without its key. No stub crosses. */
export interface WireHead {
  readonly state: "value" | "deleted";
  readonly version: Version;
  readonly expires: number | null;
  readonly meta: Meta;
}

/**
 * A head as other nodes are told it. A stub means a value that is further down here, and is to be had here: for another
 * node it is a value; an expired one goes as a tombstone of its version, since the other's clock may be behind.
 */
export function wireHead(head: Head, now: number): WireHead {
  const { state, version, expires, meta } = head;
  if (state !== "stub") return { state, version, expires, meta };
  if (isExpired(head, now)) return { state: "deleted", version, expires: null, meta: NO_META };
  return { state: "value", version, expires, meta };
}

/** What a change looks like in the feed. */
export interface ChangeData {
  /** Goes up by one with every event of one answer, so that a gap is seen. */
  readonly seq: number;
  readonly key?: string;
  readonly head?: WireHead | null;
  readonly cursor?: string;
  readonly reason?: string;
  readonly error?: Problem;
}

export const EVENT = {
  change: "change",
  current: "up-to-date",
  relist: "must-refetch",
  interrupted: "interrupted",
  heartbeat: "heartbeat",
  error: "error",
} as const;

/** A node as others see it: its name, its layers, and what is known of the nodes below. */
export interface Shape {
  readonly node: string;
  readonly layers: readonly { readonly name: string; readonly role: string; readonly below?: Shape | undefined }[];
}

/** What a client needs to know of a node, a part of its status. */
export interface Hello {
  readonly supports: { readonly [name in keyof Supports]: Supports[name] | null };
  readonly limits: { readonly bodyBytesMax: number };
  readonly shape: Shape;
}

/** How deep nodes may stand below each other, and how many layers one may have, in what is believed of a node. */
const SHAPE_DEPTH_MAX = 16;
const SHAPE_LAYERS_MAX = 64;
const SHAPE_NAME_MAX = 256;

/**
 * What a node tells of its shape, cut to a size: in a loop each would tell of the other in itself, ever deeper.
 * Undefined for what is no shape.
 */
export function shapeFrom(told: unknown, depth = SHAPE_DEPTH_MAX): Shape | undefined {
  const { node, layers } = (told ?? {}) as Partial<Shape>;
  if (typeof node !== "string" || node.length > SHAPE_NAME_MAX || !Array.isArray(layers)) return undefined;
  const known = (layers as Shape["layers"]).slice(0, SHAPE_LAYERS_MAX).flatMap((layer) => {
    const { name, role, below } = layer ?? {};
    if (typeof name !== "string" || name.length > SHAPE_NAME_MAX || typeof role !== "string") return [];
    const deeper = depth === 0 || below === undefined ? undefined : shapeFrom(below, depth - 1);
    return [deeper === undefined ? { name, role } : { name, role, below: deeper }];
  });
  return { node, layers: known };
}

/** The names of a node and of all nodes below it. */
export function nodesOf({ node, layers }: Shape): string[] {
  return [node, ...layers.flatMap(({ below }) => (below === undefined ? [] : nodesOf(below)))];
}

// ---- Entries. ----

export function encodeEntry(entry: Entry): Uint8Array {
  return encodeEnvelope(entry);
}

/** Takes the parts of a message one after the other. */
export function entryReader(parts: Uint8Array): (key: string, bytes: number) => Entry {
  let at = 0;
  return (key, bytes) => {
    const end = at + bytes;
    if (!Number.isSafeInteger(bytes) || bytes < 0 || end > parts.length) {
      throw new SyncError("INVALID", "a message claims more than it has", { key });
    }
    const envelope = parts.subarray(at, end);
    at = end;
    return decodeEnvelope(envelope, { key }).entry;
  };
}

/**
 * The head that a node tells of, looked at as closely as one of our own.
 * @throws SyncError INVALID or TOO_LARGE for what is none.
 */
export function headFrom(key: string, told: unknown): Head {
  const { state, version, expires, meta } = (told ?? {}) as Partial<WireHead>;
  const isState = state === "value" || state === "deleted";
  if (!isState || typeof meta !== "object" || meta === null || version === undefined || expires === undefined) {
    throw new SyncError("INVALID", "what is told of the entry is not complete", { key });
  }
  const head: Head = { key, state, version, expires, meta };
  checkEntry({ ...head, value: state === "value" ? NO_BYTES : null });
  return head;
}

const NO_BYTES = new Uint8Array(0);

// ---- Errors. ----

/** A problem document (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  /** What happened, without the place. */
  readonly reason: string;
  readonly retryable: boolean;
  readonly store?: string | undefined;
  readonly key?: string | undefined;
  readonly cure?: string | undefined;
  readonly retryAfterMs?: number | undefined;
}

const STATUS: Readonly<Record<ErrorCode, number>> = {
  INVALID: 400,
  TOO_LARGE: 413,
  UNSUPPORTED: 501,
  NOT_FOUND: 502, // a place that the node's own chain names, not a key
  READONLY: 403,
  UNAUTHORISED: 502, // of the node at one of its stores; the caller's own is answered by the door
  UNAVAILABLE: 503,
  TIMEOUT: 504,
  ABORTED: 503,
  CLOSED: 503,
  CONFLICT: 412,
  INDETERMINATE: 504,
  OVERLOADED: 429,
  TOO_OLD: 409,
  SKEW: 409,
  CORRUPT: 500,
  INTERNAL: 500,
};

const TITLES: Readonly<Record<ErrorCode, string>> = {
  INVALID: "The request is malformed",
  TOO_LARGE: "Something is above a limit",
  UNSUPPORTED: "The store cannot do this",
  NOT_FOUND: "A place that the chain names is not there",
  READONLY: "The store takes no writes",
  UNAUTHORISED: "Credentials are missing or refused",
  UNAVAILABLE: "A store that might know could not be asked",
  TIMEOUT: "The time is up",
  ABORTED: "The call was given up",
  CLOSED: "The node is stopping",
  CONFLICT: "The condition did not hold",
  INDETERMINATE: "The write may or may not have happened",
  OVERLOADED: "Too much at once",
  TOO_OLD: "The write is older than what was removed for good",
  SKEW: "A version lies too far in the future",
  CORRUPT: "Stored bytes are damaged",
  INTERNAL: "A defect",
};

/** The error as a problem document. It holds no value and no credential, as no SyncError does. */
export function problemOf(error: SyncError, status: number = STATUS[error.code]): Problem {
  const { code, message, what, retryable, store, key, cure, retryAfterMs } = error;
  const type = `urn:microsync:error:${code}`;
  return {
    type,
    title: TITLES[code],
    status,
    detail: message,
    code,
    reason: what,
    retryable,
    store,
    key,
    cure,
    retryAfterMs,
  };
}

/** The error that a problem document tells of. @param place where it was met, for the message. */
export function errorOf(problem: unknown, place: { readonly store: string; readonly operation: string }): SyncError {
  if (typeof problem !== "object" || problem === null) {
    return new SyncError("UNAVAILABLE", "the answer is not that of a node", place);
  }
  const { code, reason, retryable, store, key, cure, retryAfterMs } = problem as Readonly<Record<string, unknown>>;
  if (typeof code !== "string" || !Object.hasOwn(STATUS, code) || typeof reason !== "string") {
    return new SyncError("UNAVAILABLE", "the answer is not that of a node", place);
  }
  // A node that is stopping is to its client a store that cannot be asked now.
  const own = code === "CLOSED" || code === "ABORTED" ? "UNAVAILABLE" : (code as ErrorCode);
  const where = typeof store === "string" && store !== "" ? `${store}: ` : "";
  return new SyncError(own, `${where}${reason}`, {
    ...place,
    ...(typeof key === "string" ? { key } : {}),
    ...(typeof cure === "string" ? { cure } : {}),
    ...(typeof retryable === "boolean" && own === code ? { retryable } : {}),
    ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}),
  });
}

export function resultHead(key: string, result: WriteResult): { head: ResultHead; part: Uint8Array | undefined } {
  if (result.status === "failed")
    return { head: { status: "failed", error: problemOf(result.error) }, part: undefined };
  if (result.status !== "conflict") return { head: result, part: undefined };
  const part = result.current === undefined ? undefined : encodeEntry(result.current);
  return { head: { status: "conflict", key, bytes: part?.length }, part };
}
