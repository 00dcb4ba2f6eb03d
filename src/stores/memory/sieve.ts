import type { MemorySlot } from "./slot.ts";

/**
 * The order of eviction. A hit sets one bit and moves nothing. To evict, a hand walks from the oldest entry to the
 * newest, clears set bits and takes the first entry whose bit is clear; the next time it goes on from there, so that
 * new entries which nobody asked for leave before old ones that are in use.
 *
 * Source: Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI '24. Chosen over S3-FIFO by
 * measurement: docs/decisions/0002-eviction-policy.md.
 */
export class SieveQueue {
  private newest: MemorySlot | undefined = undefined;
  private oldest: MemorySlot | undefined = undefined;
  /** Where the next search begins; undefined means at the oldest. */
  private hand: MemorySlot | undefined = undefined;

  /** Adds a slot as the newest. */
  add(slot: MemorySlot): void {
    slot.older = this.newest;
    if (this.newest === undefined) this.oldest = slot;
    else this.newest.newer = slot;
    this.newest = slot;
  }

  /** Puts `slot` in the place of `before`. */
  replace(before: MemorySlot, slot: MemorySlot): void {
    const { newer, older } = before;
    slot.newer = newer;
    slot.older = older;
    if (newer === undefined) this.newest = slot;
    else newer.older = slot;
    if (older === undefined) this.oldest = slot;
    else older.newer = slot;
    if (this.hand === before) this.hand = slot;
    before.newer = before.older = undefined;
  }

  remove(slot: MemorySlot): void {
    const { newer, older } = slot;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    if (this.hand === slot) this.hand = newer;
    slot.newer = slot.older = undefined;
  }

  /** The slot to evict next, never `spared`; undefined when there is no other. At most two rounds of the queue. */
  victim(spared: MemorySlot | undefined): MemorySlot | undefined {
    let slot = this.hand ?? this.oldest;
    if (slot === spared && slot === this.oldest && slot === this.newest) return undefined;
    while (slot !== undefined && (slot.visited || slot === spared)) {
      slot.visited = false;
      slot = slot.newer ?? this.oldest;
    }
    this.hand = slot;
    return slot;
  }

  clear(): void {
    this.newest = this.oldest = this.hand = undefined;
  }
}
