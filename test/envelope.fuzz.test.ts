import { describe, expect, it } from "vitest";
import { checksum, crc32c } from "../src/checksum.ts";
import { JSON_TYPE, MESSAGEPACK_TYPE, TEXT_TYPE, valueCodec } from "../src/codec.ts";
import { ENVELOPE_BYTES_MIN, EXPANSION_MAX, decodeEnvelope, encodeEnvelope, envelopeHead } from "../src/envelope.ts";
import type { Compression } from "../src/envelope.ts";
import { SyncError } from "../src/error.ts";
import { toVersion } from "../src/version.ts";
import { zlibCompression } from "../src/zlib.ts";

/**
 * A million inputs, half of them envelopes, half of them values: random bytes, valid ones with a few bytes changed, and
 * envelopes changed and then given a right checksum, so that what lies behind it is reached. Each gives a correct
 * decode (one that is written again as it was) or CORRUPT, never anything else, and never more memory than its length
 * allows. A run of other inputs: FUZZ_SEED=1234 npx vitest run test/envelope.fuzz.test.ts
 */
const SEED = Number(process.env["FUZZ_SEED"] ?? 20_261_018);
const KEY = "users/1";
/** What a decoder may hold per byte of input: an empty array or object is one byte of input and about 60 of heap. */
const HEAP_PER_BYTE_MAX = 130;

let state = SEED | 0;

/** mulberry32. */
function random(limit: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) * (limit / 2 ** 32));
}

const utf8 = (text: string) => new TextEncoder().encode(text);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
/** Bytes with which lengths, types and states begin or end. */
const TELLING = [0, 1, 0x7f, 0x80, 0xff, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xc9, 0xd4, 0xd8, 0xdb, 0xdd, 0xdf, 0x91, 0x81];

function randomBytes(lengthMax: number): Uint8Array {
  const bytes = new Uint8Array(random(lengthMax + 1));
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = random(4) === 0 ? (TELLING[random(TELLING.length)] ?? 0) : random(256);
  return bytes;
}

/** One to four changes: a byte set, a bit flipped, a piece cut out, doubled or put in, the end cut off. */
function mutated(sample: Uint8Array): Uint8Array {
  let bytes: Uint8Array = sample.slice();
  for (let left = 1 + random(4); left > 0; left--) {
    const at = random(bytes.length);
    switch (random(6)) {
      case 0:
        bytes[at] = TELLING[random(TELLING.length)] ?? 0;
        break;
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      case 2:
        bytes = spliced(bytes, at, random(9), new Uint8Array(0));
        break;
      case 3:
        bytes = spliced(bytes, at, 0, bytes.subarray(at, at + random(9)));
        break;
      case 4:
        bytes = spliced(bytes, at, random(5), randomBytes(5));
        break;
      default:
        bytes = bytes.slice(0, random(8) === 0 ? at : bytes.length);
    }
  }
  return bytes;
}

function spliced(bytes: Uint8Array, at: number, removed: number, put: Uint8Array): Uint8Array {
  const rest = bytes.subarray(at + removed);
  const result = new Uint8Array(at + put.length + rest.length);
  result.set(bytes.subarray(0, at));
  result.set(put, at);
  result.set(rest, at + put.length);
  return result;
}

const keyChecksum = crc32c(utf8(KEY));

function seal(bytes: Uint8Array): void {
  const end = bytes.length - 8;
  if (end < 0) return;
  const view = new DataView(bytes.buffer);
  const { hash, crc } = checksum(view, end, keyChecksum);
  view.setInt32(end, hash, true);
  view.setInt32(end + 4, crc, true);
}

/** Runs one input. True when it was decoded, false when it was CORRUPT; anything else fails, with the input. */
function run(input: Uint8Array, decode: (input: Uint8Array) => void): boolean {
  try {
    decode(input);
    return true;
  } catch (error) {
    if (error instanceof SyncError && error.code === "CORRUPT") return false;
    throw new Error(`seed ${SEED}, input ${hex(input)}`, { cause: error });
  }
}

