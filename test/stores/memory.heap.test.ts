import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Meta } from "../../src/entry.ts";
import { memory } from "../../src/stores/memory.ts";
import type { MemoryStats, MemoryStore } from "../../src/stores/memory.ts";
import { systemRuntime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

/**
 * What a full store takes of the heap, measured after a full collection, beside its limit. Vitest gives each test file
 * a process of its own, so nothing else grows meanwhile.
 * Mutations it catches: ENTRY_BYTES 0 (2.2 and 6.2 times the limit); `value` kept instead of copied (24 times, by
 * slices of a pool); `ownText(key)` left out (57 times, by keys cut out of a text); metadata, or the bytes given to `keep`,
 * not counted; two bytes for each unit of a text outside Latin counted as one.
 */
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const MIB = 1024 * 1024;
const BYTES_MAX = 12 * MIB;

interface Filling {
  readonly name: string;
  /** Adds entry `i`. */
  readonly add: (store: MemoryStore, i: number) => Promise<unknown>;
  /** The least share of the limit that must really be used: counting far too much would be waste. */
  readonly usedLeast: number;
  /** The most, where less than half again says that something is not counted. */
  readonly usedMost?: number;
}

const FILLINGS: readonly Filling[] = [
  { name: "values of 10 bytes, slices of a pool", usedLeast: 0.6, add: (store, i) => put(store, i, slice(i, 10)) },
  { name: "values of 100 bytes", usedLeast: 0.6, add: (store, i) => put(store, i, bytes(100)) },
  {
    name: "values of 100 bytes with an expiry",
    usedLeast: 0.6,
    add: (store, i) => put(store, i, bytes(100), later(i)),
  },
  { name: "objects of 2 KB, kept decoded", usedLeast: 0.5, add: putDecoded },
  { name: "values of 100 KB", usedLeast: 0.9, add: (store, i) => put(store, i, bytes(100_000)) },
  { name: "long keys", usedLeast: 0.5, add: (store, i) => put(store, `${i}/`.padEnd(512, "long"), bytes(8)) },
  {
    name: "long keys outside Latin",
    usedLeast: 0.6,
    add: (store, i) => put(store, `${i}/`.padEnd(170, "長"), bytes(8)),
  },
  { name: "keys cut out of a large text", usedLeast: 0.6, add: (store, i) => put(store, cut(i), bytes(8)) },
  { name: "metadata of its own each", usedLeast: 0.5, add: (store, i) => put(store, i, bytes(8), null, metaOf(i)) },
  { name: "tombstones", usedLeast: 0.5, add: (store, i) => put(store, i, null) },
  { name: "texts of 100 bytes", usedLeast: 0.6, add: (store, i) => put(store, i, text(100), null, JSON_META) },
  {
    name: "texts of 1 KB outside Latin",
    usedLeast: 0.6,
    usedMost: 1.2,
    add: (store, i) => put(store, i, utf8("長".repeat(340)), null, JSON_META),
  },
  {
    name: "metadata of its own each, written twice in a row",
    usedLeast: 0.4,
    add: async (store, i) => {
      await put(store, i, bytes(8), null, metaOf(i));
      await put(store, i, bytes(8), null, metaOf(i));
    },
  },
  {
    name: "small texts cut out of a large buffer",
    usedLeast: 0.6,
    add: (store, i) => put(store, i, slicedText(i), null, JSON_META),
  },
];

describe("the heap of a full memory store", () => {
  it.each(FILLINGS)("$name", async ({ add, usedLeast, usedMost = 1.5 }) => {
    await grow(memory({ runtime: systemRuntime, bytesMax: MIB }), add, 200); // whatever is compiled or cached once
    const before = used();
    const store = memory({ runtime: systemRuntime, bytesMax: BYTES_MAX });
    const stats = await grow(store, add, Infinity);
    const growth = used() - before;
    expect(stats.bytes).toBeLessThanOrEqual(BYTES_MAX);
    expect(growth / BYTES_MAX).toBeLessThanOrEqual(usedMost);
    expect(growth / BYTES_MAX).toBeGreaterThanOrEqual(usedLeast);
    if (process.env["MICROSYNC_HEAP"] !== undefined) {
      const perEntry = Math.round(growth / stats.entries);
      console.log(`${(growth / BYTES_MAX).toFixed(2)} of the limit, ${stats.entries} entries of ${perEntry} bytes`);
    }
    await store.close();
  });
});

/** Fills until entries have been evicted as often as there are entries, so that the map's holes are there too. */
async function grow(store: MemoryStore, add: Filling["add"], entries: number): Promise<MemoryStats> {
  for (let i = 0; ; i++) {
    await add(store, i);
    const stats = store.stats();
    if (i >= entries || stats.evictions > stats.entries) return stats;
  }
}

function used(): number {
  for (let i = 0; i < 3; i++) collect();
  const { heapUsed, external } = process.memoryUsage(); // external includes arrayBuffers
  return heapUsed + external;
}

let counter = 0;

function put(
  store: MemoryStore,
  key: number | string,
  value: Uint8Array | null,
  expires: number | null = null,
  meta: Meta = NO_META,
) {
  const version = formatVersion(1.7e12 + counter++, 0, "0123456789abcdef");
  const state = value === null ? "deleted" : "value";
  const entry = {
    key: typeof key === "string" ? key : `users/${key}/profile`,
    state,
    value,
    version,
    expires,
    meta,
  } as const;
  return store.write([{ entry, asOf: 1.7e12 + counter }]);
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(length).fill(counter);
}

const JSON_META: Meta = Object.freeze({ "content-type": "application/json" });
const encoder = new TextEncoder();

function utf8(of: string): Uint8Array {
  return encoder.encode(of);
}

function text(length: number): Uint8Array {
  return utf8(`"${String(counter).padEnd(length - 2, "x")}"`);
}

function slicedText(i: number): Uint8Array {
  return new Uint8Array(16_384).fill(0x30 + (i % 10)).subarray(100, 130);
}

/** Ten bytes of a fresh pool of 16 KiB each time; a store that kept them would keep the pool. */
function slice(i: number, length: number): Uint8Array {
  return new Uint8Array(16_384).fill(i).subarray(100, 100 + length);
}

/** A key that V8 represents as a window on a text of 40 KB. */
function cut(i: number): string {
  const key = `keys/of/a/list/${i}`;
  const text = "-".repeat(20_000) + key + "-".repeat(20_000);
  const start = text.indexOf("keys/"); // searching also makes the text one piece
  return text.slice(start, start + key.length);
}

function later(i: number): number {
  return systemRuntime.now() + 3_600_000 + ((i * 7919) % 3_600_000);
}

function metaOf(i: number): Meta {
  const pairs = Array.from({ length: 12 }, (_, n) => [`name-${n}`, `${i} ${n}`.padEnd(20)]);
  return { "content-type": "application/json", ...(Object.fromEntries(pairs) as Meta) };
}

/** A value that the holder decodes, as Sync does: what it counts for it is the codec's estimate. */
async function putDecoded(store: MemoryStore, i: number): Promise<void> {
  const text = JSON.stringify({
    id: i,
    name: `name ${i}`,
    tags: Array.from({ length: 40 }, (_, n) => `tag ${i} ${n}`),
    list: Array.from({ length: 60 }, (_, n) => ({ n, at: n * 1.5, on: n % 2 === 0 })),
  });
  const key = `objects/${i}`;
  await put(store, key, new TextEncoder().encode(text));
  const slot = store.look(key);
  if (slot !== undefined) store.keep(slot, JSON.parse(text), decodedBytesOf(JSON.parse(text)));
}

/** Objects and arrays by their fields, texts by their units, fractions as boxed numbers. */
function decodedBytesOf(value: unknown): number {
  if (typeof value === "string") return 16 + value.length;
  if (typeof value === "number") return Number.isSafeInteger(value) ? 0 : 16;
  if (typeof value !== "object" || value === null) return 0;
  const fields = Object.values(value) as unknown[];
  return 40 + 8 * fields.length + fields.reduce<number>((sum, field) => sum + decodedBytesOf(field), 0);
}
