import { afterAll, describe, expect, it, test } from "vitest";
import { conformance, random, simulatedRuntime } from "microsync/testing";
import { NO_META } from "../../src/entry.ts";
import type { Entry, Meta } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Removal } from "../../src/slot.ts";
import { memory } from "../../src/stores/memory.ts";
import type { MemoryOptions, MemoryStore } from "../../src/stores/memory.ts";
import { systemRuntime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

const runner = { describe, test, afterAll };
const BYTES_MAX = 8 * 1024 * 1024; // values up to 1 MiB

conformance({
  name: "memory",
  runner,
  open: async () => ({ store: memory({ runtime: systemRuntime, bytesMax: BYTES_MAX }), runtime: systemRuntime }),
});

conformance({
  name: "memory in simulated time",
  runner,
  seed: 2,
  open: async () => {
    const runtime = simulatedRuntime({ seed: 2 });
    return { store: memory({ runtime, bytesMax: BYTES_MAX }), runtime, advance: (ms) => runtime.advance(ms) };
  },
});

interface Parts {
  readonly at?: number;
  readonly value?: Uint8Array | null;
  readonly expires?: number | null;
  readonly meta?: Meta;
}

const bytes = (length: number) => new Uint8Array(length).fill(7);

function entry(key: string, { at = 1, value = bytes(10), expires = null, meta = NO_META }: Parts = {}): Entry {
  const version = formatVersion(1.7e12 + at, 0, "0".repeat(16));
  return { key, state: value === null ? "deleted" : "value", value, version, expires, meta };
}

async function put(store: MemoryStore, item: Entry, asOf = 5): Promise<void> {
  expect(await store.write([{ entry: item, asOf }])).toEqual([{ status: "stored" }]);
}

function simulated(options: Omit<MemoryOptions, "runtime"> = {}) {
  const runtime = simulatedRuntime({ seed: 1 });
  const removals: Removal[] = [];
  const store = memory({ runtime, onRemoval: (removal) => removals.push(removal), ...options });
  return { runtime, store, reasons: () => removals.splice(0).map(({ key, reason }) => `${key} ${reason}`) };
}

describe("what memory keeps is its own", () => {
  // Mutations: `value` or `meta` kept as given.
  it("a caller that reuses its buffer or its metadata changes nothing", async () => {
    const { store } = simulated();
    const [value, meta] = [bytes(10), { "content-type": "image/png" }];
    await put(store, entry("k", { value, meta }));
    value.fill(0);
    meta["content-type"] = "changed";
    const held = store.look("k")?.entry;
    expect([held?.value, held?.meta]).toEqual([bytes(10), { "content-type": "image/png" }]);
    expect(held?.value?.buffer.byteLength).toBe(10);
    expect(Object.isFrozen(held?.meta)).toBe(true);
  });

  it("entries of one kind share their metadata, others do not", async () => {
    const { store } = simulated();
    const metas: Meta[] = [{ a: "1" }, { a: "1" }, { a: "1", b: "2" }, { a: "1" }, { b: "2" }, {}];
    for (const [i, meta] of metas.entries()) await put(store, entry(String(i), { meta }));
    expect(metas.map((_, i) => store.look(String(i))?.entry.meta)).toEqual(metas);
    expect(store.look("0")?.entry.meta).toBe(store.look("1")?.entry.meta);
  });
});

describe("metadata that entries share", () => {
  // Mutations: it is counted for the first entry with it alone, for each, or never given back.
  it("is counted once, for as long as an entry has it", async () => {
    const { store } = simulated();
    const meta = { "content-type": "image/png", note: "n".repeat(500) };
    const taken = () => store.stats().bytes;
    await put(store, entry("a", { meta: {} }));
    const bare = taken();
    await put(store, entry("a", { at: 2, meta }));
    const first = taken();
    expect(first - bare).toBeGreaterThan(1_000);
    await put(store, entry("a", { at: 3, meta }));
    expect(taken()).toBe(first);
    await put(store, entry("b", { meta }));
    expect(taken()).toBe(first + bare);
    await put(store, entry("a", { at: 3, meta }), 9); // renewed
    await store.forget([{ ...entry("a", { at: 3 }), reason: "ghost" }]);
    expect(taken()).toBe(first);
    await put(store, entry("b", { at: 2, meta: {} }));
    expect(taken()).toBe(bare);
    await put(store, entry("b", { at: 3, meta }));
    expect(taken()).toBe(first);
    await store.forget([{ ...entry("b", { at: 3 }), reason: "ghost" }]);
    expect(taken()).toBe(0);
  });
});

describe("metadata of many names", () => {
  // Mutation: the limit of one entry is asked of its value and key alone.
  it("cannot take more than half of the store either", async () => {
    const { store } = simulated({ bytesMax: 64 * 1024 });
    const meta = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [i.toString(36), ""]));
    expect(await store.write([{ entry: entry("k", { meta }), asOf: 5 }])).toMatchObject([
      { status: "failed", error: { code: "TOO_LARGE" } },
    ]);
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });
});

