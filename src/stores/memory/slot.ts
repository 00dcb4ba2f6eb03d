import { NO_META } from "../../entry.ts";
import type { Entry, Meta } from "../../entry.ts";
import type { Slot, SlotIndex } from "../../slot.ts";

/** A slot with its place in the eviction queue and the expiry heap. One shape for life, so that look-ups stay fast. */
export class MemorySlot implements Slot {
  // What a hit needs comes first: it is one line of the processor's cache.
  deadline = -1;
  /** Hits that the eviction queue has not used up yet. */
  hits = 0;
  lens: object | undefined = undefined;
  shared: unknown = undefined;
  decoded: unknown = undefined;
  index: SlotIndex | undefined = undefined;
  readonly entry: Entry;
  readonly asOf: number;
  indexKey = "";
  /** What the entry costs, and what `decoded` adds to it, in bytes. */
  readonly bytes: number;
  decodedBytes = 0;
  /** The store's change number of this copy; a renewed asOf keeps it. */
  readonly change: number;
  /** In the main queue, not the small one. */
  main = false;
  newer: MemorySlot | undefined = undefined;
  older: MemorySlot | undefined = undefined;
  /** Unix ms from which on the sweep takes it; Infinity if it never expires. */
  readonly sweepAt: number;
  /** Its index in the expiry heap; -1 when it is not there. */
  heapIndex = -1;

  constructor(entry: Entry, asOf: number, bytes: number, change: number, sweepAt: number) {
    this.entry = entry;
    this.asOf = asOf;
    this.bytes = bytes;
    this.change = change;
    this.sweepAt = sweepAt;
  }

  /** It is no longer the key's current slot: whoever holds it must look again. */
  retire(): void {
    this.deadline = 0;
    if (this.index?.get(this.indexKey) === this) this.index.delete(this.indexKey);
    this.index = undefined;
  }
}

/*
 * What V8 (Node 20 and 24, 64 bit) spends on one entry beside its bytes, measured by test/stores/memory.heap.test.ts,
 * which fails when these are too low: the map's entry with its spare room, slot, entry, version text and boxed numbers;
 * a Uint8Array with its ArrayBuffer; the header of a text; an object of metadata and one pair in it.
 */
const ENTRY_BYTES = 456;
const VALUE_BYTES = 200;
const TEXT_BYTES = 24;
const META_BYTES = 64;
const META_PAIR_BYTES = 96;

/** The bytes of heap that keeping this entry takes, rather too many than too few. */
export function costOf({ key, value, meta }: Entry): number {
  // Two bytes for each unit of a text: V8 uses one where all characters are Latin, which looking would cost more than it saves.
  let bytes = ENTRY_BYTES + TEXT_BYTES + 2 * key.length;
  if (value !== null) bytes += VALUE_BYTES + value.length;
  return meta === NO_META ? bytes : bytes + costOfMeta(meta);
}

function costOfMeta(meta: Meta): number {
  let bytes = META_BYTES;
  for (const name in meta) bytes += META_PAIR_BYTES + 2 * (name.length + (meta[name] as string).length);
  return bytes;
}
