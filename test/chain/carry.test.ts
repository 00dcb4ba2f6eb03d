import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import type { Supports } from "../../src/store.ts";
import { get, getFast, outcomeOf, readOne, world } from "./world.ts";

const RECORD = { durable: true, shared: true } as const;

/** memory, disk, sql (the authority), git: where a person commits. */
async function full(supports: Partial<Supports> = {}) {
  const w = await world();
  const [disk, sql] = [w.store("disk"), w.store("sql", { ...RECORD, ...supports })];
  const git = w.store("git", { ...RECORD, conditional: false });
  const slots = w.memory();
  const db = w.open([
    layer(slots, { name: "memory" }),
    layer(disk, { name: "disk" }),
    layer(sql, { name: "sql", role: "store" }),
    layer(git, { name: "git" }),
  ]);
  await db.ready();
  return { ...w, slots, disk, sql, git, db };
}

const watchOf = (db: { status(): { layers: readonly { name: string; watch: string }[] } }, name: string) =>
  db.status().layers.find((layer) => layer.name === name)?.watch;

describe("a change that others made in a layer", () => {
  // Mutation: carry (carry.ts) feeds no stores; invalidate leaves the caches alone; carry does not read again.
  it("is written to the stores above, stubbed in caches, and fetched again into memory", async () => {
    const w = await full();
    await w.db.write([w.write(w.value("k", "v1"))]);
    const v2 = w.value("k", "a person's");
    await w.git.direct.write([w.write(v2)]);
    await w.runtime.settle();
    expect(await get(w.sql.direct, "k")).toBe("a person's");
    expect(w.slots.look("k")?.entry.version).toBe(v2.version);
    expect((await readOne(w.disk.direct, "k")).entry?.version).toBe(v2.version);
    expect(w.db.look("k")?.entry.version).toBe(v2.version);
    await w.db.close();
  });

  // Mutation: the stub is dated when it was told, not when the version was made.
  it("is no answer once it has expired, while a newer one may be above it", async () => {
    const w = await world();
    const [disk, sql, git] = [w.store("disk"), w.store("sql", RECORD), w.store("git", RECORD)];
    const layers = [
      layer(disk, { name: "disk", role: "cache", ttlMs: 1_000 }),
      layer(sql, { name: "sql", role: "store", watch: false }),
      layer(git, { name: "git" }),
    ];
    const db = w.open(layers);
    await db.ready();
    await db.write([w.write(w.value("k", "v0"))]);
    const older = w.value("k", "v1", { expires: w.runtime.now() + 100 });
    await sql.direct.write([w.write(w.value("k", "v2"))]);
    await w.runtime.advance(5_000);
    sql.down(["write"]);
    await git.direct.write([w.write(older)]);
    await w.runtime.settle();
    expect((await readOne(disk.direct, "k")).entry).toMatchObject({ state: "stub", version: older.version });
    sql.up();
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: invalidate stubs keys whether a layer has them or not.
  it("puts nothing where no older copy is", async () => {
    const w = await full();
    await w.git.direct.write([w.write(w.value("k", "v1"))]);
    await w.runtime.settle();
    expect(w.slots.look("k")).toBeUndefined();
    expect((await readOne(w.disk.direct, "k")).entry).toBeUndefined();
    expect(await get(w.sql.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: feed overwrites what is newer above (no store would let it), or `carry` reports nothing to sql.
  it("lets conditional writes see it at once", async () => {
    const w = await full();
    const v1 = w.value("k", "v1");
    await w.db.write([w.write(v1)]);
    const person = w.value("k", "a person's");
    await w.git.direct.write([w.write(person)]);
    await w.runtime.settle();
    expect(await w.db.write([w.write(w.value("k", "v3"), v1.version)])).toMatchObject([
      { status: "conflict", current: { version: person.version } },
    ]);
    await w.db.close();
  });

  // Mutation: removed (carry.ts) forgets nothing.
  it("that removes the key removes the copies", async () => {
    const w = await full();
    const v1 = w.value("k", "v1");
    await w.db.write([w.write(v1)]);
    for (const store of [w.git, w.sql]) {
      await store.direct.forget([{ key: "k", version: v1.version, reason: "collected" }]);
    }
    await w.runtime.settle();
    expect(w.slots.look("k")).toBeUndefined();
    expect((await readOne(w.disk.direct, "k")).entry).toBeUndefined();
    expect(await getFast(w.db, "k")).toBeUndefined();
    await w.db.close();
  });

  // Mutation: changeQueue does not tell of a failure (no onFailure): then nothing happens until the next change.
  it("is carried again after a store above was down, though nothing else changes", async () => {
    const w = await full();
    w.sql.down(["read", "write"]);
    await w.git.direct.write([w.write(w.value("k", "a person's"))]);
    await w.runtime.settle();
    expect(w.reports.some(({ kind, layer }) => kind === "watch-failed" && layer === "git")).toBe(true);
    w.sql.up();
    await w.runtime.advance(60_000);
    expect(await get(w.sql.direct, "k")).toBe("a person's");
    expect(watchOf(w.db, "git")).toBe("live");
    await w.db.close();
  });
});

describe("a watch that breaks", () => {
  // Mutation: carryUntilItEnds gives back `queue.carried` alone: the second failure in a row forgets the cursor.
  it("goes on after the last change it carried, however often it fails", async () => {
    const w = await full();
    await w.git.direct.write([w.write(w.value("a", "1"))]);
    await w.runtime.settle();
    w.git.down(["watch"]);
    await w.git.direct.write([w.write(w.value("b", "2"))]); // breaks it off
    await w.runtime.advance(5_000); // it fails several times
    expect(watchOf(w.db, "git")).toBe("failing");
    w.git.up();
    await w.runtime.advance(60_000);
    expect(watchOf(w.db, "git")).toBe("live");
    expect(await get(w.sql.direct, "b")).toBe("2");
    await w.db.close();
  });

  // Mutation: carryUntilItEnds watches without `initial` after a gap.
  it("with a gap gives the stores above everything there is", async () => {
    const w = await full();
    await w.db.write([w.write(w.value("k", "v1"))]);
    w.git.storm({ relist: 1 });
    await w.git.direct.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
    await w.git.direct.write([w.write(w.value("other", "v1"))]);
    w.git.storm({});
    expect(w.reports.some(({ kind }) => kind === "relist")).toBe(true);
    await w.runtime.advance(60_000);
    expect(await get(w.sql.direct, "k")).toBe("v2");
    expect(await get(w.sql.direct, "other")).toBe("v1");
    expect(await getFast(w.db, "k")).toBe("v2");
    await w.db.close();
  });

  // Mutation: missed (carry.ts) does not suspect; or does so at the gap alone and not when the watch stands again.
  it("with a gap makes every copy from before and during it suspect", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.ready();
    truth.storm({ relist: 1 });
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    await w.runtime.settle();
    await w.runtime.advance(1);
    expect(await get(db, "k")).toBe("v1");
    truth.state.copies.set("k", { entry: w.value("k", "v2"), asOf: w.runtime.now() });
    truth.storm({});
    await w.runtime.advance(1_000);
    expect(watchOf(db, "chaos(truth)")).toBe("live");
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: carryUpwards opens no gap when a watch fails; or one is closed before what was missed has been carried.
  it("makes copies suspect until it stands again, and only those that changed meanwhile are fetched", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.ready();
    await db.write([w.write(w.value("a", "a1")), w.write(w.value("b", "b1"))]);
    await w.runtime.advance(1);
    truth.down(["watch"]);
    await truth.direct.write([w.write(w.value("b", "b2"))]);
    await w.runtime.settle();
    expect([db.look("a"), db.look("b")]).toEqual([undefined, undefined]);
    expect(await get(db, "b")).toBe("b2");
    truth.up();
    const reads = truth.calls("read");
    await w.runtime.advance(10_000);
    expect(watchOf(db, "chaos(truth)")).toBe("live");
    expect(truth.calls("read")).toBe(reads);
    expect(await Promise.all(["a", "b"].map((key) => getFast(db, key)))).toEqual(["a1", "b2"]);
    expect(truth.calls("read")).toBe(reads);
    await db.close();
  });

  // Nothing comes from below what is current whenever it is asked. Mutation: gaps.ts does not end at such a layer.
  it("below a store that is always current casts no doubt on what that store gave", async () => {
    const w = await full({ asOf: "known" });
    await w.db.write([w.write(w.value("k", "v1"))]);
    await w.runtime.advance(1);
    w.git.down();
    await w.git.direct.write([w.write(w.value("other", "x"))]);
    await w.runtime.settle();
    expect(watchOf(w.db, "git")).toBe("failing");
    expect(w.db.look("k")).toBeDefined();
    w.git.up();
    await w.db.close();
  });

  // Mutation: `ready` waits for "live".
  it("at the start does not hold up `ready`", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    truth.down(["watch"]);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.ready();
    expect(watchOf(db, "chaos(truth)")).toBe("failing");
    truth.up();
    await w.runtime.advance(10_000);
    expect(watchOf(db, "chaos(truth)")).toBe("live");
    expect(w.reports.filter(({ kind }) => kind === "watch-failed")).toHaveLength(1);
    await db.close();
    expect(watchOf(db, "chaos(truth)")).toBe("off");
  });
});

describe("close", () => {
  // Mutation: shut (chain.ts) waits for the work of that moment only, or for none.
  it("waits for fills, also for those of walks that end meanwhile", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(disk), layer(truth)]);
    truth.hold();
    const read = get(db, "k");
    await w.runtime.settle();
    const closed = outcomeOf(db.close());
    await w.runtime.settle();
    disk.hang({ verbs: ["write"] });
    truth.release();
    expect(await read).toBe("v1");
    await w.runtime.settle();
    expect(closed.done).toBe(false);
    disk.resume();
    await w.runtime.settle();
    expect(closed).toMatchObject({ done: true });
    expect(disk.state.copies.has("k")).toBe(true);
    expect(w.reports).toEqual([]);
  });

  // Mutation: shut does not abort the watches.
  it("ends its watches and the watches of others on it, quietly", async () => {
    const w = await full();
    const seen: string[] = [];
    const told = (async () => {
      for await (const change of w.db.watch({ prefix: "" })) seen.push(change.kind);
    })();
    await w.runtime.settle();
    await w.db.close();
    await told;
    expect(seen).toEqual(["current"]);
    expect(w.runtime.pendingTimers).toBe(0);
    await expect(w.db.read(["k"])).rejects.toMatchObject({ code: "CLOSED" });
    await w.db.close();
  });
});
