import { viewBytes, viewKindOf } from "./kinds.ts";

/**
 * A copy of a decoded value that shares nothing changeable with it, for a caller to keep. Plain objects and arrays in it
 * are fresh and not frozen.
 *
 * @param value came from a codec's `decode`.
 */
export function cloneValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(cloneValue);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype) return cloneInto({}, value);
  if (prototype === null) return cloneInto(Object.create(null) as object, value);
  if (value instanceof Map) return new Map(Array.from(value, ([key, part]) => [cloneValue(key), cloneValue(part)]));
  if (value instanceof Set) return new Set(Array.from(value, cloneValue));
  if (value instanceof Date) return new Date(value);
  if (value instanceof ArrayBuffer) return value.slice(0);
  // A copy, whole and in a buffer of its own, since the view may show a part of a larger one.
  return viewKindOf(prototype as object)?.over(new Uint8Array(viewBytes(value)).buffer);
}

function cloneInto(copy: object, value: object): object {
  const [to, from] = [copy as Record<string, unknown>, value as Readonly<Record<string, unknown>>];
  for (const key of Object.keys(from)) {
    if (key in to) {
      // Something of this name is inherited: assigning could meet a setter, or a frozen prototype.
      Object.defineProperty(to, key, {
        value: cloneValue(from[key]),
        writable: true,
        enumerable: true,
        configurable: true,
      });
    } else to[key] = cloneValue(from[key]);
  }
  return copy;
}
