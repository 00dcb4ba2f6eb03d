import { createHash } from "node:crypto";

/**
 * Why a body may be stored in another form than its own. A conditional PUT compares ETags, and the ETag of a body is a
 * hash of nothing but its bytes. Were the bytes A stored under one version, then B, then A again under a newer version,
 * a slow writer that had looked when the first A was there would find "its" ETag and put an older version over the newest.
 * So no object of a key may ever have the ETag of an earlier one that a writer could still have in mind:
 *
 * - Each object carries the ETags that went before it, for as long as a writer could hold them ({@link PAST_MS}).
 * - Bytes whose ETag is among those, or is that of the object being replaced, are stored as gzip (`content-encoding:
 *   gzip`, which web tools undo by themselves) with their version in the gzip header: other bytes, another ETag.
 * - When more changes fall into that time than a header has room for, the list says no longer enough: gzip again.
 *
 * A tombstone's and a stub's body names its version, and the parts of a multipart upload have a random length.
 */
export type Form = "plain" | "gzip";

/** The ETags of earlier objects of a key, the latest last; `at` in minutes since 1970. */
export interface Past {
  readonly etag: string;
  readonly at: number;
}

/**
 * How long an ETag that was seen may still be used as a condition, in milliseconds: {@link FACT_MS} from the look to the
 * signature, and 15 minutes from there to the server, which refuses older signatures. Thrice that, because three clocks
 * are in it that may be 15 minutes apart each, for the same reason.
 */
export const PAST_MS = 90 * 60_000;
/** How long what was seen of an object may be the condition of a write. */
export const FACT_MS = 10 * 60_000;
/** What fits into 256 bytes, the most that every server takes in one header. */
export const PAST_MAX = 16;
const ETAG_DIGITS = 8;
const MINUTE_MS = 60_000;

export function readPast(text: string | undefined): readonly Past[] {
  if (text === undefined) return [];
  return text.split(",").flatMap((item) => {
    const [, etag = "", at = ""] = /^([^.]{1,32})\.([0-9a-z]{1,8})$/.exec(item) ?? [];
    return etag === "" ? [] : [{ etag, at: Number.parseInt(at, 36) }];
  });
}

export function formatPast(past: readonly Past[]): string {
  return past.map(({ etag, at }) => `${etag}.${at.toString(36)}`).join(",");
}

/** What goes before the object that replaces one with this past and ETag now. */
export function pastAfter(past: readonly Past[], etag: string, form: Form | "named", now: number): readonly Past[] {
  const at = Math.floor(now / MINUTE_MS);
  const recent = past.filter((item) => item.at + PAST_MS / MINUTE_MS >= at);
  // What names its version never comes again.
  const all = form === "plain" ? [...recent, { etag: shortEtag(etag), at }] : recent;
  return all.slice(-PAST_MAX);
}

/** In which form these bytes may follow that past. */
export function formFor(bytes: Uint8Array, past: readonly Past[]): Form {
  if (past.length === 0) return "plain";
  if (past.length >= PAST_MAX) return "gzip";
  const etag = shortEtag(createHash("md5").update(bytes).digest("hex"));
  return past.some((item) => item.etag === etag) ? "gzip" : "plain";
}

/** Whether a body may be stored as it is. Its MD5 is asked for only where that decides. */
export async function mayBePlain(past: readonly Past[], md5: () => Promise<string>): Promise<boolean> {
  if (past.length === 0) return true;
  if (past.length >= PAST_MAX) return false;
  const etag = shortEtag(await md5());
  return !past.some((item) => item.etag === etag);
}

function shortEtag(etag: string): string {
  return etag.replaceAll(/[.,\s]/g, "").slice(0, ETAG_DIGITS);
}
