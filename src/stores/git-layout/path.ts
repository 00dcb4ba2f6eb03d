import { KEY_BYTES_MAX, utf8Length } from "../../entry.ts";

/**
 * Where a key's file stands, and which key a file is. docs/stores/git.md states the rule for people.
 *
 * A key's own path is the key itself with the names escaped that git, Windows or a checkout refuse (`%` and two
 * hexadecimal digits per byte). A key that is also a folder of keys stands inside that folder, as `%value`. A file
 * that somebody else made under a name that this rule would escape keeps its place: its key is its path, literally.
 *
 * `keyOfPath` is total on the files that have a key, and two files of one tree share a key only when one of them
 * stands at such a literal place; the other one then counts.
 */

/** The folder, at the store's root, that holds what files cannot say. Reserved in every folder, in any case. */
export const SIDE_FOLDER = ".microsync";
/** What git reads of every folder; Sync adds to it which files are pointers to large ones. No key's file. */
const ATTRIBUTES = ".gitattributes";
const VALUE = "%value";
const EMPTY = "%empty";
/** Stands at the end of a part of a name that goes on in the next folder, and at the beginning of that one. */
const JOINT = "%-";
const SEGMENT_BYTES_MAX = 255;
const PART_BYTES_MAX = 240;

/** Characters that HFS+ ignores when it compares names, so that `.g<U+200C>it` is `.git` there (git's utf8.c). */
const IGNORED = "\\u200c-\\u200f\\u202a-\\u202e\\u206a-\\u206f\\ufeff";
const REFUSED = new RegExp(`[\\p{Cc}${IGNORED}"%*:<>?\\\\|]|~(?=[0-9])`, "gu");
const DEVICE = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.|$)/i;
const HIDDEN = new RegExp(`^(?:\\.git|\\.{1,2}$|\\${SIDE_FOLDER}$)`, "i");
/** A key of such characters only, with no name that needs a closer look, is its own path. */
const PLAIN = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}(?:\/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200})*$/;
const CLOSER = /(?:^|\/)(?:con|prn|aux|nul|com|lpt)|\.(?:\/|$)/i;

/** The path of a key that is no folder of keys. A pure function of the key; different keys have different paths. */
export function pathOfKey(key: string): string {
  if (PLAIN.test(key) && !CLOSER.test(key)) return key;
  return key.split("/").map(segmentPath).join("/");
}

/** The path of the same key when `path` is a folder. */
export function insidePath(path: string): string {
  return `${path}/${VALUE}`;
}

/** The place of a file that somebody else made under a name that the rule would escape; undefined when there is none. */
export function literalPath(key: string): string | undefined {
  const path = pathOfKey(key);
  return path !== key && isTreePath(key) && canonicalKey(key) === undefined ? key : undefined;
}

/** Every place that can hold the key's file, the one that counts first. */
export function placesOfKey(key: string): string[] {
  const path = pathOfKey(key);
  const literal = path === key ? undefined : literalPath(key);
  return literal === undefined ? [path, insidePath(path)] : [path, insidePath(path), literal];
}

/** Undefined for a file that has no key: in a side folder, longer than a key may be, or named with control characters. */
export function keyOfPath(path: string): string | undefined {
  const key = canonicalKey(path) ?? (isTreePath(path) ? path : undefined);
  return key === undefined || key === "" || utf8Length(key) > KEY_BYTES_MAX ? undefined : key;
}

/** Whether the key's file stands where the rule would put it. */
export function isLiteral(path: string): boolean {
  return canonicalKey(path) === undefined;
}

/** The folders above a path, outermost first. */
export function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let i = path.indexOf("/"); i >= 0; i = path.indexOf("/", i + 1)) folders.push(path.slice(0, i));
  return folders;
}

function segmentPath(segment: string): string {
  if (segment === "") return EMPTY;
  let text = segment.replace(REFUSED, escapeText);
  // After the characters, the names: they are refused as a whole, so one character of them is escaped.
  if (HIDDEN.test(segment) || DEVICE.test(segment)) text = escapeFirst(text);
  if (text.endsWith(".") || text.endsWith(" ")) text = text.slice(0, -1) + escapeText(text.slice(-1));
  return utf8Length(text) <= SEGMENT_BYTES_MAX ? text : inParts(text);
}

function escapeFirst(text: string): string {
  return text.startsWith("%") ? text : escapeText(text.slice(0, 1)) + text.slice(1);
}

function escapeText(text: string): string {
  let escaped = "";
  for (const byte of new TextEncoder().encode(text)) escaped += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return escaped;
}

function inParts(text: string): string {
  const parts: string[] = [];
  let part = "";
  let bytes = 0;
  for (const token of text.match(/%[0-9A-F]{2}|[^]/gu) ?? []) {
    const length = utf8Length(token);
    if (bytes + length > PART_BYTES_MAX) {
      parts.push(part);
      part = "";
      bytes = 0;
    }
    part += token;
    bytes += length;
  }
  return [...parts, part].join(`${JOINT}/${JOINT}`);
}

/** The key whose own path this is, or which stands inside its folder here. */
function canonicalKey(path: string): string | undefined {
  if (PLAIN.test(path) && !CLOSER.test(path)) return path;
  const inside = path.endsWith(`/${VALUE}`);
  const own = inside ? path.slice(0, -VALUE.length - 1) : path;
  const segments = own.replaceAll(`${JOINT}/${JOINT}`, "").split("/").map(segmentOf);
  if (segments.includes(undefined)) return undefined;
  const key = segments.join("/");
  return key !== "" && key.isWellFormed() && pathOfKey(key) === own ? key : undefined;
}

function segmentOf(text: string): string | undefined {
  if (text === EMPTY) return "";
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // not an escape of ours, so a name that somebody else gave
  }
}

const LINE = /\p{Cc}/u;

/** Whether a tree can hold a file of this name, and Sync look for it. */
function isTreePath(path: string): boolean {
  if (path === "" || LINE.test(path) || isAttributes(path)) return false;
  return path.split("/").every((s) => s !== "" && s !== "." && s !== ".." && !/^(?:\.git|\.microsync)$/i.test(s));
}

/** Whether a path lies in a side folder, of this store or of one with another prefix, or is git's own. */
export function isSidePath(path: string): boolean {
  return isAttributes(path) || path.split("/").some((segment) => segment.toLowerCase() === SIDE_FOLDER);
}

function isAttributes(path: string): boolean {
  return path === ATTRIBUTES || path.endsWith(`/${ATTRIBUTES}`);
}
