import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BYTES_TYPE,
  JSON_TYPE,
  MESSAGEPACK_TYPE,
  TEXT_TYPE,
  cloneValue,
  defaultCodec,
  jsonCodec,
  valueCodec,
} from "../src/codec.ts";
import { toLittleEndian } from "../src/codec/kinds.ts";
import { SyncError } from "../src/error.ts";
import { EXACT, REFUSED, nested, places } from "./codec-values.ts";

const TYPE_OF = { json: JSON_TYPE, messagepack: MESSAGEPACK_TYPE, text: TEXT_TYPE, bytes: BYTES_TYPE } as const;
const encode = (value: unknown) => defaultCodec.encode(value);
const decode = (bytes: Uint8Array, contentType: string | undefined) => defaultCodec.decode(bytes, contentType);
const utf8 = (text: string) => new TextEncoder().encode(text);
const round = (value: unknown) => {
  const { bytes, contentType } = encode(value);
  return decode(bytes, contentType).value;
};

function errorOf(run: () => unknown): SyncError {
  try {
    run();
  } catch (error) {
    if (error instanceof SyncError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** Undefined when two values are the same to the last detail, else where they differ: prototypes, key order, -0, NaN. */
function difference(a: unknown, b: unknown, at = "$"): string | undefined {
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

function isDeepFrozen(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  return Object.isFrozen(value) && Object.values(value).every(isDeepFrozen);
}

describe("what goes round exactly", () => {
  // Mutations caught: any type left to JSON that it changes; any extension written or read wrongly.
  for (const { name, stored, values } of EXACT) {
    it(name, () => {
      for (const value of values) {
        const { bytes, contentType } = encode(value);
        expect(contentType).toBe(TYPE_OF[stored]);
        expect(difference(value, decode(bytes, contentType).value)).toBeUndefined();
      }
    });
  }

  it("the check itself sees what an equality would forgive", () => {
    const pairs = [
      [0, -0],
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      [[undefined], [null]],
      [new Uint8Array(1), new Int8Array(1)],
      [{}, Object.create(null)],
    ];
    for (const [a, b] of pairs) expect(difference(a, b)).toBeDefined();
  });

  it("any value made of these", () => {
    const special = fc.constantFrom<unknown>(
      undefined,
      -0,
      NaN,
      Infinity,
      2 ** 53,
      new Date(5),
      new Date(NaN),
      new Float32Array(3),
    );
    const key = fc.string({ unit: "binary" }).filter((text) => text !== "__proto__");
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(
        special,
        fc.bigInt(),
        fc.double(),
        fc.integer(),
        key,
        fc.boolean(),
        fc.constant(null),
        fc.uint8Array(),
      ),
      tree: fc.oneof(
        { maxDepth: 5 },
        tie("leaf"),
        fc.array(tie("tree"), { maxLength: 20 }),
        fc.dictionary(key, tie("tree"), { maxKeys: 20 }),
        fc.array(fc.tuple(tie("leaf"), tie("tree")), { maxLength: 20 }).map((entries) => new Map(entries)),
        fc.array(tie("leaf"), { maxLength: 20 }).map((members) => new Set(members)),
      ),
    }));
    fc.assert(
      fc.property(
        tree.filter((value) => value !== undefined),
        (value) => {
          const { bytes, contentType } = encode(value);
          const decoded = decode(bytes, contentType);
          expect(difference(value, decoded.value)).toBeUndefined();
          expect(difference(value, cloneValue(decoded.value))).toBeUndefined();
          if (decoded.sharing === "shared") expect(isDeepFrozen(decoded.value)).toBe(true);
          expect(decoded.bytes).toBeGreaterThanOrEqual(0);
          expect(Buffer.compare(encode(decoded.value).bytes, bytes)).toBe(0);
        },
      ),
      { seed: 20_26, numRuns: 1000 },
    );
  });

  it("plain JSON of any shape as JSON", () => {
    fc.assert(
      fc.property(
        fc.jsonValue().filter((value) => typeof value !== "string" && !JSON.stringify(value).includes("__proto__")),
        (value) => {
          const { bytes, contentType } = encode(value);
          if (contentType === JSON_TYPE) expect(Buffer.from(bytes).toString()).toBe(JSON.stringify(value));
          expect(difference(value, decode(bytes, contentType).value)).toBeUndefined();
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });
});

describe("what is refused", () => {
  // Mutations caught: any check left out of the inspection; a path that is off by one step.
  for (const { name, make } of REFUSED) {
    it(name, () => {
      for (const [value, path] of make()) {
        const error = errorOf(() => encode(value));
        expect(error.code).toBe("INVALID");
        expect(`${error.message} `).toContain(` ${path} `);
      }
    });
  }

  it("names places in Maps, Sets and under odd keys", () => {
    for (const [value, path] of places()) expect(`${errorOf(() => encode(value)).message} `).toContain(` ${path} `);
  });

  it("nesting up to the limit is stored, one more is not", () => {
    for (const depthMax of [1, 2, 128, 512]) {
      const codec = valueCodec({ depthMax });
      for (const wrap of [
        (inner: unknown) => [inner],
        (inner: unknown) => ({ a: inner }),
        (inner: unknown) => new Map([[1, inner]]),
      ]) {
        const value = nested(depthMax, wrap);
        const { bytes, contentType } = codec.encode(value);
        expect(difference(value, decode(bytes, contentType).value)).toBeUndefined();
        expect(errorOf(() => codec.encode(wrap(value))).message).toContain(`deeper than ${depthMax}`);
      }
    }
    expect(errorOf(() => valueCodec({ depthMax: 513 })).code).toBe("INVALID");
  });

  it("a shared part is counted as often as it is written, up to nodesMax", () => {
    let value: unknown = [1];
    for (let i = 0; i < 40; i++) value = [value, value];
    expect(errorOf(() => valueCodec({ nodesMax: 10_000 }).encode(value)).code).toBe("TOO_LARGE");
    const codec = valueCodec({ nodesMax: 4 });
    expect(codec.encode([1, [2, 3]]).contentType).toBe(JSON_TYPE);
    for (const large of [
      [1, [2, 3, 4]],
      { a: { b: 1, c: 2, d: 3, e: 4 } },
      new Set([1, 2, 3, 4, 5]),
      new Map([
        [1, 1],
        [2, 2],
        [3, 3],
      ]),
    ]) {
      expect(errorOf(() => codec.encode(large)).code).toBe("TOO_LARGE");
    }
  });

  it("a Proxy that throws is an error of the caller", () => {
    const proxy = new Proxy(
      {},
      {
        getPrototypeOf: () => {
          throw new Error("trap");
        },
      },
    );
    expect(errorOf(() => encode([proxy])).code).toBe("INVALID");
  });

  it("no value stands in an error", () => {
    const error = errorOf(() => encode({ a: ["secret\ud800"] }));
    expect(error.message).not.toContain("secret");
  });
});

describe("what encoding leaves alone", () => {
  it("changes and keeps nothing of the caller's value", () => {
    // Mutation caught: bytes handed through instead of copied; freezing what the caller gave.
    const bytes = Uint8Array.of(1, 2, 3);
    const value = { list: [1, { deep: -0 }], bytes, map: new Map([["k", [1]]]) };
    const before = structuredClone(value);
    const encoded = encode(value);
    const encodedBytes = encode(bytes);
    expect(difference(value, before)).toBeUndefined();
    expect(Object.isFrozen(value) || Object.isFrozen(value.list)).toBe(false);
    bytes[0] = 99;
    value.list.push(7);
    expect(difference(decode(encoded.bytes, encoded.contentType).value, before)).toBeUndefined();
    expect(encodedBytes.bytes).toEqual(Uint8Array.of(1, 2, 3));
  });

  it("a Node Buffer is bytes, copied, at the top and inside", () => {
    const buffer = Buffer.from("abc");
    const encoded = encode(buffer);
    buffer[0] = 0;
    expect(encoded).toEqual({ bytes: utf8("abc"), contentType: BYTES_TYPE });
    expect(difference(round([Buffer.from("abc")]), [utf8("abc")])).toBeUndefined();
  });

  it("a toJSON that someone gave every object is not called", () => {
    // Mutation caught: JSON.stringify without the look at the prototypes.
    for (const prototype of [Object.prototype, Array.prototype]) {
      Object.defineProperty(prototype, "toJSON", { value: () => "stolen", configurable: true });
      try {
        expect(difference(round({ a: [1] }), { a: [1] })).toBeUndefined();
        expect(errorOf(() => jsonCodec().encode({ a: [1] })).code).toBe("UNSUPPORTED");
      } finally {
        Reflect.deleteProperty(prototype, "toJSON");
      }
    }
  });

  it("a setter that someone gave every object is not called by a decode or a clone", () => {
    const { bytes, contentType } = encode({ taken: 1, n: 1n });
    const shared: object = Object.prototype;
    Object.defineProperty(shared, "taken", {
      set: () => {
        throw new Error("a setter ran");
      },
      configurable: true,
    });
    try {
      const { value } = decode(bytes, contentType);
      expect(Object.getOwnPropertyDescriptor(value, "taken")?.value).toBe(1);
      expect(Object.getOwnPropertyDescriptor(cloneValue(value), "taken")?.value).toBe(1);
    } finally {
      Reflect.deleteProperty(Object.prototype, "taken");
    }
  });
});

describe("decoding", () => {
  it("goes by the type alone", () => {
    const bytes = utf8("[1]");
    for (const type of [
      "application/json",
      "application/ld+json",
      "Application/JSON; charset=utf-8",
      "image/x+json;v=1",
    ]) {
      expect(decode(bytes, type)).toMatchObject({ value: [1], sharing: "shared" });
    }
    for (const type of ["text/plain", "text/html; charset=UTF-8", 'text/css;charset="utf-8"', "TEXT/csv"]) {
      expect(decode(bytes, type)).toMatchObject({ value: "[1]", sharing: "shared" });
    }
    for (const type of [
      undefined,
      "",
      "application/octet-stream",
      "image/png",
      "text/plain; charset=latin1",
      "json",
      "a/b/c+json",
    ]) {
      expect(decode(bytes, type)).toMatchObject({ value: bytes, sharing: "cloned" });
    }
    expect(jsonCodec().decode(encode(1n).bytes, MESSAGEPACK_TYPE).value).toBe(1n);
  });

  it("freezes plain data to its depth and shares it; says so when it cannot", () => {
    // Mutation caught: a missing freeze; a Date, Map, Set, buffer or view that is shared.
    for (const value of [{ a: [{ b: [1] }] }, { a: [undefined, { b: -0 }], n: 1n }, "x", 1, null]) {
      const { bytes, contentType } = encode(value);
      const decoded = decode(bytes, contentType);
      expect(decoded.sharing).toBe("shared");
      expect(isDeepFrozen(decoded.value)).toBe(true);
    }
    for (const part of [
      new Date(1),
      new Map(),
      new Set(),
      new ArrayBuffer(1),
      new Uint8Array(1),
      new Float32Array(1),
      new DataView(new ArrayBuffer(1)),
    ]) {
      const { bytes, contentType } = encode({ deep: [part] });
      const decoded = decode(bytes, contentType);
      expect(decoded.sharing).toBe("cloned");
      const clone = cloneValue(decoded.value);
      expect(difference(clone, decoded.value)).toBeUndefined();
      expect((clone as { deep: unknown[] }).deep[0]).not.toBe((decoded.value as { deep: unknown[] }).deep[0]);
    }
  });

  it("a clone shares no memory with its original", () => {
    for (const view of [Uint8Array.of(1), new Float64Array([1]), new DataView(new ArrayBuffer(2))]) {
      const copy = cloneValue(view) as ArrayBufferView;
      expect(copy.buffer).not.toBe(view.buffer);
      expect(copy.buffer.byteLength).toBe(view.byteLength);
    }
    const part = cloneValue(new Uint8Array(new ArrayBuffer(100), 10, 3)) as Uint8Array;
    expect(part.buffer.byteLength).toBe(3);
  });

  it("bytes come back as a plain Uint8Array, whatever the store gave", () => {
    expect(Object.getPrototypeOf(decode(Buffer.from("ab"), BYTES_TYPE).value)).toBe(Uint8Array.prototype);
  });

  it("a file that a person broke is CORRUPT, tells the cure and nothing of the file", () => {
    const cases: [Uint8Array, string][] = [
      [utf8('{"password": "secret", }'), JSON_TYPE],
      [utf8(""), JSON_TYPE],
      [Uint8Array.of(0x22, 0xff, 0x22), JSON_TYPE],
      [Uint8Array.of(0x61, 0xc3, 0x28), TEXT_TYPE],
      [Uint8Array.of(0xc1), MESSAGEPACK_TYPE],
    ];
    for (const [bytes, type] of cases) {
      const error = errorOf(() => decode(bytes, type));
      expect(error.code).toBe("CORRUPT");
      expect(error.message).toContain(type);
      expect(error.message).toContain("can still be read");
      expect(`${error.message} ${String(error.cause)}`).not.toContain("secret");
    }
  });

  it("a byte order mark belongs to a text, not to JSON", () => {
    expect(decode(utf8("\ufeff[1]"), JSON_TYPE).value).toEqual([1]);
    expect(decode(utf8("\ufeffx"), TEXT_TYPE).value).toBe("\ufeffx");
  });

  it("JSON cannot reach a prototype", () => {
    for (const text of ['{"__proto__":{"admin":true}}', '[{"a":{"__proto__":1}}]', '{"\\u005f_proto__":1}']) {
      expect(errorOf(() => decode(utf8(text), JSON_TYPE)).code).toBe("CORRUPT");
    }
    expect(Reflect.get({}, "admin")).toBeUndefined();
  });

  it("JSON nested a million deep neither overflows nor hangs", () => {
    for (const text of [
      `${"[".repeat(1e6)}${"]".repeat(1e6)}`,
      '{"a":'.repeat(1e6),
      `${'{"a":'.repeat(1e6)}1${"}".repeat(1e6)}`,
    ]) {
      expect(errorOf(() => decode(utf8(text), JSON_TYPE)).code).toBe("CORRUPT");
    }
    expect(decode(utf8(`${"[".repeat(512)}${"]".repeat(512)}`), JSON_TYPE).sharing).toBe("shared");
    expect(errorOf(() => decode(utf8(`${"[".repeat(513)}${"]".repeat(513)}`), JSON_TYPE)).code).toBe("CORRUPT");
  });
});

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

  it("elements are little-endian on every machine", () => {
    expect(toLittleEndian(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), 4, false)).toEqual(
      Uint8Array.of(4, 3, 2, 1, 8, 7, 6, 5),
    );
    expect(toLittleEndian(Uint8Array.of(1, 2), 2, true)).toEqual(Uint8Array.of(1, 2));
    expect(Buffer.from(encode(Uint16Array.of(0x0102)).bytes).toString("hex")).toBe("c70307050201");
  });
});

describe("jsonCodec", () => {
  it("writes JSON for people", () => {
    const { bytes, contentType } = jsonCodec({ indent: 2 }).encode({ a: [1] });
    expect(contentType).toBe(JSON_TYPE);
    expect(Buffer.from(bytes).toString()).toBe('{\n  "a": [\n    1\n  ]\n}\n');
    expect(Buffer.from(jsonCodec().encode("text").bytes).toString()).toBe('"text"');
    expect(decode(jsonCodec({ indent: 2 }).encode("x").bytes, JSON_TYPE).value).toBe("x");
  });

  it("refuses what JSON would change", () => {
    for (const { stored, values } of EXACT) {
      if (stored !== "messagepack" && stored !== "bytes") continue;
      for (const value of values) expect(errorOf(() => jsonCodec().encode(value)).code).toBe("INVALID");
    }
    expect(errorOf(() => jsonCodec({ indent: 11 })).code).toBe("INVALID");
  });
});

describe("docs/values.md", () => {
  // Mutation caught: a row in a test that no page promises, or a row on the page that no test runs.
  const page = readFileSync("docs/values.md", "utf8");
  const rowsUnder = (heading: string) => {
    const section = page.slice(page.indexOf(`## ${heading}`)).split("\n## ")[0] ?? "";
    const rows = section.split("\n").filter((line) => line.startsWith("|"));
    return rows.slice(2).map((line) => line.split("|")[1]?.trim());
  };

  it("lists what the tests run", () => {
    expect(rowsUnder("What goes round exactly")).toEqual(EXACT.map(({ name }) => name));
    expect(rowsUnder("What is refused")).toEqual(REFUSED.map(({ name }) => name));
  });
});
