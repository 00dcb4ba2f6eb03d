import { describe, expect, expectTypeOf, it } from "vitest";
import { SyncError } from "../src/error.ts";
import { collect, world } from "./sync/world.ts";

describe("get and peek", () => {
  it("gives what was set, of every kind, and undefined for nothing", async () => {
    const { db } = await world();
    const values = [
      null,
      0,
      -0,
      false,
      "",
      "text",
      1n,
      Number.NaN,
      [1, { a: undefined }],
      new Date(5),
      new Map([[1, new Set([2])]]),
      new Uint8Array([1, 2]),
    ];
    for (const [index, value] of values.entries()) {
      await db.set(`k/${index}`, value);
      expect(await db.get(`k/${index}`)).toStrictEqual(value);
      expect(await db.get(`k/${index}`, {})).toStrictEqual(value);
      expect(db.peek(`k/${index}`)).toStrictEqual(value);
      expect(await db.has(`k/${index}`)).toBe(true);
    }
    expect(await db.get("nowhere")).toBeUndefined();
    expect(db.peek("nowhere")).toBeUndefined();
    expect(await db.has("nowhere")).toBe(false);
  });

  // Mutation: not calling `keep` in hold.ts decodes at every hit.
  it("decodes once, not per hit", async () => {
    const { db, codec } = await world();
    await db.set("k", { a: 1 });
    expect(codec.decodes).toBe(0);
    for (let i = 0; i < 100; i++) await db.get("k");
    db.peek("k");
    expect(codec.decodes).toBe(1);
    await db.set("k", { a: 2 });
    expect(await db.get("k")).toEqual({ a: 2 });
    expect(codec.decodes).toBe(2);
  });

  // Mutation: not remembering what an answer decoded to in hold.ts makes it 100 decodings.
  it("decodes once for all who share a walk", async () => {
    const { db, codec, truth, chain } = await world();
    await db.set("k", { a: 1 });
    await chain.layers[0]?.store.forget([{ key: "k", version: (await db.read("k"))!.version, reason: "ghost" }]);
    codec.decodes = truth.reads = 0;
    const values = await Promise.all(Array.from({ length: 100 }, () => db.get("k")));
    expect(values.every((value) => value === values[0])).toBe(true);
    expect([codec.decodes, truth.reads]).toEqual([1, 1]);
    // Mutation: not keeping it with memory's copy decodes the same entry again at the first hit.
    expect(await db.get("k")).toBe(values[0]);
    expect(db.peek("k")).toBe(values[0]);
    expect([codec.decodes, truth.reads]).toEqual([1, 1]);
  });

  it("says where a value came from, how old it is and when it ends", async () => {
    const { db, runtime, chain } = await world();
    const { version } = await db.set("k", "v", { ttlMs: 5_000, meta: { source: "test" } });
    await runtime.advance(100);
    const found = await db.read("k");
    expect(found).toMatchObject({ value: "v", version, layer: "memory", ageMs: 100, stale: false });
    expect(found?.expires).toBe(runtime.now() + 4_900);
    expect(found?.meta).toEqual({ source: "test", "content-type": "text/plain; charset=utf-8" });
    await chain.layers[0]?.store.forget([{ key: "k", version, reason: "ghost" }]);
    expect(await db.read("k")).toMatchObject({ value: "v", layer: "truth", ageMs: 0 });
    expect(await db.read("nowhere")).toBeUndefined();
  });

  it("ends a value at its expiry, also in memory", async () => {
    const { db, runtime } = await world();
    await db.set("k", "v", { ttlMs: 50 });
    await runtime.advance(49);
    expect(await db.get("k")).toBe("v");
    await runtime.advance(10);
    expect(db.peek("k")).toBeUndefined();
    expect(await db.get("k")).toBeUndefined();
    expect(await db.has("k")).toBe(false);
    expect(await collect(db.list())).toEqual([]);
  });

  it("asks as freshly as the caller says", async () => {
    const first = await world();
    const state = (first.truth as unknown as { state: never }).state;
    const other = await world({ runtime: first.runtime, seed: 2, state });
    await first.db.set("k", 1);
    expect(await other.db.get("k")).toBe(1);
    other.truth.reads = 0;
    await other.db.get("k", { freshness: "cached" });
    expect(other.truth.reads).toBe(0);
    await first.runtime.advance(100);
    await other.db.get("k", { freshness: { maxAgeMs: 1_000 } });
    expect(other.truth.reads).toBe(0);
    await other.db.get("k", { freshness: { maxAgeMs: 50 } });
    expect(other.truth.reads).toBe(1);
    await other.db.get("k", { freshness: "authority" });
    expect(other.truth.reads).toBe(2);
  });

  it("gives many at once, in the order asked, with one read of a layer", async () => {
    const { db, truth, chain } = await world();
    await db.setMany([
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ]);
    for (const key of ["a", "b", "c"]) {
      await chain.layers[0]?.store.forget([{ key, version: (await db.read(key))!.version, reason: "ghost" }]);
    }
    truth.reads = 0;
    expect([...(await db.getMany(["c", "nowhere", "a", "c"]))]).toEqual([
      ["c", 3],
      ["a", 1],
    ]);
    expect(truth.reads).toBe(1);
  });

  // Mutation: asking the chain for every key in getMany walks for what memory has fresh.
  it("takes many from memory without a walk, and asks for the others at once, in the order asked", async () => {
    const { db, chain, truth, memory } = await world();
    for (const key of ["a", "b", "c", "d"]) await db.set(key, key);
    await db.delete("d");
    const { version } = (await db.read("b"))!;
    await memory.forget([{ key: "b", version, reason: "ghost" }]);
    truth.reads = 0;
    const { calls } = chain.status().layers[0]!;
    expect([...(await db.getMany(["c", "b", "d", "a"]))]).toEqual([
      ["c", "c"],
      ["b", "b"],
      ["a", "a"],
    ]);
    expect(truth.reads).toBe(1);
    truth.reads = 0;
    await db.getMany(["c", "a", "d"]);
    expect(truth.reads).toBe(0);
    expect(chain.status().layers[0]!.calls - calls).toBe(1); // the fill of "b"
  });

  it("refuses what is no key, no freshness and no time", async () => {
    const { db } = await world();
    const wrong = [
      db.get(""),
      db.get("x".repeat(513)),
      db.get("\ud800"),
      db.get(5 as never),
      db.get("k", { freshness: "newest" as never }),
      db.get("k", { freshness: { maxAgeMs: -1 } }),
      db.get("k", { timeoutMs: 0 }),
      db.namespace("n/").get(undefined as never),
    ];
    const codes = await Promise.all(
      wrong.map((call) =>
        call.then(
          () => "no error",
          (error: SyncError) => error.code,
        ),
      ),
    );
    expect(codes).toEqual(["INVALID", "TOO_LARGE", "INVALID", "INVALID", "INVALID", "INVALID", "INVALID", "INVALID"]);
  });

  it("ends at the signal and at the deadline", async () => {
    const { db, truth, runtime } = await world();
    truth.beforeRead = () => new Promise<void>(() => undefined);
    const aborted = AbortSignal.abort();
    await expect(db.get("k", { signal: aborted })).rejects.toMatchObject({ code: "ABORTED" });
    const late = expect(db.get("k2", { timeoutMs: 50 })).rejects.toMatchObject({ code: "TIMEOUT" });
    await runtime.advance(60);
    await late;
  });

  // Mutation: without the check of `stale` in reading.ts the old value passes for a fresh one.
  it("does not pass an old answer for a fresh one", async () => {
    const { db, truth, runtime } = await world();
    await db.set("k", 1);
    await runtime.advance(70_000);
    truth.beforeRead = () => {
      throw new SyncError("UNAVAILABLE", "down");
    };
    expect(await db.get("k")).toBe(1);
    expect(await db.read("k")).toMatchObject({ value: 1, stale: true });
    await expect(db.get("k", { freshness: { maxAgeMs: 10 } })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(db.get("k", { freshness: "authority" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(db.get("unknown")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("is closed after close", async () => {
    const { db } = await world();
    await db.set("k", 1);
    await db.close();
    await db.close();
    await expect(db.get("k")).rejects.toMatchObject({ code: "CLOSED" });
    await expect(db.set("k", 2)).rejects.toMatchObject({ code: "CLOSED" });
    expect(db.peek("k")).toBeUndefined();
  });
});

describe("what memory holds", () => {
  // Mutation: giving `kept.value` without `give()` in view.ts lets one reader change another's.
  it("cannot be changed by a reader or writer", async () => {
    const { db } = await world();
    const plain = { list: [{ n: 1 }] };
    await db.set("plain", plain);
    plain.list[0]!.n = 2;
    const read = (await db.get<typeof plain>("plain"))!;
    expect(read).toEqual({ list: [{ n: 1 }] });
    expect(() => {
      read.list[0]!.n = 3;
    }).toThrow(TypeError);
    expect(await db.get("plain")).toBe(read); // shared, since nobody can change it

    const moving = { bytes: new Uint8Array([1, 2]), map: new Map([["a", new Date(1)]]), set: new Set([1]) };
    await db.set("moving", moving);
    moving.bytes[0] = 9;
    for (const take of [() => db.get("moving"), async () => db.peek("moving"), () => db.get("moving", {})]) {
      const mine = (await take()) as typeof moving;
      expect(mine).toStrictEqual({
        bytes: new Uint8Array([1, 2]),
        map: new Map([["a", new Date(1)]]),
        set: new Set([1]),
      });
      mine.bytes[0] = 7;
      mine.map.get("a")?.setTime(7);
      mine.map.clear();
      mine.set.add(7);
    }
    const bytes = new Uint8Array([5, 6]);
    await db.set("bytes", bytes);
    bytes[0] = 1;
    const mine = (await db.get<Uint8Array>("bytes"))!;
    mine[1] = 1;
    expect(await db.get("bytes")).toEqual(new Uint8Array([5, 6]));
  });

  it("counts what is decoded against memory's limit", async () => {
    const { db, memory } = await world();
    await db.set("k", { text: "x".repeat(1_000) });
    expect(memory.stats().decodedBytes).toBe(0);
    await db.get("k");
    expect(memory.stats().decodedBytes).toBeGreaterThan(1_000);
  });
});

describe("list and entries", () => {
  it("gives live keys in byte order, from a key on, up to a limit", async () => {
    const { db, runtime } = await world();
    await db.setMany([
      ["b", 1],
      ["a", 2],
      ["a/1", 3],
      ["\u{1f600}", 4],
      ["\ue000", 5],
      ["gone", 6],
      ["short", 7, { ttlMs: 10 }],
    ]);
    await db.delete("gone");
    await runtime.advance(20);
    expect(await collect(db.list())).toEqual(["a", "a/1", "b", "\ue000", "\u{1f600}"]);
    expect(await collect(db.list({ prefix: "a" }))).toEqual(["a", "a/1"]);
    expect(await collect(db.list({ after: "a" }))).toEqual(["a/1", "b", "\ue000", "\u{1f600}"]);
    // The limit counts what has a value: "gone" and "short" stand between.
    expect(await collect(db.list({ after: "b", limit: 1 }))).toEqual(["\ue000"]);
    expect(await collect(db.list({ limit: 0 }))).toEqual([]);
    const [first] = await collect(db.entries({ prefix: "a", limit: 1 }));
    expect(first).toMatchObject({ key: "a", value: 2, expires: null });
    expect(() => db.list({ limit: -1 })).toThrow(SyncError);
  });

  // Mutation: not pushing to `partial` in listing.ts hides that keys are missing.
  it("names the layers that could not be listed", async () => {
    const { db, truth } = await world();
    await db.set("k", 1);
    truth.list = () => {
      throw new SyncError("UNAVAILABLE", "down");
    };
    const keys = db.list();
    expect(keys.partial).toEqual([]);
    await collect(keys);
    expect(keys.partial).toEqual(["truth"]);
  });

  it("is walked once", async () => {
    const { db } = await world();
    const keys = db.list();
    await collect(keys);
    await expect(collect(keys)).rejects.toMatchObject({ code: "INVALID" });
  });
});

describe("types", () => {
  it("follow the caller's", async () => {
    const { db } = await world();
    expectTypeOf(await db.get("k")).toEqualTypeOf<unknown>();
    expectTypeOf(await db.get<{ name: string }>("k")).toEqualTypeOf<{ name: string } | undefined>();
    const typed = db.namespace<{ n: number }>("n/");
    expectTypeOf(await typed.get("k")).toEqualTypeOf<{ n: number } | undefined>();
    expectTypeOf(typed.peek("k")).toEqualTypeOf<{ n: number } | undefined>();
    expectTypeOf<(typeof typed)["set"]>().parameter(1).toEqualTypeOf<{ n: number }>();
  });
});
