import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { SyncError } from "../../src/error.ts";
import { VERSION_ZERO, formatVersion } from "../../src/version.ts";
import { RECORD, full, get, outcomeOf, readOne, stampOf, world } from "./world.ts";

describe("a plain write", () => {
  // Mutation: pass (write.ts) begins the other layers before writeFirst has ended.
  it("is in no other layer before the authority has it", async () => {
    const w = await full();
    w.sql.hang({ verbs: ["write"] });
    const write = outcomeOf(w.db.write([w.write(w.value("k", "v1"))]));
    await w.runtime.settle();
    for (const store of [w.disk, w.git]) expect((await readOne(store.direct, "k")).entry).toBeUndefined();
    expect(w.db.look("k")).toBeUndefined();
    w.sql.resume();
    await w.runtime.settle();
    expect(write).toMatchObject({ value: [{ status: "stored" }] });
    for (const store of [w.disk, w.git]) expect(await get(store.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: pass writes the others whatever the authority said.
  it("that the authority refuses is in no layer", async () => {
    const w = await full();
    w.sql.down(["write"]);
    const [result] = await w.db.write([w.write(w.value("k", "v1"))]);
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE", retryable: true } });
    expect((await readOne(w.git.direct, "k")).entry).toBeUndefined();
    await w.db.close();
  });

  // Mutation: learn (write.ts) does nothing for "superseded".
  it("that is superseded makes the newer version known", async () => {
    const w = await full();
    const v1 = w.value("k", "v1");
    await w.db.write([w.write(w.value("k", "v0"))]);
    const v2 = w.value("k", "v2");
    await w.sql.direct.write([w.write(v2)]);
    expect(await w.db.write([w.write(v1)])).toEqual([{ status: "superseded", by: v2.version }]);
    await w.runtime.settle();
    expect(await get(w.db, "k")).toBe("v2");
    await w.db.close();
  });

  // Mutation: writeNext drops the "too-old" of a store.
  it("that a deeper store calls too old is not called stored", async () => {
    const w = await full();
    const old = w.value("k", "v1");
    const gone = w.tombstone("k");
    await w.git.direct.write([w.write(gone)]);
    await w.git.direct.forget([{ key: "k", version: gone.version, reason: "collected" }]);
    expect(await w.db.write([w.write(old)])).toEqual([{ status: "too-old" }]);
    expect(w.reports).toMatchObject([{ kind: "write-failed", layer: "git", key: "k" }]);
    await w.db.close();
  });

  // Mutation: plan (write.ts) does not look at skewMaxMs.
  it("stamped too far ahead is refused, at the edge exactly", async () => {
    const w = await full();
    const at = (ms: number) => w.value("k", "x", { version: formatVersion(w.runtime.now() + ms, 0, w.clock.node) });
    const [over] = await w.db.write([w.write(at(60_001))]);
    expect(over).toMatchObject({ status: "failed", error: { code: "SKEW" } });
    expect((await readOne(w.sql.direct, "k")).entry).toBeUndefined();
    expect(await w.db.write([w.write(at(60_000))])).toEqual([{ status: "stored" }]);
    await w.db.close();
  });

  // Mutation: writeThrough does not copy what it goes on using after the acknowledgement.
  it("may be changed by the caller once it is acknowledged, though other layers get it later", async () => {
    const w = await full();
    w.git.hang({ verbs: ["write"] });
    const entry = w.value("k", "v1");
    await w.db.write([w.write(entry)], { ack: "sql" });
    entry.value?.fill(0);
    w.git.resume();
    await w.runtime.settle();
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });
});

describe("a flush", () => {
  // Mutations: passOne does not tell `background` of a write that the first layer has not answered; passedTo, of others.
  it.each(["sql", "git"] as const)("waits for a write of one key that is under way in %s", async (name) => {
    const w = await full();
    w[name].hang({ verbs: ["write"] });
    const write = outcomeOf(w.db.write([w.write(w.value("k", "v1"))]));
    await w.runtime.settle();
    const flushed = outcomeOf(w.db.flush());
    const closed = outcomeOf(w.db.close());
    await w.runtime.settle();
    expect([write.done, flushed.done, closed.done]).toEqual([false, false, false]);
    w[name].resume();
    await w.runtime.settle();
    expect(write).toMatchObject({ value: [{ status: "stored" }] });
    expect([flushed.done, closed.done]).toEqual([true, true]);
  });
});

describe("memory", () => {
  // Mutations: writeThrough copies only what is not waited for, or nothing; put keeps whatever it is given.
  it("keeps nothing of the caller's bytes, unless he gives them away; and never a piece of a larger buffer", async () => {
    const w = await world();
    const memory = w.memory();
    const db = w.open([layer(memory), layer(w.store("sql", RECORD), { watch: false })]);
    const [mine, given] = [w.value("mine", "v1"), w.value("given", "v1".repeat(100))];
    const large = new Uint8Array(1_000);
    const cut = w.value("piece", "", { value: large.subarray(100, 300) });
    // Of Node's own bytes a slice is a view.
    const nodes = w.value("nodes", "", { value: Buffer.from(new Uint8Array(200).buffer) });
    await db.write([w.write(mine)]);
    await db.write([w.write(nodes)]);
    await db.write([w.write(given)], { givesBytes: true });
    await db.write([w.write(cut)], { givesBytes: true });
    mine.value?.fill(0);
    nodes.value?.fill(9);
    large.fill(9);
    expect(memory.look("nodes")?.entry.value).toEqual(new Uint8Array(200));
    expect(await get(db, "mine")).toBe("v1");
    expect(memory.look("given")?.entry.value).toBe(given.value);
    expect(memory.look("piece")?.entry.value).toEqual(new Uint8Array(200));
    const many = ["a", "b"].map((key) => w.value(key, "v1"));
    await db.write(many.map((entry) => w.write(entry)));
    for (const { value } of many) value?.fill(0);
    expect([await get(db, "a"), await get(db, "b")]).toEqual(["v1", "v1"]);
    await db.close();
  });

  // Mutation: giveNow lets an error through: the authority has the write, and its caller is told that it failed.
  it("that refuses a write is reported, and the write stands", async () => {
    const w = await full();
    const [memory] = w.db.layers;
    await memory?.store.close();
    expect(await w.db.write([w.write(w.value("k", "v1"))])).toEqual([{ status: "stored" }]);
    expect(w.reports).toMatchObject([{ kind: "write-failed", layer: "memory", key: "k" }]);
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: passOne does not pass on what a first layer in this process has taken.
  it("can be the layer that takes every write first", async () => {
    const w = await world();
    const git = w.store("git", { ...RECORD, shared: false });
    const db = w.open([layer(w.memory(), { role: "store", name: "memory" }), layer(git, { name: "git" })]);
    const [newer, older] = [w.value("k", "v2"), w.value("k", "v1")].sort((a, b) => (a.version > b.version ? -1 : 1));
    if (newer === undefined || older === undefined) throw new Error("no values");
    expect(await db.write([w.write(newer)])).toEqual([{ status: "stored" }]);
    expect(await db.write([w.write(older)])).toEqual([{ status: "superseded", by: newer.version }]);
    expect((await readOne(git.direct, "k")).entry?.version).toBe(newer.version);
    expect(db.status().layers).toMatchObject([
      { writes: 2, calls: 2 },
      { writes: 1, calls: 1 },
    ]);
    await db.close();
  });
});

describe("a layer that gives another number of results than it was given writes", () => {
  // Mutation: resultsOf gives what it got: a layer that says nothing counts as one that has the write.
  it("has none of them, for whoever waits and for flush", async () => {
    const w = await full();
    const { git } = w;
    const odd = { ...git.direct, write: async () => [] };
    const truth = layer(w.store("sql", RECORD), { name: "sql", role: "store", watch: false });
    const db = w.open([truth, layer(odd, { name: "odd", watch: false })]);
    const [one] = await db.write([w.write(w.value("k", "v1"))]);
    expect(one).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    const many = await db.write([w.write(w.value("a", "v1")), w.write(w.value("b", "v1"))]);
    expect(many).toMatchObject([{ status: "failed" }, { status: "failed" }]);
    await expect(db.flush()).rejects.toThrow("odd (3)");
    await db.close().catch(() => undefined);
    await w.db.close();
  });
});

describe("the acknowledgement", () => {
  // Mutation: ackedLayers says "all" for a layer's name; pass waits for the others all the same.
  it("of a layer's name waits for that layer and the authority alone", async () => {
    const w = await full();
    w.git.hang({ verbs: ["write"] });
    expect(await w.db.write([w.write(w.value("k", "v1"))], { ack: "disk" })).toEqual([{ status: "stored" }]);
    expect(await get(w.disk.direct, "k")).toBe("v1");
    expect((await readOne(w.git.direct, "k")).entry).toBeUndefined();
    w.git.resume();
    await w.db.flush();
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: ackedLayers says only the first store for undefined.
  it("waits for all layers by default", async () => {
    const w = await full();
    w.git.hang({ verbs: ["write"] });
    const write = outcomeOf(w.db.write([w.write(w.value("k", "v1"))]));
    await w.runtime.settle();
    expect(write.done).toBe(false);
    w.git.resume();
    await w.runtime.settle();
    expect(write.value).toEqual([{ status: "stored" }]);
    await w.db.close();
  });

  // Mutation: writeNext lets a store's failure pass when the caller waits.
  it("names the store that lacks the write", async () => {
    const w = await full();
    w.git.down(["write"]);
    const [result] = await w.db.write([w.write(w.value("k", "v1"))]);
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE", retryable: true } });
    if (result?.status === "failed") expect(result.error.message).toContain("stored in sql, but not in git");
    // Mutation: closing without a last flush drops it silently.
    await expect(w.db.close()).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("git (1)"),
    });
  });

  it("is made up for by closing, when the store is back by then", async () => {
    const w = await full();
    w.git.down(["write"]);
    await w.db.write([w.write(w.value("k", "v1"))]);
    w.git.up();
    await w.db.close();
    expect(w.git.state.copies.get("k")?.entry.state).toBe("value");
  });

  // Mutation: writeNext fails writes for a cache whatever was asked, or never.
  it("fails for a cache only if that cache was asked for", async () => {
    const w = await full();
    w.disk.down(["write"]);
    expect(await w.db.write([w.write(w.value("k", "v1"))])).toEqual([{ status: "stored" }]);
    const [result] = await w.db.write([w.write(w.value("k", "v2"))], { ack: "disk" });
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    expect(w.reports.some(({ kind, layer }) => kind === "write-failed" && layer === "disk")).toBe(true);
    await w.db.close();
  });

  // Mutation: ackedLayers takes any word for "all".
  it("refuses a level that the chain does not have, before any effect", async () => {
    const w = await full();
    const set = (ack: string) => w.db.write([w.write(w.value("k", "v1"))], { ack });
    await expect(set("journal")).rejects.toMatchObject({ code: "UNSUPPORTED", cure: expect.stringContaining("ack") });
    await expect(set("etcd")).rejects.toMatchObject({ code: "INVALID", cure: expect.stringContaining('"sql"') });
    expect(w.sql.calls("write")).toBe(0);
    await w.db.close();
  });
});

describe("flush", () => {
  // Mutation: writeNext does not keep what a layer nobody waited for refused; flushLate does not put back what fails.
  it("rejects naming the layer that lacks a write, until it has it", async () => {
    const w = await full();
    w.git.down(["write"]);
    await w.db.write([w.write(w.value("k", "v1"))], { ack: "sql" });
    await w.db.write([w.write(w.value("k", "v2"))], { ack: "sql" });
    await expect(w.db.flush()).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("git (1)"),
    });
    await expect(w.db.flush()).rejects.toThrow("git (1)");
    w.git.up();
    await w.db.flush();
    expect(await get(w.git.direct, "k")).toBe("v2");
    await w.db.flush();
    await w.db.close();
  });

  // Mutation: writeNext keeps only what nobody waited for.
  it("counts what a failed write left behind", async () => {
    const w = await full();
    w.git.down(["write"]);
    await w.db.write([w.write(w.value("k", "v1"))]);
    await expect(w.db.flush()).rejects.toThrow("git (1)");
    w.git.up();
    await w.db.flush();
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: writeThrough tells `background` only of the part that is waited for.
  it("waits for writes that were begun before it and not yet acknowledged", async () => {
    const w = await full();
    w.sql.hang({ verbs: ["write"] });
    const write = w.db.write([w.write(w.value("k", "v1"))], { ack: "sql" });
    await w.runtime.settle();
    w.git.hang({ verbs: ["write"] });
    const flush = outcomeOf(w.db.flush());
    w.sql.resume();
    await write;
    await w.runtime.settle();
    expect(flush.done).toBe(false);
    w.git.resume();
    await w.runtime.settle();
    expect(flush.done && flush.error === undefined).toBe(true);
    await w.db.close();
  });

  // Mutation: chain.flush calls flushLate without waiting for the flush before.
  it("does not answer while another flush still sends", async () => {
    const w = await full();
    w.git.down(["write"]);
    await w.db.write([w.write(w.value("k", "v1"))], { ack: "sql" });
    await w.runtime.settle();
    w.git.up();
    w.git.hang({ verbs: ["write"] });
    const first = outcomeOf(w.db.flush());
    await w.runtime.settle();
    const second = outcomeOf(w.db.flush());
    await w.runtime.settle();
    expect([first.done, second.done]).toEqual([false, false]);
    w.git.resume();
    await w.runtime.settle();
    expect([first, second]).toMatchObject([{ done: true }, { done: true }]);
    await w.db.close();
  });
});

describe("a stamp from the far future in a layer", () => {
  // Mutation: observe (read.ts) does not report; the clock takes in every version.
  it("is served, reported, and does not move the clock", async () => {
    const w = await full();
    const version = formatVersion(w.runtime.now() + 3_600_000, 0, "00000000000000ff");
    await w.sql.direct.write([w.write(w.value("k", "tomorrow", { version }))]);
    expect(await get(w.db, "k")).toBe("tomorrow");
    expect(w.reports).toMatchObject([{ kind: "future-version", layer: "sql", key: "k" }]);
    expect(stampOf(w.clock) < version).toBe(true);
    await w.db.close();
  });

  // Mutation: move (read.ts) does not call observe.
  it("within the skew is taken in", async () => {
    const w = await full();
    const version = formatVersion(w.runtime.now() + 30_000, 0, "00000000000000ff");
    await w.sql.direct.write([w.write(w.value("k", "soon", { version }))]);
    await get(w.db, "k");
    expect(stampOf(w.clock) > version).toBe(true);
    expect(w.reports).toEqual([]);
    await w.db.close();
  });
});

describe("errors", () => {
  // Mutation: any of the tests above that throws a stranger's error.
  it("of a version that is none are refused before any effect", async () => {
    const w = await full();
    const bad = w.db.write([{ ...w.write(w.value("k", "x")), if: "yesterday" as never }]);
    await expect(bad).rejects.toBeInstanceOf(SyncError);
    expect(w.sql.calls()).toBe(0);
    expect(VERSION_ZERO < w.value("k", "x").version).toBe(true);
    await w.db.close();
  });
});
