import type { Body } from "./body.ts";
import { SyncError } from "./error.ts";
import { isVersion } from "./version.ts";
import type { Version } from "./version.ts";

/**
 * "value": the key has this value. "deleted": a tombstone, the key has no value since this version.
 * "stub": this version exists, its value is in a layer further down.
 */
export type EntryState = "value" | "deleted" | "stub";

/** What is true of a key at a version, without the value. */
export interface Head {
  /** 1 to 512 bytes of well-formed UTF-8. */
  readonly key: string;
  readonly state: EntryState;
  readonly version: Version;
  /** Unix milliseconds from which on the key counts as having no value; null means never. */
  readonly expires: number | null;
  /** `content-type` and the user's own. Names `[a-z0-9-]+`; names and values 1 KiB of UTF-8 in all. */
  readonly meta: Meta;
}

/**
 * What is true of a key at a version. Immutable; the same bytes everywhere. Nobody may change `value`'s bytes, which may
 * be a piece of a larger buffer: who keeps them for long takes a copy.
 */
export interface Entry extends Head {
  /** Null unless `state` is "value". */
  readonly value: Uint8Array | null;
}

export type Meta = Readonly<Record<string, string>>;

/** An entry as one layer holds it. */
export interface Copy {
  readonly entry: Entry;
  /** The value that the entry, a stub then, stands for, where it is to be had piece by piece. */
  readonly body?: Body | undefined;
  /** Unix ms of the moment the asking began that last found this to be the newest. In the future: of unknown age. */
  readonly asOf: number;
}

export const KEY_BYTES_MAX = 512;
export const META_BYTES_MAX = 1024;
export const NO_META: Meta = Object.freeze({});

/** The number of bytes of `text` in UTF-8, counted without encoding it. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      bytes += 2; // two units, four bytes
      i++;
    } else bytes += 2;
  }
  return bytes;
}

/** What passed last: each store that a call goes through asks anew. */
let checkedKey = "";

/** @throws SyncError INVALID or TOO_LARGE, naming the cure. */
export function checkKey(key: string): void {
  if (key === checkedKey && key !== "") return;
  if (typeof key !== "string" || key.length === 0) {
    throw new SyncError("INVALID", "a key is a text of 1 to 512 bytes", { cure: "give a key that is not empty" });
  }
  // A quarter of the limit in units cannot pass the limit in bytes and needs no count.
  if (key.length > KEY_BYTES_MAX / 3 && utf8Length(key) > KEY_BYTES_MAX) {
    throw new SyncError("TOO_LARGE", `the key has ${utf8Length(key)} bytes, the limit is ${KEY_BYTES_MAX}`, {
      key: `${key.slice(0, 40)}…`,
      cure: "shorten the key, or hash its tail",
    });
  }
  if (!key.isWellFormed()) {
    throw new SyncError("INVALID", "the key holds half of a surrogate pair, which UTF-8 cannot write", {
      cure: "build the key from whole characters",
    });
  }
  checkedKey = key;
}

/**
 * The order of keys everywhere: that of their UTF-8 bytes. JavaScript compares UTF-16 units, which puts characters
 * above U+FFFF before U+E000; moving the surrogates above all other units gives the order of code points, which is
 * that of UTF-8.
 */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

export const META_NAME = /^[a-z0-9-]+$/;

/** What passed last, if nobody can change it: most entries of a store share one object. */
let checkedMeta: Meta = NO_META;

/** @throws SyncError INVALID or TOO_LARGE. */
export function checkMeta(meta: Meta): void {
  if (meta === checkedMeta) return;
  let bytes = 0;
  for (const [name, value] of Object.entries(meta)) {
    if (!META_NAME.test(name)) {
      throw new SyncError("INVALID", `metadata name ${JSON.stringify(name.slice(0, 64))} is refused`, {
        cure: "use the characters a-z, 0-9 and -",
      });
    }
    if (typeof value !== "string" || !value.isWellFormed()) {
      throw new SyncError("INVALID", `metadata ${name} is not a well-formed text`);
    }
    bytes += name.length + utf8Length(value);
  }
  if (bytes > META_BYTES_MAX) {
    throw new SyncError("TOO_LARGE", `metadata has ${bytes} bytes, the limit is ${META_BYTES_MAX}`);
  }
  if (Object.isFrozen(meta)) checkedMeta = meta;
}