describe("a fill", () => {
  // Mutations: `bytesGot` copies all, or keeps pieces of larger buffers; another class of bytes is kept as it is.
  it("keeps the bytes of an answer, but no piece of a larger buffer", () => {
    const { store } = simulated();
    const whole = bytes(100);
    const piece = new Uint8Array(1_000).subarray(10, 110);
    const buffer = Buffer.from(new ArrayBuffer(100)).fill(7);
    for (const [key, value] of Object.entries({ whole, piece, buffer, short: bytes(10) })) {
      expect(store.writeNow([{ entry: entry(key, { value }), asOf: 5 }])).toEqual([{ status: "stored" }]);
      const kept = store.held(key)?.entry.value;
      expect(kept).toEqual(new Uint8Array(value));
      expect(Object.getPrototypeOf(kept)).toBe(Uint8Array.prototype);
      expect(kept?.buffer.byteLength).toBe(value.length);
    }
    expect(store.held("whole")?.entry.value).toBe(whole);
    expect(store.held("buffer")?.entry.value?.buffer).toBe(buffer.buffer);
  });

  // Mutations: `writeNow` without checkWrite, refusal, or its look at whether the store is closed.
  it("is a write in all else", async () => {
    const { store } = simulated();
    await put(store, entry("k", { at: 2 }));
    const { version } = store.held("k")!.entry;
    expect(store.writeNow([{ entry: entry("k", { at: 1 }), asOf: 5 }])).toEqual([
      { status: "superseded", by: version },
    ]);
    const [large] = store.writeNow([{ entry: entry("large", { value: bytes(9 * 1024 * 1024) }), asOf: 5 }]);
    expect(large).toMatchObject({ status: "failed", error: { code: "TOO_LARGE" } });
    expect(() => store.writeNow([{ entry: entry(""), asOf: 5 }])).toThrow(SyncError);
    await store.close();
    expect(() => store.writeNow([])).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });
});

