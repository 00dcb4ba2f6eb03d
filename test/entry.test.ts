import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  KEY_BYTES_MAX,
  META_BYTES_MAX,
  NO_META,
  canonicalMeta,
  checkEntry,
  checkKey,
  checkMeta,
  collide,
  compareEntries,
  compareKeys,
  isDead,
  isExpired,
  merge,
  stubOf,
  utf8Length,
} from "../src/entry.ts";
import type { Copy, Entry, EntryState, Meta } from "../src/entry.ts";
import { SyncError } from "../src/error.ts";
import { formatVersion } from "../src/version.ts";
import type { Version } from "../src/version.ts";

// fast-check prints its seed and the smallest case with every failure.

const STATES: readonly EntryState[] = ["value", "deleted", "stub"];

/** Few versions and few contents, so that copies often meet in one version, also with different content. */
const copies = fc
  .record({
    state: fc.constantFrom(...STATES),
    ms: fc.integer({ min: 1, max: 3 }),
    counter: fc.integer({ min: 0, max: 1 }),
    bytes: fc.uint8Array({ maxLength: 2, max: 3 }),
    expires: fc.constantFrom(null, 0, 1, 2),
    meta: fc.constantFrom<Meta[]>({}, { a: "1" }, { a: "2" }, { a: "1", b: "1" }, { b: "1", a: "1" }),
    asOf: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ state, ms, counter, bytes, expires, meta, asOf }): Copy => {
    const version = formatVersion(ms, counter, "00000000000000aa");
    const value = state === "value" ? bytes : null;
    return { entry: { key: "k", state, value, version, expires, meta }, asOf };
  });

/** What can be told apart of a copy from outside; metadata has no order. */
function content({ entry, asOf }: Copy): unknown {
  return { ...entry, meta: canonicalMeta(entry.meta), value: entry.value && [...entry.value], asOf };
}

const fold = (arrivals: readonly Copy[]): unknown => content(arrivals.reduce((a, b) => merge(a, b)));

describe("the merge rule", () => {
  // Mutation: `>` for `>=` on the winner, or a tie that is not decided by content (two stubs of one version).
  it("is commutative", () => {
    fc.assert(
      fc.property(copies, copies, (a, b) => {
        expect(content(merge(a, b))).toEqual(content(merge(b, a)));
      }),
      { numRuns: 5000 },
    );
  });

  // Mutation: taking the later asOf across versions.
  it("is associative", () => {
    fc.assert(
      fc.property(copies, copies, copies, (a, b, c) => {
        expect(content(merge(merge(a, b), c))).toEqual(content(merge(a, merge(b, c))));
      }),
      { numRuns: 5000 },
    );
  });

  it("is idempotent, and keeps the held copy itself when nothing changes", () => {
    fc.assert(
      fc.property(copies, (a) => {
        expect(merge(a, a)).toBe(a);
        expect(merge(a, { ...a, entry: { ...a.entry } })).toBe(a);
      }),
    );
  });

  it("is total: of any two copies one wins, and it is one of the two", () => {
    fc.assert(
      fc.property(copies, copies, (a, b) => {
        const order = compareEntries(a.entry, b.entry);
        expect(Math.sign(compareEntries(b.entry, a.entry)) + Math.sign(order)).toBe(0);
        expect([a.entry, b.entry]).toContain(merge(a, b).entry);
        if (order === 0) expect(content({ ...a, asOf: 0 })).toEqual(content({ ...b, asOf: 0 }));
      }),
      { numRuns: 5000 },
    );
  });

  it("orders three contents of one version the same way whichever two are compared", () => {
    fc.assert(
      fc.property(copies, copies, copies, (a, b, c) => {
        const [low, mid, high] = [a.entry, b.entry, c.entry].sort(compareEntries) as [Entry, Entry, Entry];
        expect(compareEntries(low, mid)).toBeLessThanOrEqual(0);
        expect(compareEntries(mid, high)).toBeLessThanOrEqual(0);
        expect(compareEntries(low, high)).toBeLessThanOrEqual(0);
      }),
      { numRuns: 5000 },
    );
  });

  it("comes to the same in every order of arrival, repeats included", () => {
    const arrivals = fc.array(copies, { minLength: 2, maxLength: 6 });
    const twoOrders = arrivals.chain((list) => {
      const again = fc.shuffledSubarray([...list, ...list], { minLength: 2 * list.length });
      return fc.tuple(fc.constant(list), again);
    });
    fc.assert(
      fc.property(twoOrders, ([once, again]) => {
        expect(fold(again)).toEqual(fold(once));
      }),
      { numRuns: 2000 },
    );
  });

  const base: Entry = {
    key: "k",
    state: "value",
    value: Uint8Array.of(1),
    version: formatVersion(5, 0, "00000000000000aa"),
    expires: null,
    meta: NO_META,
  };
  const newer = { ...base, version: formatVersion(5, 1, "0000000000000000") };
  const dead: Entry = { ...base, state: "deleted", value: null };

  it("takes the higher version, whatever its state and asOf", () => {
    for (const state of STATES) {
      const high: Entry = { ...newer, state, value: state === "value" ? Uint8Array.of(0) : null };
      expect(merge({ entry: base, asOf: 9 }, { entry: high, asOf: 1 })).toEqual({ entry: high, asOf: 1 });
    }
  });

  it("takes a value or a tombstone over the stub of its version, and the later asOf of the two", () => {
    for (const full of [base, dead]) {
      expect(merge({ entry: stubOf(full), asOf: 9 }, { entry: full, asOf: 1 })).toEqual({ entry: full, asOf: 9 });
      expect(merge({ entry: full, asOf: 1 }, { entry: stubOf(full), asOf: 9 })).toEqual({ entry: full, asOf: 9 });
    }
  });

  it("renews by the later asOf, never takes it back", () => {
    expect(merge({ entry: base, asOf: 1 }, { entry: base, asOf: 2 })).toEqual({ entry: base, asOf: 2 });
    expect(merge({ entry: base, asOf: 2 }, { entry: base, asOf: 1 })).toEqual({ entry: base, asOf: 2 });
  });

  it("says when one version came with two contents, of which a stub is none", () => {
    expect(collide(base, { ...base, value: Uint8Array.of(2) })).toBe(true);
    expect(collide(base, { ...base, value: Uint8Array.of(1, 0) })).toBe(true);
    expect(collide(base, dead)).toBe(true);
    expect(collide(base, { ...base, expires: 0 })).toBe(true);
    expect(collide(base, { ...base, meta: { a: "" } })).toBe(true);
    expect(collide(base, { ...base, value: Uint8Array.of(1), meta: {} })).toBe(false);
    expect(collide(base, stubOf(base))).toBe(false);
    expect(collide(base, newer)).toBe(false);
  });

  it("makes a stub of the version and expiry alone", () => {
    const entry = { ...base, expires: 7, meta: { a: "1" } };
    expect(stubOf(entry)).toEqual({ ...base, state: "stub", value: null, expires: 7, meta: {} });
  });
});

