import { asSyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import type { Log, SegmentInfo } from "./log.ts";

/** Removes segments of which no layer waits for anything. */
export interface SegmentKeeper {
  /** For how long a segment that every layer has is kept for its versions, in milliseconds. */
  floorMs: number;
  /** The bytes of the segments but for those that no layer waits for, as of the last {@link tidy}. */
  readonly neededBytes: number;
  /** Removes what may go. One at a time. */
  tidy(): Promise<void>;
  /** Removes nothing while `work` finds out which records will be needed again. */
  keeping<T>(work: () => Promise<T>): Promise<T>;
  stop(): void;
}

export interface SegmentKeeperOptions {
  readonly keptBytesMax: number;
  /** The sequence numbers of the records that some layer waits for. */
  readonly needed: () => Iterable<number>;
  /** Writes the cursors down: what is removed must lie before them. */
  readonly saved: () => Promise<void>;
  /** A segment went before its versions could be forgotten: to the next process copies up to this Unix ms are suspect. */
  readonly droppedEarly: (asOf: number) => void;
  readonly report: (message: string) => void;
}

/** How often what may go later is looked at, in milliseconds, at most. */
const LOOK_MS_MAX = 60_000;

export function segmentKeeper(log: Log, runtime: Runtime, options: SegmentKeeperOptions): SegmentKeeper {
  /** Unix ms at which a closed segment was found to be waited for by nobody. */
  const passedAt = new Map<number, number>();
  /** Of the segments that nobody waits for. */
  let keptBytes = 0;
  let tidying: Promise<void> | undefined;
  let timer: Timer | undefined;
  let keepers = 0;
  let stopped = false;

  const tidyNow = async () => {
    const now = runtime.now();
    const closed = log.segments().slice(0, -1);
    const passed = closed.length === 0 ? [] : without(closed, options.needed());
    for (const { number } of passed) if (!passedAt.has(number)) passedAt.set(number, now);
    keptBytes = passed.reduce((sum, { bytes }) => sum + bytes, 0);
    const gone: number[] = [];
    let left = 0;
    for (const { number, bytes } of passed) {
      const since = passedAt.get(number) ?? now;
      const isOld = since + keeper.floorMs <= now;
      if (!isOld && keptBytes <= options.keptBytesMax) {
        left++;
        continue;
      }
      if (!isOld) options.droppedEarly(since);
      keptBytes -= bytes;
      gone.push(number);
    }
    if (gone.length > 0) {
      await options.saved();
      await log.removeSegments(gone);
      for (const number of gone) passedAt.delete(number);
    }
    if (left > 0 && !stopped) look();
  };

  const look = () => {
    timer?.cancel();
    timer = runtime.timer(Math.min(keeper.floorMs, LOOK_MS_MAX) + 1, () => void keeper.tidy(), true);
  };

  const keeper: SegmentKeeper = {
    floorMs: 0,
    get neededBytes() {
      return Math.max(0, log.bytes - keptBytes);
    },
    tidy() {
      if (stopped || keepers > 0) return Promise.resolve();
      tidying ??= tidyNow()
        .catch((error: unknown) => options.report(`segments could not be removed: ${asSyncError(error).message}`))
        .finally(() => {
          tidying = undefined;
        });
      return tidying;
    },
    async keeping(work) {
      keepers++;
      try {
        await tidying;
        return await work();
      } finally {
        keepers--;
        void keeper.tidy();
      }
    },
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
  return keeper;
}

/**
 * The segments that hold none of these records. By their numbers, never by where a record was read from: after an
 * unclean end a group may move to another segment.
 */
function without(segments: readonly SegmentInfo[], records: Iterable<number>): readonly SegmentInfo[] {
  const left = new Set(segments);
  for (const seq of records) {
    if (left.size === 0) break;
    let [low, high] = [0, segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((segments[middle]?.last ?? Infinity) < seq) low = middle + 1;
      else high = middle;
    }
    const segment = segments[low];
    if (segment !== undefined && segment.first <= seq) left.delete(segment);
  }
  return [...left];
}