describe("the synchronous look", () => {
  it("finds what was written, in whatever state, and keeps the slot until the entry or its asOf changes", async () => {
    const { store } = simulated();
    expect(store.look("k")).toBeUndefined();
    await put(store, entry("k"), 100);
    const slot = store.look("k");
    if (slot === undefined) throw new Error("nothing there");
    expect([slot.asOf, slot.deadline, slot.decoded]).toEqual([100, -1, undefined]);
    slot.deadline = 7;
    await put(store, entry("k"), 50);
    expect(store.look("k")).toBe(slot);
    await put(store, entry("k"), 200);
    expect(store.look("k")).toMatchObject({ asOf: 200, deadline: -1, entry: slot.entry });
    await put(store, entry("k", { at: 2, value: null }));
    expect(store.look("k")?.entry.state).toBe("deleted");
    await store.close();
    expect(store.look("k")).toBeUndefined();
  });

  it("keeps a decoded value with its slot, over renewals, counted, and drops it with the entry", async () => {
    const { store } = simulated();
    await put(store, entry("k"), 100);
    const [slot, decoded] = [store.look("k"), { a: 1 }];
    if (slot === undefined) throw new Error("nothing there");
    const { bytes: before } = store.stats();
    store.keep(slot, decoded, 500);
    expect([slot.decoded, store.stats().decodedBytes, store.stats().bytes]).toEqual([decoded, 500, before + 500]);
    store.keep(slot, decoded, 300);
    expect([slot.lens, store.stats().decodedBytes]).toEqual([undefined, 300]);
    const lens = {};
    store.keep(slot, decoded, 300, { value: decoded, lens });
    await put(store, entry("k"), 200);
    expect(store.look("k")).toMatchObject({ decoded, shared: decoded, lens });
    store.keep(store.look("k") ?? slot, decoded, 300);
    expect(store.look("k")).toMatchObject({ decoded, shared: undefined, lens: undefined });
    store.keep(slot, "of an old slot", 100); // no longer current
    expect([store.look("k")?.decoded, store.stats().decodedBytes]).toEqual([decoded, 300]);
    await put(store, entry("k", { at: 2 }));
    expect([store.look("k")?.decoded, store.stats().decodedBytes, store.stats().bytes]).toEqual([undefined, 0, before]);
    expect(() => store.keep(store.look("k") ?? slot, {}, Number.NaN)).toThrow(SyncError);
  });

  it("counts hits and misses, of looks and reads alike", async () => {
    const { store } = simulated();
    await put(store, entry("k"));
    store.look("k");
    store.look("nothing");
    await store.read(["k", "nothing", "k"]);
    expect(store.stats()).toMatchObject({ entries: 1, hits: 3, misses: 2, evictions: 0, expirations: 0 });
  });
});

describe("limits", () => {
  it("of entries hold, down to one", async () => {
    for (const entriesMax of [1, 2, 10]) {
      const { store, reasons } = simulated({ entriesMax });
      for (let i = 0; i < 50; i++) await put(store, entry(`k/${i}`));
      expect(store.stats()).toMatchObject({ entries: entriesMax, evictions: 50 - entriesMax });
      expect(store.look("k/49")).toBeDefined();
      expect(reasons().every((line) => line.endsWith("evicted"))).toBe(true);
    }
  });

  // Mutation: the bytes given to `keep` not counted; `spared` ignored by the queue.
  it("of bytes hold while entries grow, shrink, are decoded and renewed, and the accounts agree with a recount", async () => {
    const SEED = 3;
    const chance = random(SEED);
    const { store, runtime } = simulated({ bytesMax: 256 * 1024, entriesMax: 150 });
    for (let i = 0; i < 5000; i++) {
      const key = `k/${chance.below(300)}`;
      const expires = chance.chance(0.2) ? runtime.now() + chance.below(50_000) : null;
      const value = chance.chance(0.1) ? null : bytes(chance.below(6000));
      await store.write([{ entry: entry(key, { at: chance.below(500), value, expires }), asOf: i }]);
      const slot = store.look(`k/${chance.below(300)}`);
      if (slot !== undefined && chance.chance(0.5)) store.keep(slot, {}, chance.below(8000));
      if (chance.chance(0.1)) await store.forget([{ ...entry(key, { at: chance.below(500) }), reason: "ghost" }]);
      if (chance.chance(0.01)) await runtime.advance(chance.below(20_000));
      const { bytes: used, entries } = store.stats();
      expect(used, `seed ${SEED}, step ${i}`).toBeLessThanOrEqual(256 * 1024);
      expect(entries, `seed ${SEED}, step ${i}`).toBeLessThanOrEqual(150);
    }
    const keys: string[] = [];
    for await (const item of store.list({ prefix: "" })) if (item.kind === "entry") keys.push(item.key);
    expect(keys.length).toBe(store.stats().entries);
    expect(store.stats().evictions).toBeGreaterThan(1000);
    await store.forget(
      keys.map((key) => ({ key, version: store.look(key)?.entry.version ?? entry(key).version, reason: "ghost" })),
    );
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0, decodedBytes: 0 });
    expect(runtime.pendingTimers).toBeLessThanOrEqual(1);
  });

  it("of a value: one value cannot empty the store, nor what is decoded of one", async () => {
    const { store } = simulated({ bytesMax: 1024 * 1024 });
    await put(store, entry("small"));
    expect(store.supports.valueBytesMax).toBe(128 * 1024);
    const [result] = await store.write([{ entry: entry("large", { value: bytes(128 * 1024 + 1) }), asOf: 5 }]);
    expect(result).toMatchObject({ status: "failed", error: { code: "TOO_LARGE", key: "large" } });
    const slot = store.look("small");
    if (slot === undefined) throw new Error("nothing there");
    store.keep(slot, {}, 512 * 1024);
    expect([slot.decoded, store.stats().decodedBytes]).toEqual([undefined, 0]);
  });

  it.each([
    { bytesMax: 100 },
    { entriesMax: 0 },
    { valueBytesMax: -1 },
    { changesMax: 0 },
    { expiredKeepMs: Number.NaN },
  ])("option %o: INVALID with the cure", (wrong) => {
    expect(() => memory({ runtime: systemRuntime, ...wrong })).toThrow(/^memory: option \w+ is .*\(give .*\)$/);
  });
});

