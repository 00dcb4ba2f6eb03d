import type { Files } from "./files.ts";
import { MANIFEST, tryManifest } from "./manifest.ts";
import type { Manifest } from "./manifest.ts";
import { readDecision } from "./notes.ts";
import { Heads } from "./heads.ts";
import { Malformed, RECORD_BYTES_MIN, LENGTH_AT, mayBeRecord, readRecord } from "./record.ts";
import type { Indexed } from "./record.ts";
import {
  HEADER_BYTES,
  MARK_BYTES,
  decodeHeader,
  readMark,
  saltChecksum,
  segmentFile,
  segmentNumber,
} from "./segment.ts";
import type { SegmentHeader } from "./segment.ts";

/** A part of a log's files, as {@link inspectLog} meets it. */
export type Inspected =
  | {
      readonly kind: "segment";
      readonly ok: true;
      readonly file: string;
      readonly number: number;
      /** No record in it has a lower number; undefined when the header is damaged. */
      readonly first: number | undefined;
      readonly bytes: number;
    }
  | {
      readonly kind: "record";
      readonly ok: true;
      readonly file: string;
      readonly record: Indexed;
      /** A commit mark follows, so it was on disk. Without one it may or may not have been acknowledged: most likely not. */
      readonly committed: boolean;
    }
  | {
      readonly kind: "damage";
      readonly ok: false;
      readonly file: string;
      readonly at: number;
      readonly length: number;
      readonly reason: string;
    }
  /** Bytes that are no part of the log, though nothing is wrong with them: what failed, or was removed. */
  | {
      readonly kind: "ignored";
      readonly ok: true;
      readonly file: string;
      readonly at: number;
      readonly length: number;
    };

interface Known {
  readonly number: number;
  readonly file: string;
  /** Undefined when the file is not there. */
  readonly size: number | undefined;
  readonly header: SegmentHeader | string | undefined;
}

/**
 * Everything in the files that can be read, in the order of the log, and every range that cannot. It goes on behind
 * damage with the next whole record, changes nothing, and needs no claim; of a log that is being written it may take the
 * last group for torn. Damage is told, never thrown.
 *
 * @throws SyncError UNAVAILABLE when the disk cannot be read.
 */
export async function* inspectLog(files: Files): AsyncGenerator<Inspected, void> {
  const names = await files.list();
  const manifest = names.includes(MANIFEST) ? await tryManifest(files) : "it is not there";
  const segments = await survey(files, names, typeof manifest === "string" ? undefined : manifest);
  if (typeof manifest === "string" && segments.length > 0) {
    const length = names.includes(MANIFEST) ? await files.size(MANIFEST) : 0;
    yield damage(MANIFEST, 0, length, `the list of the segments cannot be used: ${manifest}`);
  }
  const lines = typeof manifest === "string" ? undefined : manifest.segments;
  for (const [index, segment] of segments.entries()) {
    const { number, file, size, header } = segment;
    const line = lines?.find((line) => line.number === number);
    if (size === undefined) {
      yield damage(file, 0, line?.end ?? 0, "the file is not there, and was not removed by the journal");
      continue;
    }
    if (lines !== undefined && line === undefined) {
      yield { kind: "ignored", ok: true, file, at: 0, length: size };
      continue;
    }
    const first = typeof header === "object" ? header.firstSeq : undefined;
    yield { kind: "segment", ok: true, file, number, first, bytes: size };
    if (typeof header === "string") yield damage(file, 0, Math.min(size, HEADER_BYTES), header);
    const salt = line?.salt ?? (typeof header === "object" ? header.salt : undefined);
    // What the list does not name, as a segment that was just begun, is no part of the log: the one before it is open.
    const isLast = number === (lines?.at(-1)?.number ?? segments.at(-1)?.number);
    const end = isLast ? size : Math.min(size, line?.end ?? endInNext(segments[index + 1], number) ?? size);
    if (line !== undefined && size < line.end) yield damage(file, size, line.end - size, "the file ends too early");
    if (salt === undefined) {
      const reason = "without header and list nothing in it can be told from chance";
      yield damage(file, HEADER_BYTES, Math.max(0, end - HEADER_BYTES), reason);
    } else if (end > HEADER_BYTES) {
      yield* scan(file, number, await files.read(file, 0, end), saltChecksum(salt), isLast);
    }
    if (end < size) yield { kind: "ignored", ok: true, file, at: end, length: size - end };
  }
}

