import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { defaultCodec, sizeOf } from "../src/codec.ts";
import type { Encoded } from "../src/codec.ts";

/**
 * The estimate that the memory store's limit rests on, against the truth: how much the heap grows by decoded values.
 * Mutations caught: any layout constant off by half; hidden classes not counted (objects with keys of their own then
 * grow 6 to 12 times their estimate); frozen fractions taken for packed ones.
 */
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Of the values only their bytes are left: the originals would share keys and hidden classes with what is decoded. */
function encodeAll(make: () => readonly unknown[]): readonly Encoded[] {
  return make().map((value) => defaultCodec.encode(value));
}

function decodeAll(encoded: readonly Encoded[], kept: unknown[]): number {
  let estimate = 0;
  for (const { bytes, contentType } of encoded) {
    const decoded = defaultCodec.decode(bytes, contentType);
    estimate += decoded.bytes;
    kept.push(decoded.value);
  }
  return estimate;
}

function grownPerEstimate(make: () => readonly unknown[]): number {
  const encoded = encodeAll(make);
  decodeAll(encoded.slice(0, 20), []); // compiled code and buffers of the platform are no part of it
  const kept: unknown[] = [];
  const before = used();
  const estimate = decodeAll(encoded, kept);
  const grown = used() - before;
  expect(kept.length).toBe(encoded.length);
  return grown / (estimate + 8 * kept.length);
}

function used(): number {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function times<Value>(count: number, make: (i: number) => Value): Value[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

/** An object of `count` properties. */
function fields(count: number, name: (j: number) => string): object {
  return Object.fromEntries(times(count, (j) => [name(j), j]));
}

interface Feature {
  readonly __compat?: object;
}

function features(tree: Feature, found: object[] = []): object[] {
  for (const [name, part] of Object.entries(tree)) {
    if (name === "__compat") found.push(part as object);
    else if (typeof part === "object" && part !== null) features(part as Feature, found);
  }
  return found;
}

const REAL: Record<string, () => unknown[]> = {
  "the features of a real data set": () => {
    const { api } = createRequire(import.meta.url)("@mdn/browser-compat-data") as Record<string, Feature>;
    return features(api ?? {});
  },
};

const MADE: Record<string, () => unknown[]> = {
  "small records": () =>
    times(20_000, (i) => ({ name: `Ada ${i}`, age: i % 90, tags: ["a", "b"], at: { city: "London" } })),
  fractions: () => times(100, (i) => times(1536, (j) => Math.sin(i * j + 1))),
  "whole numbers": () => times(100, (i) => times(5000, (j) => i * j)),
  "fractions in objects": () => times(20_000, (i) => ({ x: i + 0.5, y: i / 3, z: -i / 7 })),
  "texts in several scripts": () =>
    times(4000, (i) => ({ t: `text ${i} `.repeat(20), u: `größe ${i}`, v: `日本${"x".repeat(i % 50)}` })),
  "tables with keys of their own": () => times(60, (i) => fields(2000, (j) => `key ${i}/${j}`)),
  "objects with 60 keys of their own": () => times(1500, (i) => fields(60, (j) => `key ${i}/${j}`)),
  "objects with 5 keys of their own": () => times(20_000, (i) => fields(5, (j) => `key ${i}/${j}`)),
  "whole numbers as keys": () => times(1000, (i) => fields(200, (j) => String(j * 1000 + i))),
  "the same 200 keys": () => times(1000, () => fields(200, (j) => `key ${j}`)),
  "MessagePack records": () => times(20_000, (i) => ({ a: undefined, b: i, c: `a longer text ${i}`, d: [1, 2, 3] })),
  "MessagePack objects of 20": () => times(5000, () => ({ u: undefined, ...fields(20, (j) => `key ${j}`) })),
  "objects without a prototype": () =>
    times(10_000, () => Object.assign(Object.create(null) as object, { a: 1, b: 2 })),
  BigInts: () => times(10_000, (i) => [BigInt(i), 2n ** 70n + BigInt(i), 2n ** 1000n]),
  Maps: () => times(5000, () => new Map(times(20, (j) => [`k${j}`, j]))),
  Sets: () => times(5000, () => new Set(times(20, (j) => j))),
  dates: () => times(10_000, (i) => [new Date(i), new Date(-i)]),
  "small arrays of bytes": () => times(10_000, () => [new Uint8Array(20)]),
  "large typed arrays": () => times(500, () => [new Float64Array(2000)]),
};

describe("heap growth is between 0.4 and 1.4 of the estimate for", () => {
  for (const [name, make] of Object.entries({ ...REAL, ...MADE })) {
    it(name, () => {
      const ratio = grownPerEstimate(make);
      expect(ratio).toBeGreaterThan(0.4);
      expect(ratio).toBeLessThan(1.4);
    });
  }
});

describe("sizeOf", () => {
  it("counts any kind of value", () => {
    const large = {
      a: "x".repeat(1000),
      b: new Map([[1, new Set(["y".repeat(1000)])]]),
      c: new Uint8Array(1000),
      d: 2n ** 8000n,
    };
    expect(sizeOf(large)).toBeGreaterThan(4000);
    expect(sizeOf(large)).toBeLessThan(6000);
    expect([sizeOf(null), sizeOf(1), sizeOf(true), sizeOf(undefined)]).toEqual([0, 0, 0, 0]);
  });

  it("counts bytes and texts as they come out of a decode", () => {
    const bytes = defaultCodec.encode(new Uint8Array(10_000));
    expect(defaultCodec.decode(bytes.bytes, bytes.contentType).bytes).toBeLessThan(300);
    const text = defaultCodec.encode("x".repeat(10_000));
    expect(defaultCodec.decode(text.bytes, text.contentType).bytes).toBeLessThan(10_100);
    const wide = defaultCodec.encode("日".repeat(10_000));
    expect(defaultCodec.decode(wide.bytes, wide.contentType).bytes).toBeGreaterThan(20_000);
  });
});
