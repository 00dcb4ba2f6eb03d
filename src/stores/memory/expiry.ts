import type { MemorySlot } from "./slot.ts";

/** The slots that expire, the earliest to be swept first: a binary heap in which each slot knows its place. */
export class ExpiryHeap {
  private readonly slots: MemorySlot[] = [];

  get first(): MemorySlot | undefined {
    return this.slots[0];
  }

  add(slot: MemorySlot): void {
    this.slots.push(slot);
    this.rise(slot, this.slots.length - 1);
  }

  remove(slot: MemorySlot): void {
    const index = slot.heapIndex;
    if (index < 0) return;
    slot.heapIndex = -1;
    const last = this.slots.pop() as MemorySlot;
    if (last === slot) return;
    // The last one may belong above or below the hole.
    this.rise(last, index);
    this.sink(last, last.heapIndex);
  }

  clear(): void {
    this.slots.length = 0;
  }

  private rise(slot: MemorySlot, index: number): void {
    const { slots } = this;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = slots[above] as MemorySlot;
      if (parent.sweepAt <= slot.sweepAt) break;
      slots[index] = parent;
      parent.heapIndex = index;
      index = above;
    }
    slots[index] = slot;
    slot.heapIndex = index;
  }

  private sink(slot: MemorySlot, index: number): void {
    const { slots } = this;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= slots.length) break;
      const right = slots[child + 1];
      if (right !== undefined && right.sweepAt < (slots[child] as MemorySlot).sweepAt) child++;
      const least = slots[child] as MemorySlot;
      if (least.sweepAt >= slot.sweepAt) break;
      slots[index] = least;
      least.heapIndex = index;
      index = child;
    }
    slots[index] = slot;
    slot.heapIndex = index;
  }
}
