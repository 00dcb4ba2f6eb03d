import { describe, expect, expectTypeOf, it } from "vitest";
import { SyncError } from "../src/error.ts";
import { BatchError } from "../src/sync.ts";
import { toVersion } from "../src/version.ts";
import { collect, world } from "./sync/world.ts";

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof SyncError ? error.code : String(error)),
  );

const SOME_VERSION = toVersion("010000000000-0000-0000000000000001");

describe("set and delete", () => {
  it("gives the version, which the layers then hold", async () => {
    const { db, runtime } = await world();
    const first = await db.set("k", 1, { expires: runtime.now() + 9_000, meta: { a: "b" } });
    expect(first).toEqual({ version: first.version, expires: runtime.now() + 9_000, supersededBy: undefined });
    expect(await db.where("k")).toMatchObject([
      { layer: "memory", state: "has", version: first.version },
      { layer: "truth", state: "has", version: first.version },
    ]);
    const second = await db.delete("k");
    expect(second.version > first.version).toBe(true);
    expect(await db.get("k")).toBeUndefined();
    expect(await db.where("k")).toMatchObject([{ head: { state: "deleted" } }, { head: { state: "deleted" } }]);
    await db.delete("never there");
    await db.flush();
    expect(db.status().authority).toBe("truth");
  });

  it("refuses what cannot be stored, with the way out, and stores nothing", async () => {
    const { db, truth } = await world();
    await expect(db.set("k", undefined)).rejects.toThrow("use delete to remove the key");
    await expect(db.set("k", { a: [() => 1] })).rejects.toThrow(/set "k": .*\$\.a\[0\] is a function/);
    expect(await codeOf(db.set("", 1))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { ttlMs: 0 }))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { ttlMs: 5, expires: 5 }))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { expires: 1.5 }))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { meta: { "content-type": "x" } }))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { meta: { A: "x" } }))).toBe("INVALID");
    expect(await codeOf(db.set("k", 1, { meta: { a: "x".repeat(2_000) } }))).toBe("TOO_LARGE");
    expect(await codeOf(db.set("k", 1, { ifAbsent: true, ifVersion: SOME_VERSION }))).toBe("INVALID");
    expect(truth.writes).toBe(0);
  });

  it("acknowledges at the layer asked for, and refuses a level that is not there", async () => {
    const { db } = await world();
    await db.set("k", 1, { ack: "all" });
    await db.set("k", 1, { ack: "truth" });
    await expect(db.set("k", 1, { ack: "disk" })).rejects.toThrow('use one of "all", "memory", "truth"');
    await expect(db.set("k", 1, { ack: "journal" })).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await expect(db.set("k", 1, { ack: "journal" })).rejects.toThrow("leave ack out");
  });

  it("writes under a condition, or says that it does not hold", async () => {
    const { db } = await world();
    const { version } = await db.set("k", 1, { ifAbsent: true });
    expect(await codeOf(db.set("k", 2, { ifAbsent: true }))).toBe("CONFLICT");
    const next = await db.set("k", 3, { ifVersion: version });
    expect(next.version > version).toBe(true);
    expect(await codeOf(db.set("k", 4, { ifVersion: version }))).toBe("CONFLICT");
    expect(await codeOf(db.delete("k", { ifVersion: version }))).toBe("CONFLICT");
    await db.delete("k", { ifVersion: next.version });
    await db.set("k", 5, { ifAbsent: true });
    expect(await db.get("k")).toBe(5);
  });

  // Mutation: not stamping anew in writeDraft leaves the key deleted although the condition held.
  it("writes above a tombstone of a clock ahead of this one", async () => {
    const a = await world();
    const state = (a.truth as unknown as { state: never }).state;
    const b = await world({ runtime: a.runtime, seed: 2, state });
    a.runtime.stepWall(30_000);
    await a.db.set("k", 1);
    await a.db.delete("k");
    a.runtime.stepWall(-30_000);
    expect((await b.db.set("k", 2, { ifAbsent: true })).supersededBy).toBeUndefined();
    expect(await b.db.get("k", { freshness: "authority" })).toBe(2);
  });

  it("says so when a newer version was there already", async () => {
    const a = await world();
    const state = (a.truth as unknown as { state: never }).state;
    const b = await world({ runtime: a.runtime, seed: 2, state });
    a.runtime.stepWall(30_000);
    const newer = await a.db.set("k", "newer");
    a.runtime.stepWall(-30_000);
    expect((await b.db.set("k", "older")).supersededBy).toBe(newer.version);
    expect(await b.db.get("k")).toBe("newer");
  });
});

