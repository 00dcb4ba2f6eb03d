import { BYTES_TYPE } from "../codec/content-type.ts";
import { META_NAME } from "../entry.ts";
import type { Head, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import { STAMP_MS_MIN, versionMs } from "../version.ts";
import type { Version } from "../version.ts";
import { wholeNumber } from "./state.ts";
import type { Call } from "./state.ts";

const CONTENT_TYPE = "content-type";
/** What a header may hold as it is: visible characters of ASCII and single spaces between them. */
const PLAIN = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/;

export function etagOf(version: string): string {
  return `"${version}"`;
}

/** What is true of an entry, as headers. Metadata is percent-encoded, since headers hold ASCII only. */
export function entryHeaders(head: Head): Record<string, string> {
  const headers: Record<string, string> = {};
  addTo(headers, entryHeaderList(head));
  return headers;
}

/** @param list names and values in turn. */
export function addTo(headers: Record<string, string>, list: readonly string[]): void {
  for (let i = 0; i < list.length; i += 2) headers[list[i] as string] = list[i + 1] as string;
}

/** The same as names and values in turn. */
export function entryHeaderList({ version, expires, meta }: Head): string[] {
  const list = ["etag", etagOf(version), HEADER.version, version];
  if (expires !== null) list.push(HEADER.expires, String(expires));
  const ms = versionMs(version);
  // Below that a version is a place in a history, not a time.
  if (ms >= STAMP_MS_MIN) list.push("last-modified", new Date(ms).toUTCString());
  let type = BYTES_TYPE;
  for (const name of Object.keys(meta)) {
    const value = meta[name] ?? "";
    if (name === CONTENT_TYPE && PLAIN.test(value)) type = value;
    else list.push(HEADER.meta + name, encodeURIComponent(value));
  }
  list.push(CONTENT_TYPE, type);
  return list;
}

/** The metadata that a request's headers carry. @throws SyncError INVALID. */
export function metaOf({ headers }: Request): Meta {
  const meta: Record<string, string> = {};
  const type = headers.get(CONTENT_TYPE);
  meta[CONTENT_TYPE] = type === null || type === "" ? BYTES_TYPE : type;
  for (const [name, value] of headers) {
    if (!name.startsWith(HEADER.meta)) continue;
    const own = name.slice(HEADER.meta.length);
    if (!META_NAME.test(own)) throw new SyncError("INVALID", `metadata name ${JSON.stringify(own)} is refused`);
    try {
      meta[own] = decodeURIComponent(value);
    } catch (cause) {
      throw new SyncError("INVALID", `header ${name} is not percent-encoded UTF-8`, { cause });
    }
  }
  return meta;
}

/** When the value ends, in Unix milliseconds: from `Sync-Expires`, or seconds from now in `Sync-TTL`. */
export function expiryOf({ state, request: { headers } }: Call): number | null {
  const at = headers.get(HEADER.expires);
  const ttl = headers.get(HEADER.ttl);
  if (at !== null && ttl !== null) {
    throw new SyncError("INVALID", "the value has two expiries", { cure: "send Sync-Expires or Sync-TTL" });
  }
  if (ttl !== null) return state.runtime.now() + ttlMs(ttl, HEADER.ttl);
  const ms = wholeNumber(HEADER.expires, at, Number.MAX_SAFE_INTEGER);
  return ms ?? null;
}

export function ttlMs(text: string, name: string): number {
  if (!/^\d{1,10}(?:\.\d{1,3})?$/.test(text)) {
    throw new SyncError("INVALID", `${name} is not a number of seconds`, { cure: `write ${name}: 60` });
  }
  return Math.round(Number(text) * 1000);
}

/** The entity tags of a condition, weak ones among them; "*" by itself. */
export function tagsOf(text: string): readonly string[] | "*" {
  if (text.trim() === "*") return "*";
  return [...text.matchAll(/(?:W\/)?"([^"]*)"/g)].map(([, tag = ""]) => tag);
}

/** What `If-None-Match` asks: whether who asks has this version already. */
export function isUnchanged(noneMatch: string | null, version: Version): boolean {
  if (noneMatch === null) return false;
  const tags = tagsOf(noneMatch);
  return tags === "*" || tags.includes(version);
}
