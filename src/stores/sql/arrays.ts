import { VERSION_BYTES, versionToBytes } from "../../version.ts";
import type { Version } from "../../version.ts";

/*
 * Arrays as the server's binary format has them, so that a batch is one statement with one parameter for each column,
 * and values travel as the bytes they are, not as twice as many hexadecimal digits.
 * Source: PostgreSQL, src/backend/utils/adt/arrayfuncs.c, array_recv; CockroachDB reads the same.
 */

const OID = { bytea: 17, bool: 16, int8: 20, text: 25, uuid: 2950, jsonb: 3802 } as const;

type Element = keyof typeof OID;

/** A value as a parameter of a statement that takes one. */
export function bytes(view: Uint8Array): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}

export function byteaArray(items: readonly (Uint8Array | null)[]): Buffer {
  return pack("bytea", items);
}

export function textArray(items: readonly string[]): Buffer {
  return pack(
    "text",
    items.map((item) => Buffer.from(item)),
  );
}

export function boolArray(items: readonly boolean[]): Buffer {
  return pack(
    "bool",
    items.map((item) => Uint8Array.of(item ? 1 : 0)),
  );
}

export function uuidArray(items: readonly (Version | null)[]): Buffer {
  const all = new Uint8Array(items.length * VERSION_BYTES);
  return pack(
    "uuid",
    items.map((item, i) => {
      if (item === null) return null;
      versionToBytes(item, all, i * VERSION_BYTES);
      return all.subarray(i * VERSION_BYTES, (i + 1) * VERSION_BYTES);
    }),
  );
}

export function int8Array(items: readonly (number | null)[]): Buffer {
  return pack(
    "int8",
    items.map((item) => {
      if (item === null) return null;
      const element = Buffer.allocUnsafe(8);
      element.writeBigInt64BE(BigInt(item));
      return element;
    }),
  );
}

/** @param items Texts of JSON. */
export function jsonbArray(items: readonly string[]): Buffer {
  return pack(
    "jsonb",
    items.map((item) => Buffer.from(`\u0001${item}`)),
  ); // the format's version, then the text
}

function pack(element: Element, items: readonly (Uint8Array | null)[]): Buffer {
  let length = 20;
  for (const item of items) length += 4 + (item?.length ?? 0);
  const into = Buffer.allocUnsafe(length);
  into.writeInt32BE(items.length === 0 ? 0 : 1, 0); // dimensions
  into.writeInt32BE(1, 4); // there may be nulls
  into.writeInt32BE(OID[element], 8);
  if (items.length === 0) return into.subarray(0, 12);
  into.writeInt32BE(items.length, 12);
  into.writeInt32BE(1, 16); // the first index
  let at = 20;
  for (const item of items) {
    into.writeInt32BE(item === null ? -1 : item.length, at);
    at += 4;
    if (item !== null) {
      into.set(item, at);
      at += item.length;
    }
  }
  return into;
}