/** The segments that are there or should be, in order, with their headers. */
async function survey(files: Files, names: readonly string[], manifest: Manifest | undefined): Promise<Known[]> {
  const there = names.flatMap((name) => segmentNumber(name) ?? []);
  const listed = manifest?.segments.map(({ number }) => number) ?? [];
  const known: Known[] = [];
  for (const number of [...new Set([...there, ...listed])].sort((a, b) => a - b)) {
    const file = segmentFile(number);
    if (!there.includes(number)) known.push({ number, file, size: undefined, header: undefined });
    else {
      const header = decodeHeader(await files.read(file, 0, HEADER_BYTES));
      known.push({ number, file, size: await files.size(file), header });
    }
  }
  return known;
}

function endInNext(next: Known | undefined, number: number): number | undefined {
  return typeof next?.header === "object" && next.header.predecessor === number
    ? next.header.predecessorEnd
    : undefined;
}

/** Every record of a segment, and the ranges between them. */
function* scan(
  file: string,
  number: number,
  bytes: Uint8Array,
  saltCrc: number,
  isLast: boolean,
): Generator<Inspected> {
  const heads = new Heads();
  const view = heads.begin(bytes, number, 0);
  const found: ({ record: Indexed } | { at: number; length: number; reason: string })[] = [];
  let marked = HEADER_BYTES; // where the last commit mark ends
  let broken: { at: number; reason: string } | undefined;
  const mend = (at: number) => {
    if (broken !== undefined) found.push({ at: broken.at, length: at - broken.at, reason: broken.reason });
    broken = undefined;
  };
  for (let at = HEADER_BYTES; at < bytes.length;) {
    const record = recordAt(bytes, view, at, saltCrc, heads);
    if (record !== undefined && !(record instanceof Malformed)) {
      mend(at);
      found.push({ record });
      at += record.place.length;
    } else if (at + MARK_BYTES <= bytes.length && (readMark(bytes, view, at, saltCrc)?.start ?? at) < at) {
      mend(at);
      at += MARK_BYTES;
      marked = at;
    } else {
      broken ??= { at, reason: `what is here ${record?.reason ?? "is no record"}` };
      at++;
    }
  }
  mend(bytes.length);
  for (const item of found) {
    if ("record" in item) {
      const committed = !isLast || item.record.place.at < marked;
      yield { kind: "record", ok: true, file, record: item.record, committed };
    } else {
      const torn = isLast && item.at >= marked;
      yield damage(file, item.at, item.length, torn ? "a torn tail, which the next opening cuts" : item.reason);
    }
  }
}

function recordAt(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  saltCrc: number,
  heads: Heads,
): Indexed | Malformed | undefined {
  const room = bytes.length - at;
  if (room < RECORD_BYTES_MIN || !mayBeRecord(view, at, room)) return undefined;
  const length = view.getUint32(at + LENGTH_AT);
  return readRecord(bytes, view, at, length, saltCrc, heads) ?? heads.at(heads.length - 1);
}

function damage(file: string, at: number, length: number, reason: string): Inspected {
  return { kind: "damage", ok: false, file, at, length, reason };
}

/**
 * The plain writes that are still in the log and that nobody gave up, oldest first. What a condition decided is told by
 * the layer that decided, which is asked for it.
 */
export async function plainWrites(files: Files): Promise<readonly Indexed[]> {
  const writes: Indexed[] = [];
  const givenUp = new Set<number>();
  for await (const found of inspectLog(files)) {
    if (found.kind !== "record" || !found.committed) continue;
    const { record } = found;
    if (record.kind === "write") writes.push(record);
    if (record.kind !== "decision") continue;
    const { intent, happened } = readDecision(record.note);
    if (!happened) givenUp.add(intent);
  }
  return writes.filter(({ seq }) => !givenUp.has(seq));
}
