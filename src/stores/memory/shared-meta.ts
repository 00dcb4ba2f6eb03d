import { formOf } from "../../codec/content-type.ts";
import { NO_META } from "../../entry.ts";
import type { Meta } from "../../entry.ts";

/*
 * What V8 (Node 20 and 24, 64 bit) spends on an object of metadata and on one pair in it, measured by
 * test/stores/memory.heap.test.ts, which fails when these are too low.
 */
const META_BYTES = 64;
const META_PAIR_BYTES = 96;

/** Metadata that entries stored one after the other share: most entries of a store have the same. */
export class SharedMeta {
  readonly meta: Meta;
  /** Whether values with it are texts. */
  readonly isText: boolean;
  /** What it takes of the heap, counted once for all entries that have it. */
  readonly bytes: number;
  /** How many have it. */
  entries = 0;

  constructor(meta: Meta) {
    const form = formOf(meta["content-type"]);
    this.meta = Object.keys(meta).length === 0 ? NO_META : Object.freeze({ ...meta });
    this.isText = form === "json" || form === "text";
    this.bytes = costOf(this.meta);
  }

  is(meta: Meta): boolean {
    if (meta === this.meta) return true;
    let names = 0;
    for (const name in meta) {
      if (meta[name] !== this.meta[name]) return false;
      names++;
    }
    for (const _ in this.meta) names--;
    return names === 0;
  }
}

function costOf(meta: Meta): number {
  if (meta === NO_META) return 0;
  let bytes = META_BYTES;
  // Two bytes for each unit, as of every text of which nobody has looked whether it needs them.
  for (const name in meta) bytes += META_PAIR_BYTES + 2 * (name.length + (meta[name] as string).length);
  return bytes;
}
