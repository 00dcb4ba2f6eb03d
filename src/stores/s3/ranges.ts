import type { ByteRange } from "../../body.ts";
import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Call } from "./call.ts";
import type { Client, Reply } from "./client.ts";
import { placed, strangeOf } from "./failures.ts";
import { unquoted } from "./object.ts";

/** How much one request asks for when all of an object is wanted in memory. */
export const RANGE_BYTES = 8 * 1024 * 1024;
/** The same of a stream: what a reader who is slow holds in memory. */
const STREAM_RANGE_BYTES = 2 * 1024 * 1024;
const RANGES_AT_ONCE = 4;

export interface RangeSource {
  readonly name: string;
  readonly key?: string | undefined;
  /** The object must have this ETag. Default: the one it has when the reading begins. */
  readonly etag?: string | undefined;
}

/**
 * The bytes of an object as they come, at most {@link STREAM_RANGE_BYTES} of them in memory. A request that breaks is repeated
 * from where it began.
 *
 * @throws SyncError NOT_FOUND for an object that is not there, UNAVAILABLE for one that was replaced meanwhile.
 */
export async function* getStream(
  client: Client,
  call: Call,
  source: RangeSource,
  { start = 0, end = Infinity }: ByteRange = {},
): AsyncGenerator<Uint8Array> {
  let { etag } = source;
  let until = end;
  for (let at = start; at < until;) {
    const reply = await range(client, call, { ...source, etag }, at, Math.min(until, at + STREAM_RANGE_BYTES));
    if (reply === undefined) return;
    etag = unquoted(reply.headers["etag"] ?? "");
    until = Math.min(until, totalOf(client, call, source, reply));
    at += reply.body.length;
    yield reply.body;
  }
}

/** A whole object of known size and ETag, in several requests at once. */
export async function getRanges(client: Client, call: Call, source: RangeSource, bytes: number): Promise<Uint8Array> {
  const whole = new Uint8Array(bytes);
  const starts = Array.from({ length: Math.ceil(bytes / RANGE_BYTES) }, (_, i) => i * RANGE_BYTES);
  await inParallel(starts, RANGES_AT_ONCE, async (start) => {
    const end = Math.min(bytes, start + RANGE_BYTES);
    const reply = await range(client, call, source, start, end);
    if (reply?.body.length !== end - start) throw changed(client, call, source);
    whole.set(reply.body, start);
  });
  return whole;
}

/** Undefined when the object ends before `start`. */
async function range(
  client: Client,
  call: Call,
  { name, key, etag }: RangeSource,
  start: number,
  end: number,
): Promise<Reply | undefined> {
  const reply = await client.send(call, {
    method: "GET",
    name,
    key,
    headers: { range: `bytes=${start}-${end - 1}` },
    takes: [206, 404, 416],
    bytesMax: Math.max(end - start, 64 * 1024),
  });
  if (reply.status === 416) return undefined;
  if (reply.status === 404) {
    const where = placed({ store: client.name, operation: call.operation, key });
    throw new SyncError("NOT_FOUND", "there is no such object", { ...where, cure: "it was removed" });
  }
  if (etag !== undefined && unquoted(reply.headers["etag"] ?? "") !== etag) throw changed(client, call, { name, key });
  return reply;
}

function totalOf(client: Client, call: Call, { key }: RangeSource, { headers }: Reply): number {
  const [, total] = /^bytes \d+-\d+\/(\d{1,15})$/.exec(headers["content-range"] ?? "") ?? [];
  if (total !== undefined) return Number(total);
  throw strangeOf("an answer does not say which bytes it has", { store: client.name, operation: call.operation, key });
}

function changed(client: Client, call: Call, { key }: RangeSource): SyncError {
  const where = placed({ store: client.name, operation: call.operation, key });
  return new SyncError("UNAVAILABLE", REPLACED, { ...where, cure: "read it again" });
}

const REPLACED = "the object was replaced while it was read";

export function isReplaced({ what }: SyncError): boolean {
  return what === REPLACED;
}
