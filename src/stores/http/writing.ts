import { SyncError, asSyncError } from "../../error.ts";
import { HEADER, encodeEntry, encodeMessage, entryReader, errorOf } from "../../protocol.ts";
import type { ResultHead, ResultsHead, WriteHead } from "../../protocol.ts";
import { STORED, TOO_OLD, failed } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import { isVersion } from "../../version.ts";
import type { Call, NodeClient } from "./client.ts";
import { understood } from "./understood.ts";

export interface WriterOptions {
  readonly client: NodeClient;
  readonly store: string;
  readonly now: () => number;
  /** How many bytes of envelopes go into one request; a larger one goes alone. */
  readonly requestBytesMax: number;
}

/** Of a request's limit, what the head may take for each write beside its key. */
const HEAD_BYTES = 160;

/**
 * Writes in requests of a bounded size, one after the other, so that writes of one key take effect in their order.
 * @param results those that are decided already are left as they are; the others are filled in.
 * @throws SyncError when the first request failed; what fails after it is the result of its writes.
 */
export async function writeAll(
  options: WriterOptions,
  writes: readonly Write[],
  results: (WriteResult | undefined)[],
  call: Call,
): Promise<WriteResult[]> {
  let isFirst = true;
  for (const group of groupsOf(writes, results, options.requestBytesMax)) {
    try {
      const done = await send(options, group, call);
      for (const [i, { place }] of group.entries()) results[place] = done[i];
    } catch (thrown) {
      if (isFirst) throw thrown;
      const error = asSyncError(thrown, { store: options.store, operation: "write" });
      for (const { place } of group) results[place] = failed(error);
    }
    isFirst = false;
  }
  return results.map((result) => result ?? failed(noResult(options.store)));
}

interface Sent {
  readonly write: Write;
  /** Among the writes of the call. */
  readonly place: number;
  readonly envelope: Uint8Array | undefined;
}

function* groupsOf(
  writes: readonly Write[],
  results: readonly (WriteResult | undefined)[],
  bytesMax: number,
): Iterable<readonly Sent[]> {
  let group: Sent[] = [];
  let bytes = 0;
  for (const [place, write] of writes.entries()) {
    if (results[place] !== undefined) continue;
    const isStream = write.body !== undefined;
    const envelope = isStream ? undefined : encodeEntry(write.entry);
    const cost = (envelope?.length ?? 0) + 6 * write.entry.key.length + HEAD_BYTES;
    if (group.length > 0 && (isStream || bytes + cost > bytesMax)) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push({ write, place, envelope });
    bytes += cost;
    if (isStream) {
      yield group;
      [group, bytes] = [[], 0];
    }
  }
  if (group.length > 0) yield group;
}

async function send(options: WriterOptions, group: readonly Sent[], call: Call): Promise<WriteResult[]> {
  const [only] = group;
  if (only?.write.body !== undefined) return [await sendStream(options, only.write, call)];
  const sentAt = options.now();
  const head: WriteHead = {
    op: "write",
    writes: group.map(({ write: { entry, asOf, if: condition }, envelope }) => {
      return { key: entry.key, bytes: envelope?.length ?? 0, ageMs: sentAt - asOf, if: condition };
    }),
  };
  const body = encodeMessage(
    head,
    group.flatMap(({ envelope }) => envelope ?? []),
  );
  // Whether a condition held is asked once: the answer to a second asking may be about what came of the first.
  const repeatable = group.every(({ write }) => write.if === undefined);
  return resultsOf(options, { method: "POST", path: "batch", body, repeatable }, group.length, call);
}

async function resultsOf(
  { client, store }: WriterOptions,
  asked: Parameters<NodeClient["messages"]>[0],
  count: number,
  call: Call,
): Promise<WriteResult[]> {
  for await (const { head, parts } of client.messages(asked, call)) {
    return understood({ store, operation: "write" }, () => {
      const { results } = head as ResultsHead;
      const next = entryReader(parts);
      if (results.length !== count)
        throw new SyncError("INVALID", `${results.length} results came for ${count} writes`);
      return results.map((result) => resultOf(result, next, store));
    });
  }
  throw noResult(store);
}

function resultOf(result: ResultHead, next: ReturnType<typeof entryReader>, store: string): WriteResult {
  switch (result.status) {
    case "stored":
      return STORED;
    case "too-old":
      return TOO_OLD;
    case "superseded":
      if (isVersion(result.by)) return { status: "superseded", by: result.by };
      break;
    case "conflict":
      return { status: "conflict", current: result.bytes === undefined ? undefined : next(result.key, result.bytes) };
    case "failed":
      return failed(errorOf(result.error, { store, operation: "write" }));
  }
  return failed(noResult(store));
}

/** A value that comes as a stream goes as one. */
async function sendStream(options: WriterOptions, write: Write, call: Call): Promise<WriteResult> {
  const { entry, asOf, body, if: condition } = write;
  if (body === undefined) throw noResult(options.store);
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    "content-length": String(body.size),
    [HEADER.version]: entry.version,
    [HEADER.ageMs]: String(options.now() - asOf),
  };
  if (entry.expires !== null) headers[HEADER.expires] = String(entry.expires);
  if (condition !== undefined) headers[HEADER.condition] = condition;
  if (body.sha256 !== undefined) headers[HEADER.sha256] = body.sha256;
  for (const [name, value] of Object.entries(entry.meta)) headers[HEADER.meta + name] = encodeURIComponent(value);
  const path = `stream?key=${encodeURIComponent(entry.key)}`;
  try {
    const asked = { method: "PUT", path, headers, body: body.content(undefined, call) } as const;
    const [result] = await resultsOf(options, asked, 1, call);
    return result ?? failed(noResult(options.store));
  } catch (error) {
    return failed(asSyncError(error, { store: options.store, operation: "write", key: entry.key }));
  }
}

function noResult(store: string): SyncError {
  return new SyncError("UNAVAILABLE", "the answer has no result for a write", { store, operation: "write" });
}
