import { createHash } from "node:crypto";
import { crc32c } from "../../checksum.ts";
import { NO_META, canonicalMeta, checkKey, checkMeta } from "../../entry.ts";
import type { Meta } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { metaOfKey } from "../git-layout/kind.ts";

/** What a file cannot say about its key: a line of JSON behind its checksum, and one for `seenNs`, which may be lost. */
export interface SideRecord {
  readonly key: string;
  /** "none": there is nothing; the file that may still stand there is about to be removed. */
  readonly state: "value" | "deleted" | "none";
  readonly version: Version;
  readonly expires: number | null;
  readonly meta: Meta;
  /** Of a value: SHA-256 of its bytes, and the mark of the file that has them. */
  readonly sha256: string;
  readonly mark: string;
  /**
   * Of a value: when anything about its file last changed ({@link FileFacts.changedNs}), as it was when somebody found the
   * recorded content in it and that change was old enough. Undefined: nobody did; only the content tells.
   */
  readonly seenNs: bigint | undefined;
  /**
   * The name of the file, in the folder for such, that has the value until it is put into its place. When there is no such
   * file any more it stands there.
   */
  readonly staged: string | undefined;
  /** Unless there is a value: the mark of the file that was to be removed. A file with another mark is somebody's. */
  readonly over: string | undefined;
}

/** The first 160 bits of SHA-256 of the key, in two parts: the folder and the name of its record. */
export function recordPath(key: string): string {
  const name = recordName(key);
  return `entries/${name.slice(0, 2)}/${name.slice(2)}`;
}

export function recordName(key: string): string {
  return createHash("sha256").update(key, "utf8").digest("hex").slice(0, 40);
}

export function encodeRecord(record: SideRecord): string {
  const { key, state, version, expires, meta, sha256, mark, staged, over } = record;
  const usual = state === "value" ? metaOfKey(key) : NO_META;
  const text = JSON.stringify({
    key,
    version,
    ...(state === "value" ? { sha256, mark } : { state }),
    ...(expires === null ? {} : { expires }),
    ...(canonicalMeta(meta) === canonicalMeta(usual) ? {} : { meta }),
    ...(staged === undefined ? {} : { staged }),
    ...(over === undefined ? {} : { over }),
  });
  return `${checksumOf(text)} ${text}\n${record.seenNs === undefined ? "" : encodeSeen(record.seenNs)}`;
}

/** The second line of a record. */
export function encodeSeen(seenNs: bigint): string {
  return `${checksumOf(`seen ${seenNs}`)} seen ${seenNs}\n`;
}

/** Undefined for anything but a whole line: it is written without a wait for the disk, under the eyes of readers. */
function seenIn(line: string): bigint | undefined {
  const [, sum, text = "", ns = ""] = /^([0-9a-f]{8}) (seen (\d{1,20}))\n$/.exec(line) ?? [];
  return sum !== undefined && sum === checksumOf(text) ? BigInt(ns) : undefined;
}

/** @throws SyncError CORRUPT for anything but a whole record. @param path for the message. */
export function parseRecord(lines: string, path: string, store: string): SideRecord {
  const [, sum = "", text = "", rest = ""] = /^([0-9a-f]{8}) ([^\n]*)\n(.*)$/s.exec(lines) ?? [];
  try {
    if (sum !== checksumOf(text)) throw new SyncError("CORRUPT", "the checksum is another one");
    return { ...fieldsOf(JSON.parse(text) as Readonly<Record<string, unknown>>), seenNs: seenIn(rest) };
  } catch (cause) {
    throw new SyncError("CORRUPT", `the record ${path} is damaged`, {
      store,
      operation: "read",
      cure: "restore it, write the key again, or remove the record: the file then counts as one that Sync never wrote",
      cause,
    });
  }
}

function fieldsOf({ key, version, state = "value", expires = null, meta, sha256, mark, staged, over }: Fields) {
  const isState = state === "value" || state === "deleted" || state === "none";
  const isText = (value: unknown): value is string | undefined => value === undefined || typeof value === "string";
  if (typeof key !== "string" || typeof version !== "string" || !isVersion(version) || !isState) throw malformed();
  if (!isText(sha256) || !isText(mark) || !isText(staged) || !isText(over)) throw malformed();
  if (state === "value" && (!/^[0-9a-f]{64}$/.test(sha256 ?? "") || mark === undefined)) throw malformed();
  if (staged !== undefined && !/^[0-9a-f]{40}\.[\w.-]+$/.test(staged)) throw malformed();
  if (expires !== null && !Number.isSafeInteger(expires)) throw malformed();
  checkKey(key);
  const known = (meta ?? (state === "value" ? metaOfKey(key) : NO_META)) as Meta;
  checkMeta(known);
  const rest = { expires: expires as number | null, meta: known, sha256: sha256 ?? "", mark: mark ?? "", staged, over };
  return { key, state, version, ...rest } satisfies Omit<SideRecord, "seenNs">;
}

type Fields = Readonly<Record<string, unknown>>;

function malformed(): SyncError {
  return new SyncError("CORRUPT", "a field is malformed");
}

function checksumOf(text: string): string {
  return (crc32c(new TextEncoder().encode(text)) >>> 0).toString(16).padStart(8, "0");
}
