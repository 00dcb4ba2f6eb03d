import type { Head } from "../entry.ts";
import type { Version } from "../version.ts";
import type { Floor } from "./walk.ts";

interface Known {
  version: Version;
  deleted: boolean;
  expires: number | null;
  /** Unix ms at which this process learned of the version. */
  since: number;
}

/**
 * What this process wrote, answered or was told of, key by key: the versions it must not go back behind, for as long
 * as an older copy can still count as fresh somewhere. Bounded: what is dropped for want of room is made up for by
 * suspecting, for all keys, every copy from before it.
 */
export interface Floors {
  get(key: string, now: number): Floor | undefined;
  /** Of {@link get}, the version. */
  version(key: string, now: number): Version | undefined;
  /** Raises the key's floor; a lower version changes nothing. True when it is higher than it was. */
  raise(head: Head, now: number): boolean;
  /** Asked before a key is looked at, for as long as there is one: it raises what is not known here yet. */
  source: ((key: string) => void) | undefined;
  /** For collection: the version is gone from every store for good. */
  drop(key: string, version: Version): void;
  /** Every copy with an asOf up to `now` is suspect from here on: changes were missed. */
  suspect(now: number): void;
  /** Copies with an asOf up to this do not count as fresh. 0 when none are suspect. */
  readonly suspectUntil: number;
  readonly size: number;
}

/**
 * Two generations: what is raised goes into the young one, and when that is full or has lived long enough the old one
 * is dropped whole. Dropping the oldest key of a map one by one would make its iterator pass over all the holes.
 */
export function floors(lifeMs: number, entriesMax: number): Floors {
  let young = generation(0);
  let old = generation(0);
  let suspectUntil = 0;

  const turn = (now: number) => {
    // What has to be dropped before its time is made up for.
    if (old.entries.size > 0 && old.lastSince + lifeMs > now) suspectUntil = Math.max(suspectUntil, old.lastSince);
    old = young;
    young = generation(now);
  };

  const find = (key: string) => {
    all.source?.(key);
    return young.entries.get(key) ?? old.entries.get(key);
  };

  const all: Floors = {
    source: undefined,
    get(key, now) {
      const found = find(key);
      if (found === undefined || found.since + lifeMs <= now) return undefined;
      return { version: found.version, dead: found.deleted || (found.expires !== null && found.expires <= now) };
    },
    version(key, now) {
      const found = find(key);
      return found === undefined || found.since + lifeMs <= now ? undefined : found.version;
    },
    raise({ key, version, state, expires }, now) {
      all.source?.(key);
      const kept = young.entries.get(key);
      const found = kept ?? old.entries.get(key);
      const isLive = found !== undefined && found.since + lifeMs > now;
      if (isLive && found.version > version) return false;
      // Who knows of a version only by its stub, or by a refusal, does not know that it is a tombstone or expires.
      const same = found?.version === version ? found : undefined;
      const isHigher = !isLive || found.version < version;
      const deleted = state === "deleted" || same?.deleted === true;
      const end = expires ?? same?.expires ?? null;
      const isOver = young.entries.size >= entriesMax / 2 || now - young.begunAt >= lifeMs;
      if (isOver) turn(now);
      if (kept === undefined || isOver) young.entries.set(key, { version, deleted, expires: end, since: now });
      else {
        kept.version = version;
        kept.deleted = deleted;
        kept.expires = end;
        kept.since = now;
      }
      young.lastSince = Math.max(young.lastSince, now);
      return isHigher;
    },
    drop(key, version) {
      if (find(key)?.version !== version) return;
      young.entries.delete(key);
      old.entries.delete(key);
    },
    suspect(now) {
      suspectUntil = Math.max(suspectUntil, now);
    },
    get suspectUntil() {
      return suspectUntil;
    },
    get size() {
      return young.entries.size + old.entries.size;
    },
  };
  return all;
}

interface Generation {
  readonly entries: Map<string, Known>;
  readonly begunAt: number;
  /** The latest `since` in it. */
  lastSince: number;
}

function generation(begunAt: number): Generation {
  return { entries: new Map(), begunAt, lastSince: 0 };
}
