import type { Entry, EntryState, Head } from "./entry.ts";
import type { Store, Write, WriteResult } from "./store.ts";
import type { Version } from "./version.ts";

/**
 * One entry in a memory store, as the hot path sees it: a hit costs one map look-up and one comparison. The store makes
 * a new slot whenever the entry or its asOf changes, so what the holder computed once stays true for the slot's life.
 */
export interface Slot extends Head {
  /** Made anew each time where the value is kept as a text; so is `value`, which is null unless `state` is "value". */
  readonly entry: Entry;
  readonly value: Uint8Array | null;
  /** The text that the value is in UTF-8, where it is kept so. */
  readonly text: string | undefined;
  /** Of the value, in bytes. */
  readonly size: number;
  readonly asOf: number;
  /**
   * Up to when this slot answers a read by itself, at the latest: min(expires, asOf + ttl), in whole milliseconds since
   * a moment of the holder's (the chain's), so that the engine keeps it in the slot. -1 until the holder has computed it;
   * 0 when it may never answer, as when it is no longer the key's current one.
   */
  deadline: number;
  /** What the holder (Sync) decoded the value to; undefined until then. Set by {@link SlotStore.keep} only. */
  readonly decoded: unknown;
  /**
   * What every reader through the same `lens` is given, where `decoded` is one thing for all of them; else both are
   * undefined. Set by {@link SlotStore.keep} only.
   */
  readonly shared: unknown;
  readonly lens: object | undefined;
  /** An index of the holder's that has this slot as `indexKey`. The store takes it out of there when it leaves. */
  index: SlotIndex | undefined;
  indexKey: string;
}

/** One value for all who read through a lens. */
export interface Shared {
  readonly value: unknown;
  readonly lens: object;
}

/** Slots by another key than their entry's, such as the part of it that a namespace calls its key. */
export type SlotIndex = Map<string, Slot>;

/** A store in this process that lets its one holder look at it without a promise. */
export interface SlotStore extends Store {
  /** Counts as a hit of the eviction policy. Expired entries, tombstones and stubs are returned too. */
  look(key: string): Slot | undefined;
  /** The same, counted as nothing: for a holder that has just asked, and only wants to keep what it decoded. */
  held(key: string): Slot | undefined;
  /** Counts as {@link look} does, for a holder that found the slot in an index of its own. */
  hit(slot: Slot): void;
  /**
   * Keeps `decoded` with the slot, counted as `bytes` against the store's limit, and what all readers may be given of
   * it. Does nothing when the slot is no longer the key's current one.
   */
  keep(slot: Slot, decoded: unknown, bytes: number, shared?: Shared): void;
  /**
   * What `write` does, at once, with what a store has answered, or was given away. Its bytes, which nobody may change any
   * more, are kept as they are where they are no piece of a larger buffer.
   * @throws SyncError as `write` rejects.
   */
  writeNow(writes: readonly Write[]): WriteResult[];
}

export function isSlotStore(store: Store): store is SlotStore {
  return "look" in store && "held" in store && "hit" in store && "keep" in store && "writeNow" in store;
}

/** The text in memory of its own: a key cut out of a large text (a list, a file) would keep all of that alive. */
export function ownText(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/** Up to so many V8 keeps a typed array's bytes on its heap, without a buffer, which asking for one would make. */
const HEAP_BYTES_MAX = 64;

/** In memory of their own, never a piece of a larger buffer. */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

/** The same of bytes that nobody changes any more. A copy would cost more than all else in taking an entry. */
export function bytesGot(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= HEAP_BYTES_MAX || bytes.length !== bytes.buffer.byteLength) return ownBytes(bytes);
  return Object.getPrototypeOf(bytes) === Uint8Array.prototype ? bytes : new Uint8Array(bytes.buffer);
}

/** Why an entry left a memory store. */
export type RemovalReason = "evicted" | "expired" | "forgotten" | "replaced";

export interface Removal {
  readonly key: string;
  readonly version: Version;
  readonly state: EntryState;
  readonly reason: RemovalReason;
}
