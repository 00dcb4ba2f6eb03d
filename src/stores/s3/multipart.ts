import { SyncError } from "../../error.ts";
import { randomBelow } from "../../runtime.ts";
import { NOT_MET, conditionOf, head, put } from "./bucket.ts";
import type { Conditions, Over } from "./bucket.ts";
import type { Call } from "./call.ts";
import type { Client } from "./client.ts";
import { strangeOf } from "./failures.ts";
import { unquoted } from "./object.ts";
import { Slots } from "./slots.ts";
import { parseXml, textOf } from "./xml.ts";

/** S3 takes no smaller part but the last, and no more than 10,000 of them. */
export const PART_BYTES_MIN = 5 * 1024 * 1024;
export const PARTS_MAX = 10_000;
/** How many parts of one body are under way at once: what is held in memory is this and one more. */
const PARTS_AT_ONCE = 2;
const PART_JITTER_BYTES = 1024 * 1024;

export interface StreamPut {
  readonly name: string;
  readonly key?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** What must be true of the object for the upload to take effect. */
  readonly over: Over;
  readonly conditions: Conditions;
  /** Of a part, at least 5 MiB. Up to 1 MiB is added by chance, so that two uploads of the same bytes differ in ETag. */
  readonly partBytes: number;
  /**
   * Called right before the object appears, where the endpoint decides no condition on that: false gives it up. What
   * others write between this and the object appearing is lost.
   */
  readonly stillMet?: (() => Promise<boolean>) | undefined;
}

/** What a body stored; undefined when the condition did not hold. */
export type StreamStored = { readonly etag: string; readonly bytes: number; readonly parts: number } | undefined;

/**
 * Stores a body as it comes, of known or unknown length, holding at most a few parts of it in memory. A body that fits
 * one part is one PUT. When it fails, for whatever reason, what was uploaded is taken back.
 */
export async function putStream(
  client: Client,
  call: Call,
  target: StreamPut,
  body: AsyncIterable<Uint8Array>,
): Promise<StreamStored> {
  const partBytes = target.partBytes + randomBelow(client.runtime, PART_JITTER_BYTES);
  const free: Uint8Array[] = [];
  const source = partsOf(body, partBytes, free);
  try {
    const first = await source.next();
    const start = first.done === true ? new Uint8Array(0) : first.value;
    const second = await source.next();
    if (second.done === true) {
      const { name, key, headers, over, conditions } = target;
      const etag = await put(client, call, { name, key, body: start }, headers, over, conditions);
      return etag === undefined ? undefined : { etag, bytes: start.length, parts: 1 };
    }
    return await upload(client, call, target, [start, second.value], source, free);
  } finally {
    await source.return(undefined);
  }
}

async function upload(
  client: Client,
  call: Call,
  target: StreamPut,
  begun: Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
  free: Uint8Array[],
): Promise<StreamStored> {
  const { name, key } = target;
  const headers = { ...target.headers, "x-amz-meta-sync-form": "parts" };
  const created = await client.send(call, { method: "POST", name, key, query: { uploads: "" }, headers, takes: [200] });
  const id = textOf(parseXml(new TextDecoder().decode(created.body)), "UploadId");
  const where = { store: client.name, operation: call.operation, key };
  if (id === undefined || id === "") throw strangeOf("a multipart upload got no name", where);
  const etags: string[] = [];
  const slots = new Slots(PARTS_AT_ONCE);
  let bytes = 0;
  try {
    const send = async (part: Uint8Array) => {
      const number = etags.push("");
      if (number > PARTS_MAX) {
        const cure = "use larger parts: raise multipartBytes";
        throw new SyncError("TOO_LARGE", `the body has more than ${PARTS_MAX} parts`, { ...where, cure });
      }
      bytes += part.length;
      await slots.begin(async () => {
        const query = { partNumber: String(number), uploadId: id };
        const { headers } = await client.send(call, { method: "PUT", name, key, query, body: part, takes: [200] });
        etags[number - 1] = headers["etag"] ?? "";
        free.push(part); // the server has it
      });
    };
    for (const part of begun.splice(0)) await send(part);
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) await send(next.value);
    await slots.idle();
    if (target.stillMet !== undefined && !(await target.stillMet())) {
      await abandon(client, call, name, id);
      return undefined;
    }
    const etag = await complete(client, call, target, id, etags);
    if (etag === undefined) {
      await abandon(client, call, name, id);
      return undefined;
    }
    return { etag, bytes, parts: etags.length };
  } catch (error) {
    await slots.idle().catch(() => {}); // a part that lands after the end would stay
    await abandon(client, call, name, id);
    throw error;
  }
}

async function complete(
  client: Client,
  call: Call,
  { name, key, over, conditions }: StreamPut,
  id: string,
  etags: readonly string[],
): Promise<string | undefined> {
  const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escaped(etag)}</ETag></Part>`);
  const { status, body } = await client.send(call, {
    method: "POST",
    name,
    key,
    query: { uploadId: id },
    headers: { "content-type": "application/xml", ...conditionOf(over, conditions) },
    body: new TextEncoder().encode(`<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`),
    takes: [200, ...NOT_MET],
  });
  if (status !== 200) return undefined;
  const root = parseXml(new TextDecoder().decode(body));
  const etag = textOf(root, "ETag");
  // S3 begins to answer 200 before it knows, and may end with an error document.
  if (root?.name !== "CompleteMultipartUploadResult" || etag === undefined) {
    const where = { store: client.name, operation: call.operation, key };
    throw strangeOf("a multipart upload was not completed", where);
  }
  if (etag !== "") return unquoted(etag);
  // Ceph completes it and may leave out the ETag.
  const made = await head(client, call, name, key);
  return unquoted(made?.headers["etag"] ?? "");
}

/** Takes back what was uploaded, also when the call that did it has run out of time. */
async function abandon(client: Client, call: Call, name: string, id: string): Promise<void> {
  const late: Call = { ...call, options: {}, check: () => {}, onStop: () => () => {} };
  try {
    await client.send(late, { method: "DELETE", name, query: { uploadId: id }, takes: [200, 204, 404] });
  } catch {
    // The error that led here is the one to tell. What is left behind is listed by every S3 tool, and by a rule of the
    // bucket removed.
  }
}

function escaped(etag: string): string {
  return etag.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

/**
 * The bytes of a body in pieces of `bytes`, the last one shorter.
 *
 * @param free Pieces that are not needed any more, to be filled again: waiting for the garbage collector takes memory.
 */
async function* partsOf(
  body: AsyncIterable<Uint8Array>,
  bytes: number,
  free: Uint8Array[],
): AsyncGenerator<Uint8Array> {
  const empty = () => free.pop() ?? new Uint8Array(bytes);
  let part = empty();
  let filled = 0;
  for await (let chunk of body) {
    while (chunk.length > 0) {
      const taken = chunk.subarray(0, bytes - filled);
      part.set(taken, filled);
      filled += taken.length;
      chunk = chunk.subarray(taken.length);
      if (filled < bytes) continue;
      yield part;
      part = empty();
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}
