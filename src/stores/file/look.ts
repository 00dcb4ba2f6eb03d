import { lstat, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { NO_META } from "../../entry.ts";
import type { Head } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import type { Answer } from "../../store.ts";
import { metaOfKey } from "../git-layout/kind.ts";
import { placesOfKey } from "../git-layout/path.ts";
import { bodyOf, bytesOf, hashOf } from "./content.ts";
import type { Bytes, Source } from "./content.ts";
import { changeVersion, judge, oldFileVersion } from "./derive.ts";
import type { Judged } from "./derive.ts";
import { TICK_MS, factsOf, isSettledAt } from "./disk.ts";
import type { FileFacts } from "./disk.ts";
import { isMissing } from "./failures.ts";
import type { SideRecord } from "./record.ts";
import type { Side } from "./side.ts";

/** What there is of a key. */
export interface Found {
  /** Undefined: nothing; the record is then of something that was forgotten. */
  readonly head: Head | undefined;
  readonly tag: string;
  /** Of a value. */
  readonly source: Source | undefined;
  /** Its bytes, where they were asked for. */
  readonly bytes: Bytes | undefined;
  readonly record: SideRecord | undefined;
  /** A file that is to be removed. */
  readonly leftover: FileFacts | undefined;
  /** The record does not say yet what the file says, or the value is not in its place. */
  readonly unsettled: boolean;
  /** The file has the recorded content, and nobody need look again: what the record does not say yet. */
  readonly seenNs: bigint | undefined;
}

/** How often a key that changes while it is looked at is looked at again. */
const ATTEMPTS_MAX = 100;
/** How many files are remembered whose content was looked at, until their records say so. */
const SEEN_MAX = 10_000;

const NOTHING: Found = {
  head: undefined,
  tag: "",
  source: undefined,
  bytes: undefined,
  record: undefined,
  leftover: undefined,
  unsettled: false,
  seenNs: undefined,
};

/**
 * Looks at keys without a lock. A writer changes the record first and the file after it; so whatever is not exactly as
 * recorded is only believed if the record is still the same afterwards.
 */
export class Looks {
  readonly root: string;
  private readonly side: Side;
  private readonly runtime: Runtime;
  /** By path: what was found in a file that was settled then. */
  private readonly seen = new Map<string, string>();

  constructor(root: string, side: Side, runtime: Runtime) {
    this.root = root;
    this.side = side;
    this.runtime = runtime;
  }

  /** @param wholeBytesMax a value of no more bytes is brought along, and its content looked at whatever its record says. */
  async look(key: string, wholeBytesMax = -1): Promise<Found> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const record = await this.side.record(key);
      const staged = record?.staged === undefined ? undefined : await factsOf(this.side.stagedPath(record.staged));
      const file = staged ?? (await this.fileOf(key));
      const judged = judge(record, file, staged !== undefined);
      const found = await this.found(key, record, judged, staged !== undefined, wholeBytesMax);
      if (found !== undefined) return found;
    }
    throw new SyncError("UNAVAILABLE", "the file changes all the time", {
      store: this.side.store,
      operation: "read",
      key,
      cure: "try again when nobody writes to it",
    });
  }

  /** Undefined: it changed, so look again. */
  private async found(
    key: string,
    record: SideRecord | undefined,
    judged: Judged,
    isStaged: boolean,
    wholeBytesMax: number,
  ): Promise<Found | undefined> {
    if (judged.kind === "nothing") return NOTHING;
    if (judged.kind === "removed") return this.removed(key, record);
    const { file } = judged;
    if (judged.kind === "recorded" && record !== undefined && (record.state !== "value" || file === undefined)) {
      const head = record.state === "none" ? undefined : headOf(record);
      const about = { record, leftover: file, unsettled: file !== undefined };
      return { ...NOTHING, ...about, head, tag: tagOf(record.version, "") };
    }
    if (file === undefined) return undefined;
    const isWanted = file.size <= wholeBytesMax;
    const bytes = isWanted ? await bytesOf(file) : undefined;
    if (isWanted && bytes === undefined) return undefined;
    let sha256 = bytes?.sha256;
    if (record?.state === "value") {
      // A changed file is known by its content: by then it is time to look at it, wanted or not.
      if (judged.kind !== "recorded") sha256 ??= await this.contentOf(file);
      if (judged.kind !== "recorded" && sha256 === undefined) return undefined;
      if ((sha256 ?? record.sha256) === record.sha256) {
        const source = { file, sha256: record.sha256 };
        const unsettled = isStaged || file.mark !== record.mark;
        const isSeen = judged.kind !== "recorded" && this.isSeen(file);
        const about = { unsettled, seenNs: isSeen ? file.changedNs : undefined };
        const tag = tagOf(record.version, record.sha256);
        return { ...NOTHING, head: headOf(record), tag, source, bytes, record, ...about };
      }
    }
    return this.changed(key, record, file, bytes, sha256);
  }

  /**
   * SHA-256 of a file's content, remembered once nothing can happen to the file that its times would not show. Undefined:
   * it changed.
   */
  async contentOf(file: FileFacts): Promise<string | undefined> {
    const known = this.seenIn(file);
    if (known !== undefined) return known;
    const isSettled = isSettledAt(file, this.runtime.now());
    const sha256 = await hashOf(file);
    if (sha256 === undefined || !isSettled) return sha256;
    this.seen.delete(file.path);
    this.seen.set(file.path, `${timesOf(file)} ${sha256}`);
    const [oldest] = this.seen.keys();
    if (this.seen.size > SEEN_MAX && oldest !== undefined) this.seen.delete(oldest);
    return sha256;
  }

  /** Whether its content is remembered. */
  isSeen(file: FileFacts): boolean {
    return this.seenIn(file) !== undefined;
  }

  private seenIn(file: FileFacts): string | undefined {
    const [times, sha256] = this.seen.get(file.path)?.split(" ") ?? [];
    return times === timesOf(file) ? sha256 : undefined;
  }

  /** Somebody added the file, or changed it: the version is the moment of that. */
  private async changed(
    key: string,
    record: SideRecord | undefined,
    file: FileFacts,
    bytes: Bytes | undefined,
    sha256: string | undefined,
  ): Promise<Found | undefined> {
    const ageMs = Math.abs(this.runtime.now() - Number(file.changedNs / 1_000_000n));
    // Another change in the same tick would have the same time; after it there can be none, so look again then.
    if (ageMs < TICK_MS) {
      await sleep(this.runtime, TICK_MS);
      return undefined;
    }
    const [now, facts, createdMs] = [await this.side.record(key), await factsOf(file.path), await this.side.created()];
    if (now?.version !== record?.version || now?.staged !== record?.staged) return undefined;
    if (facts?.mark !== file.mark || facts.changedNs !== file.changedNs) return undefined;
    const of = timesOf(file);
    const isOld = record === undefined && !(createdMs !== undefined && file.changedNs / 1_000_000n > createdMs);
    const version = isOld
      ? oldFileVersion(file.changedNs, of)
      : changeVersion(file.changedNs, `changed ${of}`, record?.version);
    const meta = record?.state === "value" ? record.meta : metaOfKey(key);
    const head: Head = { key, state: "value", version, expires: null, meta };
    // What will be recorded has its content in its tag, as it will have then.
    const sum = isOld ? sha256 : (sha256 ?? (await this.contentOf(file)));
    if (!isOld && sum === undefined) return undefined;
    const about = { source: { file, sha256: sum }, bytes, record, unsettled: !isOld };
    return { ...NOTHING, ...about, head, tag: tagOf(version, isOld ? file.mark : (sum ?? "")) };
  }

  /** Somebody removed the file: after its folder last changed nobody can have. */
  private async removed(key: string, record: SideRecord | undefined): Promise<Found | undefined> {
    if (record === undefined) return NOTHING;
    const changedNs = await this.lastChangeAbove(key);
    const now = await this.side.record(key);
    if (now?.version !== record.version || now.staged !== record.staged) return undefined;
    if ((await this.fileOf(key)) !== undefined) return undefined;
    const version = changeVersion(changedNs, `removed ${record.version}`, record.version);
    const head: Head = { key, state: "deleted", version, expires: null, meta: NO_META };
    return { ...NOTHING, head, tag: tagOf(version, ""), record, unsettled: true };
  }

  /** The key's file, at the place that counts. */
  async fileOf(key: string): Promise<FileFacts | undefined> {
    for (const place of placesOfKey(key)) {
      const path = join(this.root, place);
      const file = await factsOf(path);
      if (file === undefined || (place.includes("/") && !(await isItself(dirname(path))))) continue;
      if (!(await this.side.folds()) || (await isItself(path))) return file;
    }
    return undefined;
  }

  private async lastChangeAbove(key: string): Promise<bigint> {
    const [place = ""] = placesOfKey(key);
    for (let folder = dirname(join(this.root, place)); folder.length > this.root.length; folder = dirname(folder)) {
      try {
        return (await lstat(folder, { bigint: true })).ctimeNs;
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    return (await lstat(this.root, { bigint: true })).ctimeNs;
  }
}

/**
 * Whether the path is what is really there: no link stands on the way, since what lies behind one is not in this folder, and
 * it is spelled so, where the file system takes other spellings too.
 */
export async function isItself(path: string): Promise<boolean> {
  try {
    return (await realpath(path)) === path;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** The bytes of a value, or what stands for them. */
export function givenBy(
  { head, source, bytes }: Found,
  runtime: Runtime,
  store: string,
): Pick<Answer, "entry" | "body"> {
  if (head === undefined) return { entry: undefined };
  if (head.state === "deleted" || source === undefined) return { entry: { ...head, value: null } };
  if (bytes !== undefined) return { entry: { ...head, value: bytes.value } };
  return { entry: { ...head, state: "stub", value: null }, body: bodyOf(source, head.key, runtime, store) };
}

function headOf({ key, state, version, expires, meta }: SideRecord): Head {
  return { key, state: state === "value" ? "value" : "deleted", version, expires, meta };
}

function timesOf({ mark, changedNs }: FileFacts): string {
  return `${mark}.${changedNs}`;
}

function tagOf(version: string, content: string): string {
  return content === "" ? version : `${version}.${content.slice(0, 40)}`;
}
