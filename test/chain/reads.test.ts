import { describe, expect, it, vi } from "vitest";
import { floors } from "../../src/chain/floors.ts";
import { Gate } from "../../src/chain/gate.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerOptions } from "../../src/chain/layer.ts";
import { negatives } from "../../src/chain/negative.ts";
import { NO_META, stubOf } from "../../src/entry.ts";
import type { Head } from "../../src/entry.ts";
import { formatVersion } from "../../src/version.ts";
import { drain, get, getFast, outcomeOf, readOne, textOf, world } from "./world.ts";

const RECORD = { durable: true, shared: true } as const;

const head = (key: string, ms: number, parts: Partial<Head> = {}): Head => {
  const version = formatVersion(2 ** 40 + ms, 0, "00000000000000aa");
  return { key, state: "value", version, expires: null, meta: NO_META, ...parts };
};

describe("floors", () => {
  // Mutation: raise takes any version; get does not look at the life.
  it("rise only, and end with their life", () => {
    const known = floors(1_000, 100, new Gate());
    expect(known.raise(head("k", 2), 0)).toBe(true);
    expect(known.raise(head("k", 1), 0)).toBe(false);
    expect(known.raise(head("k", 2), 0)).toBe(false);
    expect(known.get("k", 999)).toEqual({ version: head("k", 2).version, dead: false });
    expect(known.get("k", 1_000)).toBeUndefined();
    expect(known.raise(head("k", 1), 1_000)).toBe(true);
  });

  // Mutation: get does not look at deletion or expiry; raise forgets them for a stub of the same version.
  it("know what is gone", () => {
    const known = floors(1_000, 100, new Gate());
    known.raise(head("deleted", 1, { state: "deleted" }), 0);
    known.raise(head("deleted", 1, { state: "stub" }), 0);
    known.raise(head("expiring", 1, { expires: 500 }), 0);
    known.raise(head("expiring", 1, { state: "stub" }), 0);
    expect(known.get("deleted", 1)?.dead).toBe(true);
    expect(known.get("expiring", 499)?.dead).toBe(false);
    expect(known.get("expiring", 500)?.dead).toBe(true);
  });

  // Mutation: what is dropped before its time is not made up for (turn in floors.ts).
  it("that have no room left make every copy from before suspect", () => {
    const known = floors(1_000, 100, new Gate());
    for (let i = 0; i < 1_000; i++) known.raise(head(`k${i}`, 1), i / 10);
    expect(known.size).toBeLessThanOrEqual(100);
    expect(known.suspectUntil).toBeGreaterThan(0);
    for (let i = 0; i < 1_000; i++) {
      const since = i / 10;
      // Either the floor is known still, or a copy from before it counts as suspect.
      expect(known.get(`k${i}`, 100) !== undefined || since <= known.suspectUntil).toBe(true);
    }
  });

  // Mutation: turn suspects whatever it drops.
  it("that end in their own time make nothing suspect", () => {
    const known = floors(1_000, 100, new Gate());
    for (let i = 0; i < 1_000; i++) known.raise(head(`k${i}`, 1), i * 100);
    expect(known.suspectUntil).toBe(0);
    expect(known.size).toBeLessThanOrEqual(100);
  });
});

describe("negative entries", () => {
  // Mutation: add keeps all; get does not look at the age.
  it("are bounded in number and age", () => {
    const absent = negatives(1_000, 100);
    for (let i = 0; i < 1_000; i++) absent.add(`k${i}`, 5_000, 5_000);
    expect(absent.size).toBeLessThanOrEqual(100);
    expect(absent.get("k999", 5_999)).toBe(5_000);
    expect(absent.get("k999", 6_000)).toBeUndefined();
    absent.add("future", 7_000, 5_000);
    expect(absent.get("future", 6_999)).toBeUndefined();
  });

  // Mutation: a generation ends only when it is full.
  it("are not kept for longer than two times their age", () => {
    const absent = negatives(1_000, 100_000);
    for (let now = 5_000; now < 15_000; now++) absent.add(`k${now}`, now, now);
    expect(absent.size).toBeLessThanOrEqual(2_000);
    expect(absent.get("k14001", 15_000)).toBe(14_001);
  });
});

