/**
 * How many of an object's properties V8 has to describe anew. Objects with the same keys in the same order share one
 * hidden class; each key that leads to a new one costs more than a hundred bytes, which is most of what a value with
 * keys of its own occupies. So the ways from key to key that were met are kept as a tree, up to a bound: then it is
 * forgotten, and the next values pay again. What can be counted too low is therefore at most the tree.
 */
interface Shape {
  /** The first key that followed, and where it leads: most shapes are followed by one key only. */
  key: string;
  next: Shape | undefined;
  others: Map<string, Shape> | undefined;
}

const SHAPES_MAX = 4096;
/** A longer key is not kept: it counts as new each time. */
const KEY_UNITS_MAX = 128;

let root = shape();
let count = 0;

/** How many of the keys, in their order, lead to a shape that was not met before. */
export function newShapes(keys: readonly string[]): number {
  let at = root;
  let found = 0;
  for (const key of keys) {
    if (at.key === key && at.next !== undefined) {
      at = at.next;
      continue;
    }
    const known = at.others?.get(key);
    if (known !== undefined) {
      at = known;
      continue;
    }
    if (key.length > KEY_UNITS_MAX) return keys.length;
    found++;
    at = follow(at, key);
  }
  if (count > SHAPES_MAX) {
    root = shape();
    count = 0;
  }
  return found;
}

function follow(at: Shape, key: string): Shape {
  const next = shape();
  count++;
  if (at.next === undefined) {
    at.key = key;
    at.next = next;
  } else {
    at.others ??= new Map();
    at.others.set(key, next);
  }
  return next;
}

function shape(): Shape {
  return { key: "", next: undefined, others: undefined };
}
