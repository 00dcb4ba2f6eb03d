import { KEY_BYTES_MAX, utf8Length } from "../../entry.ts";
import { SyncError } from "../../error.ts";

/** What S3 lets the name of an object have, the store's prefix included, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 1024;
/** No key has a name that begins like this, see {@link nameOf}: here lies what is no entry. */
export const RESERVED = ".!sync/";

/** For U+0000 to U+0021, in their order. */
const LOW = "0123456789ABCDEFGHIJKLMNOPQRSTUVWX";
const LOW_LAST = "!";
const HIGH_FIRST = "}";
const SLASH = ".~";
const END = "!";

/**
 * The name of a key's object, without the store's prefix. Almost every key is its own name. Only these are written
 * differently, and so that the byte order of names is that of keys (a list could not be told in order otherwise):
 *
 * - U+0000 as U+0001 U+0001, and U+0001 as U+0001 U+0002: not every server takes U+0000.
 * - Segments that are empty, `.` or `..`, because URL parsers and proxies resolve them: a `/` behind one is `.~` (`a//b`
 *   is `a/.~b`), and a `.` or `..` at the end of the key has a `!` behind it.
 * - What would read like those, or stand in their way in the order: directly behind one to three dots that begin a
 *   segment, a character up to U+0021 is `!` and a sign, and one from `}` on has a `}` before it.
 */
export function nameOf(key: string): string {
  const { name, dots } = written(key);
  return dots === 1 || dots === 2 ? name + END : name;
}

/** What the names of all keys that begin with `prefix` begin with. Names of a few other keys may do so too. */
export function prefixNameOf(prefix: string): string {
  // OpenStack Swift looks for what comes after the last character, and there is nothing after this one.
  return written(prefix).name.replace(/\u{10FFFF}+$/u, "");
}

/** `dots`: how many dots the last segment consists of; -1 when it has something else. */
function written(key: string): { readonly name: string; readonly dots: number } {
  let name = "";
  let dots = 0;
  for (const char of key) {
    if (char === "/") {
      name += dots >= 0 && dots < 3 ? SLASH : "/";
      dots = 0;
    } else if (char === "." && dots >= 0) {
      name += char;
      dots = dots === 3 ? -1 : dots + 1;
    } else {
      name += dots > 0 ? behindDots(char) : anywhere(char);
      dots = -1;
    }
  }
  return { name, dots };
}

function behindDots(char: string): string {
  if (char <= LOW_LAST) return `!${LOW[char.charCodeAt(0)] ?? ""}`;
  return char >= HIGH_FIRST ? HIGH_FIRST + char : char;
}

function anywhere(char: string): string {
  if (char === "\0") return "\u0001\u0001";
  return char === "\u0001" ? "\u0001\u0002" : char;
}

/** The key whose object has this name; undefined for a name that {@link nameOf} gives to no key. */
export function keyOf(name: string): string | undefined {
  const key = read(name);
  return key !== "" && key.isWellFormed() && nameOf(key) === name ? key : undefined;
}

/** The inverse of writing, for names that were written; anything for others. */
function read(name: string): string {
  const chars = Array.from(name);
  let key = "";
  let dots = 0;
  for (let i = 0; i < chars.length; i++) {
    const char = chars[i] ?? "";
    const next = chars[i + 1];
    if (char === "." && dots >= 0 && dots < 3 && next === "~") {
      key += "/";
      dots = 0;
      i++;
    } else if (char === "/") {
      key += char;
      dots = 0;
    } else if (char === "." && dots >= 0) {
      key += char;
      dots = dots === 3 ? -1 : dots + 1;
    } else if (dots > 0 && char === "!") {
      if (next !== undefined) key += String.fromCharCode(LOW.indexOf(next));
      dots = -1;
      i++;
    } else if (dots > 0 && char === HIGH_FIRST) {
      key += next ?? "";
      dots = -1;
      i++;
    } else if (char === "\u0001") {
      key += next === "\u0001" ? "\0" : char;
      dots = -1;
      i++;
    } else {
      key += char;
      dots = -1;
    }
  }
  return key;
}

/** @throws SyncError INVALID for what no bucket or proxy would take as the beginning of every name. */
export function checkPrefix(prefix: string): void {
  const odd = prefix.split("/").some((part, i, all) => (part === "" && i < all.length - 1) || /^\.{1,2}$/.test(part));
  if (!prefix.isWellFormed() || hasControls(prefix) || odd || utf8Length(prefix) > PREFIX_BYTES_MAX) {
    throw new SyncError("INVALID", `the prefix ${JSON.stringify(prefix.slice(0, 64))} is refused`, {
      cure: `give at most ${PREFIX_BYTES_MAX} bytes without control characters, empty segments, . and ..`,
    });
  }
}

const PREFIX_BYTES_MAX = 400;

function hasControls(text: string): boolean {
  return Array.from(text).some((char) => char < " " || char === "\u007f");
}

/** How long a key may be so that its name, twice its length at worst, is one that S3 takes. */
export function keyBytesMaxFor(prefix: string): number {
  return Math.min(KEY_BYTES_MAX, Math.floor((NAME_BYTES_MAX - utf8Length(prefix)) / 2));
}
