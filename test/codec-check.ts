import { defaultCodec } from "../src/codec.ts";
import { SyncError } from "../src/error.ts";

export const encode = (value: unknown) => defaultCodec.encode(value);
export const decode = (bytes: Uint8Array, contentType: string | undefined) => defaultCodec.decode(bytes, contentType);
export const utf8 = (text: string) => new TextEncoder().encode(text);
export const round = (value: unknown) => {
  const { bytes, contentType } = encode(value);
  return decode(bytes, contentType).value;
};

export function errorOf(run: () => unknown): SyncError {
  try {
    run();
  } catch (error) {
    if (error instanceof SyncError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** Undefined when two values are the same to the last detail, else where they differ: prototypes, key order, -0, NaN. */
export function difference(a: unknown, b: unknown, at = "$"): string | undefined {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null)
    return Object.is(a, b) ? undefined : at;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return `${at} prototype`;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime()) ? undefined : at;
  if (a instanceof Map && b instanceof Map) return difference([...a], [...b], `${at} map`);
  if (a instanceof Set && b instanceof Set) return difference([...a], [...b], `${at} set`);
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
    return difference(new Uint8Array(a), new Uint8Array(b), `${at} buffer`);
  }
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
    const [x, y] = [
      Buffer.from(a.buffer, a.byteOffset, a.byteLength),
      Buffer.from(b.buffer, b.byteOffset, b.byteLength),
    ];
    return x.equals(y) ? undefined : `${at} view`;
  }
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const names = Object.getOwnPropertyNames(x);
  if (names.join("\n") !== Object.getOwnPropertyNames(y).join("\n")) return `${at} keys`;
  for (const name of names) {
    const found = difference(x[name], y[name], `${at}.${name}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

export function isDeepFrozen(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  return Object.isFrozen(value) && Object.values(value).every(isDeepFrozen);
}
