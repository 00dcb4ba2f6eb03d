import { isDead } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import { MESSAGE_TYPE, encodeEntry, encodeMessage, problemOf, wireHead } from "../protocol.ts";
import type { ListHead, ListedHead, Problem, WireHead } from "../protocol.ts";
import type { ListOptions, Listed } from "../store.ts";
import { SAFE, json, message, streamOf } from "./answering.ts";
import { toBase64 } from "./base64.ts";
import { allowPrefix, allowVerb } from "./grants.ts";
import { wholeNumber } from "./state.ts";
import type { Call } from "./state.ts";

const UTF8 = new TextEncoder();
/** How much of a list goes into one message, in items and in bytes of values. */
const MESSAGE_ITEMS = 500;
const MESSAGE_BYTES = 512 * 1024;

type ListedEntry = Extract<Listed, { kind: "entry" }>;

/** GET /v1/kv?prefix=…: JSON, NDJSON or, for other nodes, messages. */
export async function listKeys(call: Call): Promise<Response> {
  const { url, request, state } = call;
  allowVerb(call.grant, "read");
  const prefix = url.searchParams.get("prefix") ?? "";
  allowPrefix(call.grant, prefix);
  const accept = request.headers.get("accept") ?? "";
  const limit = wholeNumber("limit", url.searchParams.get("limit"), Number.MAX_SAFE_INTEGER);
  const after = url.searchParams.get("after") ?? url.searchParams.get("cursor") ?? undefined;
  if (accept.includes(MESSAGE_TYPE)) return message(streamOf(messages(call, { prefix, limit, after })));
  const withValues = url.searchParams.get("values") === "1";
  const options: PageOptions = {
    prefix,
    after,
    withValues,
    dead: url.searchParams.get("deleted") === "1",
    limit: limit ?? Number.POSITIVE_INFINITY,
  };
  if (accept.includes("application/x-ndjson")) {
    const type = { "content-type": "application/x-ndjson" };
    return new Response(streamOf(lines(call, options)), { headers: { ...SAFE, ...type } });
  }
  return json(await page(call, { ...options, limit: Math.min(options.limit, state.limits.pageMax) }));
}

interface PageOptions {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly withValues: boolean;
  /** Tombstones and expired entries too. */
  readonly dead: boolean;
  readonly limit: number;
}

interface Row extends WireHead {
  readonly key: string;
  readonly value?: string;
}

type Found = { readonly row: Row } | { readonly partial: { readonly from: string; readonly error: Problem } };

/** What people are shown: keys with a value, unless they ask for the others too. */
async function* rows(
  { state, patience }: Call,
  { prefix, after, withValues, dead }: PageOptions,
): AsyncIterable<Found> {
  const { chain, runtime } = state;
  const detail = withValues ? "values" : "entries";
  for await (const item of chain.list({ prefix }, { after, detail, ...patience })) {
    if (item.kind === "partial") {
      yield { partial: { from: item.from, error: problemOf(item.error) } };
      continue;
    }
    const { key, head, value } = item;
    const now = runtime.now();
    if (head === null || (!dead && isDead(head, now))) continue;
    const shown = { key, ...wireHead(head, now) };
    yield { row: withValues && value !== null ? { ...shown, value: toBase64(value) } : shown };
  }
}

async function page(call: Call, options: PageOptions) {
  const keys: Row[] = [];
  const partial: unknown[] = [];
  for await (const found of rows(call, options)) {
    if ("partial" in found) partial.push(found.partial);
    else if (keys.length < options.limit) keys.push(found.row);
    else return { keys, cursor: keys.at(-1)?.key ?? null, partial };
  }
  return { keys, cursor: null, partial };
}

/** Ends with a line that says so: a list that broke off has none. */
async function* lines(call: Call, options: PageOptions): AsyncIterable<Uint8Array> {
  const line = (value: unknown) => UTF8.encode(`${JSON.stringify(value)}\n`);
  let last: string | null = null;
  let left = options.limit;
  try {
    for await (const found of rows(call, options)) {
      if ("row" in found) {
        if (left-- <= 0) return yield line({ end: true, cursor: last });
        last = found.row.key;
        yield line(found.row);
      } else yield line({ partial: found.partial });
    }
    yield line({ end: true, cursor: null });
  } catch (error) {
    yield line({ error: problemOf(asSyncError(error)) });
  }
}

/** The whole of a list, tombstones and all, for a client that is a store. */
async function* messages(
  { state, url, patience }: Call,
  { prefix, limit, after }: { prefix: string; limit: number | undefined; after: string | undefined },
): AsyncIterable<Uint8Array> {
  const now = () => state.runtime.now();
  const detail = detailOf(url.searchParams.get("detail"));
  const wholeBytesMax = wholeNumber("wholeBytesMax", url.searchParams.get("wholeBytesMax"), Number.MAX_SAFE_INTEGER);
  let items: ListedHead[] = [];
  let parts: Uint8Array[] = [];
  let bytes = 0;
  const take = (head: Omit<ListHead, "items">) => {
    const message = encodeMessage({ items, ...head } satisfies ListHead, parts);
    [items, parts, bytes] = [[], [], 0];
    return message;
  };
  try {
    const options: ListOptions = {
      after,
      detail,
      limit,
      ...patience,
      ...(wholeBytesMax === undefined ? {} : { wholeBytesMax }),
    };
    for await (const item of state.chain.list({ prefix }, options)) {
      if (item.kind === "partial") items.push({ from: item.from, error: problemOf(item.error) });
      else {
        const { head, part } = listed(item, detail, now());
        items.push(head);
        if (part !== undefined) {
          parts.push(part);
          bytes += part.length;
        }
      }
      if (items.length >= MESSAGE_ITEMS || bytes >= MESSAGE_BYTES) yield take({});
    }
    yield take({ end: true });
  } catch (error) {
    yield take({ error: problemOf(asSyncError(error)) });
  }
}

function listed(
  { key, tag, head, value }: ListedEntry,
  detail: Detail,
  now: number,
): { head: ListedHead; part?: Uint8Array } {
  if (head === null || detail === "keys") return { head: { key, tag } };
  const shown = wireHead(head, now);
  if (detail === "entries" || value === null || shown.state !== "value") return { head: { key, tag, head: shown } };
  const part = encodeEntry({ key, ...shown, value });
  return { head: { key, tag, bytes: part.length }, part };
}

type Detail = NonNullable<ListOptions["detail"]>;

function detailOf(text: string | null): Detail {
  if (text === null || text === "keys") return "keys";
  if (text === "entries" || text === "values") return text;
  throw new SyncError("INVALID", "detail is keys, entries or values");
}
