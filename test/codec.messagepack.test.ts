import { describe, expect, it } from "vitest";
import { MESSAGEPACK_TYPE } from "../src/codec.ts";
import { toLittleEndian } from "../src/codec/kinds.ts";
import { decode, difference, encode, errorOf, round, utf8 } from "./codec-check.ts";

describe("MessagePack", () => {
  const read = (...bytes: number[]) => decode(Uint8Array.from(bytes), MESSAGEPACK_TYPE).value;

  it("reads what others write", () => {
    expect(read(0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)).toBe(Number.MAX_SAFE_INTEGER);
    expect(read(0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe)).toBe(-2);
    expect(read(0xca, 0x3f, 0, 0, 0)).toBe(0.5);
    expect(read(0xd9, 1, 0x61)).toBe("a");
    expect(read(0xda, 0, 1, 0x61)).toBe("a");
    expect(read(0xdb, 0, 0, 0, 1, 0x61)).toBe("a");
    expect(read(0xdc, 0, 1, 0xc0)).toEqual([null]);
    expect(read(0xdd, 0, 0, 0, 1, 0xc0)).toEqual([null]);
    expect(read(0xde, 0, 1, 0xa1, 0x61, 1)).toEqual({ a: 1 });
    expect(read(0xd7, 2, 0, 0, 0, 0, 0, 0, 0, 0)).toEqual(new Date(0));
    expect(read(0xd4, 1, 0)).toBe(0n);
  });

  // Mutations caught, one by each row: a length that is believed, an end that is not checked, a rule left out.
  const HOSTILE: readonly (readonly [string, readonly number[]])[] = [
    ["nothing", []],
    ["the unused byte", [0xc1]],
    ["more after the end", [0xc0, 0xc0]],
    ["an array of 4 G", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["a map of 4 G", [0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, 0x61]],
    ["bytes of 4 G", [0xc6, 0xff, 0xff, 0xff, 0xff, 1]],
    ["a text of 4 G", [0xdb, 0xff, 0xff, 0xff, 0xff, 1]],
    ["an extension of 4 G", [0xc9, 0xff, 0xff, 0xff, 0xff, 3, 0x80]],
    ["a text that is not UTF-8", [0xa2, 0xc3, 0x28]],
    ["a long text that is not UTF-8", [0xd9, 40, ...Array.from({ length: 40 }, () => 0xff)]],
    ["a key twice", [0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2]],
    ["an inherited key twice", [0x82, 0xa8, ...utf8("toString"), 1, 0xa8, ...utf8("toString"), 2]],
    ["the key __proto__", [0x81, 0xa9, ...utf8("__proto__"), 1]],
    ["a key that is no text", [0x81, 1, 1]],
    ["a whole number beyond 2^53", [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1]],
    ["an unknown extension", [0xd4, 99, 0]],
    ["a timestamp of MessagePack itself", [0xd6, 0xff, 0, 0, 0, 0]],
    ["undefined, as the value itself", [0xc7, 0, 0]],
    ["content of an extension that runs on into the next value", [0x92, 0xd4, 0, 7]],
    ["undefined with more content", [0xd5, 0, 0, 0]],
    ["a BigInt without a sign", [0xc7, 0, 1]],
    ["a BigInt of sign 2", [0xd5, 1, 2, 1]],
    ["a negative BigInt zero", [0xd4, 1, 1]],
    ["a BigInt with a leading zero", [0xc7, 3, 1, 0, 0, 1]],
    ["a date of 4 bytes", [0xd6, 2, 0, 0, 0, 0]],
    ["a date of 9 bytes", [0xc7, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ["a date beyond the range", [0xd7, 2, 0x7f, 0xe0, 0, 0, 0, 0, 0, 0]],
    ["a Map that is an array", [0xd4, 3, 0x90]],
    ["a Map key twice", [0xc7, 5, 3, 0x82, 1, 1, 1, 1]],
    ["a Map that ends outside its extension", [0xd4, 3, 0x81, 1, 1]],
    ["a Set member twice", [0xc7, 3, 4, 0x92, 1, 1]],
    ["a Set with more content", [0xd5, 4, 0x90, 1]],
    ["an array without a prototype", [0xd4, 5, 0x90]],
    ["a view without a kind", [0xc7, 0, 7]],
    ["a view of an unknown kind", [0xd4, 7, 200]],
    ["a Float64Array of 7 bytes", [0xd7, 7, 9, 1, 2, 3, 4, 5, 6, 7]],
  ];
  for (const [name, bytes] of HOSTILE) {
    it(`refuses ${name}`, () => {
      expect(errorOf(() => read(...bytes)).code).toBe("CORRUPT");
    });
  }

  it("nested a million deep neither overflows nor hangs", () => {
    for (const lead of [[0x91], [0x81, 0xa0], [0xdd, 0, 0, 0, 64], [0xc9, 0, 0, 4, 0, 3, 0x81], [0xdc, 0x80, 0]]) {
      const bytes = Uint8Array.from({ length: 1e6 }, (_, i) => lead[i % lead.length] ?? 0);
      expect(errorOf(() => decode(bytes, MESSAGEPACK_TYPE)).code).toBe("CORRUPT");
    }
  });

  it("keeps keys apart that look alike", () => {
    // Mutation caught: a known key taken for another of the same length, beginning and end.
    const keys = [
      "abc",
      "axc",
      "a",
      "ab",
      "äc",
      "äö",
      "\u0000",
      "",
      "k".repeat(24),
      `${"k".repeat(23)}x`,
      "k".repeat(25),
      "aäc",
    ];
    for (let run = 0; run < 3; run++) {
      for (const key of [...keys, ...keys.toReversed()]) {
        expect(difference(round({ [key]: undefined }), { [key]: undefined })).toBeUndefined();
      }
    }
    const cut = encode({ abc: undefined }).bytes.slice(0, 3);
    expect(errorOf(() => decode(cut, MESSAGEPACK_TYPE)).code).toBe("CORRUPT");
  });

  it("elements are little-endian on every machine", () => {
    expect(toLittleEndian(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), 4, false)).toEqual(
      Uint8Array.of(4, 3, 2, 1, 8, 7, 6, 5),
    );
    expect(toLittleEndian(Uint8Array.of(1, 2), 2, true)).toEqual(Uint8Array.of(1, 2));
    expect(Buffer.from(encode(Uint16Array.of(0x0102)).bytes).toString("hex")).toBe("c70307050201");
  });
});