describe("eviction", () => {
  // Mutation: `SMALL_HITS` below 0, which lets a scan into the main queue; hits not counted by `look`.
  it("lets a scan pass without dropping what is in use", async () => {
    const { store } = simulated({ entriesMax: 100 });
    const used = Array.from({ length: 60 }, (_, i) => `used/${i}`);
    for (const key of used) await put(store, entry(key));
    for (let round = 0; round < 3; round++) for (const key of used) store.look(key);
    for (let i = 0; i < 5000; i++) await put(store, entry(`scan/${i}`));
    expect(used.filter((key) => store.look(key) === undefined)).toEqual([]);
  });

  // Mutation: ghosts forgotten (`take` always false).
  it("keeps some of a loop that is larger than the store", async () => {
    const { store } = simulated({ entriesMax: 100 });
    let hits = 0;
    for (let i = 0; i < 125 * 20; i++) {
      const key = `loop/${i % 125}`;
      if (store.look(key) === undefined) await put(store, entry(key));
      else hits++;
    }
    expect(hits / (125 * 20)).toBeGreaterThan(0.2);
  });

  it("gives up what is no longer in use", async () => {
    const { store } = simulated({ entriesMax: 100 });
    for (let round = 0; round < 4; round++) for (let i = 0; i < 90; i++) await use(store, `old/${i}`);
    for (let round = 0; round < 12; round++) for (let i = 0; i < 90; i++) await use(store, `new/${i}`);
    const kept = Array.from({ length: 90 }, (_, i) => store.look(`new/${i}`)).filter((slot) => slot !== undefined);
    expect(kept.length).toBeGreaterThan(80);
  });
});

async function use(store: MemoryStore, key: string): Promise<void> {
  if (store.look(key) === undefined) await put(store, entry(key));
}

