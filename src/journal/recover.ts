import { SyncError } from "../error.ts";
import type { Files } from "./files.ts";
import { Heads } from "./heads.ts";
import { loadManifest } from "./manifest.ts";
import type { ManifestLine } from "./manifest.ts";
import { HEADER_BYTES, decodeHeader, saltChecksum, segmentFile, segmentNumber } from "./segment.ts";
import type { SegmentHeader } from "./segment.ts";
import { findLaterMark, walkGroups } from "./walk.ts";
import type { GroupPlace, Walk, WalkFailure } from "./walk.ts";

/** A segment of the log as its owner knows it. */
export interface Segment {
  readonly number: number;
  readonly salt: Uint8Array;
  readonly saltCrc: number;
  /** No record in it has a lower number. */
  readonly first: number;
  /** The highest number in it; `first - 1` while it has none. */
  last: number;
  /** Where it durably ends. */
  end: number;
}

export interface Recovered {
  readonly segments: readonly Segment[];
  readonly records: Heads;
  /** The number of the next segment. */
  readonly next: number;
  /** The highest number that was given out, as far as the files say. */
  readonly last: number;
  /**
   * The last group, when nobody is known to have seen it synced: a process that was killed after a failed sync leaves a
   * group that can be read and is not on the disk, nor will be by any later sync.
   */
  readonly unsure: GroupPlace | undefined;
}

/**
 * Reads the log and brings its folder into the state that it describes: what a crash left half-made goes, the torn tail
 * of the last segment is cut, and everything that was read is on disk.
 *
 * @throws SyncError CORRUPT naming file and offset when bytes are damaged that had been on disk.
 */
export async function recover(files: Files): Promise<Recovered> {
  // A process that died between renaming and syncing left a folder that a power loss could still take back.
  await files.syncFolder();
  const names = await files.list();
  const manifest = await loadManifest(files, names);
  const lines = manifest?.segments ?? [];
  const next = manifest?.next ?? 1;
  const highest = await removeUnlisted(files, names, new Set(lines.map(({ number }) => number)), next);
  const segments: Segment[] = [];
  const records = new Heads();
  let last = 0;
  let unsure: GroupPlace | undefined;
  for (const [index, line] of lines.entries()) {
    if (!names.includes(segmentFile(line.number))) throw lost(files, line.number);
    const segment = await openHeader(files, line, lines[index - 1]);
    last = Math.max(last, segment.first - 1);
    const read = index < lines.length - 1 ? readClosed : readLast;
    const walk = await read(files, segment, line.end, last, records);
    last = walk.last;
    segment.last = last;
    segment.end = walk.end;
    unsure = walk.end > line.end ? walk.group : undefined;
    segments.push(segment);
  }
  return { segments, records, next: Math.max(next, highest + 1), last, unsure };
}

/**
 * A segment that no manifest lists was either removed (its number is below the next) or never used: the manifest names
 * it before its first group is written.
 *
 * @returns the highest number seen.
 */
async function removeUnlisted(
  files: Files,
  names: readonly string[],
  listed: ReadonlySet<number>,
  next: number,
): Promise<number> {
  let highest = 0;
  for (const name of names) {
    const number = segmentNumber(name);
    if (number === undefined) continue;
    highest = Math.max(highest, number);
    if (listed.has(number)) continue;
    if (number >= next && (await files.size(name)) > HEADER_BYTES) {
      throw corrupt(files, name, HEADER_BYTES, "the segment is newer than the file that lists the segments");
    }
    await files.remove(name);
  }
  return highest;
}

async function openHeader(files: Files, line: ManifestLine, before: ManifestLine | undefined): Promise<Segment> {
  const file = segmentFile(line.number);
  const header = decodeHeader(await files.read(file, 0, HEADER_BYTES));
  if (typeof header === "string") throw corrupt(files, file, 0, header);
  if (header.number !== line.number || !sameBytes(header.salt, line.salt) || contradicts(header, before)) {
    throw corrupt(files, file, 0, "the segment is not the one that belongs here");
  }
  const { number, salt, firstSeq } = header;
  return { number, salt, saltCrc: saltChecksum(salt), first: firstSeq, last: firstSeq - 1, end: HEADER_BYTES };
}

/** Whether header and manifest disagree on where the segment before durably ended. */
function contradicts(header: SegmentHeader, before: ManifestLine | undefined): boolean {
  return before?.number === header.predecessor && before.end !== header.predecessorEnd;
}

/** All of it up to its durable end; what lies beyond was never acknowledged and does not exist. */
async function readClosed(files: Files, segment: Segment, end: number, last: number, out: Heads): Promise<Walk> {
  const walk = await walkGroups(files, segment, HEADER_BYTES, end, last, out);
  if (walk.failure !== undefined) throw damaged(files, segment, walk.failure);
  return walk;
}

/** Up to the last whole group; the torn tail behind it is cut. */
async function readLast(files: Files, segment: Segment, durable: number, last: number, out: Heads): Promise<Walk> {
  const name = segmentFile(segment.number);
  const size = await files.size(name);
  const walk = await walkGroups(files, segment, HEADER_BYTES, size, last, out);
  const { end, failure } = walk;
  if (end < durable) {
    throw damaged(files, segment, failure ?? { at: size, reason: "the file ends too early", unknown: false });
  }
  if (failure?.unknown === true) throw damaged(files, segment, failure);
  if (failure !== undefined && (await findLaterMark(files, segment, end, size)) !== undefined) {
    throw damaged(files, segment, failure);
  }
  const file = await files.open(name);
  try {
    if (end < size) await file.truncate(end);
    // What was read may still be on its way to the disk, if the process that wrote it was killed.
    await file.sync();
  } finally {
    await file.close();
  }
  return walk;
}

function damaged(files: Files, { number }: Segment, { at, reason, unknown }: WalkFailure): SyncError {
  return corrupt(
    files,
    segmentFile(number),
    at,
    reason,
    unknown ? "open it with the version that wrote it" : undefined,
  );
}

const RESCUE = "restore the file from a backup, or take out what is whole with `microsync journal rescue`";

function lost(files: Files, number: number): SyncError {
  return corrupt(files, segmentFile(number), 0, "the file is not there, and was not removed by the journal");
}

function corrupt(files: Files, file: string, at: number, reason: string, cure = RESCUE): SyncError {
  return new SyncError("CORRUPT", `the journal is damaged in ${file} at offset ${at}: ${reason}`, {
    store: files.name,
    operation: "open",
    cure,
  });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
