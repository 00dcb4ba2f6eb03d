import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import type { LayerOptions } from "../../src/chain/layer.ts";
import { SyncError } from "../../src/error.ts";
import { get, listed, outcomeOf, readOne, world } from "./world.ts";

const RECORD = { durable: true, shared: true } as const;

describe("the circuit breaker", () => {
  const opened = async (options: LayerOptions = {}) => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(disk, { name: "disk", breakerFailures: 3, breakerMs: 1_000, ...options }), layer(truth)], {
      negativeTtlMs: 0,
    });
    const breaker = () => db.status().layers[0]?.breaker;
    return { ...w, disk, truth, db, breaker };
  };

  // Mutation: admit (call.ts) lets every call through; failedWith never opens.
  it("opens after so many failures in a row, and the layer is left alone", async () => {
    const w = await opened();
    w.disk.down(["read"]);
    for (let i = 0; i < 3; i++) expect(await get(w.db, `k${i}`)).toBeUndefined();
    expect(w.breaker()).toBe("open");
    const before = w.disk.calls("read");
    expect(await get(w.db, "k")).toBe("v1");
    expect(w.disk.calls("read")).toBe(before);
    expect(w.reports).toContainEqual(expect.objectContaining({ kind: "breaker", layer: "disk" }));
    await w.db.close();
  });

  // Mutation: succeeded does not set failuresInRow to 0.
  it("does not open when a call succeeds in between", async () => {
    const w = await opened();
    for (let i = 0; i < 4; i++) {
      w.disk.down(["read"]);
      await get(w.db, "a");
      await get(w.db, "b");
      w.disk.up();
      await get(w.db, "c");
    }
    expect(w.breaker()).toBe("closed");
    await w.db.close();
  });

  // Mutation: TROUBLE (call.ts) holds CORRUPT too.
  it("is for layers in trouble, not for damaged entries", async () => {
    const w = await opened();
    for (let i = 0; i < 5; i++) {
      w.disk.failNth(1, { verb: "read", error: new SyncError("CORRUPT", "damaged") });
      await get(w.db, "a");
    }
    expect(w.breaker()).toBe("closed");
    await w.db.close();
  });

  // Mutation: admit lets all calls through once breakerMs is over; a probe that fails does not open it again.
  it("lets one call try after breakerMs, and closes when it succeeds", async () => {
    const w = await opened({ breakerFailures: 1 });
    w.disk.down(["read"]);
    await get(w.db, "a");
    await w.runtime.advance(1_000);
    expect(w.breaker()).toBe("half-open");
    await get(w.db, "b");
    expect(w.breaker()).toBe("open"); // the probe failed
    await w.runtime.advance(1_000);
    w.disk.up();
    w.disk.hang({ verbs: ["read"] });
    const before = w.disk.calls("read");
    const reads = [outcomeOf(get(w.db, "k")), outcomeOf(get(w.db, "other"))];
    await w.runtime.settle();
    expect(w.disk.calls("read")).toBe(before + 1); // one probe; the other read passed the layer by
    expect(reads.map(({ done }) => done)).toEqual([false, true]);
    w.disk.resume();
    await w.runtime.settle();
    expect(w.breaker()).toBe("closed");
    expect(reads[0]).toMatchObject({ value: "v1" });
    await w.db.close();
  });
});

