import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { checksum, crc32c } from "../src/checksum.ts";
import type { Entry, Meta } from "../src/entry.ts";
import {
  COMPRESS_BYTES_MAX,
  COMPRESS_BYTES_MIN,
  ENVELOPE_BYTES_MIN,
  EXPANSION_MAX,
  decodeEnvelope,
  encodeEnvelope,
  envelopeHead,
  envelopeVersion,
} from "../src/envelope.ts";
import type { Compression } from "../src/envelope.ts";
import { SyncError } from "../src/error.ts";
import type { EntryState } from "../src/entry.ts";
import { toVersion } from "../src/version.ts";
import { zlibCompression } from "../src/zlib.ts";

interface Vector {
  readonly name: string;
  readonly key: string;
  readonly state: EntryState;
  readonly version: string;
  readonly expires: number | null;
  readonly meta: Meta;
  readonly asOf: number | null;
  readonly value: string | { readonly repeat: string; readonly times: number } | null;
  readonly envelope: string;
}

interface Vectors {
  readonly both: readonly Vector[];
  readonly compressed: readonly Vector[];
  readonly refused: readonly {
    readonly name: string;
    readonly key: string;
    readonly envelope: string;
    readonly error: string;
  }[];
}

const VECTORS = JSON.parse(readFileSync("test/vectors/envelope.json", "utf8")) as Vectors;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const unhex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
const utf8 = (text: string) => new TextEncoder().encode(text);
const compression = zlibCompression;

/** Deterministic bytes that do not compress. */
function noise(length: number, seed = 1): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state ^ (state >>> 9)) >>> 16;
  });
}

function entryOf({ key, state, version, expires, meta, value }: Vector): Entry {
  return { key, state, version: toVersion(version), expires, meta, value: bytesOf(value) };
}

function bytesOf(value: Vector["value"]): Uint8Array | null {
  if (value === null || typeof value === "string") return value === null ? null : unhex(value);
  return unhex(value.repeat.repeat(value.times));
}

function entry(value: Uint8Array, more: Partial<Entry> = {}): Entry {
  const version = toVersion("018f3a2b4c5d-0007-0123456789abcdef");
  return { key: "users/1", state: "value", version, expires: null, meta: {}, value, ...more };
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof SyncError) return error.code;
    throw error;
  }
  return "no error";
}

describe("the test vectors", () => {
  // Mutations caught: any byte of the layout, and each rule of a canonical encoding, by the row that names it.
  for (const vector of VECTORS.both) {
    it(`both ways: ${vector.name}`, () => {
      const bytes = encodeEnvelope(entryOf(vector), { asOf: vector.asOf ?? undefined });
      expect(hex(bytes)).toBe(vector.envelope);
      const decoded = decodeEnvelope(unhex(vector.envelope), { key: vector.key });
      expect(decoded).toEqual({ entry: entryOf(vector), asOf: vector.asOf });
      const { value, ...head } = entryOf(vector);
      expect(envelopeHead(bytes, vector.key)).toEqual({ head, asOf: vector.asOf, valueBytes: value?.length ?? null });
      expect(envelopeVersion(bytes)).toBe(vector.version);
    });
  }

  for (const vector of VECTORS.compressed) {
    it(`decoded: ${vector.name}`, () => {
      const bytes = unhex(vector.envelope);
      const { entry: decoded, asOf } = decodeEnvelope(bytes, { key: vector.key, compression });
      const { value, ...head } = entryOf(vector);
      expect({ ...decoded, value: null, asOf }).toEqual({ ...head, value: null, asOf: vector.asOf });
      expect(hex(decoded.value ?? new Uint8Array(0))).toBe(hex(value ?? new Uint8Array(0)));
      expect(envelopeHead(bytes, vector.key).valueBytes).toBe(value?.length);
      expect(codeOf(() => decodeEnvelope(bytes, { key: vector.key }))).toBe("UNSUPPORTED");
    });
  }

  for (const { name, key, envelope, error } of VECTORS.refused) {
    it(`refused: ${name}`, () => {
      expect(codeOf(() => decodeEnvelope(unhex(envelope), { key, compression }))).toBe(error);
    });
  }

  it("are what docs/format.md shows", () => {
    const example = /## Example[\s\S]*?```\n([\s\S]*?)```/.exec(readFileSync("docs/format.md", "utf8"))?.[1] ?? "";
    const bytes = example
      .split("\n")
      .map((line) => /^ *((?:[0-9a-f]{2,}  ?)*[0-9a-f]{2,})(?: {2}|$)/.exec(line)?.[1] ?? "");
    expect(bytes.join("").replaceAll(" ", "")).toBe(
      VECTORS.both.find(({ name }) => name === "everything at once")?.envelope,
    );
  });
});

