import { asSyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import type { Log } from "./log.ts";
import type { Item } from "./queues.ts";

/** Removes segments of which no layer waits for anything. */
export interface SegmentKeeper {
  /** For how long a segment that every layer has is kept for its versions, in milliseconds. */
  floorMs: number;
  /** A record of the item's segment is waited for (1), or is not any more (-1). */
  count(item: Item, by: 1 | -1): void;
  /** The bytes of the segments but for those that no layer waits for, as of the last {@link tidy}. */
  readonly neededBytes: number;
  /** Removes what may go. One at a time. */
  tidy(): Promise<void>;
  stop(): void;
}

export interface SegmentKeeperOptions {
  readonly keptBytesMax: number;
  /** Writes the cursors down: what is removed must lie before them. */
  readonly saved: () => Promise<void>;
  /** A segment went before its versions could be forgotten: copies up to this Unix ms are suspect. */
  readonly droppedEarly: (asOf: number) => void;
  readonly report: (message: string) => void;
}

/** How often what may go later is looked at, in milliseconds, at most. */
const LOOK_MS_MAX = 60_000;

export function segmentKeeper(log: Log, runtime: Runtime, options: SegmentKeeperOptions): SegmentKeeper {
  const waitedFor = new Map<number, number>();
  /** Unix ms at which a closed segment was found to be waited for by nobody. */
  const passedAt = new Map<number, number>();
  let tidying: Promise<void> | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  /** Of the segments that nobody waits for. */
  let keptBytes = 0;

  const isNeeded = (segment: number) => (waitedFor.get(segment) ?? 0) > 0;

  const tidyNow = async () => {
    const now = runtime.now();
    const segments = log.segments();
    const passed = segments.slice(0, -1).filter(({ number }) => !isNeeded(number));
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
      for (const number of gone) {
        passedAt.delete(number);
        waitedFor.delete(number);
      }
    }
    if (left > 0 && !stopped) look();
  };

  const look = () => {
    timer?.cancel();
    timer = runtime.timer(Math.min(keeper.floorMs, LOOK_MS_MAX) + 1, () => void keeper.tidy(), true);
  };

  const keeper: SegmentKeeper = {
    floorMs: 0,
    count({ place }, by) {
      if (place === undefined) return;
      waitedFor.set(place.segment, (waitedFor.get(place.segment) ?? 0) + by);
    },
    get neededBytes() {
      return Math.max(0, log.bytes - keptBytes);
    },
    tidy() {
      if (stopped) return Promise.resolve();
      tidying ??= tidyNow()
        .catch((error: unknown) => options.report(`segments could not be removed: ${asSyncError(error).message}`))
        .finally(() => {
          tidying = undefined;
        });
      return tidying;
    },
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
  return keeper;
}
