import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Files, OpenFile } from "./files.ts";
import { sealGroup, unsealGroup } from "./group.ts";
import type { Group } from "./group.ts";
import { storeManifest } from "./manifest.ts";
import type { Place } from "./record.ts";
import type { Recovered, Segment } from "./recover.ts";
import { HEADER_BYTES, MARK_BYTES, SALT_BYTES, encodeHeader, saltChecksum, segmentFile } from "./segment.ts";
import type { GroupPlace } from "./walk.ts";

/** A segment to write to. */
interface Current {
  readonly segment: Segment;
  readonly file: OpenFile;
}

/**
 * The segment files of a log and what is written to them: groups at the end of the last one, new segments, removals.
 *
 * A file that failed to sync is never written again, because nobody knows what of it is on disk and a later sync that
 * succeeds does not say (the kernel reports a lost page once). The next group goes into a new segment, and header and
 * manifest state where the old one durably ended; what lies beyond that does not exist.
 */
export class Segments {
  private readonly files: Files;
  private readonly runtime: Runtime;
  private readonly segmentBytes: number;
  private readonly list: Segment[];
  /** Undefined: the next group needs a new segment. */
  private current: Current | undefined;
  /** A new segment, whole on disk, of which the manifest may or may not know yet. */
  private prepared: Current | undefined;
  /** Files that no manifest lists and that are still there. */
  private readonly unlisted = new Set<string>();
  /** Records that moved from the end of one segment to the beginning of the next, which keeps their order and lengths. */
  private moved: { readonly from: number; readonly start: number; readonly to: number } | undefined;
  /** A group at the end of the last segment that goes into the next one before anything else does. */
  private unsure: GroupPlace | undefined;
  private next: number;
  /** The end of the last segment, as far as the manifest states it. */
  private statedEnd: number | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(files: Files, runtime: Runtime, segmentBytes: number, recovered: Recovered) {
    this.files = files;
    this.runtime = runtime;
    this.segmentBytes = segmentBytes;
    this.list = [...recovered.segments];
    this.next = recovered.next;
    this.unsure = recovered.unsure;
  }

  /** Oldest first. The last is the one that is written to. */
  get all(): readonly Segment[] {
    return this.list;
  }

  find(number: number): Segment | undefined {
    return this.list.find((segment) => segment.number === number);
  }

  /** Where a record lies now. */
  locate(place: Place): Place {
    const { moved } = this;
    if (moved?.from !== place.segment || place.at < moved.start) return place;
    return { segment: moved.to, at: place.at - moved.start + HEADER_BYTES, length: place.length };
  }

  /**
   * Goes on writing where an earlier process ended. A last group that is not surely on disk is written anew, into a new
   * segment; where that cannot be done now, the next append does it first.
   */
  async resume(): Promise<void> {
    const segment = this.list.at(-1);
    if (segment === undefined) return;
    if (this.unsure === undefined) {
      this.current = { segment, file: await this.files.open(segmentFile(segment.number)) };
    } else {
      const { firstSeq } = this.unsure;
      await this.inTurn(() => this.begin(firstSeq)).catch(ignore);
    }
  }

  /**
   * Resolves when the group is on disk. After a failure it is not part of the log, and the next call may succeed.
   * @throws MayReturn when a power loss may bring the group back, as long as no other has been written after it.
   */
  async write(group: Group): Promise<void> {
    const { segment, file } = this.roomFor(group) ?? (await this.inTurn(() => this.begin(group.firstSeq)));
    try {
      await file.appendSynced(group.seal(segment.number, segment.end, segment.saltCrc, this.files.crc32));
    } catch (error) {
      const isGone = await this.takeBack(file, segment.end);
      await this.abandon();
      throw isGone ? error : new MayReturn(error);
    }
    segment.end += group.bytesOnDisk;
    segment.last = group.lastSeq;
  }

  /**
   * Cuts a failed group off, so that it does not come back after a crash. The file is not trusted with records again,
   * whatever this comes to. @returns whether the group is surely gone.
   */
  private async takeBack(file: OpenFile, end: number): Promise<boolean> {
    try {
      await file.truncate(end);
      await file.sync();
      return true;
    } catch {
      return false; // the caller says so
    }
  }

  /** Removes closed segments. Those that are gone already are no mistake, so that a failed call can be repeated. */
  remove(numbers: readonly number[]): Promise<void> {
    return this.inTurn(async () => {
      const going = new Set(numbers);
      const last = this.list.at(-1);
      if (last !== undefined && going.has(last.number)) {
        throw new SyncError("INVALID", `segment ${last.number} is the one that is written to`, {
          store: this.files.name,
          operation: "remove segments",
          cure: "leave it until a later one has taken its place",
        });
      }
      const staying = this.list.filter(({ number }) => !going.has(number));
      if (staying.length < this.list.length) {
        await this.storeList(staying);
        for (const { number } of this.list) if (going.has(number)) this.unlisted.add(segmentFile(number));
        this.list.splice(0, this.list.length, ...staying);
      }
      await this.removeUnlisted();
    });
  }

