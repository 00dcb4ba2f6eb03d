import type { Entry, EntryState, Head, Meta } from "../../entry.ts";
import { NO_META } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { Version } from "../../version.ts";

/** One row of an answer: bytes as they are, every other column as the server's text, null for SQL's null. */
export type Row = readonly (string | Uint8Array | null)[];

const text = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** From Node's pool: a buffer of its own for each key costs more than the rest of a parameter. */
export function keyBytes(key: string): Buffer {
  return Buffer.from(key, "utf8");
}

/** @throws SyncError CORRUPT for a key that another program stored and that is no text. */
export function keyFrom(row: Row, at: number, store: string): string {
  const bytes = bytesAt(row, at) ?? new Uint8Array(0);
  try {
    return text.decode(bytes);
  } catch {
    throw corrupt(store, `the key \\x${Buffer.from(bytes).toString("hex").slice(0, 80)} is not UTF-8`);
  }
}

/** A bytea in the server's hexadecimal form. */
export function bytesFrom(hex: string): Uint8Array {
  const { buffer, byteOffset, length } = Buffer.from(hex.slice(2), "hex");
  return new Uint8Array(buffer, byteOffset, length);
}

function bytesAt(row: Row, at: number): Uint8Array | null {
  const column = row[at];
  return column instanceof Uint8Array ? column : null;
}

/** A column that is no bytea; "" for SQL's null. */
export function textAt(row: Row, at: number): string {
  const column = row[at];
  return typeof column === "string" ? column : "";
}

/** A version as the server writes a uuid: the same 32 digits with other hyphens. */
function versionFrom(text: string): Version {
  const [ms, counter] = [text.slice(0, 8) + text.slice(9, 13), text.slice(14, 18)];
  return `${ms}-${counter}-${text.slice(19, 23)}${text.slice(24)}` as Version;
}

/** A version as every server reads a uuid. */
export function versionText(version: Version): string {
  const hex = version.replaceAll("-", "");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** @param at Where in the row state, version, expires and meta begin. @throws SyncError CORRUPT */
export function headFrom(key: string, row: Row, at: number, store: string): Head {
  return entryFrom(key, row, at, store, false);
}

/** A head and the value in the column behind it. @throws SyncError CORRUPT */
export function entryFrom(key: string, row: Row, at: number, store: string, valued = true): Entry {
  const expires = row[at + 2];
  return {
    key,
    state: row[at] as EntryState,
    value: valued ? bytesAt(row, at + 4) : null,
    version: versionFrom(textAt(row, at + 1)),
    expires: typeof expires === "string" ? Number(expires) : null,
    meta: metaFrom(key, textAt(row, at + 3), store),
  };
}

/*
 * JSON in the database cannot hold U+0000, which a text of ours may. It is written as a character that no text uses,
 * U+FFFF, and a digit, so that every other text is itself and can be searched for.
 */
const MARK = "\uffff";

export function metaText(meta: Meta): string {
  if (meta === NO_META) return "{}";
  const escaped = (value: string) => value.replaceAll(MARK, `${MARK}1`).replaceAll("\0", `${MARK}0`);
  return JSON.stringify(Object.fromEntries(Object.entries(meta).map(([name, value]) => [name, escaped(value)])));
}

function metaFrom(key: string, json: string, store: string): Meta {
  if (json === "{}" || json === "") return NO_META;
  const entries = Object.entries(JSON.parse(json) as Record<string, unknown>).map(([name, value]) => {
    if (typeof value !== "string") throw corrupt(store, `metadata ${name} is not a text`, key);
    return [name, value.replaceAll(`${MARK}0`, "\0").replaceAll(`${MARK}1`, MARK)];
  });
  return Object.fromEntries(entries) as Meta;
}

function corrupt(store: string, what: string, key?: string): SyncError {
  const cure = "another program wrote this row: correct or delete it";
  return new SyncError("CORRUPT", what, { store, operation: "read", cure, ...(key === undefined ? {} : { key }) });
}