const { stackTraceLimit } = Error;

/** Runs `count` inputs and reports how many were decoded. Memory outside the heap must not pile up meanwhile. */
function fuzz(count: number, make: (i: number) => Uint8Array, decode: (input: Uint8Array) => void): number {
  const before = process.memoryUsage().arrayBuffers;
  let decoded = 0;
  Error.stackTraceLimit = 0; // most inputs end in an error; its stack would cost more than all else
  try {
    for (let i = 0; i < count; i++) {
      if (run(make(i), decode)) decoded++;
      if (i % 5000 === 0) expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(128 * 2 ** 20);
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  return decoded;
}

function same(a: Uint8Array, b: Uint8Array, what: string): void {
  if (Buffer.compare(a, b) !== 0) throw new Error(`${what}: ${hex(b)}`);
}

// About 15 s of computing in all; the limit is for machines that do much else meanwhile.
describe(`fuzz, seed ${SEED}`, { timeout: 300_000 }, () => {
  const compression: Compression = {
    ...zlibCompression,
    inflate(bytes, lengthMax) {
      if (lengthMax > EXPANSION_MAX * (bytes.length + inputBytes)) throw new Error(`${lengthMax} bytes claimed`);
      return zlibCompression.inflate(bytes, lengthMax);
    },
  };
  let inputBytes = 0;
  const version = toVersion("018f3a2b4c5d-0007-0123456789abcdef");
  const base = { key: KEY, state: "value", version, expires: null, meta: {}, value: utf8("a value") } as const;
  const meta = { "content-type": "application/json", a: "", z: "ä😀" };
  const plain = [
    encodeEnvelope(base),
    encodeEnvelope({ ...base, meta }, { asOf: -1 }),
    encodeEnvelope({ ...base, meta, expires: 1_750_000_000_000 }, { asOf: 1_750_000_000_000 }),
    encodeEnvelope({ ...base, state: "deleted", value: null, expires: 5 }),
    encodeEnvelope({ ...base, state: "stub", value: null, meta }),
  ];
  const compressed = [
    encodeEnvelope({ ...base, value: utf8("Sync ".repeat(300)) }, { compression }),
    encodeEnvelope({ ...base, meta, value: new Uint8Array(5000) }, { compression }),
  ];

  const decodeOne = (input: Uint8Array) => {
    inputBytes = input.length;
    const { entry, asOf } = decodeEnvelope(input, { key: KEY, compression });
    const options = { asOf: asOf ?? undefined };
    const again = encodeEnvelope(entry, options);
    const isCompressed = ((input[20] ?? 0) & 0b10_0000) !== 0;
    if (!isCompressed) same(input, again, "written otherwise");
    else same(again, encodeEnvelope(decodeEnvelope(again, { key: KEY }).entry, options), "not the same entry");
    const { head, valueBytes } = envelopeHead(input, KEY);
    if (head.version !== entry.version || valueBytes !== (entry.value?.length ?? null)) throw new Error("another head");
    if ((valueBytes ?? 0) > EXPANSION_MAX * input.length) throw new Error("more than was claimed");
  };

  it("random bytes as envelopes: 100,000", () => {
    const decoded = fuzz(
      100_000,
      (i) => (i % 2 === 0 ? randomBytes(100) : spliced(plain[0] ?? base.value, 21, 99, randomBytes(60))),
      decodeOne,
    );
    expect(decoded).toBe(0);
  });

  it("damaged envelopes: 100,000", () => {
    // Mutation caught: any byte that the checksum leaves out.
    const samples = [...plain, ...compressed];
    let changed = 0;
    fuzz(
      100_000,
      (i) => {
        const sample = samples[i % samples.length] ?? base.value;
        const input = mutated(sample);
        if (Buffer.compare(input, sample) !== 0) changed++;
        return input;
      },
      (input) => {
        decodeOne(input);
        if (!samples.some((sample) => Buffer.compare(sample, input) === 0)) throw new Error("damage was believed");
      },
    );
    expect(changed).toBeGreaterThan(90_000);
  });

  it("hostile envelopes with a right checksum: 260,000", () => {
    // Mutations caught: any rule of the canonical form, any length that is believed.
    const decoded = fuzz(
      260_000,
      (i) => {
        const input = mutated(plain[i % plain.length] ?? base.value);
        seal(input);
        return input;
      },
      decodeOne,
    );
    expect(decoded).toBeGreaterThan(20_000);
    expect(decoded).toBeLessThan(240_000);
  });

  it("hostile compressed envelopes with a right checksum: 40,000", () => {
    const decoded = fuzz(
      40_000,
      (i) => {
        const input = mutated(compressed[i % compressed.length] ?? base.value);
        seal(input);
        return input;
      },
      decodeOne,
    );
    expect(decoded).toBeGreaterThan(100);
    expect(ENVELOPE_BYTES_MIN).toBe(29);
  });

  const codec = valueCodec({ depthMax: 512 });
  const decodeValue = (type: string) => (input: Uint8Array) => {
    const { value, bytes } = codec.decode(input, type);
    if (bytes > HEAP_PER_BYTE_MAX * input.length + 500) throw new Error(`${bytes} bytes of heap`);
    const first = codec.encode(value);
    const second = codec.encode(codec.decode(first.bytes, first.contentType).value);
    same(first.bytes, second.bytes, "another value");
  };

  const shared = { name: "Ada", n: [1, -5, 300, 70_000, -70_000, 1e300, -0, NaN], u: undefined };
  const values: unknown[] = [
    shared,
    [1n, -(2n ** 80n), new Date(0), new Date(NaN), true, null],
    new Map<unknown, unknown>([
      ["a", new Set([1, "b"])],
      [1, new Map([[undefined, -1]])],
    ]),
    {
      f: Float64Array.of(1, NaN),
      u: Uint16Array.of(1, 2),
      b: new Uint8Array(40),
      v: new DataView(new ArrayBuffer(5)),
      a: new ArrayBuffer(3),
    },
    [Object.assign(Object.create(null) as object, { x: [[[[1n]]]] }), "a longer text, of more than 31 bytes: größe 😀"],
  ];
  const messages = values.map((value) => codec.encode(value).bytes);

  it("random bytes as MessagePack: 200,000", () => {
    const decoded = fuzz(200_000, () => randomBytes(40), decodeValue(MESSAGEPACK_TYPE));
    expect(decoded).toBeGreaterThan(1000);
  });

  it("damaged MessagePack: 200,000", () => {
    // Mutations caught: a length that is believed, a rule left out of the reader, an unbounded descent.
    const decoded = fuzz(
      200_000,
      (i) => mutated(messages[i % messages.length] ?? base.value),
      decodeValue(MESSAGEPACK_TYPE),
    );
    expect(decoded).toBeGreaterThan(20_000);
    expect(decoded).toBeLessThan(190_000);
  });

  it("damaged JSON and text: 100,000", () => {
    const text = utf8(
      JSON.stringify({ a: [1, -0.5, 1e21, "größe 😀", null, true, { b: {}, __proto: [] }], "": "\u0000" }),
    );
    fuzz(50_000, () => mutated(text), decodeValue(JSON_TYPE));
    fuzz(50_000, () => mutated(text), decodeValue(TEXT_TYPE));
  });

  it("can fail: the oracle sees a decoder that is wrong", () => {
    expect(() =>
      run(messages[0] ?? base.value, () => {
        throw new RangeError("stack");
      }),
    ).toThrow(/seed/);
    expect(() => run(plain[0] ?? base.value, (input) => same(input, utf8("x"), "written otherwise"))).toThrow(/seed/);
  });
});