describe("expiry", () => {
  it("leaves expired entries for a minute, then sweeps them without a write, and holds no timer when empty", async () => {
    const { store, runtime, reasons } = simulated();
    const now = runtime.now();
    await put(store, entry("soon", { expires: now + 1000 }));
    await put(store, entry("later", { expires: now + 500_000 }));
    await put(store, entry("long ago", { expires: 0 }));
    await put(store, entry("never"));
    await runtime.advance(59_000);
    expect(["soon", "later", "long ago", "never"].map((key) => store.look(key)?.entry.key)).toHaveLength(4);
    expect(reasons()).toEqual([]);
    await runtime.advance(3000);
    expect(reasons()).toEqual(["long ago expired", "soon expired"]);
    expect(store.stats()).toMatchObject({ entries: 2, expirations: 2 });
    await runtime.advance(600_000);
    expect(reasons()).toEqual(["later expired"]);
    expect(runtime.pendingTimers).toBe(0);
    expect(store.look("never")).toBeDefined();
  });

  // Mutation: makeRoom that asks only the queue.
  it("drops expired entries first when room is needed", async () => {
    const { store, runtime, reasons } = simulated({ entriesMax: 10 });
    for (let i = 0; i < 5; i++) await put(store, entry(`live/${i}`));
    for (let i = 0; i < 5; i++) await put(store, entry(`brief/${i}`, { expires: runtime.now() + 10 }));
    for (let i = 0; i < 5; i++) store.look(`brief/${i}`);
    await runtime.advance(20);
    for (let i = 0; i < 5; i++) await put(store, entry(`new/${i}`));
    expect(reasons().sort()).toEqual([0, 1, 2, 3, 4].map((i) => `brief/${i} expired`));
    expect(store.stats()).toMatchObject({ entries: 10, evictions: 0, expirations: 5 });
  });

  it("is forgotten with the entry: one replaced by an entry without an expiry stays", async () => {
    const { store, runtime, reasons } = simulated();
    await put(store, entry("k", { expires: runtime.now() + 10 }));
    await put(store, entry("k", { at: 2 }));
    await runtime.advance(600_000);
    expect([store.look("k")?.entry.expires, reasons()]).toEqual([null, ["k replaced"]]);
    await store.close();
    expect(runtime.pendingTimers).toBe(0);
  });
});

describe("removals", () => {
  it("are told with their reason, after the store is in order again", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const told: string[] = [];
    const store: MemoryStore = memory({
      runtime,
      entriesMax: 1,
      onRemoval: ({ key, reason, state }) =>
        told.push(`${key} ${state} ${reason} ${store.look(key)?.entry.state ?? "gone"}`),
    });
    await put(store, entry("a"));
    await put(store, entry("a", { at: 2, value: null }));
    await put(store, entry("b"));
    await store.forget([{ ...entry("b"), reason: "ghost" }]);
    expect(told).toEqual(["a value replaced deleted", "a deleted evicted gone", "b value forgotten gone"]);
  });

  it("that throw where they are told reach the process, not the writer", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const store = memory({
      runtime,
      entriesMax: 1,
      onRemoval: () => {
        throw new Error("of the observer");
      },
    });
    await put(store, entry("a"));
    await put(store, entry("b"));
    await expect(runtime.advance(1)).rejects.toThrow("of the observer");
  });
});

describe("watch", () => {
  // Mutation: `reaches` always true.
  it("tells a reader that is slower than changesMax to relist, and one in time what was evicted", async () => {
    const { store } = simulated({ changesMax: 8, entriesMax: 3 });
    const watch = store.watch({ prefix: "" }, { initial: false })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ kind: "current" });
    for (let i = 0; i < 4; i++) await put(store, entry(`k/${i}`));
    const told = [];
    for (let i = 0; i < 5; i++) told.push((await watch.next()).value);
    expect(
      told.map((change) => (change?.kind === "change" ? [change.key, change.head === null] : change?.kind)),
    ).toEqual([
      ["k/0", true],
      ["k/1", false],
      ["k/2", false],
      ["k/0", true],
      ["k/3", false],
    ]);
    for (let i = 0; i < 20; i++) await put(store, entry(`k/${i}`, { at: 2 }));
    expect((await watch.next()).value).toMatchObject({ kind: "relist" });
    expect((await watch.next()).done).toBe(true);
  });
});
