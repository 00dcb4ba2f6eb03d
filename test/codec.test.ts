import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BYTES_TYPE, JSON_TYPE, MESSAGEPACK_TYPE, TEXT_TYPE, cloneValue, jsonCodec, valueCodec } from "../src/codec.ts";
import { decode, difference, encode, errorOf, isDeepFrozen, round, utf8 } from "./codec-check.ts";
import { EXACT, REFUSED, nested, places } from "./codec-values.ts";

const TYPE_OF = { json: JSON_TYPE, messagepack: MESSAGEPACK_TYPE, text: TEXT_TYPE, bytes: BYTES_TYPE } as const;
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
