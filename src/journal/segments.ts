import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Files, OpenFile } from "./files.ts";
import type { Group } from "./group.ts";
import { storeManifest } from "./manifest.ts";
import type { Recovered, Segment } from "./recover.ts";
import { HEADER_BYTES, SALT_BYTES, encodeHeader, saltChecksum, segmentFile } from "./segment.ts";

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
  }

  /** Oldest first. The last is the one that is written to. */
  get all(): readonly Segment[] {
    return this.list;
  }

  find(number: number): Segment | undefined {
    return this.list.find((segment) => segment.number === number);
  }

  /** Goes on writing where an earlier process ended. */
  async resume(): Promise<void> {
    const segment = this.list.at(-1);
    if (segment !== undefined) this.current = { segment, file: await this.files.open(segmentFile(segment.number)) };
  }

  /** Resolves when the group is on disk. After a failure it is not part of the log, and the next call may succeed. */
  async write(group: Group): Promise<void> {
    const { segment, file } = await this.roomFor(group);
    try {
      await file.append(group.seal(segment.number, segment.end, segment.saltCrc));
    } catch (error) {
      if (!(await this.cut(file, segment.end))) await this.abandon();
      throw error;
    }
    try {
      await file.sync();
    } catch (error) {
      // Not trusted again whatever this comes to: it only keeps the failed group from coming back after a crash.
      await this.cut(file, segment.end);
      await this.abandon();
      throw error;
    }
    segment.end += group.bytesOnDisk;
    segment.last = group.lastSeq;
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

  private async roomFor(group: Group): Promise<Current> {
    const { current } = this;
    if (current !== undefined) {
      const { end } = current.segment;
      if (end === HEADER_BYTES || end + group.bytesOnDisk <= this.segmentBytes) return current;
    }
    return this.inTurn(() => this.begin(group.firstSeq));
  }

  /** A new segment after all the others. Nothing is written to it before the manifest durably names it. */
  private async begin(firstSeq: number): Promise<Current> {
    await this.removeUnlisted();
    this.prepared ??= await this.prepare(firstSeq);
    const { prepared } = this;
    // From here on the manifest may say that the segment before has ended, whether the call succeeds or not.
    await this.abandon();
    await this.storeList([...this.list, prepared.segment]);
    this.list.push(prepared.segment);
    this.prepared = undefined;
    this.current = prepared;
    return prepared;
  }

  private async prepare(first: number): Promise<Current> {
    const { files } = this;
    const before = this.list.at(-1);
    const number = this.next++;
    const name = segmentFile(number);
    const salt = this.runtime.random(new Uint8Array(SALT_BYTES));
    let file: OpenFile | undefined;
    try {
      file = await files.create(name);
      await file.append(
        encodeHeader({
          number,
          salt,
          firstSeq: first,
          predecessor: before?.number ?? 0,
          predecessorEnd: before?.end ?? 0,
        }),
      );
      await file.sync();
      await files.syncFolder();
    } catch (error) {
      this.unlisted.add(name);
      await file?.close().catch(ignore);
      await this.removeUnlisted().catch(ignore); // tried again before the next one is made
      throw error;
    }
    return { segment: { number, salt, saltCrc: saltChecksum(salt), first, last: first - 1, end: HEADER_BYTES }, file };
  }

  private async storeList(segments: readonly Segment[]): Promise<void> {
    const end = segments.at(-1)?.end;
    await storeManifest(this.files, { next: this.next, segments });
    this.statedEnd = end;
  }

  private async removeUnlisted(): Promise<void> {
    if (this.unlisted.size === 0) return;
    const there = new Set(await this.files.list());
    for (const name of this.unlisted) {
      if (there.has(name)) await this.files.remove(name);
      this.unlisted.delete(name);
    }
  }

  private async cut(file: OpenFile, length: number): Promise<boolean> {
    try {
      await file.truncate(length);
      return true;
    } catch {
      return false; // the caller has the failure that matters, and gives the file up
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

/** For what is tidied up after a failure that is being thrown, or from a file whose bytes are on disk. */
function ignore(): void {}