describe("a read of one key", () => {
  const held = async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth, { watch: false })]);
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    truth.hold();
    return { ...w, truth, db };
  };

  // Mutations: readKey gives each reader a promise of its own, or one with a deadline that of the others.
  it("shares one promise with those who share its walk, but for a deadline of its own", async () => {
    const { db, truth, runtime, write, value } = await held();
    const first = db.readOne("k");
    expect(db.readOne("k")).toBe(first);
    const deadline = runtime.monotonic() + 10;
    const hurried = db.readOne("k", { deadline });
    const refused = expect(hurried).rejects.toMatchObject({ code: "TIMEOUT" });
    await runtime.advance(10);
    await refused;
    expect(db.readOne("k")).toBe(first);
    // Who comes after a write shares nothing with those who came before it.
    await db.write([write(value("k", "v2"))]);
    const later = db.readOne("k");
    expect(later).not.toBe(first);
    truth.release();
    expect([textOf(await first), textOf(await later)]).toEqual(["v1", "v2"]);
    expect(await db.read(["k"])).toEqual([await db.readOne("k")]);
    await db.close();
  });

  // Mutation: readTogether does not wait for walks that it joined.
  it("is waited for by a read of many that shares its walk", async () => {
    const { db, truth, write, value } = await held();
    truth.release();
    await truth.direct.write([write(value("l", "l1"))]);
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    vi.spyOn(truth, "read").mockImplementationOnce(async (keys, options) => {
      await gate;
      return truth.direct.read(keys, options);
    });
    const one = db.readOne("k");
    const many = db.read(["l", "k", "l"]);
    let isOver = false;
    void many.then(() => {
      isOver = true;
    });
    for (let i = 0; i < 5; i++) await drain();
    expect([isOver, db.look("l") !== undefined]).toEqual([false, true]);
    open();
    expect((await many).map(textOf)).toEqual(["l1", "v1", "l1"]);
    expect((await many)[1]).toBe(await one);
    await db.close();
  });

  // Mutation: the Party does not catch what is thrown while it goes on, or tells it to nobody.
  it("that meets a defect is told so, and holds up nobody", async () => {
    const { db, truth, clock } = await held();
    const defect = vi.spyOn(clock, "observe").mockImplementation(() => {
      throw new RangeError("a defect");
    });
    const one = expect(db.readOne("k")).rejects.toMatchObject({ code: "INTERNAL", key: "k" });
    const many = expect(db.read(["k", "l"])).rejects.toMatchObject({ answers: [{ code: "INTERNAL" }, {}] });
    truth.release();
    await Promise.all([one, many]);
    defect.mockRestore();
    expect(await get(db, "k")).toBe("v1");
    await db.close();
  });
});

describe("a read of more keys than a layer takes", () => {
  // Mutation: `ask` of the Party asks for all of them at once.
  it("asks it batch by batch", async () => {
    const w = await world();
    const truth = w.store("truth", { ...RECORD, batchMax: 2 });
    const db = w.open([layer(w.memory()), layer(truth, { watch: false })]);
    const keys = ["a", "b", "c", "d", "e"];
    for (const key of keys) await truth.direct.write([w.write(w.value(key, key))]);
    expect((await db.read(keys)).map(textOf)).toEqual(keys);
    expect(truth.calls("read")).toBe(3);
    await db.close();
  });
});