describe("batches", () => {
  // Mutation: askBatch, fill or writeInBatches give a layer more than its batchMax.
  it("are cut to what each layer takes, on reads, fills, writes and conditions", async () => {
    const w = await world();
    const disk = w.store("disk", { batchMax: 3 });
    const sql = w.store("sql", { ...RECORD, batchMax: 2, atomicBatch: false });
    const git = w.store("git", { ...RECORD, conditional: false });
    const keys = Array.from({ length: 7 }, (_, i) => `k${i}`);
    await git.direct.write(keys.map((key) => w.write(w.value(key, key))));
    const db = w.open([layer(disk), layer(sql, { role: "store", watch: false }), layer(git, { watch: false })]);
    const answers = await db.read(keys);
    expect(answers.map(({ entry }) => entry?.key)).toEqual(keys);
    expect([disk.calls("read"), sql.calls("read"), git.calls("read")]).toEqual([3, 4, 1]);
    await w.runtime.settle();
    expect(disk.state.copies.size).toBe(7);
    expect(sql.state.copies.size).toBe(7);
    const results = await db.write(keys.map((key) => w.write(w.value(`new-${key}`, key), "absent")));
    expect(results.every(({ status }) => status === "stored")).toBe(true);
    expect(disk.state.copies.size).toBe(14);
    expect(w.reports).toEqual([]);
    await db.close();
  });

  // Mutation: fillFromBelow sends all that is missing in one call.
  it("are cut when conditions bring up what is below", async () => {
    const w = await world();
    const sql = w.store("sql", { ...RECORD, batchMax: 2, atomicBatch: false });
    const git = w.store("git", { ...RECORD, conditional: false });
    const keys = Array.from({ length: 5 }, (_, i) => `k${i}`);
    await git.direct.write(keys.map((key) => w.write(w.value(key, key))));
    const db = w.open([layer(sql, { role: "store", watch: false }), layer(git, { watch: false })]);
    const results = await db.write(keys.map((key) => w.write(w.value(key, "mine"), "absent")));
    expect(results.map(({ status }) => status)).toEqual(keys.map(() => "conflict"));
    await db.close();
  });

  // Mutation: askBatch treats CORRUPT like any failure.
  it("with one damaged entry give the others", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    await truth.direct.write(["a", "bad", "c"].map((key) => w.write(w.value(key, key))));
    const read = truth.read.bind(truth);
    truth.read = async (keys, options) => {
      if (keys.includes("bad")) throw new SyncError("CORRUPT", "damaged", { key: "bad" });
      return read(keys, options);
    };
    const db = w.open([layer(w.memory()), layer(truth)]);
    const others = outcomeOf(get(db, "unrelated"));
    const mixed = outcomeOf(db.read(["a", "bad", "c"]));
    const joined = ["a", "c"].map((key) => outcomeOf(get(db, key))); // of the same walk
    await w.runtime.settle();
    expect(mixed).toMatchObject({ error: { code: "UNAVAILABLE", key: "bad" } });
    expect(joined).toMatchObject([{ value: "a" }, { value: "c" }]);
    expect(others).toMatchObject({ done: true, value: undefined });
    await db.close();
  });
});

describe("prefixes", () => {
  const split = async () => {
    const w = await world();
    const [users, docs] = [w.store("users", RECORD), w.store("docs", RECORD)];
    const db = w.open([
      layer(w.memory()),
      layer(users, { name: "users", role: "store", prefixes: ["users/"] }),
      layer(docs, { name: "docs", prefixes: ["docs/"] }),
    ]);
    await db.ready();
    return { ...w, users, docs, db };
  };

  // Mutation: `truth` of begin (walk.ts) is the last layer of the chain whatever the key; plan writes elsewhere.
  it("say which layers a key is in: reads, misses, writes and authority", async () => {
    const w = await split();
    expect(await get(w.db, "users/1")).toBeUndefined();
    expect(await get(w.db, "docs/1")).toBeUndefined();
    for (const key of ["users/1", "docs/1"]) {
      expect(await w.db.write([w.write(w.value(key, key))])).toEqual([{ status: "stored" }]);
      expect(await readOne(w.db, key, { authority: true })).toMatchObject({ stale: false, complete: true });
      expect(await get(w.db, key, { maxAgeMs: 0 })).toBe(key);
    }
    expect([...w.users.state.copies.keys()]).toEqual(["users/1"]);
    expect([...w.docs.state.copies.keys()]).toEqual(["docs/1"]);
    expect(await get(w.db, "users/2", { authority: true })).toBeUndefined();
    await w.db.close();
  });

  // Mutation: plan (write.ts) finds a layer for every key.
  it("leave keys that no store keeps without a home: absent, and refused on write", async () => {
    const w = await split();
    expect(await get(w.db, "other")).toBeUndefined();
    const [result] = await w.db.write([w.write(w.value("other", "x"))]);
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
    await w.db.close();
  });

  // Mutation: carryUntilItEnds, listMerged or watchMerged do not ask `holds`.
  it("keep out what else the store of a layer has", async () => {
    const w = await split();
    await w.users.direct.write([w.write(w.value("users/1", "u"))]);
    const told: string[] = [];
    const watching = (async () => {
      for await (const change of w.db.watch({ prefix: "" })) if (change.kind === "change") told.push(change.key);
    })();
    await w.runtime.settle();
    const strays = [w.value("users/1", "not ours"), w.value("users/2", "not ours"), w.value("stray", "nobody's")];
    await w.docs.direct.write([...strays, w.value("docs/1", "d")].map((entry) => w.write(entry)));
    await w.runtime.settle();
    expect(await get(w.db, "users/1")).toBe("u");
    expect((await listed(w.db)).keys).toEqual(["docs/1", "users/1"]);
    expect(told).toEqual(["users/1", "docs/1"]);
    await w.db.close();
    await watching;
  });
});

