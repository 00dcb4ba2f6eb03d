import type { Entry } from "../../../src/entry.ts";
import { metaOfKey } from "../../../src/stores/git-layout/kind.ts";
import { formatVersion } from "../../../src/version.ts";
import type { Version } from "../../../src/version.ts";

/** Every second round has keys of its own. Among them is a key that is also a folder of keys, which moves. */
export function keysOf(round: number): string[] {
  return ["d", "a.txt", "d/e", "d/e/f", "x%y"].map((key) => `${round >> 1}/${key}`);
}

export function versionAt(at: number, node = 0): Version {
  return formatVersion(1.7e12 + at, 0, String(node).padStart(16, "0"));
}

export function numberOf(version: Version): number {
  return Number.parseInt(version.slice(0, 12), 16) - 1.7e12;
}

/** The entry of a number, the same whoever makes it: a value of some length, or now and then a tombstone. */
export function entryAt(key: string, at: number): Entry {
  const about = { key, version: versionAt(at), expires: null } as const;
  if ((at + key.length) % 5 === 0) return { ...about, state: "deleted", value: null, meta: {} };
  const value = new TextEncoder().encode(`${key} ${at} `.repeat(1 + ((at * 37) % 500)));
  return { ...about, state: "value", value, meta: metaOfKey(key) };
}