describe("the checksum", () => {
  it("is made of the standard ones", () => {
    const xxh32 = (text: string, seed: number) =>
      checksum(new DataView(utf8(text).buffer), text.length, seed).hash >>> 0;
    expect(crc32c(utf8("123456789")) >>> 0).toBe(0xe3069283);
    expect(xxh32("", 0)).toBe(0x02cc5d05);
    expect(xxh32("abc", 0)).toBe(0x32d153ff);
    expect(xxh32("Nobody inspects the spammish repetition", 0)).toBe(0xe2293b2f);
  });

  const samples = [
    encodeEnvelope(entry(utf8("x"), { expires: 5, meta: { "content-type": "text/plain" } }), { asOf: 7 }),
    encodeEnvelope(entry(new Uint8Array(0))),
    encodeEnvelope({ ...entry(utf8("x")), state: "deleted", value: null }),
    encodeEnvelope(entry(noise(300))),
    encodeEnvelope(entry(utf8("Sync ".repeat(400))), { compression }),
  ];

  it("finds every flipped bit", () => {
    // Mutation caught: any byte left out of the checksum.
    for (const sample of samples) {
      for (let bit = 0; bit < sample.length * 8; bit++) {
        const bytes = sample.slice();
        bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
        expect(codeOf(() => decodeEnvelope(bytes, { key: "users/1", compression }))).toBe("CORRUPT");
        expect(codeOf(() => envelopeHead(bytes, "users/1"))).toBe("CORRUPT");
      }
    }
  });

  it("finds every burst of up to 32 bits, by the CRC alone", () => {
    // Mutations caught: a CRC that does not end the envelope, in the other byte order, or of another polynomial.
    let state = 2026;
    const random = (limit: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      return Math.floor((state >>> 0) * (limit / 2 ** 32));
    };
    for (const sample of samples) {
      for (let run = 0; run < 4000; run++) {
        const bytes = sample.slice();
        const bits = 2 + random(31);
        const at = random(sample.length * 8 - bits);
        for (let i = 0; i < bits; i++) {
          const bit = at + i;
          const isFlipped = i === 0 || i === bits - 1 || random(2) === 1;
          if (isFlipped) bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
        }
        const end = bytes.length - 4;
        const crc = crc32c(Uint8Array.of(...utf8("users/1"), ...bytes.subarray(0, end)));
        expect(new DataView(bytes.buffer).getInt32(end, true)).not.toBe(crc);
      }
    }
  });

  it("covers the key", () => {
    const bytes = encodeEnvelope(entry(utf8("x")));
    for (const key of ["users/2", "users/1 ", "Users/1", "users/", "1"]) {
      expect(codeOf(() => decodeEnvelope(bytes, { key }))).toBe("CORRUPT");
      expect(codeOf(() => envelopeHead(bytes, key))).toBe("CORRUPT");
    }
  });
});

describe("compression", () => {
  // Not imported: the transform of a 20 MB module would take longer than all tests.
  const { css } = createRequire(import.meta.url)("@mdn/browser-compat-data") as Record<
    string,
    { properties: { display: object } }
  >;
  const document = utf8(JSON.stringify(css?.properties.display));
  const stored = (value: Uint8Array) => encodeEnvelope(entry(value), { compression }).length;
  /** Compared as one: an equality by elements takes seconds. */
  const goesRound = (value: Uint8Array) => {
    const bytes = encodeEnvelope(entry(value), { compression });
    const decoded = decodeEnvelope(bytes, { key: "users/1", compression }).entry.value;
    return decoded !== null && Buffer.compare(decoded, value) === 0;
  };

  it("makes a real document a fifth or less", () => {
    expect(document.length).toBeGreaterThan(20_000);
    expect(stored(document)).toBeLessThan(document.length / 5);
    expect(goesRound(document)).toBe(true);
  });

  it("leaves alone what is small, compressed already, or saves less than an eighth", () => {
    const deflated = compression.deflate(utf8(JSON.stringify(css)));
    expect(deflated.length).toBeGreaterThan(100_000);
    // 9 of 10 bytes are noise: DEFLATE saves a tenth of it.
    const almost = noise(20_000).map((byte, i) => (i % 10 === 0 ? 0 : byte));
    for (const value of [new Uint8Array(COMPRESS_BYTES_MIN - 1), noise(5000), noise(200_000), deflated, almost]) {
      expect(stored(value)).toBe(ENVELOPE_BYTES_MIN + value.length);
      expect(goesRound(value)).toBe(true);
    }
  });

  it("tries a sample before a large value", () => {
    const lengths: number[] = [];
    const counted: Compression = {
      ...compression,
      deflate: (bytes) => {
        lengths.push(bytes.length);
        return compression.deflate(bytes);
      },
    };
    encodeEnvelope(entry(noise(1_000_000)), { compression: counted });
    encodeEnvelope(entry(new Uint8Array(COMPRESS_BYTES_MAX + 1)), { compression: counted });
    expect(lengths).toEqual([12_288]);
  });

  it("pads what shrinks further than the bound", () => {
    for (const length of [COMPRESS_BYTES_MIN, 65_537, 1_000_001]) {
      const value = new Uint8Array(length);
      expect(stored(value)).toBeGreaterThanOrEqual(ENVELOPE_BYTES_MIN + length / EXPANSION_MAX);
      expect(stored(value)).toBeLessThan(ENVELOPE_BYTES_MIN + 100 + length / 32);
      expect(goesRound(value)).toBe(true);
    }
  });

  it("inflates a bomb no further than it claims", () => {
    // Mutation caught: an inflate without a limit.
    const bomb = compression.deflate(new Uint8Array(50_000_000));
    const before = process.memoryUsage().arrayBuffers;
    expect(() => compression.inflate(bomb, 1000)).toThrow();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });
});