describe("read-only layers", () => {
  // Mutation: routeOf (state.ts) goes on below a read-only store with prefixes.
  it("with prefixes above a store own them alone", async () => {
    const w = await world();
    const [base, truth] = [
      w.store("base", { ...RECORD, readonly: true, conditional: false }),
      w.store("truth", RECORD),
    ];
    const behind = { key: "docs/1", entry: w.value("docs/1", "base") };
    base.state.copies.set(behind.key, { entry: behind.entry, asOf: w.runtime.now() });
    const db = w.open([layer(base, { role: "store", prefixes: ["docs/"] }), layer(truth)]);
    expect(await get(db, "docs/1")).toBe("base");
    const [result] = await db.write([w.write(w.value("docs/1", "mine"))]);
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
    expect(await db.write([w.write(w.value("other", "mine"))])).toEqual([{ status: "stored" }]);
    expect(truth.state.copies.has("docs/1")).toBe(false);
    await db.close();
  });

  // Mutation: plan writes to read-only layers; fill and forget do.
  it("get nothing, neither writes nor fills nor stubs", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(disk, { readonly: true }), layer(truth)]);
    expect(await get(db, "k")).toBe("v1");
    await db.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
    expect([disk.calls("write"), disk.calls("forget")]).toEqual([0, 0]);
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: supportsOf (chain.ts) does not look at readonly layers.
  it("alone make a chain that takes no writes", async () => {
    const w = await world();
    const base = w.store("base", { ...RECORD, readonly: true, conditional: false });
    const db = w.open([layer(w.memory()), layer(base)]);
    expect(db.supports.readonly).toBe(true);
    const [result] = await db.write([w.write(w.value("k", "x"))]);
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
    await db.close();
  });
});

describe("a chain is refused", () => {
  // Mutation: each line is one check of options.ts or layer.ts.
  it("for layers and options that cannot work", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const base = w.store("base", { ...RECORD, readonly: true, conditional: false });
    const day = 86_400_000;
    const refused: [what: string, make: () => unknown][] = [
      ["no layers", () => w.open([])],
      ["one name twice", () => w.open([layer(disk, { name: "x" }), layer(truth, { name: "x" })])],
      ["a cache last", () => w.open([layer(disk), layer(truth, { role: "cache" })])],
      ["a cache without stubs", () => w.open([layer(w.store("n", { stubs: false })), layer(truth)])],
      ["read-only above", () => w.open([layer(base, { role: "store" }), layer(truth)])],
      ["ttl + grace = retention", () => w.open([layer(disk, { ttlMs: 29 * day, graceMs: day }), layer(truth)])],
      ["a short retention", () => w.open([layer(disk), layer(truth)], { retentionMs: 360_000 })],
      ["a negative ttl", () => layer(disk, { ttlMs: -1 })],
      ["no number", () => layer(disk, { deadlineMs: Number.NaN })],
      ["a timer that would fire at once", () => layer(disk, { deadlineMs: 2 ** 31 })],
      ["a jitter of 1", () => layer(disk, { jitter: 1 })],
      ["no prefixes", () => layer(disk, { prefixes: [] })],
      ["another role", () => layer(disk, { role: "shelf" as never })],
      ["another way to write", () => layer(disk, { onWrite: "maybe" as never })],
      ["a negative negativeTtlMs", () => w.open([layer(disk), layer(truth)], { negativeTtlMs: -1 })],
      ["a skew that is no number", () => w.open([layer(disk), layer(truth)], { skewMaxMs: Number.NaN })],
    ];
    for (const [what, make] of refused) {
      expect(make, what).toThrow(SyncError);
      expect(make, what).toThrow(expect.objectContaining({ code: "INVALID" }));
    }
    const edge = w.open([layer(disk, { ttlMs: 29 * day, graceMs: day - 1 }), layer(truth)]);
    await edge.close();
  });
});

