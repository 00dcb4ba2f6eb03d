import type { Head } from "../entry.ts";
import type { Version } from "../version.ts";
import type { Gate } from "./gate.ts";
import type { Floor } from "./walk.ts";

interface Known {
  version: Version;
  deleted: boolean;
  expires: number | null;
  /** When this process learned of the version, in milliseconds since the floors began: as Unix ms it would be an object. */
  since: number;
}

/**
 * What this process wrote, answered or was told of, key by key: the versions it must not go back behind, for as long
 * as an older copy can still count as fresh somewhere, or waits here to be sent. Bounded: what is dropped for want of
 * room is made up for by suspecting, for all keys, every copy from before it.
 */
export interface Floors {
  get(key: string, now: number): Floor | undefined;
  /** Of {@link get}, the version. */
  version(key: string, now: number): Version | undefined;
  /** Raises the key's floor; a lower version changes nothing. True when it is higher than it was. */
  raise(head: Head, now: number): boolean;
  /** Asked before a key is looked at, for as long as there is one: it raises what is not known here yet. */
  source: ((key: string) => void) | undefined;
  /** The newest version of a key that this process still has to send somewhere, and answers whatever its age. */
  pending: ((key: string) => Version | undefined) | undefined;
  /** The version was no write after all: what it said is unknown again. */
  drop(key: string, version: Version): void;
  /**
   * The version is gone from every store for good, and with it what this process knew before it. What is older and still
   * waits here to be sent does not come back.
   */
  end(key: string, version: Version, now: number): void;
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
export function floors(lifeMs: number, entriesMax: number, gate: Gate, begun = 0): Floors {
  return new KeyFloors(lifeMs, entriesMax, gate, begun);
}

/** A class, since every hit in memory reads a field of it: an object with an accessor of its own is a slow one. */
class KeyFloors implements Floors {
  source: ((key: string) => void) | undefined = undefined;
  pending: ((key: string) => Version | undefined) | undefined = undefined;
  suspectUntil = 0;
  private readonly lifeMs: number;
  private readonly entriesMax: number;
  private readonly gate: Gate;
  private readonly begun: number;
  private young = generation(0);
  private old = generation(0);
  /** Floors that do not end before what is older than they are has been sent: as many as the journal has entries. */
  private readonly held = new Map<string, Known>();

  constructor(lifeMs: number, entriesMax: number, gate: Gate, begun: number) {
    this.lifeMs = lifeMs;
    this.entriesMax = entriesMax;
    this.gate = gate;
    this.begun = begun;
  }

  get size(): number {
    return this.young.entries.size + this.old.entries.size;
  }

  get(key: string, now: number): Floor | undefined {
    const found = this.find(key);
    if (!this.isLive(key, found, now)) return undefined;
    return { version: found.version, dead: found.deleted || (found.expires !== null && found.expires <= now) };
  }

  version(key: string, now: number): Version | undefined {
    const found = this.find(key);
    return this.isLive(key, found, now) ? found.version : undefined;
  }

  raise({ key, version, state, expires }: Head, now: number): boolean {
    this.source?.(key);
    const kept = this.young.entries.get(key);
    const found = kept ?? this.older(key);
    const isLive = this.isLive(key, found, now);
    if (isLive && found.version > version) return false;
    // Who knows of a version only by its stub, or by a refusal, does not know that it is a tombstone or expires.
    const same = found?.version === version ? found : undefined;
    const isHigher = !isLive || found.version < version;
    const deleted = state === "deleted" || same?.deleted === true;
    const end = expires ?? same?.expires ?? null;
    const isOver = this.young.entries.size >= this.entriesMax / 2 || now - this.young.begunAt >= this.lifeMs;
    if (isOver) this.turn(now);
    let known = isOver ? undefined : kept;
    const since = now - this.begun;
    if (known === undefined) {
      known = { version, deleted, expires: end, since };
      this.young.entries.set(key, known);
    } else {
      known.version = version;
      known.deleted = deleted;
      known.expires = end;
      known.since = since;
    }
    if (this.hasOlder(key, version)) this.held.set(key, known);
    this.young.lastSince = Math.max(this.young.lastSince, now);
    return isHigher;
  }

  drop(key: string, version: Version): void {
    if (this.find(key)?.version !== version) return;
    this.young.entries.delete(key);
    this.old.entries.delete(key);
    this.held.delete(key);
  }

  end(key: string, version: Version, now: number): void {
    const found = this.find(key);
    if (found !== undefined && found.version > version) return;
    this.drop(key, found?.version ?? version);
    const since = now - this.begun;
    if (this.hasOlder(key, version)) this.held.set(key, { version, deleted: true, expires: null, since });
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
    for (const [key, { version }] of this.held) if (!this.hasOlder(key, version)) this.held.delete(key);
  }

  private isLive(key: string, found: Known | undefined, now: number): found is Known {
    return found !== undefined && (found.since + this.lifeMs > now - this.begun || this.hasOlder(key, found.version));
  }

  private hasOlder(key: string, version: Version): boolean {
    const pending = this.pending?.(key);
    return pending !== undefined && pending < version;
  }

  private find(key: string): Known | undefined {
    this.source?.(key);
    return this.young.entries.get(key) ?? this.older(key);
  }

  /** Asking an empty map costs as much as asking a full one. */
  private older(key: string): Known | undefined {
    const old = this.old.entries.size === 0 ? undefined : this.old.entries.get(key);
    return old ?? (this.held.size === 0 ? undefined : this.held.get(key));
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
