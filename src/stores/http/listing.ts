import { checkKey } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { entryReader, errorOf, headFrom } from "../../protocol.ts";
import type { ListHead } from "../../protocol.ts";
import type { ListOptions, Listed, Range } from "../../store.ts";
import type { Call, NodeClient } from "./client.ts";
import { understood } from "./understood.ts";

/** The node's list, as it comes. A list that broke off is an error, never a short list. */
export async function* remoteList(
  client: NodeClient,
  store: string,
  { prefix }: Range,
  { detail = "keys", after, limit, wholeBytesMax }: ListOptions,
  call: Call,
): AsyncIterable<Listed> {
  const query = new URLSearchParams({ prefix, detail });
  if (after !== undefined) query.set("after", after);
  if (limit !== undefined && Number.isFinite(limit)) query.set("limit", String(limit));
  if (wholeBytesMax !== undefined && Number.isFinite(wholeBytesMax)) query.set("wholeBytesMax", String(wholeBytesMax));
  const place = { store, operation: "list" };
  for await (const { head, parts } of client.messages(
    { method: "GET", path: `kv?${query.toString()}`, repeatable: true },
    call,
  )) {
    const { items, end, error } = understood(place, () => partOf(head, parts, place));
    yield* items;
    if (error !== undefined) throw errorOf(error, place);
    if (end === true) return;
  }
  throw new SyncError("UNAVAILABLE", "the list broke off", place);
}

/** One message of a list. Throws for what is none. */
function partOf(told: unknown, parts: Uint8Array, place: { readonly store: string; readonly operation: string }) {
  const { items, end, error } = told as ListHead;
  const next = entryReader(parts);
  const found = items.map((item): Listed => {
    if ("error" in item) {
      const from: unknown = item.from;
      return {
        kind: "partial",
        from: typeof from === "string" ? from : place.store,
        error: errorOf(item.error, place),
      };
    }
    const { key, tag, bytes, head } = item;
    checkKey(key);
    if (typeof tag !== "string") throw new SyncError("INVALID", "an item of a list has a tag", { key });
    if (bytes === undefined) {
      return { kind: "entry", key, tag, head: head === undefined ? null : headFrom(key, head), value: null };
    }
    const { value, ...rest } = next(key, bytes);
    return { kind: "entry", key, tag, head: rest, value };
  });
  return { items: found, end, error };
}
