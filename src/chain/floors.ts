import type { Head } from "../entry.ts";
import type { Version } from "../version.ts";
import type { Floor } from "./walk.ts";

interface Known {
  readonly version: Version;
  readonly deleted: boolean;
  readonly expires: number | null;
  /** Unix ms at which this process learned of the version. */
  readonly since: number;
}

/**
 * What this process wrote, answered or was told of, key by key: the versions it must not go back behind, for as long
 * as an older copy can still count as fresh somewhere. Bounded: what is dropped for want of room is made up for by
 * suspecting, for all keys, every copy from before it.
 */
export interface Floors {
  get(key: string, now: number): Floor | undefined;
  /** Raises the key's floor; a lower version changes nothing. True when it is higher than it was. */
  raise(head: Head, now: number): boolean;
  /** For collection: the version is gone from every store for good. */
  drop(key: string, version: Version): void;
  /** Every copy with an asOf up to `now` is suspect from here on: changes were missed. */
  suspect(now: number): void;
  /** Copies with an asOf up to this do not count as fresh. 0 when none are suspect. */
  readonly suspectUntil: number;
  readonly size: number;
}

export function floors(lifeMs: number, entriesMax: number): Floors {
  // Insertion order is age order: a raised floor is inserted anew. So the first entry is always the oldest.
  const known = new Map<string, Known>();
  let suspectUntil = 0;

  const trim = (now: number) => {
    for (const [key, { since }] of known) {
      if (since + lifeMs > now && known.size <= entriesMax) return;
      if (since + lifeMs > now) suspectUntil = Math.max(suspectUntil, since);
      known.delete(key);
    }
  };

  return {
    get(key, now) {
      const found = known.get(key);
      if (found === undefined || found.since + lifeMs <= now) return undefined;
      return { version: found.version, dead: found.deleted || (found.expires !== null && found.expires <= now) };
    },
    raise(head, now) {
      const found = known.get(head.key);
      if (found !== undefined) {
        if (found.version > head.version) return false;
        known.delete(head.key);
      }
      known.set(head.key, {
        version: head.version,
        deleted: head.state === "deleted",
        expires: head.expires,
        since: now,
      });
      trim(now);
      return found === undefined || found.version < head.version;
    },
    drop(key, version) {
      if (known.get(key)?.version === version) known.delete(key);
    },
    suspect(now) {
      suspectUntil = Math.max(suspectUntil, now);
    },
    get suspectUntil() {
      return suspectUntil;
    },
    get size() {
      return known.size;
    },
  };
}
