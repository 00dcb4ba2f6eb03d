import type { EntryState, Head } from "../../entry.ts";
import { NO_META } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { VERSION_ZERO, formatVersion, versionMs } from "../../version.ts";
import type { Version, VersionClock } from "../../version.ts";
import { metaOfKey } from "./kind.ts";
import type { SideRecord } from "./record.ts";

/** What a commit holds of a key that a person was the last to touch. */
export interface Evidence {
  readonly key: string;
  /** The object id of the file; undefined: there is none. */
  readonly file: string | undefined;
  /** The records there are: usually one, none, or after a merge two. Unreadable ones are left out. */
  readonly records: readonly SideRecord[];
  /** Every version that the record ever had, as far as persons' commits show. */
  readonly versions: readonly Version[];
  /** A record is there that cannot be read. */
  readonly damaged: boolean;
  /** Sync removed the key for good at some time before. */
  readonly wasForgotten: boolean;
}

/** A person's change that has no version yet. */
export interface Unadopted {
  readonly key: string;
  readonly state: EntryState;
  readonly file: string | undefined;
  /** Above everything that the key ever was; the new version goes above it. */
  readonly base: Version;
  readonly meta: Head["meta"];
  /** Stays "lfs" where Sync has told git so in `.gitattributes`, and has to take it back one day. */
  readonly storage: SideRecord["storage"];
}

/**
 * Whether the record describes the file, as new as it ever was ("settled"); whether there is nothing but the log to
 * describe it ("unrecorded"); or what has to be adopted. Pure: every node that sees the same commit decides the same.
 */
export function judge(evidence: Evidence): Unadopted | "settled" | "unrecorded" {
  const { key, file, records, versions, damaged, wasForgotten } = evidence;
  const base = [...versions, ...records.map(({ version }) => version)].reduce((a, b) => (a > b ? a : b), VERSION_ZERO);
  const newest = records.reduce<SideRecord | undefined>(
    (a, b) => (a !== undefined && a.version > b.version ? a : b),
    undefined,
  );
  if (newest === undefined && versions.length === 0 && !wasForgotten && !damaged) return "unrecorded";
  // Forgotten, and nobody has touched the file since.
  if (newest === undefined && file === undefined && wasForgotten && versions.length === 0) return "settled";
  const describes = newest !== undefined && (newest.blob ?? undefined) === file;
  if (describes && newest.version === base && records.length === 1 && !damaged) return "settled";
  const meta = file === undefined ? NO_META : newest?.state === "value" ? newest.meta : metaOfKey(key);
  const storage = file !== undefined && newest?.storage === "lfs" ? "lfs" : undefined;
  return { key, state: file === undefined ? "deleted" : "value", file, base, meta, storage };
}

/** The version directly above `base`, for those who cannot commit one. The same on every node. */
export function tick(base: Version, node: string): Version {
  const counter = Number.parseInt(base.slice(13, 17), 16);
  return counter < 0xffff
    ? formatVersion(versionMs(base), counter + 1, node)
    : formatVersion(versionMs(base) + 1, 0, node);
}

/** A stamp for an adopted change: above `base`; directly above it when `base` lies too far ahead for the clock. */
export async function adoptedVersion(clock: VersionClock, base: Version, node: string): Promise<Version> {
  try {
    return await clock.stamp(base);
  } catch (error) {
    if (error instanceof SyncError && error.code === "SKEW") return tick(base, node);
    throw error;
  }
}
