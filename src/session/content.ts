import type { Body } from "../body.ts";
import { canonicalMeta, isDead } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import type { Answer, CallOptions, ReadOptions, Store } from "../store.ts";
import type { Version } from "../version.ts";

/** A value as it was read: its bytes, or a body beside a stub. */
export interface Value {
  readonly entry: Entry;
  readonly body: Body | undefined;
  readonly asOf: number;
}

/** What a store has of a key: a value, no value, or why that is not known. */
export type Reading = Value | "none" | SyncError;

/**
 * Reads many keys. What one key spoils for the others of its call is read again in halves; a store that does not answer is
 * not asked again here.
 */
export async function readMany(
  store: Store,
  wanted: ReadonlyMap<string, Version | undefined>,
  options: () => ReadOptions,
  now: number,
): Promise<Map<string, Reading>> {
  const readings = new Map<string, Reading>();
  const keys = [...wanted.keys()];
  const { batchMax } = store.supports;
  for (let at = 0; at < keys.length; at += batchMax) await some(keys.slice(at, at + batchMax));
  return readings;

  async function some(part: readonly string[]): Promise<void> {
    const known = part.flatMap((key) => {
      const version = wanted.get(key);
      return version === undefined ? [] : [[key, version] as const];
    });
    let answers: Answer[];
    try {
      answers = await store.read(part, { ...options(), atLeast: new Map(known) });
    } catch (thrown) {
      const error = asSyncError(thrown, { store: store.name, operation: "read" });
      if (part.length === 1 || endsAll(error)) {
        for (const key of part) readings.set(key, error);
        return;
      }
      const half = Math.ceil(part.length / 2);
      await some(part.slice(0, half));
      await some(part.slice(half));
      return;
    }
    for (const [i, key] of part.entries()) readings.set(key, readingOf(store, key, answers[i], now));
  }
}

/** Whether the same would be said of every key. */
export function endsAll(error: SyncError): boolean {
  return error.retryable || ["ABORTED", "CLOSED", "UNAUTHORISED", "READONLY", "TIMEOUT"].includes(error.code);
}

function readingOf(store: Store, key: string, answer: Answer | undefined, now: number): Reading {
  if (answer === undefined || answer.stale || !answer.complete) {
    const cure = "try again when every layer answers";
    return new SyncError("UNAVAILABLE", "the newest is not known", { store: store.name, operation: "read", key, cure });
  }
  const { entry, body, asOf } = answer;
  if (entry === undefined || isDead(entry, now)) return "none";
  if (entry.state === "value" || body !== undefined) return { entry, body, asOf };
  return new SyncError("UNAVAILABLE", "the store has a stub without its value", { store: store.name, key });
}

export function sizeOf({ entry, body }: Value): number {
  return body?.size ?? entry.value?.length ?? 0;
}

/** Whether two values have the same bytes, metadata and expiry. Large ones are compared by checksum, else piece by piece. */
export async function isSameContent(a: Value, b: Value, options: CallOptions): Promise<boolean> {
  if (sizeOf(a) !== sizeOf(b) || a.entry.expires !== b.entry.expires) return false;
  if (canonicalMeta(a.entry.meta) !== canonicalMeta(b.entry.meta)) return false;
  if (a.body?.sha256 !== undefined && b.body?.sha256 !== undefined) return a.body.sha256 === b.body.sha256;
  return isSameStream(piecesOf(a, options), piecesOf(b, options));
}

async function* piecesOf({ entry, body }: Value, options: CallOptions): AsyncGenerator<Uint8Array, void> {
  if (body === undefined) yield entry.value ?? new Uint8Array();
  else yield* body.content(undefined, options);
}

async function isSameStream(
  a: AsyncGenerator<Uint8Array, void>,
  b: AsyncGenerator<Uint8Array, void>,
): Promise<boolean> {
  let [x, y] = [new Uint8Array(), new Uint8Array()];
  try {
    for (;;) {
      x = x.length > 0 ? x : await nextPiece(a);
      y = y.length > 0 ? y : await nextPiece(b);
      const length = Math.min(x.length, y.length);
      if (length === 0) return x.length === y.length;
      for (let i = 0; i < length; i++) if (x[i] !== y[i]) return false;
      [x, y] = [x.subarray(length), y.subarray(length)];
    }
  } finally {
    await Promise.all([a.return(), b.return()]);
  }
}

/** Empty at the end only. */
async function nextPiece(pieces: AsyncGenerator<Uint8Array, void>): Promise<Uint8Array<ArrayBuffer>> {
  for (;;) {
    const next = await pieces.next();
    if (next.done === true) return new Uint8Array();
    if (next.value.length > 0) return next.value as Uint8Array<ArrayBuffer>;
  }
}
