import { META_NAME, NO_META, canonicalMeta, checkMeta } from "../../entry.ts";
import type { Entry, EntryState, Head, Meta } from "../../entry.ts";
import { metaBlock, readMeta } from "../../envelope-meta.ts";
import { SyncError } from "../../error.ts";
import { isVersion, lowVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { zlibCompression } from "../../zlib.ts";
import { sha256 } from "./client.ts";
import { placed } from "./failures.ts";
import type { Where } from "./failures.ts";
import { formFor, formatPast, readPast } from "./form.ts";
import type { Form, Past } from "./form.ts";
import { gunzipped, gzipNaming } from "./gzip.ts";

/** What an object's headers say. */
export interface Found {
  readonly head: Head;
  /** Without quotes. */
  readonly etag: string;
  /** Unix seconds; undefined of what this process just wrote: the answer to a PUT does not say. */
  readonly seconds: number | undefined;
  /** Of the object's body. */
  readonly bytes: number;
  /** "named" is a body that holds its own version: a tombstone, a stub, a grave, parts. */
  readonly form: Form | "named";
  /** Of the value. */
  readonly sha256: string | undefined;
  readonly past: readonly Past[];
  /** Somebody is about to remove the object: it counts as absent. */
  readonly grave: boolean;
}

type Headers = Readonly<Record<string, string>>;

const META = "x-amz-meta-";
const OWN = `${META}sync-`;
const UNTYPED = "application/octet-stream";
/** What goes through servers and proxies unchanged, and is no start of an RFC 2047 word. */
const PLAIN = /^(?!.*=\?)[\x21-\x24\x26-\x7e]+(?: [\x21-\x24\x26-\x7e]+)*$/;
const PLAIN_NAME = /^(?!sync-)[a-z0-9][a-z0-9-]*$/;
const PLAIN_BYTES_MAX = 256;
const PLAIN_NAMES_MAX = 16;
/** The most that every server takes in one header. */
const PIECES = /.{1,240}/g;
/** Of metadata that no header can carry as it is, the i-th piece. */
const packedName = (i: number) => `${OWN}meta-${i}`;
const PACKED = Array.from({ length: 16 }, (_, i) => packedName(i));
const META_BLOCK_BYTES_MAX = 8 * 1024;

/** An object to put: what the entry is, as body and headers. */
export interface Made {
  readonly body: Uint8Array;
  readonly headers: Headers;
  readonly form: Found["form"];
  readonly sha256: string | undefined;
}

/** @param past The ETags the object must not have. */
export function objectOf(entry: Entry, past: readonly Past[]): Made {
  const headers = headersOf(entry);
  if (past.length > 0) headers[`${OWN}past`] = formatPast(past);
  if (entry.value === null) {
    // All empty bodies share one ETag.
    const said = [entry.state, entry.version, entry.expires ?? "never", canonicalMeta(entry.meta)];
    return { body: encoder.encode(`sync ${said.join(" ")}\n`), headers, form: "named", sha256: undefined };
  }
  const form = formFor(entry.value, past);
  const sum = sha256(entry.value);
  headers[`${OWN}sha256`] = sum;
  if (form === "plain") return { body: entry.value, headers, form, sha256: sum };
  headers["content-encoding"] = "gzip";
  headers[`${OWN}form`] = "gzip";
  return { body: gzipNaming(entry.value, entry.version), headers, form, sha256: sum };
}

/** The headers of an object whose body comes as a stream. */
export function headersOfBody(entry: Entry, sum: string | undefined, past: readonly Past[]): Record<string, string> {
  const headers = headersOf({ ...entry, state: "value" });
  if (past.length > 0) headers[`${OWN}past`] = formatPast(past);
  if (sum !== undefined) headers[`${OWN}sha256`] = sum;
  return headers;
}

const encoder = new TextEncoder();

/** The headers that say what the entry is, whatever its body. */
export function headersOf({ state, version, expires, meta }: Head): Record<string, string> {
  const headers: Record<string, string> = { [`${OWN}version`]: version };
  if (state !== "value") headers[`${OWN}state`] = state;
  if (expires !== null) headers[`${OWN}expires`] = String(expires);
  const { "content-type": type, ...own } = meta;
  const packed: Record<string, string> = {};
  const typed = type !== undefined && isPlain(type) && !type.toLowerCase().startsWith("multipart/");
  headers["content-type"] = typed ? type : UNTYPED;
  if (type === undefined) headers[`${OWN}untyped`] = "1";
  else if (!typed) packed["content-type"] = type;
  let plain = 0;
  for (const [name, value] of Object.entries(own)) {
    if (plain < PLAIN_NAMES_MAX && PLAIN_NAME.test(name) && isPlain(value)) {
      headers[META + name] = value;
      plain++;
    } else packed[name] = value;
  }
  const pieces = Object.keys(packed).length === 0 ? [] : (packedOf(packed).match(PIECES) ?? []);
  for (const [i, piece] of pieces.entries()) headers[packedName(i)] = piece;
  return headers;
}

function isPlain(text: string): boolean {
  return text.length <= PLAIN_BYTES_MAX && PLAIN.test(text);
}

function packedOf(meta: Meta): string {
  return Buffer.from(zlibCompression.deflate(metaBlock(meta))).toString("base64url");
}

/** @throws SyncError CORRUPT for headers of Sync that make no sense. */
export function foundOf(key: string, headers: Headers, where: Where): Found {
  const etag = unquoted(headers["etag"] ?? "");
  const modified = Date.parse(headers["last-modified"] ?? "");
  const seconds = Number.isNaN(modified) ? undefined : Math.floor(modified / 1000);
  const said = headers[`${OWN}version`];
  const common = {
    etag,
    seconds,
    bytes: Number(headers["content-length"] ?? 0),
    grave: headers[`${OWN}grave`] === "1",
  };
  if (said === undefined) {
    const head: Head = {
      key,
      state: "value",
      version: foreignVersion(etag, seconds ?? 0),
      expires: null,
      meta: foreignMeta(headers),
    };
    return { ...common, head, form: "plain", sha256: undefined, past: [], grave: false };
  }
  const state = stateOf(headers[`${OWN}state`]);
  const expires = headers[`${OWN}expires`];
  const meta = ownMeta(headers);
  if (!isVersion(said) || state === undefined || meta === undefined || !/^(\d{1,16})?$/.test(expires ?? "")) {
    throw corrupt("the object's headers make no entry", where);
  }
  const form = headers[`${OWN}form`];
  return {
    ...common,
    head: { key, state, version: said, expires: expires === undefined ? null : Number(expires), meta },
    form: state !== "value" || form === "parts" ? "named" : form === "gzip" ? "gzip" : "plain",
    sha256: headers[`${OWN}sha256`],
    past: readPast(headers[`${OWN}past`]),
  };
}

/** The entry of an object whose body has been read. @throws SyncError CORRUPT for a body that is not the one described. */
export function entryOf(found: Found, body: Uint8Array, valueBytesMax: number, where: Where): Entry {
  if (found.head.state !== "value") return { ...found.head, value: null };
  const value = found.form === "gzip" ? gunzipped(body, valueBytesMax) : body;
  if (value === undefined || (found.sha256 !== undefined && sha256(value) !== found.sha256)) {
    throw corrupt("the object's body is not the one its headers describe", where);
  }
  return { ...found.head, value };
}

function corrupt(what: string, where: Where): SyncError {
  const cure = "write the key again, or restore the object";
  return new SyncError("CORRUPT", what, { ...placed(where), cure });
}

export function unquoted(etag: string): string {
  return etag.replace(/^W\//, "").replaceAll('"', "");
}

/**
 * The version of an object that another tool put: in the low band, below every stamp. Its place is when it was put, to
 * the second, as the server says; its ETag tells two of one second apart. Whoever looks, whenever, gets the same.
 */
function foreignVersion(etag: string, seconds: number): Version {
  const digits = etag.replaceAll(/[^0-9a-f]/g, "").slice(0, 16);
  return lowVersion(Math.max(1, seconds), digits.padEnd(16, "0"));
}

function foreignMeta(headers: Headers): Meta {
  const meta: Record<string, string> = {};
  const type = headers["content-type"];
  if (type !== undefined && type !== "") meta["content-type"] = type;
  for (const [header, value] of Object.entries(headers)) {
    const name = header.startsWith(META) ? header.slice(META.length) : "";
    if (META_NAME.test(name) && name !== "content-type" && value.isWellFormed()) meta[name] = value;
  }
  return fits(meta) ? meta : fits({ "content-type": type ?? "" }) ? { "content-type": type ?? "" } : NO_META;
}

function fits(meta: Meta): boolean {
  try {
    checkMeta(meta);
    return true;
  } catch {
    return false;
  }
}

function ownMeta(headers: Headers): Meta | undefined {
  const meta: Record<string, string> = {};
  let isPacked = false;
  for (const header in headers) {
    if (!header.startsWith(META)) continue;
    if (!header.startsWith(OWN)) meta[header.slice(META.length)] = headers[header] ?? "";
    else isPacked ||= PACKED.includes(header);
  }
  const type = headers["content-type"];
  if (type !== undefined && headers[`${OWN}untyped`] === undefined) meta["content-type"] = type;
  if (isPacked) {
    const unpacked = unpackedOf(PACKED.map((name) => headers[name] ?? "").join(""));
    if (unpacked === undefined) return undefined;
    Object.assign(meta, unpacked);
  }
  return fits(meta) ? meta : undefined;
}

function unpackedOf(packed: string): Meta | undefined {
  try {
    const block = zlibCompression.inflate(Buffer.from(packed, "base64url"), META_BLOCK_BYTES_MAX);
    return readMeta(block, 0, block.length);
  } catch {
    return undefined;
  }
}

function stateOf(text: string | undefined): EntryState | undefined {
  if (text === undefined) return "value";
  return text === "deleted" || text === "stub" ? text : undefined;
}
