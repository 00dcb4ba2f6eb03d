/** How a decoded value may be given to several readers. */
export type Sharing =
  /** Frozen through and through: everybody may have the same one. */
  | "shared"
  /** It holds something that can be changed and not be frozen (typed arrays, Maps, Sets, Dates): copy it. */
  | "cloned"
  /** It holds something that can be neither frozen nor copied, such as an instance of a class. */
  | "none";

export interface Shared {
  readonly sharing: Sharing;
  /** What it takes of the heap, in bytes, rather too much than too little. */
  readonly bytes: number;
}

const NODE_BYTES = 64;
const SLOT_BYTES = 16;

/**
 * Judges what a schema made of a decoded value, and freezes it when it is plain data throughout. Nothing is frozen
 * otherwise. Bounded by the value: one visit of each object.
 */
export function share(value: unknown): Shared {
  const seen = new Set<object>();
  let sharing: Sharing = "shared";
  let bytes = 0;
  const waiting: unknown[] = [value];
  while (waiting.length > 0) {
    const next = waiting.pop();
    bytes += SLOT_BYTES;
    if (typeof next === "string") bytes += 2 * next.length;
    if (typeof next === "function" || typeof next === "symbol") sharing = "none";
    if (typeof next !== "object" || next === null || seen.has(next)) continue;
    seen.add(next);
    bytes += NODE_BYTES;
    if (Array.isArray(next)) {
      waiting.push(...next);
    } else if (isPlain(next)) {
      waiting.push(...Object.values(next));
    } else if (next instanceof Map) {
      if (sharing === "shared") sharing = "cloned";
      waiting.push(...next.keys(), ...next.values());
    } else if (next instanceof Set) {
      if (sharing === "shared") sharing = "cloned";
      waiting.push(...next);
    } else if (ArrayBuffer.isView(next) || next instanceof ArrayBuffer) {
      if (sharing === "shared") sharing = "cloned";
      bytes += next.byteLength;
    } else if (next instanceof Date) {
      if (sharing === "shared") sharing = "cloned";
    } else {
      sharing = "none";
    }
  }
  if (sharing === "shared") for (const object of seen) Object.freeze(object);
  return { sharing, bytes };
}

/** An object literal: no class, no getters to be surprised by. */
function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(Object.getOwnPropertyDescriptors(object)).every((property) => "value" in property);
}