describe("stale while refreshing", () => {
  const old = async (options: LayerOptions = {}) => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const times = { ttlMs: 1_000, graceMs: 5_000, staleWhileRefresh: true, ...options };
    const db = w.open([layer(w.memory(), times), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1"))]);
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    await w.runtime.advance(1_001);
    return { ...w, truth, db };
  };

  // Mutation: settle does not call refresh; isUnderWay is always false.
  it("answers the old copy at once, marked, and fetches the new one once", async () => {
    const w = await old();
    const answers = await Promise.all(Array.from({ length: 10 }, () => readOne(w.db, "k")));
    expect(answers.every(({ stale }) => stale)).toBe(true);
    await w.runtime.settle();
    expect(w.truth.calls("read")).toBe(1);
    expect(await getFast(w.db, "k")).toBe("v2");
    await w.db.close();
  });

  // Mutation: maySend does not look at the freshness asked for, or at the grace.
  it("is not for maxAge, authority, or what is past its grace", async () => {
    const w = await old();
    expect(await readOne(w.db, "k", { maxAgeMs: 100 })).toMatchObject({ stale: false });
    const x = await old();
    expect(await get(x.db, "k", { authority: true })).toBe("v2");
    const y = await old();
    await y.runtime.advance(5_000);
    expect(await readOne(y.db, "k")).toMatchObject({ stale: false });
    for (const { db } of [w, x, y]) await db.close();
  });

  // Mutation: maySend sends dead copies.
  it("is not for what is deleted: a stale tombstone uncovers nothing and stops nothing", async () => {
    const w = await old();
    await w.db.write([w.write(w.tombstone("k"))]);
    await w.runtime.advance(1_001);
    await w.truth.direct.write([w.write(w.value("k", "v4"))]);
    expect(await get(w.db, "k")).toBe("v4");
    await w.db.close();
  });
});

describe("ghosts: what no store has", () => {
  const haunted = async () => {
    const w = await world();
    const [disk, sql] = [w.store("disk"), w.store("sql", RECORD)];
    const git = w.store("git", { ...RECORD, conditional: false });
    const options = { ttlMs: 1_000, graceMs: 600_000 };
    const db = w.open([
      layer(disk, { ...options, name: "disk" }),
      layer(sql, { role: "store", name: "sql", watch: false }),
      layer(git, { name: "git", watch: false }),
    ]);
    const v1 = w.value("k", "v1");
    for (const store of [sql, git]) await store.direct.write([w.write(v1)]);
    const ghost = w.value("k", "ghost");
    await disk.direct.write([w.write(ghost)]);
    const stub = stubOf(w.value("only", "x"));
    await disk.direct.write([w.write(stub)]);
    await w.runtime.advance(61_000); // past every ttl
    return { ...w, disk, sql, git, db, ghost, older: v1.version };
  };

  // Mutation: concludeAtEnd does not call withoutGhosts; dropGhosts does nothing.
  it("are not answered and leave the caches, when every store was asked", async () => {
    const w = await haunted();
    expect(await get(w.db, "k", { maxAgeMs: 0 })).toBe("v1");
    expect(await get(w.db, "only")).toBeUndefined();
    await w.runtime.settle();
    expect((await readOne(w.disk.direct, "only")).entry).toBeUndefined();
    expect(await get(w.disk.direct, "k")).not.toBe("ghost");
    await w.db.close();
  });

  // Mutation: withoutGhosts is asked whether or not the walk was complete.
  it("stay while a store is silent", async () => {
    const w = await haunted();
    w.sql.down(["read"]);
    expect(await readOne(w.db, "k")).toMatchObject({ stale: true, entry: { version: w.ghost.version } });
    await expect(readOne(w.db, "only")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(w.disk.calls("forget")).toBe(0);
    await w.db.close();
  });

  // Mutation: withoutGhosts does not look at the floor.
  it("stay while this process knows the version itself: then a store went back, which is said", async () => {
    const w = await haunted();
    const v3 = w.value("k", "v3");
    await w.db.write([w.write(v3)]);
    for (const store of [w.sql, w.git]) {
      await store.direct.forget([{ key: "k", version: v3.version, reason: "ghost" }]);
      await store.direct.write([w.write(w.value("k", "restored", { version: w.older }))]);
    }
    await w.runtime.advance(1_500);
    await expect(readOne(w.db, "k", { authority: true })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(w.disk.calls("forget")).toBe(0);
    await w.db.close();
  });

  // Mutation: a ghost ends what was known before it, in forget.ts, as what is collected does.
  it("that are forgotten take nothing with them that this process knows", async () => {
    const w = await haunted();
    const v3 = w.value("k", "v3");
    await w.db.write([w.write(v3)]);
    await w.db.forget([{ key: "k", version: w.value("k", "of a layer above").version, reason: "ghost" }]);
    for (const { state } of [w.sql, w.git, w.disk]) {
      state.copies.set("k", { entry: w.value("k", "restored", { version: w.older }), asOf: w.runtime.now() });
    }
    await expect(readOne(w.db, "k", { authority: true })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await w.db.close();
  });
});

describe("versions that the caller has seen", () => {
  // Mutation: begin (walk.ts) does not take atLeast into the top; sharedAnswer is used for such reads.
  it("make the walk go on until they are met", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await disk.direct.write([w.write(w.value("k", "v1"))]);
    const v2 = w.value("k", "v2");
    await truth.direct.write([w.write(v2)]);
    const db = w.open([layer(w.memory()), layer(disk), layer(truth, { watch: false })]);
    expect(await get(db, "k")).toBe("v1");
    expect(await get(db, "k", { atLeast: new Map([["k", v2.version]]) })).toBe("v2");
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });
});

describe("freshness", () => {
  // Mutation: isFresh compares with ttl alone for maxAge; startedAt is taken at the reply.
  it("maxAgeMs is met exactly at its edge", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory(), { jitter: 0 }), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1"))]);
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    await w.runtime.advance(100);
    expect(await get(db, "k", { maxAgeMs: 100 })).toBe("v1");
    expect(await get(db, "k", { maxAgeMs: 99 })).toBe("v2");
    await db.close();
  });

  // Mutation: a fill takes the time of the answer for its asOf.
  it("a copy is as old as the asking, not as the answer", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const slots = w.memory();
    const db = w.open([layer(slots), layer(truth, { watch: false })]);
    const startedAt = w.runtime.now();
    truth.hold();
    const read = outcomeOf(get(db, "k"));
    await w.runtime.advance(5_000);
    truth.release();
    await w.runtime.settle();
    expect(read.value).toBe("v1");
    expect(slots.look("k")?.asOf).toBe(startedAt);
    await db.close();
  });

  // Mutation: concludeFound does not renew the winner: then every read walks to the end until the flush.
  it("a walk to the end renews a winner that only an upper store has", async () => {
    const w = await world();
    const [local, truth] = [w.store("local"), w.store("truth", RECORD)];
    const slots = w.memory();
    const db = w.open([
      layer(slots, { ttlMs: 1_000 }),
      layer(local, { role: "store", ttlMs: 1_000 }),
      layer(truth, { watch: false }),
    ]);
    await local.direct.write([w.write(w.value("k", "v2"))]);
    await truth.direct.write([w.write(w.value("k", "v1", { version: formatVersion(2 ** 40, 0, w.clock.node) }))]);
    await w.runtime.advance(2_000);
    expect(await readOne(db, "k")).toMatchObject({ stale: false, asOf: w.runtime.now() });
    await w.runtime.settle();
    expect(slots.look("k")?.asOf).toBe(w.runtime.now());
    await db.close();
  });

  // Mutation: layersToFill leaves out layers that have the copy, however old.
  it("a walk to the end renews the winner's age everywhere", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const times = { ttlMs: 1_000 };
    const slots = w.memory();
    const db = w.open([layer(slots, times), layer(disk, times), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1"))]);
    await w.runtime.advance(2_000);
    expect(await get(db, "k")).toBe("v1");
    await w.runtime.settle();
    expect(slots.look("k")?.asOf).toBe(w.runtime.now());
    expect((await readOne(disk.direct, "k")).asOf).toBe(w.runtime.now());
    await db.close();
  });

  // Mutation: knownAsOf takes a date in the future for a young age.
  it("a copy dated in the future is of unknown age", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await disk.direct.write([{ entry: w.value("k", "v1"), asOf: w.runtime.now() + 60_000 }]);
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    const db = w.open([layer(disk), layer(truth, { watch: false })]);
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: advance lets a tombstone or an expired entry stop the walk whatever its age.
  it("an old tombstone does not hide a newer value", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await disk.direct.write([{ entry: w.tombstone("k"), asOf: w.runtime.now() - 61_000 }]);
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    const db = w.open([layer(disk), layer(truth, { watch: false })]);
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });
});
