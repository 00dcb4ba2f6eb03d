import { checkKey } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { entryReader, errorOf } from "../../protocol.ts";
import type { ListHead } from "../../protocol.ts";
import type { ListOptions, Listed, Range } from "../../store.ts";
import type { Call, NodeClient } from "./client.ts";

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
    const { items, end, error } = head as ListHead;
    if (!Array.isArray(items)) throw new SyncError("UNAVAILABLE", "a part of the list cannot be read", place);
    const next = entryReader(parts);
    for (const item of items as ListHead["items"]) {
      if ("error" in item) {
        yield { kind: "partial", from: item.from, error: errorOf(item.error, place) };
        continue;
      }
      const { key, tag, bytes, head: shown } = item;
      checkKey(key);
      if (bytes === undefined) {
        yield { kind: "entry", key, tag, head: shown === undefined ? null : { key, ...shown }, value: null };
        continue;
      }
      const { value, ...rest } = next(key, bytes);
      yield { kind: "entry", key, tag, head: rest, value };
    }
    if (error !== undefined) throw errorOf(error, place);
    if (end === true) return;
  }
  throw new SyncError("UNAVAILABLE", "the list broke off", place);
}