describe("setMany", () => {
  it("writes all in one call, each with its own life", async () => {
    const { db, truth, runtime } = await world();
    truth.writes = 0;
    const done = await db.setMany(
      [
        ["a", 1],
        ["b", 2, { ttlMs: 10 }],
      ],
      { ttlMs: 1_000 },
    );
    expect(truth.writes).toBe(1);
    expect(done.map(({ expires }) => expires)).toEqual([runtime.now() + 1_000, runtime.now() + 10]);
    expect(new Set(done.map(({ version }) => version)).size).toBe(2);
  });

  it("checks all before it writes any, and names what is wrong", async () => {
    const { db, truth } = await world();
    const call = db.namespace("n/").setMany([
      ["a", 1],
      ["b", undefined],
      ["", 3],
      ["c", () => 1],
    ]);
    await expect(call).rejects.toBeInstanceOf(BatchError);
    await expect(call).rejects.toMatchObject({ code: "INVALID", othersWritten: false });
    await call.catch((error: BatchError) => {
      expect(error.failures.map(({ key }) => key)).toEqual(["b", "c"]);
    });
    expect(truth.writes).toBe(0);
  });

  it("names the keys that a layer refused; the others are written", async () => {
    const { db, truth } = await world();
    const write = truth.write.bind(truth);
    truth.write = async (writes, options) => {
      const results = await write(writes, options);
      return results.map((result, index) =>
        writes[index]?.entry.key === "b"
          ? { status: "failed", error: new SyncError("TOO_LARGE", "too large") }
          : result,
      );
    };
    const call = db.setMany([
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ]);
    await expect(call).rejects.toMatchObject({ code: "TOO_LARGE", othersWritten: true, failures: [{ key: "b" }] });
    expect([await db.get("a"), await db.get("c")]).toEqual([1, 3]);
  });
});

describe("getOrSet", () => {
  // Mutation: not keeping the flight in `loads` runs a load per caller.
  it("loads once for 1,000 callers, each with a value of its own", async () => {
    const { db } = await world();
    let loads = 0;
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const load = async () => {
      loads++;
      await gate;
      return { at: new Date(7), bytes: new Uint8Array([1]) };
    };
    const calls = Array.from({ length: 1_000 }, () => db.getOrSet("k", load));
    go();
    const values = await Promise.all(calls);
    expect(loads).toBe(1);
    expect(new Set(values).size).toBe(1_000);
    expect(values[0]).toStrictEqual({ at: new Date(7), bytes: new Uint8Array([1]) });
    expect(await db.getOrSet("k", () => expect.unreachable())).toStrictEqual(values[0]);
    expect(await db.get("k", { freshness: "authority" })).toStrictEqual(values[0]);
  });

  // Mutation: keeping a failed flight makes the second call fail too.
  it("gives a load's error to all who wait, and keeps nothing", async () => {
    const { db } = await world();
    let loads = 0;
    const fail = async () => {
      loads++;
      throw new Error("the source is down");
    };
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => db.getOrSet("k", fail)));
    expect(results.every((result) => result.status === "rejected")).toBe(true);
    expect(loads).toBe(1);
    expect(await db.has("k")).toBe(false);
    expect(await db.getOrSet("k", () => 5)).toBe(5);
    expect(await db.getOrSet("none", () => undefined)).toBeUndefined();
    expect(await db.has("none")).toBe(false);
    expect(await codeOf(db.getOrSet("bad", () => (() => 1) as never))).toBe("INVALID");
  });

  // Mutation: stamping after the load lets it overwrite what was set meanwhile.
  it("does not overwrite a set or delete that came during the load", async () => {
    const { db } = await world();
    const value = await db.getOrSet("k", async () => {
      await db.set("k", "newer");
      return "loaded before";
    });
    expect(value).toBe("newer");
    expect(await db.get("k", { freshness: "authority" })).toBe("newer");
    const deleted = await db.getOrSet("d", async () => {
      await db.delete("d");
      return "loaded before";
    });
    expect(deleted).toBe("loaded before");
    expect(await db.get("d", { freshness: "authority" })).toBeUndefined();
  });

  it("lets one caller give up without the others", async () => {
    const { db, runtime } = await world();
    let go: (value: number) => void = () => undefined;
    const load = () => new Promise<number>((resolve) => (go = resolve));
    const end = new AbortController();
    const patient = db.getOrSet("k", load);
    const impatient = codeOf(db.getOrSet("k", load, { signal: end.signal }));
    const timed = codeOf(db.getOrSet("k", load, { timeoutMs: 20 }));
    await runtime.advance(30);
    end.abort();
    expect([await impatient, await timed]).toEqual(["ABORTED", "TIMEOUT"]);
    go(5);
    expect(await patient).toBe(5);
  });
});

