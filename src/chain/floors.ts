import type { Head } from "../entry.ts";
import type { Version } from "../version.ts";
import type { Gate } from "./gate.ts";
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
export function floors(lifeMs: number, entriesMax: number, gate: Gate): Floors {
  return new KeyFloors(lifeMs, entriesMax, gate);
}

/** A class, since every hit in memory reads a field of it: an object with an accessor of its own is a slow one. */
class KeyFloors implements Floors {
  source: ((key: string) => void) | undefined = undefined;
  suspectUntil = 0;
  private readonly lifeMs: number;
  private readonly entriesMax: number;
  private readonly gate: Gate;
  private young = generation(0);
  private old = generation(0);

  constructor(lifeMs: number, entriesMax: number, gate: Gate) {
    this.lifeMs = lifeMs;
    this.entriesMax = entriesMax;
    this.gate = gate;
  }

  get size(): number {
    return this.young.entries.size + this.old.entries.size;
  }

  get(key: string, now: number): Floor | undefined {
    const found = this.find(key);
    if (found === undefined || found.since + this.lifeMs <= now) return undefined;
    return { version: found.version, dead: found.deleted || (found.expires !== null && found.expires <= now) };
  }

  version(key: string, now: number): Version | undefined {
    const found = this.find(key);
    return found === undefined || found.since + this.lifeMs <= now ? undefined : found.version;
  }

  raise({ key, version, state, expires }: Head, now: number): boolean {
    this.source?.(key);
    const kept = this.young.entries.get(key);
    const found = kept ?? this.old.entries.get(key);
    const isLive = found !== undefined && found.since + this.lifeMs > now;
    if (isLive && found.version > version) return false;
    // Who knows of a version only by its stub, or by a refusal, does not know that it is a tombstone or expires.
    const same = found?.version === version ? found : undefined;
    const isHigher = !isLive || found.version < version;
    const deleted = state === "deleted" || same?.deleted === true;
    const end = expires ?? same?.expires ?? null;
    const isOver = this.young.entries.size >= this.entriesMax / 2 || now - this.young.begunAt >= this.lifeMs;
    if (isOver) this.turn(now);
    if (kept === undefined || isOver) this.young.entries.set(key, { version, deleted, expires: end, since: now });
    else {
      kept.version = version;
      kept.deleted = deleted;
      kept.expires = end;
      kept.since = now;
    }
    this.young.lastSince = Math.max(this.young.lastSince, now);
    return isHigher;
  }

  drop(key: string, version: Version): void {
    if (this.find(key)?.version !== version) return;
    this.young.entries.delete(key);
    this.old.entries.delete(key);
  }

  suspect(now: number): void {
    this.suspectUntil = Math.max(this.suspectUntil, now);
    this.gate.shut();
  }

  private turn(now: number): void {
    // What has to be dropped before its time is made up for.
    const { entries, lastSince } = this.old;
    if (entries.size > 0 && lastSince + this.lifeMs > now) this.suspect(lastSince);
    this.old = this.young;
    this.young = generation(now);
  }

  private find(key: string): Known | undefined {
    this.source?.(key);
    return this.young.entries.get(key) ?? this.old.entries.get(key);
  }
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
