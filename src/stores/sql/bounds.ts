import { keyBytes } from "./rows.ts";

/** Above every key: no byte of UTF-8 is 0xff. */
const ABOVE_ALL = Buffer.from([0xff]);

/** The keys that begin with a prefix, as a range of bytes: from the first bound up to but not the second. */
export function keyBounds(prefix: string): [low: Buffer, high: Buffer] {
  const low = keyBytes(prefix);
  if (low.length === 0) return [low, ABOVE_ALL];
  const high = Buffer.from(low);
  high[high.length - 1] = (high.at(-1) ?? 0) + 1; // no carry: see above
  return [low, high];
}