describe("update", () => {
  it("loses nothing among many in one process", async () => {
    const { db } = await world();
    await Promise.all(Array.from({ length: 200 }, () => db.update("n", (n = 0) => n + 1)));
    expect(await db.get("n")).toBe(200);
  });

  // Mutation: writing without the condition loses the other one's increments.
  it("loses nothing between two processes", async () => {
    const a = await world();
    const state = (a.truth as unknown as { state: never }).state;
    const b = await world({ runtime: a.runtime, seed: 2, state });
    const work = Promise.all(
      [a, b].map(async ({ db }) => {
        for (let i = 0; i < 50; i++) await db.update<number>("n", (n) => (n ?? 0) + 1);
      }),
    );
    await a.runtime.run();
    await work;
    expect(await a.db.get("n", { freshness: "authority" })).toBe(100);
  });

  // Mutation: without cloneValue the function meets a frozen object, or what memory holds.
  it("gives the function a copy of its own", async () => {
    const { db } = await world();
    await db.set("k", { list: [1], bytes: new Uint8Array([1]) });
    const before = await db.get("k");
    const after = await db.update(
      "k",
      (value: { list: number[]; bytes: Uint8Array } = { list: [], bytes: new Uint8Array(1) }) => {
        value.list.push(2);
        value.bytes[0] = 2;
        return value;
      },
    );
    expect(after).toStrictEqual({ list: [1, 2], bytes: new Uint8Array([2]) });
    expect(before).toStrictEqual({ list: [1], bytes: new Uint8Array([1]) });
    await db.set("plain", { n: 1 });
    await db.update("plain", (value: { n: number } = { n: 0 }) => {
      value.n++;
      return value;
    });
    expect(await db.get("plain")).toEqual({ n: 2 });
    await db.set("bytes", new Uint8Array([1]));
    await expect(
      db.update("bytes", (bytes: Uint8Array = new Uint8Array(1)) => {
        bytes[0] = 9;
        throw new Error("after all not");
      }),
    ).rejects.toThrow("after all not");
    expect(await db.get("bytes", { freshness: "authority" })).toEqual(new Uint8Array([1]));
  });

  it("keeps expiry and metadata unless others are given", async () => {
    const { db, runtime } = await world();
    const { expires } = await db.set("k", 1, { ttlMs: 1_000, meta: { a: "b" } });
    await db.update<number>("k", (n = 0) => n + 1);
    expect(await db.read("k")).toMatchObject({ value: 2, expires, meta: { a: "b" } });
    await db.update<number>("k", (n = 0) => n + 1, { expires: null });
    expect(await db.read("k")).toMatchObject({ value: 3, expires: null, meta: { a: "b" } });
    await db.set("k", 1, { ttlMs: 10 });
    await runtime.advance(20);
    // What has ended is no base.
    expect(await db.update("k", (n: number | undefined) => n ?? 100)).toBe(100);
  });

  it("ends after so many lost races, and never runs for undefined", async () => {
    const { db, truth, runtime, clock } = await world();
    await db.set("k", 0);
    let runs = 0;
    truth.beforeWrite = async (writes) => {
      if (writes[0]?.if === undefined) return;
      const entry = { ...writes[0].entry, version: await clock.stamp() };
      await Object.getPrototypeOf(Object.getPrototypeOf(truth)).write.call(truth, [{ entry, asOf: 0 }]);
    };
    const call = codeOf(
      db.update<number>(
        "k",
        (n = 0) => {
          runs++;
          return n + 1;
        },
        { attemptsMax: 5 },
      ),
    );
    await runtime.run();
    expect([await call, runs]).toEqual(["CONFLICT", 5]);
    truth.beforeWrite = undefined;
    expect(await codeOf(db.update("k", () => undefined))).toBe("INVALID");
    expect(await codeOf(db.update("k", () => 1, { attemptsMax: 0 }))).toBe("INVALID");
  });

  it("is refused before the function runs where no layer can decide", async () => {
    const { db } = await world({ supports: { conditional: false } });
    await expect(db.update("k", () => expect.unreachable())).rejects.toMatchObject({ code: "UNSUPPORTED" });
    expect(await codeOf(db.set("k", 1, { ifAbsent: true }))).toBe("UNSUPPORTED");
    const { db: fixed } = await world({ supports: { readonly: true } });
    expect(await codeOf(fixed.set("k", 1))).toBe("READONLY");
    await expect(fixed.setMany([["k", 1]])).rejects.toThrow("1 of 1 keys were refused, nothing was written");
  });

  it("has the types of the function, or of the call", async () => {
    const { db } = await world();
    expectTypeOf(await db.update("n", (n = 0) => n + 1)).toEqualTypeOf<number>();
    expectTypeOf(await db.update<number>("n", async (n) => (n ?? 0) + 1)).toEqualTypeOf<number>();
    const typed = db.namespace<{ n: number }>("t/");
    const value = await typed.update("k", (before) => ({ n: (before?.n ?? 0) + 1 }));
    expectTypeOf(value).toEqualTypeOf<{ n: number }>();
  });
});

