import { describe, expect, it } from "vitest";
import { decode, decodeText, defaultCodec } from "../../src/codec.ts";
import { simulatedRuntime } from "microsync/testing";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { memory } from "../../src/stores/memory.ts";
import { formatVersion } from "../../src/version.ts";

const JSON_TYPE = "application/json";
const TEXT_TYPE = "text/plain; charset=utf-8";
const utf8 = (text: string) => new TextEncoder().encode(text);
const textOfBytes = (length: number) => utf8(`"${"x".repeat(length - 2)}"`);

function entryOf(value: Uint8Array, contentType: string, at = 1): Entry {
  const version = formatVersion(1.7e12 + at, 0, "0".repeat(16));
  return { key: "k", state: "value", value, version, expires: null, meta: { "content-type": contentType } };
}

/** Ends within a character. */
const CUT = utf8("長").subarray(0, 2);
const CASES: readonly [what: string, value: Uint8Array, contentType: string, isText: boolean][] = [
  ["JSON", utf8('{"a":[1,"ü"]}'), JSON_TYPE, true],
  ["JSON of another type of its kind", utf8("[1]"), "application/geo+json", true],
  ["JSON after a byte order mark", utf8("\ufeff[1]"), JSON_TYPE, true],
  ["a text", utf8("plain, 長い, 😀"), TEXT_TYPE, true],
  ["a text that begins with a byte order mark", utf8("\ufeffmark"), TEXT_TYPE, true],
  ["an empty text", utf8(""), TEXT_TYPE, true],
  ["the largest that is kept as a text", textOfBytes(1_024), JSON_TYPE, true],
  ["a larger one", textOfBytes(1_025), JSON_TYPE, false],
  ["what says it is JSON and is no UTF-8", CUT, JSON_TYPE, false],
  ["a text in another charset", new Uint8Array([0x61, 0xfc]), "text/plain; charset=latin1", false],
  ["bytes that could be a text", utf8("abc"), "application/octet-stream", false],
];

describe("a small text in memory", () => {
  // Mutations: every value is kept as a text; a byte order mark is dropped; what is no UTF-8 is kept with other characters.
  it.each(CASES)("%s is given back as the very bytes", async (_, value, contentType, isText) => {
    const runtime = simulatedRuntime({ seed: 1 });
    for (const give of ["write", "writeNow"] as const) {
      const store = memory({ runtime });
      const own = new Uint8Array(value);
      expect(await store[give]([{ entry: entryOf(own, contentType), asOf: 5 }])).toEqual([{ status: "stored" }]);
      const slot = store.look("k");
      expect([slot?.text !== undefined, slot?.size]).toEqual([isText, value.length]);
      expect(slot?.entry).toEqual(entryOf(value, contentType));
      const [answer] = await store.read(["k"]);
      expect(answer?.entry).toEqual(entryOf(value, contentType));
      await store.write([{ entry: entryOf(value, contentType), asOf: 9 }]); // renewed: another slot of the same
      expect(store.look("k")?.entry).toEqual(entryOf(value, contentType));
      expect(store.look("k")?.asOf).toBe(9);
    }
  });

  // Mutation: of two that claim one version the one that came first stays, though the other's bytes are greater.
  it("is compared by its bytes with another of the same version", async () => {
    const store = memory({ runtime: simulatedRuntime({ seed: 1 }) });
    await store.write([{ entry: entryOf(utf8("[1]"), JSON_TYPE), asOf: 5 }]);
    await store.write([{ entry: entryOf(utf8("[2]"), JSON_TYPE), asOf: 5 }]);
    await store.write([{ entry: entryOf(utf8("[0]"), JSON_TYPE), asOf: 5 }]);
    expect(store.look("k")?.text).toBe("[2]");
  });

  // Mutation: the type of the values stored before is that of all.
  it("is told from bytes by its own type", async () => {
    const store = memory({ runtime: simulatedRuntime({ seed: 1 }) });
    for (const [at, contentType] of [JSON_TYPE, "application/octet-stream", JSON_TYPE].entries()) {
      await store.write([{ entry: entryOf(utf8("[1]"), contentType, at), asOf: 5 }]);
      expect(store.look("k")?.text).toBe(contentType === JSON_TYPE ? "[1]" : undefined);
    }
  });
});

describe("what a small text decodes to", () => {
  // Mutations: the mark stays before JSON; every text is taken for one of ASCII alone, or none, which counts its parts wrong.
  it.each(CASES)("%s is what its bytes decode to", (_, value, contentType) => {
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(value);
    if (!Buffer.from(text).equals(value)) return expect(value).not.toEqual(utf8(text));
    decode(value, contentType); // shapes that are new are counted once
    expect(decodeText(text, value.length, contentType)).toEqual(decode(value, contentType));
  });

  it("says what is wrong with it as its bytes do", () => {
    const wrong = (work: () => unknown) => {
      try {
        return work();
      } catch (error) {
        return error instanceof SyncError ? `${error.code} ${error.message}` : error;
      }
    };
    for (const text of ["{", "[1,]", ""]) {
      const said = wrong(() => decodeText(text, text.length, JSON_TYPE));
      expect(said).toContain("CORRUPT");
      expect(said).toBe(wrong(() => decode(utf8(text), JSON_TYPE)));
    }
  });
});

describe("the bytes of small texts", () => {
  // Mutations: the place in the buffer is not moved on; the buffer is used again from its beginning; a text at its end is cut.
  it("are each their own, over many buffers", () => {
    const values = Array.from({ length: 3_000 }, (_, i) => `${i} ${"ü長".repeat(i % 50)}`);
    const encoded = values.map((value) => defaultCodec.encode(value));
    expect(encoded.map(({ bytes }) => new TextDecoder().decode(bytes))).toEqual(values);
    // Mutation: each gets a buffer of its own.
    expect(new Set(encoded.map(({ bytes }) => bytes.buffer)).size).toBeLessThan(100);
    expect(defaultCodec.encode("x".repeat(400)).bytes.buffer.byteLength).toBe(400);
  });
});