describe("names, status and where", () => {
  // Mutation: nameFor (options.ts) does not number; counts are not counted.
  it("tell layers of one kind apart and count what each did", async () => {
    const w = await world();
    const stores = [w.store("disk"), w.store("disk"), w.store("truth", RECORD)] as const;
    const db = w.open(stores.map((store) => layer(store, { jitter: 0 })));
    expect(db.layers.map(({ name }) => name)).toEqual(["chaos(disk)", "chaos(disk)-2", "chaos(truth)"]);
    await stores[2].direct.write([w.write(w.value("k", "v1"))]);
    await db.ready();
    await w.runtime.settle();
    await get(db, "k");
    await w.runtime.settle();
    await get(db, "k");
    await get(db, "absent");
    stores[1].down(["read"]);
    await get(db, "absent too");
    const [near, next, truth] = db.status().layers;
    expect(near).toMatchObject({ hits: 1, misses: 3, failures: 0, fills: 1, role: "cache" });
    expect(next).toMatchObject({ hits: 0, misses: 2, failures: 1, fills: 1 });
    expect(truth).toMatchObject({ hits: 1, misses: 2, failures: 0, fills: 0, role: "store", watch: "live" });
    expect(db.status().authority).toBe("chaos(truth)");
    await db.close();
  });

  // Mutation: whereInLayer (where.ts) throws what a layer throws, or asks through the walk.
  it("say what each layer holds, past all caches and failures", async () => {
    const w = await world();
    const [a, b, c, truth] = [w.store("a"), w.store("b"), w.store("c"), w.store("truth", RECORD)];
    const [v1, v2] = [w.value("k", "v1"), w.value("k", "v2")];
    await a.direct.write([{ entry: v1, asOf: w.runtime.now() - 500 }]);
    await truth.direct.write([w.write(v2)]);
    b.down(["read"]);
    const db = w.open([layer(a), layer(b), layer(c, { prefixes: ["x/"] }), layer(w.memory()), layer(truth)]);
    expect(await db.where("k")).toMatchObject([
      { state: "has", version: v1.version, ageMs: 500, role: "cache" },
      { state: "failed", error: { code: "UNAVAILABLE" } },
      { state: "excluded" },
      { state: "absent", layer: "memory" },
      { state: "has", version: v2.version, role: "store" },
    ]);
    await db.close();
  });
});

describe("the caller of a list", () => {
  // Mutation: chain.list waits for the next item without itemsForCaller.
  it("is let go at his signal and deadline, though a layer hangs", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth, { watch: false })]);
    truth.hang({ verbs: ["list"] });
    const controller = new AbortController();
    const stopped = outcomeOf(listed(db, { signal: controller.signal }));
    const late = outcomeOf(listed(db, { deadline: w.runtime.monotonic() + 50 }));
    await w.runtime.settle();
    controller.abort();
    await w.runtime.advance(50);
    expect(stopped).toMatchObject({ done: true, error: { code: "ABORTED" } });
    expect(late).toMatchObject({ done: true, error: { code: "TIMEOUT" } });
    await w.runtime.advance(10_000);
    await db.close();
  });
});
