import { createHash } from "node:crypto";
import { STAMP_MS_MIN, formatVersion, versionMs } from "../../version.ts";
import type { Version } from "../../version.ts";
import type { FileFacts } from "./disk.ts";
import type { SideRecord } from "./record.ts";

/**
 * What a record and a file say together. Pure: everybody who looks at one folder comes to the same, whoever looks and
 * whenever.
 */
export type Judged =
  | { readonly kind: "nothing" }
  /** As the record says. The file of a value; of a tombstone, or of nothing, one that is left to be removed. */
  | { readonly kind: "recorded"; readonly file: FileFacts | undefined }
  /** The file may have been copied, or touched, or changed, also since it was written: only its content tells. */
  | { readonly kind: "unsure"; readonly file: FileFacts }
  /** Somebody added or changed the file. */
  | { readonly kind: "changed"; readonly file: FileFacts }
  /** Somebody removed the file. */
  | { readonly kind: "removed" };

/** @param isStaged the file is on its way to its place, where nobody has found it yet. */
export function judge(record: SideRecord | undefined, file: FileFacts | undefined, isStaged = false): Judged {
  if (record === undefined) return file === undefined ? { kind: "nothing" } : { kind: "changed", file };
  if (record.state !== "value") {
    return file === undefined || file.mark === record.over ? { kind: "recorded", file } : { kind: "changed", file };
  }
  if (file === undefined) return { kind: "removed" };
  const isSame = file.mark === record.mark && (isStaged || file.changedNs === record.seenNs);
  return { kind: isSame ? "recorded" : "unsure", file };
}

/** Ticks of the counter in a version, of which a millisecond has fewer than there is room for. */
const TICK_NS = 16n;
const NS_PER_MS = 1_000_000n;
/** A unit of the low band's positions: they have room for no smaller one. */
const LOW_UNIT_NS = 10n * NS_PER_MS;
const LOW_TICK_NS = 160n;

/**
 * The version of what somebody did to a key: the moment of it, as the file system tells it, above what is recorded.
 * @param of what was done, so that two things done at one moment differ.
 */
export function changeVersion(changedNs: bigint, of: string, above: Version | undefined): Version {
  const at = formatVersion(Number(changedNs / NS_PER_MS), Number((changedNs % NS_PER_MS) / TICK_NS), nodeOf(of));
  return above === undefined || at > above ? at : next(above, of);
}

/**
 * The version of a file that was there before Sync wrote anything: in the low band, so that every stamp beats it, by the
 * moment of its last change.
 */
export function oldFileVersion(changedNs: bigint, of: string): Version {
  const counter = Number((changedNs % LOW_UNIT_NS) / LOW_TICK_NS);
  const position = Number(changedNs / LOW_UNIT_NS);
  return formatVersion(Math.min(Math.max(1, position), STAMP_MS_MIN - 1), counter, nodeOf(of));
}

function next(version: Version, of: string): Version {
  const counter = Number.parseInt(version.slice(13, 17), 16) + 1;
  const ms = versionMs(version);
  return counter > 0xffff ? formatVersion(ms + 1, 0, nodeOf(of)) : formatVersion(ms, counter, nodeOf(of));
}

function nodeOf(of: string): string {
  return createHash("sha256").update(of, "utf8").digest("hex").slice(0, 16);
}
