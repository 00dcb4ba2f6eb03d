import { BODY_BYTES_MIN, after, beginningOf, boundsOf, joined } from "../body.ts";
import type { Body } from "../body.ts";
import { forCaller } from "../caller.ts";
import { BYTES_TYPE } from "../codec/content-type.ts";
import { checkKey } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { CallOptions } from "../store.ts";
import { ackOptions, conditionOf, expiryOf, metaOf, readOptions } from "./call.ts";
import type { Engine } from "./engine.ts";
import type { Lens } from "./lens.ts";
import { askBodies } from "./reading.ts";
import type { Live } from "./reading.ts";
import type { ByteSource, FoundStream, GetStreamOptions, SetStreamOptions, Written } from "./types.ts";
import { writeDraft } from "./writing.ts";
import type { Draft } from "./writing.ts";

/** What is brought together for a chain whose source of truth takes no streams, in bytes, at most. */
const COLLECTED_BYTES_MAX = 16 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;

/**
 * Writes what a source gives. Up to {@link BODY_BYTES_MIN} it is a value like any; what is longer goes into a file first,
 * so that the layers can read it as often and as slowly as they do, and nothing half is ever written to one.
 */
export async function setStream(
  engine: Engine,
  lens: Lens,
  key: string,
  source: ByteSource,
  options: SetStreamOptions = {},
): Promise<Written> {
  const { chain, runtime } = engine;
  checkKey(key);
  if (lens.schema !== undefined) {
    const cure = "set it whole, or use a namespace without a schema";
    throw new SyncError("UNSUPPORTED", "a schema judges whole values", { operation: "setStream", key, cure });
  }
  const condition = conditionOf(options, key);
  const call = ackOptions(chain, runtime, options);
  const expires = expiryOf(runtime, options);
  const meta = metaOf(options.meta, options.contentType ?? BYTES_TYPE);
  const draft = { key, state: "stub", value: null, expires, meta } as const;
  const pieces = given(engine, key, source, call);
  try {
    const takesStreams = chain.supports.streamBytesMax > 0;
    const begun = await beginningOf(pieces, takesStreams ? BODY_BYTES_MIN : COLLECTED_BYTES_MAX);
    if (begun.isAll) {
      const value: Draft = { ...draft, state: "value", value: joined(begun.pieces) };
      return await writeDraft(engine, value, condition, call, "setStream");
    }
    if (!takesStreams) {
      throw new SyncError("TOO_LARGE", `the value has more than ${COLLECTED_BYTES_MAX} bytes`, {
        operation: "setStream",
        key,
        cure: "the source of truth of this chain takes no streams: split the value, or use lmdb, S3, or git with LFS",
      });
    }
    const spooled = await chain.spool(after(begun.pieces, pieces), call);
    try {
      return await writeDraft(engine, draft, condition, call, "setStream", spooled.body);
    } finally {
      spooled.release();
    }
  } finally {
    pieces.return?.().catch(() => undefined); // it may hang, and nobody waits for it any more
  }
}

/** A source's pieces, each waited for no longer than the call may take. */
async function* given(
  { runtime, chain }: Engine,
  key: string,
  source: ByteSource,
  call: CallOptions,
): AsyncGenerator<Uint8Array, void> {
  const iterator = iteratorOf(source);
  let ended = false;
  try {
    for (;;) {
      const next = await forCaller(iterator.next(), call, runtime, chain.name, "setStream");
      if (next.done === true) {
        ended = true;
        return;
      }
      if (!(next.value instanceof Uint8Array)) {
        throw new SyncError("INVALID", "a stream gives pieces of bytes", {
          operation: "setStream",
          key,
          cure: "give Uint8Arrays; encode text first",
        });
      }
      yield next.value;
    }
  } finally {
    if (!ended) iterator.return?.()?.catch(() => undefined);
  }
}

function iteratorOf(source: ByteSource): AsyncIterator<Uint8Array> {
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
  const reader = source.getReader();
  return {
    async next() {
      const { done, value } = await reader.read();
      return done || value === undefined ? { done: true, value: undefined } : { done: false, value };
    },
    async return() {
      await reader.cancel();
      return { done: true, value: undefined };
    },
  };
}

export async function getStream(
  engine: Engine,
  key: string,
  options: GetStreamOptions | undefined,
): Promise<FoundStream | undefined> {
  boundsOf(options?.range, 0);
  const live = await askBodies(engine, key, options, BODY_BYTES_MIN);
  if (live === undefined) return undefined;
  const { entry, body, from, asOf, stale } = live;
  const size = body?.size ?? entry.value?.length ?? 0;
  const { from: start, to: end } = boundsOf(options?.range, size);
  const ageMs = engine.runtime.now() - asOf;
  const call = readOptions(engine.runtime, options);
  return {
    stream: body === undefined ? piecesOf(entry, start, end) : insisting(engine, live, body, options, call),
    size,
    start,
    end,
    version: entry.version,
    expires: entry.expires,
    meta: entry.meta,
    layer: from,
    ageMs: ageMs < 0 ? undefined : ageMs,
    stale,
  };
}

async function* piecesOf({ value }: Entry, start: number, end: number): AsyncIterable<Uint8Array> {
  if (value === null) return;
  for (let at = start; at < end; at += PIECE_BYTES) yield value.slice(at, Math.min(end, at + PIECE_BYTES));
}

/** What the answer came from may lose it before the first byte is read: then whoever has it now is asked. */
async function* insisting(
  engine: Engine,
  { entry }: Live,
  body: Body,
  options: GetStreamOptions | undefined,
  call: CallOptions,
): AsyncIterable<Uint8Array> {
  let given = false;
  try {
    for await (const piece of body.content(options?.range, call)) {
      given = true;
      yield piece;
    }
    return;
  } catch (error) {
    if (given || !(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
  }
  const { key, version } = entry;
  const again = await askBodies(engine, key, options, BODY_BYTES_MIN);
  if (again?.entry.version !== version) {
    const cure = "read it again";
    throw new SyncError("UNAVAILABLE", "the value was replaced before it was read", {
      operation: "getStream",
      key,
      cure,
    });
  }
  const { from, to } = boundsOf(options?.range, body.size);
  yield* again.body === undefined ? piecesOf(again.entry, from, to) : again.body.content(options?.range, call);
}
