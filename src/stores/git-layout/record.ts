import { createHash, hash } from "node:crypto";
import { NO_META, canonicalMeta, checkKey, checkMeta } from "../../entry.ts";
import type { Meta } from "../../entry.ts";
import { isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { metaOfKey } from "./kind.ts";
import { SIDE_FOLDER } from "./path.ts";

/**
 * What a file cannot say about its key. One small JSON file per key, in a tree fanned out by a hash of the key, so
 * that a change of one key rewrites a few small folders however many keys there are.
 */
export interface SideRecord {
  readonly key: string;
  /** "none": there is nothing, not even what history says (a tombstone of the low band that was forgotten). */
  readonly state: "value" | "deleted" | "none";
  readonly version: Version;
  /** The object id of the file that this describes; null unless the state is "value". */
  readonly blob: string | null;
  readonly expires: number | null;
  readonly meta: Meta;
  /**
   * "lfs": the file is a pointer that Sync made, and `.gitattributes` says so. "plain": it looks like one, and is the
   * value itself. Undefined: a file that looks like a pointer is one.
   */
  readonly storage?: "lfs" | "plain" | undefined;
}

/** What the side tree holds apart from records. */
export const WATERMARK_PATH = `${SIDE_FOLDER}/watermark`;
export const FORMAT_PATH = `${SIDE_FOLDER}/format`;
export const README_PATH = `${SIDE_FOLDER}/README.md`;
export const FORMAT = "1\n";
export const README = `Sync keeps here what the files beside this folder cannot say: versions, expiry, metadata and deletions.
Do not edit it. Edit, add and delete the files themselves: Sync notices, and gives your changes versions.
`;

const LIVE = `${SIDE_FOLDER}/entries`;
const DEAD = `${SIDE_FOLDER}/deleted`;
const RECORD_PATH = /^\.microsync\/(?:entries|deleted)\/([0-9a-f])\/([0-9a-f])\/([0-9a-f])\/([0-9a-f]{37})$/;

/** The first 160 bits of SHA-256 of the key: the name of its record. */
export function recordName(key: string): string {
  return hash("sha256", key, "hex").slice(0, 40);
}

/**
 * Values have their records apart from deletions, so that a list of all deletions reads nothing else. Three levels of
 * 16 folders: what a change of one key rewrites stays below 4 KiB of trees up to 100,000 keys, and 20 KiB at a million.
 */
export function recordPath(name: string, state: SideRecord["state"]): string {
  return `${state === "value" ? LIVE : DEAD}/${name[0]}/${name[1]}/${name[2]}/${name.slice(3)}`;
}

export const LIVE_FOLDER = LIVE;
export const DEAD_FOLDER = DEAD;

/** The name of the record at this path; undefined for any other path. */
export function nameOfRecordPath(path: string): string | undefined {
  const match = RECORD_PATH.exec(path);
  return match === null ? undefined : match.slice(1).join("");
}

export function encodeRecord({ key, state, version, blob, expires, meta, storage }: SideRecord): string {
  const parts: Record<string, unknown> = { key, version };
  if (state === "value") parts["blob"] = blob;
  else parts["state"] = state;
  if (expires !== null) parts["expires"] = expires;
  if (storage !== undefined) parts["storage"] = storage;
  // A deletion has no file whose name could say anything.
  const usual = state === "value" ? metaOfKey(key) : NO_META;
  if (canonicalMeta(meta) !== canonicalMeta(usual)) parts["meta"] = meta;
  return `${JSON.stringify(parts)}\n`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Undefined for anything but a record: a person's edit, or half of a merge conflict. */
export function parseRecord(bytes: Uint8Array): SideRecord | undefined {
  try {
    const parsed: unknown = JSON.parse(utf8.decode(bytes));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const {
      key,
      version,
      state = "value",
      blob = null,
      expires = null,
      meta,
      storage,
    } = parsed as Record<string, unknown>;
    if (typeof key !== "string" || typeof version !== "string" || !isVersion(version)) return undefined;
    if (state !== "value" && state !== "deleted" && state !== "none") return undefined;
    if (state === "value" ? typeof blob !== "string" || !/^[0-9a-f]{40,64}$/.test(blob) : blob !== null)
      return undefined;
    if (expires !== null && !(Number.isSafeInteger(expires) && Number(expires) >= 0)) return undefined;
    checkKey(key);
    const usual = state === "value" ? metaOfKey(key) : NO_META;
    const known = meta === undefined ? usual : (meta as Meta);
    checkMeta(known);
    return {
      key,
      state,
      version,
      blob: blob as string | null,
      expires: expires as number | null,
      meta: known,
      ...(storage === "lfs" || storage === "plain" ? { storage } : {}),
    };
  } catch {
    return undefined; // JSON and the checks say why; that it is no record is all that its reader needs
  }
}

/** Up to so many bytes, a copy and one call cost less than a hash that is fed piece by piece. */
const AT_ONCE_BYTES = 4_096;

/** The object id that git gives these bytes. */
export function blobId(bytes: Uint8Array, algorithm: "sha1" | "sha256"): string {
  const head = `blob ${bytes.length}\0`;
  if (bytes.length > AT_ONCE_BYTES) return createHash(algorithm).update(head).update(bytes).digest("hex");
  const all = Buffer.allocUnsafe(head.length + bytes.length);
  all.set(bytes, all.write(head, "latin1"));
  return hash(algorithm, all, "hex");
}