  /** States in the manifest how much is on disk, so that damage up to there is never taken for a torn tail. */
  async close(): Promise<void> {
    await this.inTurn(async () => {
      const { current, prepared } = this;
      this.current = undefined;
      this.prepared = undefined;
      const end = this.list.at(-1)?.end;
      // Without the statement nothing is lost, so a disk that refuses it does not keep anybody from closing.
      if (current !== undefined && end !== this.statedEnd) await this.storeList(this.list).catch(ignore);
      await (current ?? prepared)?.file.close();
    });
  }

  private roomFor(group: Group): Current | undefined {
    const { current } = this;
    if (current === undefined) return undefined;
    const { end } = current.segment;
    return end === HEADER_BYTES || end + group.bytesOnDisk <= this.segmentBytes ? current : undefined;
  }

  /** A new segment after all the others. Nothing is written to it before the manifest durably names it. */
  private async begin(firstSeq: number): Promise<Current> {
    await this.removeUnlisted();
    this.prepared ??= await this.prepare(firstSeq);
    const { prepared, unsure, list } = this;
    // From here on the manifest may say that the segment before has ended, whether the call succeeds or not.
    await this.abandon();
    const last = list.at(-1);
    const before = last === undefined ? [] : [...list.slice(0, -1), this.sureOf(last)];
    await this.storeList([...before, prepared.segment]);
    if (unsure !== undefined && last !== undefined) {
      this.moved = { from: last.number, start: unsure.start, to: prepared.segment.number };
    }
    list.splice(0, list.length, ...before, prepared.segment);
    this.unsure = undefined;
    this.prepared = undefined;
    this.current = prepared;
    return prepared;
  }

  private async prepare(firstSeq: number): Promise<Current> {
    const { files, unsure, list } = this;
    const last = list.at(-1);
    const before = last === undefined ? undefined : this.sureOf(last);
    const number = this.next++;
    // The new segment will hold records before the manifest names it: say first that there may be such a segment.
    if (unsure !== undefined) await this.storeList(list);
    const name = segmentFile(number);
    const salt = this.runtime.random(new Uint8Array(SALT_BYTES));
    const first = unsure?.firstSeq ?? firstSeq;
    const segment: Segment = { number, salt, saltCrc: saltChecksum(salt), first, last: first - 1, end: HEADER_BYTES };
    const header = {
      number,
      salt,
      firstSeq: first,
      predecessor: before?.number ?? 0,
      predecessorEnd: before?.end ?? 0,
    };
    let file: OpenFile | undefined;
    try {
      file = await files.create(name);
      await file.append(encodeHeader(header));
      if (unsure !== undefined && last !== undefined) await this.carry(unsure, last, segment, file);
      await file.sync();
      await files.syncFolder();
    } catch (error) {
      this.unlisted.add(name);
      await file?.close().catch(ignore);
      await this.removeUnlisted().catch(ignore); // tried again before the next one is made
      throw error;
    }
    return { segment, file };
  }

  /** Writes a group that was read from one segment into another. */
  private async carry(group: GroupPlace, from: Segment, to: Segment, file: OpenFile): Promise<void> {
    const { start, end, firstSeq, count } = group;
    const bytes = await this.files.read(segmentFile(from.number), start, end - start);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    unsealGroup(view, bytes.length - MARK_BYTES);
    sealGroup(bytes, view, { firstSeq, count, start: to.end }, to.saltCrc, this.files.crc32);
    await file.append(bytes);
    to.end += bytes.length;
    to.last = firstSeq + count - 1;
  }

  /** The segment as far as it is surely on disk. */
  private sureOf(segment: Segment): Segment {
    const { unsure, list } = this;
    if (unsure === undefined || segment !== list.at(-1)) return segment;
    return { ...segment, end: unsure.start, last: unsure.firstSeq - 1 };
  }

  private async storeList(segments: readonly Segment[]): Promise<void> {
    const sure = segments.map((segment) => this.sureOf(segment));
    await storeManifest(this.files, { next: this.next, segments: sure });
    this.statedEnd = sure.at(-1)?.end;
  }

  private async removeUnlisted(): Promise<void> {
    if (this.unlisted.size === 0) return;
    const there = new Set(await this.files.list());
    for (const name of this.unlisted) {
      if (there.has(name)) await this.files.remove(name);
      this.unlisted.delete(name);
    }
  }

  private async abandon(): Promise<void> {
    const { current } = this;
    this.current = undefined;
    await current?.file.close().catch(ignore);
  }

  /** One change of the set of segments at a time. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(ignore);
    return result;
  }
}

/** A write failed, and the disk does not say whether a later start will find it. */
class MayReturn extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Whether what an append was refused with leaves open if a start after a power loss finds the records. */
export function mayReturn(error: unknown): error is SyncError {
  return error instanceof SyncError && error.cause instanceof MayReturn;
}

/** For what is tidied up after a failure that is being thrown, or from a file whose bytes are on disk. */
function ignore(): void {}