/** Every rule of {@link Entry}, for entries that come from outside. @throws SyncError INVALID or TOO_LARGE. */
export function checkEntry(entry: Entry): void {
  const { key, state, value, version, expires, meta } = entry;
  checkKey(key);
  if (state !== "value" && state !== "deleted" && state !== "stub") {
    throw new SyncError("INVALID", "an entry's state is value, deleted or stub", { key });
  }
  if ((state === "value") !== value instanceof Uint8Array) {
    throw new SyncError("INVALID", `an entry of state ${state} ${state === "value" ? "needs" : "has no"} bytes`, {
      key,
    });
  }
  if (!isVersion(version)) throw new SyncError("INVALID", "the version is malformed", { key });
  if (expires !== null && !(Number.isSafeInteger(expires) && expires >= 0)) {
    throw new SyncError("INVALID", "expires is a whole number of Unix milliseconds or null", { key });
  }
  checkMeta(meta);
}

/** What is true of the entry but for its value, which it does not keep alive. */
export function headOf({ key, state, version, expires, meta }: Head): Head {
  return { key, state, version, expires, meta };
}

/** Whether the entry gives no value at `now`: a tombstone, or past its expiry. */
export function isDead(head: Head, now: number): boolean {
  return head.state === "deleted" || isExpired(head, now);
}

export function isExpired(head: Head, now: number): boolean {
  return head.expires !== null && head.expires <= now;
}

/** The stub of an entry: the same version, without the value. */
export function stubOf({ key, version, expires }: Head): Entry {
  return { key, state: "stub", value: null, version, expires, meta: NO_META };
}

/**
 * The merge rule: the higher version; at equal versions a value or tombstone over a stub; then the greater content.
 * Copies of the winning version share the latest asOf. Commutative, associative, idempotent and total.
 */
export function merge(a: Copy, b: Copy): Copy {
  const order = compareEntries(a.entry, b.entry);
  const winner = order >= 0 ? a : b;
  if (a.entry.version !== b.entry.version) return winner;
  const asOf = Math.max(a.asOf, b.asOf);
  return asOf === winner.asOf ? winner : { ...winner, asOf };
}

/** Positive when `a` wins under the merge rule, 0 when they are the same entry. */
export function compareEntries(a: Entry, b: Entry): number {
  if (a.version !== b.version) return a.version > b.version ? 1 : -1;
  if (a === b) return 0;
  if (a.state !== b.state) {
    if (a.state === "stub") return -1;
    if (b.state === "stub") return 1;
  }
  return compareContent(a, b);
}

/** Whether two entries claim one version with different content: a version was issued twice, which is an alarm. */
export function collide(a: Entry, b: Entry): boolean {
  return a.version === b.version && a.state !== "stub" && b.state !== "stub" && compareContent(a, b) !== 0;
}

/** A total order of the contents of two entries of one version, so that every node keeps the same one. */
function compareContent(a: Entry, b: Entry): number {
  if (a.state !== b.state) return a.state > b.state ? 1 : -1;
  if (a.expires !== b.expires) return (a.expires ?? -1) - (b.expires ?? -1);
  return compareBytes(a.value, b.value) || compareMeta(a.meta, b.meta);
}

function compareBytes(a: Uint8Array | null, b: Uint8Array | null): number {
  if (a === b || a === null || b === null) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function compareMeta(a: Meta, b: Meta): number {
  if (a === b) return 0;
  const [x, y] = [canonicalMeta(a), canonicalMeta(b)];
  if (x === y) return 0;
  return x > y ? 1 : -1;
}

/** Metadata in the one order that two equal sets share. */
export function canonicalMeta(meta: Meta): string {
  return JSON.stringify(Object.entries(meta).sort(([x], [y]) => (x < y ? -1 : 1)));
}