describe("the value that comes out", () => {
  it("is a view of bytes that fill their own buffer, and a copy of others", () => {
    // Mutations caught: a value that keeps a driver's large buffer alive, or changes when the driver uses it again.
    const bytes = encodeEnvelope(entry(utf8("abc")));
    expect(decodeEnvelope(bytes, { key: "users/1" }).entry.value?.buffer).toBe(bytes.buffer);
    const shared = Buffer.alloc(1000);
    shared.set(bytes, 100);
    const { value } = decodeEnvelope(shared.subarray(100, 100 + bytes.length), { key: "users/1" }).entry;
    shared.fill(0);
    expect(value).toEqual(utf8("abc"));
    expect(value?.buffer.byteLength).toBe(3);
  });

  it("is no part of the bytes that were encoded", () => {
    const value = utf8("abc");
    const bytes = encodeEnvelope(entry(value));
    value.fill(0);
    expect(decodeEnvelope(bytes, { key: "users/1" }).entry.value).toEqual(utf8("abc"));
  });
});

describe("metadata", () => {
  it("that changes between two calls is written anew, whether frozen or not", () => {
    // Mutation caught: remembering the block of an object that can still change.
    const changing: Record<string, string> = { a: "1" };
    const metaOf = (meta: Meta) =>
      decodeEnvelope(encodeEnvelope(entry(utf8("x"), { meta })), { key: "users/1" }).entry.meta;
    expect(metaOf(changing)).toEqual({ a: "1" });
    changing["a"] = "2";
    expect(metaOf(changing)).toEqual({ a: "2" });
    const frozen = Object.freeze({ b: "1" });
    for (const meta of [frozen, frozen, { b: "2" }, Object.freeze({}), frozen, {}, { constructor: "x" }]) {
      expect(metaOf(meta)).toEqual(meta);
    }
    expect(Object.isFrozen(metaOf(changing))).toBe(true);
  });

  it("of the most names, and of the longest texts, goes round; more is no silent loss", () => {
    const letters = "abcdefghijklmnopqrstuvwxyz0123456789".split("");
    const names = letters.flatMap((a) => letters.map((b) => a + b)).slice(0, 512);
    for (const meta of [
      Object.fromEntries(names.map((name) => [name, ""])),
      { a: "ä".repeat(511) },
      { a: "x".repeat(1023) },
    ]) {
      const bytes = encodeEnvelope(entry(utf8("x"), { meta }));
      expect(decodeEnvelope(bytes, { key: "users/1" }).entry.meta).toEqual(meta);
    }
    expect(codeOf(() => encodeEnvelope(entry(utf8("x"), { meta: { a: "x".repeat(10_000) } })))).toBe("INTERNAL");
  });

  it("is written in one order", () => {
    const [a, b] = [
      { a: "1", b: "2", "a-": "3" },
      { "a-": "3", b: "2", a: "1" },
    ];
    expect(encodeEnvelope(entry(utf8("x"), { meta: a }))).toEqual(encodeEnvelope(entry(utf8("x"), { meta: b })));
  });
});

it("an asOf that is no whole number is refused", () => {
  for (const asOf of [NaN, 0.5, 2 ** 53])
    expect(codeOf(() => encodeEnvelope(entry(utf8("x")), { asOf }))).toBe("INVALID");
});

it("the version is read of nothing but an envelope", () => {
  expect(codeOf(() => envelopeVersion(utf8('{"a": "a text that is longer than 29"}')))).toBe("CORRUPT");
  expect(codeOf(() => envelopeVersion(new Uint8Array(3)))).toBe("CORRUPT");
});
