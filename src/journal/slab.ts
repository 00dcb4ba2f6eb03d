import type { Entry } from "../entry.ts";

/** How many bytes of small values share one buffer. */
const SLAB_BYTES = 32 * 1024;
/** A larger value gets a buffer of its own: a slab lives as long as the longest-lived value in it. */
const SHARED_BYTES_MAX = 2 * 1024;

/**
 * Copies entries that are kept for a short time and leave in about the order in which they came, as those in a queue do.
 * A buffer for each small value would cost more, to make and to collect, than everything else that is done with it.
 */
export class Slabs {
  private slab = new Uint8Array(0);
  private used = 0;

  /** The entry with bytes that its caller cannot change afterwards. */
  copy(entry: Entry): Entry {
    const { key, state, value, version, expires, meta } = entry;
    return value === null ? entry : { key, state, value: this.copyBytes(value), version, expires, meta };
  }

  private copyBytes(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (length > SHARED_BYTES_MAX) return new Uint8Array(bytes);
    if (this.used + length > this.slab.length) {
      this.slab = new Uint8Array(SLAB_BYTES);
      this.used = 0;
    }
    const copy = new Uint8Array(this.slab.buffer, this.used, length);
    copy.set(bytes);
    this.used += length;
    return copy;
  }
}