describe("watch", () => {
  it("tells what changes from now on, and ends with its signal", async () => {
    const { db } = await world();
    await db.set("old", 1);
    const end = new AbortController();
    const ready = deferred();
    const events = collect(db.watch({ signal: end.signal, onCurrent: ready.resolve }));
    await ready.promise;
    const set = await db.set("k", 1);
    const gone = await db.delete("k");
    const done = await db.set("other", 2);
    await new Promise((resolve) => setImmediate(resolve));
    end.abort();
    const told = await events;
    expect(told.find(({ key }) => key === "old")).toBeUndefined();
    // Several changes of one key may be told as one: the last one always is.
    expect(told.findLast(({ key }) => key === "k")).toEqual({ type: "delete", key: "k", version: gone.version });
    expect(told.at(-1)).toEqual({ type: "set", key: "other", version: done.version });
    expect(set.version < gone.version).toBe(true);
  });

  it("begins with what there is when asked to, without the prefix in a namespace", async () => {
    const { db } = await world();
    await db.setMany([
      ["n/a", 1],
      ["n/b", 2],
      ["other", 3],
    ]);
    const end = new AbortController();
    const told: string[] = [];
    for await (const { type, key } of db
      .namespace("n/")
      .watch({ initial: true, signal: end.signal, onCurrent: () => end.abort() })) {
      told.push(`${type} ${key}`);
    }
    expect(told).toEqual(["set a", "set b"]);
  });

  // Mutation: ending at "relist" in watching.ts leaves the listener without the changes it missed.
  it("tells everything again after a gap", async () => {
    const { db, chain } = await world();
    const watch = chain.watch.bind(chain);
    let watches = 0;
    chain.watch = (range, options) =>
      ++watches === 1
        ? (async function* () {
            yield { kind: "relist" as const, reason: "a test" };
          })()
        : watch(range, options);
    await db.set("k", 1);
    const end = new AbortController();
    const gaps: string[] = [];
    const told: string[] = [];
    const events = db.watch({ signal: end.signal, onGap: (reason) => gaps.push(reason), onCurrent: () => end.abort() });
    for await (const { key } of events) told.push(key);
    expect([gaps, told]).toEqual([["a test"], ["k"]]);
  });
});

function deferred() {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
