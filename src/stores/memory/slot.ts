import { utf8Of } from "../../codec/utf8.ts";
import type { Entry, EntryState, Head, Meta } from "../../entry.ts";
import type { Slot, SlotIndex } from "../../slot.ts";
import type { Version } from "../../version.ts";
import type { SharedMeta } from "./shared-meta.ts";

/**
 * A value as memory keeps it; null where there is none. A small text is kept as a text: an array of bytes would take 200
 * bytes more of the heap, and be made anew for each value that comes from a store.
 */
export type Content = string | Uint8Array | null;

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
  readonly key: string;
  readonly state: EntryState;
  readonly version: Version;
  readonly expires: number | null;
  readonly sharedMeta: SharedMeta;
  readonly content: Content;
  readonly size: number;
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
  /** Unix ms from which on the sweep takes it; 0, which takes no room of its own, if it never expires. */
  readonly sweepAt: number;
  /** Its index in the expiry heap; -1 when it is not there. */
  heapIndex = -1;

  constructor(
    head: Omit<Head, "meta">,
    sharedMeta: SharedMeta,
    content: Content,
    size: number,
    asOf: number,
    bytes: number,
    change: number,
    sweepAt: number,
  ) {
    this.key = head.key;
    this.state = head.state;
    this.version = head.version;
    this.expires = head.expires;
    this.sharedMeta = sharedMeta;
    this.content = content;
    this.size = size;
    this.asOf = asOf;
    this.bytes = bytes;
    this.change = change;
    this.sweepAt = sweepAt;
  }

  get meta(): Meta {
    return this.sharedMeta.meta;
  }

  get text(): string | undefined {
    return typeof this.content === "string" ? this.content : undefined;
  }

  get value(): Uint8Array | null {
    return typeof this.content === "string" ? utf8Of(this.content) : this.content;
  }

  get entry(): Entry {
    const { key, state, value, version, expires, meta } = this;
    return { key, state, value, version, expires, meta };
  }

  /** The same copy, known to be the newest at a later time, with what was decoded of it. */
  renewed(asOf: number): MemorySlot {
    const { sharedMeta, content, size, bytes, change, sweepAt } = this;
    const slot = new MemorySlot(this, sharedMeta, content, size, asOf, bytes, change, sweepAt);
    slot.decoded = this.decoded;
    slot.lens = this.lens;
    slot.shared = this.shared;
    slot.decodedBytes = this.decodedBytes;
    return slot;
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
 * which fails when these are too low: the map's entry with its spare room, the slot, version text and boxed numbers; a
 * Uint8Array with its ArrayBuffer; the header of a text.
 */
const ENTRY_BYTES = 416;
const VALUE_BYTES = 200;
const TEXT_BYTES = 24;

/**
 * The bytes of heap that keeping this takes, rather too many than too few, beside its metadata.
 * @param size of the value in bytes.
 */
export function costOf(key: string, content: Content, size: number): number {
  // Two bytes for each unit of a text: V8 uses one where all characters are Latin, which looking would cost more than it saves.
  const bytes = ENTRY_BYTES + TEXT_BYTES + 2 * key.length;
  if (content === null) return bytes;
  if (typeof content !== "string") return bytes + VALUE_BYTES + size;
  return bytes + TEXT_BYTES + (content.length === size ? size : 2 * content.length);
}
