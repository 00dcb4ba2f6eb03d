/** How many bytes of small values share one buffer. */
const SLAB_BYTES = 32 * 1024;
/** A larger value gets a buffer of its own: a slab lives as long as the longest-lived value in it. */
const SHARED_BYTES_MAX = 2 * 1024;

/**
 * Copies values that are kept for a short time and leave in about the order in which they came, as those in a queue do.
 * A buffer for each small value would cost more, to make and to collect, than everything else that is done with it.
 */
export function slabCopier(): (bytes: Uint8Array) => Uint8Array {
  let slab = new Uint8Array(0);
  let used = 0;
  return (bytes) => {
    const { length } = bytes;
    if (length > SHARED_BYTES_MAX) return new Uint8Array(bytes);
    if (used + length > slab.length) {
      slab = new Uint8Array(SLAB_BYTES);
      used = 0;
    }
    const copy = new Uint8Array(slab.buffer, used, length);
    copy.set(bytes);
    used += length;
    return copy;
  };
}
