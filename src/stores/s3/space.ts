import { createHash } from "node:crypto";
import { boundsOf, isPart, wrongBytes } from "../../body.ts";
import type { Body } from "../../body.ts";
import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { head } from "./bucket.ts";
import { callOf } from "./call.ts";
import type { Call } from "./call.ts";
import type { Client } from "./client.ts";
import { placed } from "./failures.ts";
import type { Where } from "./failures.ts";
import type { Facts } from "./facts.ts";
import { gzipBytesMax } from "./gzip.ts";
import { keyOf, nameOf } from "./names.ts";
import { entryOf, foundOf } from "./object.ts";
import type { Found } from "./object.ts";
import type { Abilities } from "./probe.ts";
import { getRanges, getStream, isReplaced } from "./ranges.ts";
import type { RangeSource } from "./ranges.ts";
import type { Slots, Turns } from "./slots.ts";
import type { Watermark } from "./watermark.ts";

/** What every verb of one store works with. */
export interface Space {
  readonly client: Client;
  readonly runtime: Runtime;
  /** Before every name. */
  readonly prefix: string;
  readonly abilities: Abilities;
  readonly watermark: Watermark;
  readonly facts: Facts;
  /** Requests for keys that are under way, of all calls together. */
  readonly slots: Slots;
  /** One write at a time of a key. */
  readonly turns: Turns;
  /** Whether the key that was asked for last was not there: then the next is guessed to be new. */
  readonly expects: { nothing: boolean };
  readonly limits: SpaceLimits;
}

export interface SpaceLimits {
  readonly concurrency: number;
  readonly valueBytesMax: number;
  /** From this size on a body goes up and down in parts. */
  readonly multipartBytes: number;
  readonly partBytes: number;
}

export function objectName({ prefix }: Space, key: string): string {
  return prefix + nameOf(key);
}

/** The key of a name in the bucket; undefined for what is none of this store's. */
export function keyAt({ prefix }: Space, name: string): string | undefined {
  return keyOf(name.slice(prefix.length));
}

export function whereOf({ client }: Space, call: Call, key: string): Where {
  return { store: client.name, operation: call.operation, key };
}

/** What there is of the key, by one HEAD; undefined for nothing. Graves are told. */
export async function look(space: Space, call: Call, key: string, name: string): Promise<Found | undefined> {
  const at = space.runtime.monotonic();
  const reply = await head(space.client, call, name, key);
  const found = reply === undefined ? undefined : foundOf(key, reply.headers, whereOf(space, call, key));
  space.facts.set(name, found, at);
  return found;
}

/** What a key has: its entry, and the body in place of a value that is too large to be brought at once. */
export interface Fetched {
  readonly found: Found;
  readonly entry: Entry;
  readonly body?: Body | undefined;
}

/**
 * The entry of a key and what was found of it, by one GET, or several of a large value. Graves count as nothing.
 * @param wholeBytesMax A larger value is not brought.
 */
export async function fetchEntry(
  space: Space,
  call: Call,
  key: string,
  name: string,
  wholeBytesMax = space.limits.valueBytesMax,
): Promise<Fetched | undefined> {
  const { client, facts, runtime, limits } = space;
  const where = whereOf(space, call, key);
  const at = runtime.monotonic();
  const asking = { method: "GET", name, key, takes: [200, 404] } as const;
  const got = await client.stream(call, asking, async (answer, extend) => {
    if (answer.status === 404) {
      answer.drop();
      return undefined;
    }
    const found = foundOf(key, answer.headers, where);
    if (found.head.state === "value" && found.form !== "gzip" && found.bytes > wholeBytesMax) {
      answer.drop();
      return { found, body: "apart" as const };
    }
    if (found.form === "gzip" && found.bytes > gzipBytesMax(limits.valueBytesMax)) {
      answer.drop();
      const what = `the value has ${found.bytes} bytes, the limit is ${limits.valueBytesMax}`;
      throw new SyncError("TOO_LARGE", what, { ...placed(where), cure: "raise valueBytesMax" });
    }
    if (found.bytes >= limits.multipartBytes && found.head.state === "value") {
      answer.drop();
      return { found, body: undefined };
    }
    extend(found.bytes);
    const body = await answer.whole(found.bytes);
    if (body?.length !== found.bytes) throw short(where);
    return { found, body };
  });
  facts.set(name, got?.found, at);
  if (got === undefined || got.found.grave) return undefined;
  const { found } = got;
  if (got.body === "apart") {
    const entry: Entry = { ...found.head, state: "stub", value: null };
    return { found, entry, body: bodyOf(space, key, name, found) };
  }
  const body = got.body ?? (await getRanges(client, call, { name, key, etag: found.etag }, found.bytes));
  return { found, entry: entryOf(found, body, limits.valueBytesMax, where) };
}

/** An object in pieces, as long as it is the one that was found. */
function bodyOf({ client, runtime }: Space, key: string, name: string, { bytes, sha256, etag }: Found): Body {
  return {
    size: bytes,
    sha256,
    content(range, options) {
      const { from, to } = boundsOf(range, bytes);
      return piecesOf(client, callOf(runtime, client.name, "read", options), { name, key, etag }, from, to, {
        bytes,
        sha256: isPart(range, bytes) ? undefined : sha256,
      });
    },
  };
}

async function* piecesOf(
  client: Client,
  call: Call,
  source: RangeSource,
  start: number,
  end: number,
  { bytes, sha256 }: { readonly bytes: number; readonly sha256: string | undefined },
): AsyncIterable<Uint8Array> {
  const hash = createHash("sha256");
  let given = 0;
  try {
    for await (const piece of getStream(client, call, source, { start, end })) {
      given += piece.length;
      if (sha256 !== undefined) hash.update(piece);
      yield piece;
    }
  } catch (error) {
    // What stands there now is another version.
    if (!(error instanceof SyncError) || !isReplaced(error)) throw error;
    throw new SyncError("NOT_FOUND", error.what, {
      ...placed({ store: client.name, operation: "read", key: source.key }),
    });
  } finally {
    call.end();
  }
  if (given !== Math.min(bytes, end) - start || (sha256 !== undefined && hash.digest("hex") !== sha256)) {
    throw wrongBytes({ store: client.name, ...(source.key === undefined ? {} : { key: source.key }) });
  }
}

function short(where: Where): SyncError {
  return new SyncError("UNAVAILABLE", "the answer has not as many bytes as it says", placed(where));
}