describe("death", () => {
  const head = { key: "k", state: "value", version: formatVersion(1, 0, "00000000000000aa"), meta: NO_META } as const;

  it("comes with a tombstone at once, and with expiry from its millisecond on", () => {
    expect(isDead({ ...head, state: "deleted", expires: null }, 0)).toBe(true);
    expect(isDead({ ...head, expires: null }, Number.MAX_SAFE_INTEGER)).toBe(false);
    expect([99, 100, 101].map((now) => isExpired({ ...head, expires: 100 }, now))).toEqual([false, true, true]);
    expect(isDead({ ...head, expires: 0 }, 1)).toBe(true);
  });
});

/** Text of characters around every border of UTF-8 and UTF-16. */
const borders = [
  "\0",
  "a",
  "~",
  "\u007f",
  "\u0080",
  "\u07ff",
  "\u0800",
  "\ud7ff",
  "\ue000",
  "\uffff",
  "\u{10000}",
  "\u{1F600}",
  "\u{10FFFF}",
];
const keys = fc.oneof(
  fc.array(fc.constantFrom(...borders), { minLength: 1, maxLength: 8 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", minLength: 1, maxLength: 20 }),
);

describe("the order of keys", () => {
  // Mutation: comparing UTF-16 units, which puts the astral characters before U+E000.
  it("is that of their bytes in UTF-8", () => {
    fc.assert(
      fc.property(keys, keys, (a, b) => {
        expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { numRuns: 20_000 },
    );
  });

  it("is that of their bytes for every two of the borders, alone and after a common start", () => {
    for (const start of ["", "a", "\u{1F600}"]) {
      for (const a of ["", ...borders]) {
        for (const b of ["", ...borders]) {
          const bytes = Buffer.compare(Buffer.from(start + a), Buffer.from(start + b));
          expect(Math.sign(compareKeys(start + a, start + b)), JSON.stringify([a, b])).toBe(bytes);
        }
      }
    }
  });

  it("counts bytes as the encoder does", () => {
    fc.assert(
      fc.property(keys, (key) => {
        expect(utf8Length(key)).toBe(Buffer.byteLength(key));
      }),
      { numRuns: 5000 },
    );
  });
});

function codeOf(check: () => void): string {
  try {
    check();
  } catch (error) {
    return error instanceof SyncError ? error.code : String(error);
  }
  return "fine";
}

describe("a key", () => {
  it.each([
    ["one byte", "k", "fine"],
    ["a NUL", "\0", "fine"],
    ["512 bytes of ASCII", "k".repeat(KEY_BYTES_MAX), "fine"],
    ["513 bytes of ASCII", "k".repeat(KEY_BYTES_MAX + 1), "TOO_LARGE"],
    ["512 bytes in 256 characters", "é".repeat(256), "fine"],
    ["514 bytes in 257 characters", "é".repeat(257), "TOO_LARGE"],
    ["510 bytes in 170 characters", "\uffff".repeat(170), "fine"],
    ["513 bytes in 171 characters", "\uffff".repeat(171), "TOO_LARGE"],
    ["512 bytes in 128 pairs", "\u{1F600}".repeat(128), "fine"],
    ["516 bytes in 129 pairs", "\u{1F600}".repeat(129), "TOO_LARGE"],
    ["nothing", "", "INVALID"],
    ["a high surrogate alone", "a\ud83d", "INVALID"],
    ["a low surrogate alone", "\ude00a", "INVALID"],
    ["a pair the wrong way round", "\ude00\ud83d", "INVALID"],
    ["a number", 7 as unknown as string, "INVALID"],
    ["no argument", undefined as unknown as string, "INVALID"],
  ])("of %s", (_, key, expected) => {
    expect(codeOf(() => checkKey(key))).toBe(expected);
  });

  it("is refused at exactly the bytes that do not fit", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 120, maxLength: 600 }), (key) => {
        expect(codeOf(() => checkKey(key))).toBe(Buffer.byteLength(key) <= KEY_BYTES_MAX ? "fine" : "TOO_LARGE");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("metadata", () => {
  it.each([
    ["nothing", {}, "fine"],
    ["its own names", { "content-type": "a/b", "x-1": "", constructor: "c" }, "fine"],
    ["1 KiB", { n: "x".repeat(META_BYTES_MAX - 1) }, "fine"],
    ["1 KiB and a byte", { n: "x".repeat(META_BYTES_MAX) }, "TOO_LARGE"],
    ["1 KiB and a byte, counted in bytes", { n: "é".repeat(META_BYTES_MAX / 2) }, "TOO_LARGE"],
    ["1 KiB and a byte, names counted", { ["n".repeat(1000)]: "x".repeat(25) }, "TOO_LARGE"],
    ["an empty name", { "": "x" }, "INVALID"],
    ["a capital", { Type: "x" }, "INVALID"],
    ["an underscore", { a_b: "x" }, "INVALID"],
    ["a newline in a name", { "a\n": "x" }, "INVALID"],
    ["a prototype", JSON.parse('{"__proto__":"x"}'), "INVALID"],
    ["a number", { a: 1 as unknown as string }, "INVALID"],
    ["half a pair", { a: "\ud83d" }, "INVALID"],
  ])("of %s", (_, meta, expected) => {
    expect(codeOf(() => checkMeta(meta))).toBe(expected);
  });

  it("has one order, however it was put together", () => {
    expect(canonicalMeta({ b: "2", a: "1" })).toBe(canonicalMeta({ a: "1", b: "2" }));
    expect(canonicalMeta({ a: '","b":"' })).not.toBe(canonicalMeta({ a: "", b: "" }));
  });
});

describe("an entry", () => {
  const good: Entry = {
    key: "k",
    state: "value",
    value: new Uint8Array(0),
    version: formatVersion(1, 0, "00000000000000aa"),
    expires: 0,
    meta: NO_META,
  };

  it.each<[string, Partial<Record<keyof Entry, unknown>>, string]>([
    ["good", {}, "fine"],
    ["dead", { state: "deleted", value: null }, "fine"],
    ["a stub", { state: "stub", value: null }, "fine"],
    ["never expiring", { expires: null }, "fine"],
    ["expiring at the end of numbers", { expires: Number.MAX_SAFE_INTEGER }, "fine"],
    ["of no known state", { state: "gone" }, "INVALID"],
    ["a value without bytes", { value: null }, "INVALID"],
    ["a value of text", { value: "text" }, "INVALID"],
    ["a tombstone with bytes", { state: "deleted" }, "INVALID"],
    ["a stub with bytes", { state: "stub" }, "INVALID"],
    ["of a version in capitals", { version: good.version.toUpperCase() }, "INVALID"],
    ["of a version with a newline", { version: `${good.version}\n` as Version }, "INVALID"],
    ["of no version", { version: "" }, "INVALID"],
    ["expiring before the epoch", { expires: -1 }, "INVALID"],
    ["expiring between two milliseconds", { expires: 0.5 }, "INVALID"],
    ["expiring beyond numbers", { expires: 2 ** 53 }, "INVALID"],
    ["expiring at no time", { expires: Number.NaN }, "INVALID"],
    ["of an empty key", { key: "" }, "INVALID"],
    ["of bad metadata", { meta: { A: "x" } }, "INVALID"],
  ])("that is %s", (_, part, expected) => {
    expect(codeOf(() => checkEntry({ ...good, ...part } as Entry))).toBe(expected);
  });
});
