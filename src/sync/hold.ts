import type { Chain } from "../chain/chain.ts";
import type { Entry } from "../entry.ts";
import { isSlotStore, ownText } from "../slot.ts";
import type { Slot, SlotIndex, SlotStore } from "../slot.ts";
import { Kept, decodeThrough } from "./lens.ts";
import type { Lens } from "./lens.ts";

/** What entries decode to, kept for as long as memory holds them. */
export interface Hold {
  /** What a slot's value decodes to: kept with the slot, or decoded now and kept from now on. */
  ofSlot(slot: Slot, lens: Lens): Kept | Promise<Kept>;
  /**
   * What an answer decodes to. It is kept with memory's copy of the same version, which the walk has just filled, so that
   * an entry is decoded once however it was read; readers who share one walk share that too.
   */
  ofAnswer(entry: Entry, lens: Lens): Kept | Promise<Kept>;
  /** Puts a slot that is in no index, if its value is kept, into one, for as long as memory holds it. */
  toIndex(slot: Slot, index: SlotIndex, key: string): void;
}

/** What an index adds to a slot: its place in a map, and the head of its key. */
const INDEX_BYTES = 96;

export function hold(chain: Chain): Hold {
  const [first] = chain.layers;
  const memory: SlotStore | undefined = first !== undefined && isSlotStore(first.store) ? first.store : undefined;
  // Answers that memory does not hold. These live only as long as somebody has the answer.
  const answers = new WeakMap<Entry, Kept>();

  const keep = (slot: Slot, kept: Kept) => {
    const indexed = slot.index === undefined ? 0 : INDEX_BYTES + 2 * slot.indexKey.length;
    if (kept.sharing !== "none") memory?.keep(slot, kept, kept.bytes + indexed, kept.isShared ? kept : undefined);
    return kept;
  };

  const ofSlot = (slot: Slot, lens: Lens) => {
    const held = slot.decoded;
    if (held instanceof Kept && held.lens === lens) return held;
    const made = decodeThrough(lens, slot);
    return made instanceof Promise ? made.then((kept) => keep(slot, kept)) : keep(slot, made);
  };

  return {
    ofSlot,
    ofAnswer(entry, lens) {
      const slot = memory?.held(entry.key);
      if (slot !== undefined && slot.state === "value" && slot.version === entry.version) {
        return ofSlot(slot, lens);
      }
      const held = answers.get(entry);
      if (held?.lens === lens) return held;
      const kept = decodeThrough(lens, entry);
      // "none" is one caller's alone.
      if (!(kept instanceof Promise) && kept.sharing !== "none") answers.set(entry, kept);
      return kept;
    },
    toIndex(slot, index, key) {
      const { decoded } = slot;
      if (!(decoded instanceof Kept)) return;
      slot.index = index;
      slot.indexKey = ownText(key);
      index.set(slot.indexKey, slot);
      keep(slot, decoded);
    },
  };
}
