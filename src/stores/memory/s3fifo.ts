import { Ghosts } from "./ghosts.ts";
import type { MemorySlot } from "./slot.ts";

/** Which share of the bytes the queue of new entries may have before entries leave from it. */
const SMALL_SHARE = 0.1;
/** An entry moves on to the main queue when it was hit more often than this while it was new. */
const SMALL_HITS = 1;
/** More hits count no more: so many rounds of the main queue an entry outlives its last hit at most. */
export const HITS_MAX = 3;

/**
 * The order of eviction. A hit counts up to {@link HITS_MAX} in the slot and moves nothing. New entries wait in a small
 * queue; those that were hit there go on to the main queue, the others leave, and their keys are remembered for a
 * while: who comes back in that time goes to the main queue at once. What reaches the end of the main queue goes round
 * again as often as it was hit. So a scan passes through the small queue and leaves the rest alone.
 *
 * Source: Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP '23 (S3-FIFO). Shares
 * are of bytes here, not of entries. Chosen by measurement: docs/decisions/0002-eviction-policy.md.
 */
export class S3FifoQueue {
  private readonly small = new Fifo();
  private readonly main = new Fifo();
  private readonly ghosts = new Ghosts();

  /** Adds a slot that was not there, as the newest. */
  add(slot: MemorySlot): void {
    const withinBytes = (1 - SMALL_SHARE) * (this.small.bytes + this.main.bytes);
    slot.main = this.ghosts.take(slot.key, withinBytes);
    this.of(slot).push(slot);
  }

  /** Puts `slot` in the place of `before`, with its hits. */
  replace(before: MemorySlot, slot: MemorySlot): void {
    slot.main = before.main;
    slot.hits = before.hits;
    this.of(slot).replace(before, slot);
  }

  remove(slot: MemorySlot): void {
    this.of(slot).remove(slot);
  }

  /** Says that a slot in the queue weighs so many bytes more than before. */
  weigh(slot: MemorySlot, addedBytes: number): void {
    this.of(slot).bytes += addedBytes;
  }

  /** The slot to evict next, never `spared`; undefined when there is no other. The caller removes it. */
  victim(spared: MemorySlot | undefined): MemorySlot | undefined {
    const { small, main } = this;
    if (small.length + main.length <= (spared === undefined ? 0 : 1)) return undefined;
    for (;;) {
      const fromSmall = main.length === 0 || small.bytes > SMALL_SHARE * (small.bytes + main.bytes);
      const slot = (fromSmall ? small.oldest : main.oldest) as MemorySlot;
      const stays = fromSmall ? slot.hits > SMALL_HITS : slot.hits > 0;
      if (!stays && slot !== spared) {
        if (fromSmall) this.ghosts.add(slot.key, slot.bytes + slot.decodedBytes, small.length + main.length);
        return slot;
      }
      if (fromSmall) {
        small.remove(slot);
        slot.hits = 0;
        slot.main = true;
      } else {
        main.remove(slot);
        if (slot.hits > 0) slot.hits--;
      }
      main.push(slot);
    }
  }

  clear(): void {
    this.small.clear();
    this.main.clear();
  }

  private of(slot: MemorySlot): Fifo {
    return slot.main ? this.main : this.small;
  }
}

/** A queue linked through its slots, so that one can leave from anywhere. */
class Fifo {
  oldest: MemorySlot | undefined = undefined;
  bytes = 0;
  length = 0;
  private newest: MemorySlot | undefined = undefined;

  push(slot: MemorySlot): void {
    slot.older = this.newest;
    if (this.newest === undefined) this.oldest = slot;
    else this.newest.newer = slot;
    this.newest = slot;
    this.bytes += slot.bytes + slot.decodedBytes;
    this.length++;
  }

  replace(before: MemorySlot, slot: MemorySlot): void {
    const { newer, older } = before;
    slot.newer = newer;
    slot.older = older;
    if (newer === undefined) this.newest = slot;
    else newer.older = slot;
    if (older === undefined) this.oldest = slot;
    else older.newer = slot;
    before.newer = before.older = undefined;
    this.bytes += slot.bytes + slot.decodedBytes - before.bytes - before.decodedBytes;
  }

  remove(slot: MemorySlot): void {
    const { newer, older } = slot;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    slot.newer = slot.older = undefined;
    this.bytes -= slot.bytes + slot.decodedBytes;
    this.length--;
  }

  clear(): void {
    this.newest = this.oldest = undefined;
    this.bytes = this.length = 0;
  }
}
