import type { Item } from "./queues.ts";

/** So many that left are kept at least before those that stay are moved together. */
const GAPS_MIN = 64;
/** No more bytes than this are held by items that left. */
const GAP_BYTES_MAX = 1 << 20;

/**
 * Items in the order in which they came. One that leaves only loses its bit: a map by number would have to be hashed
 * for each write, and be built anew each time that a batch has left it. An item that left comes back to no line.
 */
export class Line {
  size = 0;
  private readonly bit: number;
  private items: Item[] = [];
  /** Before it all have left. */
  private begin = 0;
  /** Of bodies in memory, of items that left. */
  private gapBytes = 0;

  /** @param bit of {@link Item.lines}. */
  constructor(bit: number) {
    this.bit = bit;
  }

  has(item: Item): boolean {
    return (item.lines & this.bit) !== 0;
  }

  /** At the end, unless it is there. */
  add(item: Item): void {
    if (this.has(item)) return;
    item.lines |= this.bit;
    this.items.push(item);
    this.size++;
  }

  /** @returns whether it was there. */
  delete(item: Item): boolean {
    if (!this.has(item)) return false;
    item.lines &= ~this.bit;
    this.size--;
    if (item.kept) this.gapBytes += item.valueBytes;
    const gaps = this.items.length - this.size;
    if (gaps > this.size + GAPS_MIN || this.gapBytes > GAP_BYTES_MAX || this.size === 0) this.close();
    return true;
  }

  /** The first one. */
  first(): Item | undefined {
    const { items } = this;
    let item = items[this.begin];
    while (item !== undefined && !this.has(item)) item = items[++this.begin];
    return item;
  }

  /** In order; those that leave meanwhile are left out. */
  *values(): IterableIterator<Item> {
    this.first();
    const { items } = this;
    for (let i = this.begin; i < items.length; i++) {
      const item = items[i] as Item;
      if (this.has(item)) yield item;
    }
  }

  private close(): void {
    this.items = this.size === 0 ? [] : this.items.filter((item) => this.has(item));
    this.begin = 0;
    this.gapBytes = 0;
  }
}
