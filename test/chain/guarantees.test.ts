import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { get, getFast, outcomeOf, world } from "./world.ts";

/** The promises of docs/consistency.md about who sees what. Beside each test: the change of src that it catches. */

const RECORD = { durable: true, shared: true } as const;

const unhandled: unknown[] = [];
const note = (reason: unknown) => void unhandled.push(reason);
beforeAll(() => void process.on("unhandledRejection", note));
afterAll(() => void process.off("unhandledRejection", note));
// Mutation: newFlight without `answer.catch`, or forCaller without `work.catch`.
afterEach(() => expect(unhandled).toEqual([]));

describe("1. readers of a key share a walk, and absence is remembered", () => {
  // Mutation: `joinable` of flight.ts returns undefined.
  it("100 gets at once of a key that only the last layer has are one read of it", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(w.memory()), layer(disk), layer(truth)]);
    const values = await Promise.all(Array.from({ length: 100 }, () => getFast(db, "k")));
    expect(new Set(values)).toEqual(new Set(["v1"]));
    expect([disk.calls("read"), truth.calls("read")]).toEqual([1, 1]);
    await db.close();
  });

  // Mutation: a Party asks for its keys one by one.
  it("100 keys in one read are one call of each layer", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const db = w.open([layer(w.memory()), layer(disk), layer(truth)]);
    await db.read(Array.from({ length: 100 }, (_, i) => `k${i}`));
    expect([disk.calls("read"), truth.calls("read")]).toEqual([1, 1]);
    await db.close();
  });

  // Mutation: settle does not call `negatives.add`.
  it("ten misses of a key are one walk, for as long as negativeTtlMs", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)], { negativeTtlMs: 1_000 });
    for (let i = 0; i < 10; i++) expect(await get(db, "k")).toBeUndefined();
    expect(truth.calls("read")).toBe(1);
    await truth.direct.write([w.write(w.value("k", "v1"))]); // nobody watches this store
    await w.runtime.advance(1_001);
    expect(await get(db, "k")).toBe("v1");
    await db.close();
  });

  // Mutation: `negatives.delete` gone from learn (write.ts), and from sharedAnswer the look at the floor.
  it("a write ends the memory of an absence", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(truth, { watch: false })]);
    expect(await get(db, "k")).toBeUndefined();
    await db.write([w.write(w.value("k", "v1"))]);
    await db.write([w.write(w.value("other", "x"))]); // evicts k
    expect(await getFast(db, "k")).toBe("v1");
    await db.close();
  });

  // Mutation: `negatives.delete` gone from invalidate, and from sharedAnswer the look at the floor.
  it("a watched change ends the memory of an absence", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)], { negativeTtlMs: 60_000 });
    await db.ready();
    expect(await get(db, "k")).toBeUndefined();
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    await w.runtime.settle();
    expect(await get(db, "k")).toBe("v1");
    await db.close();
  });

  // Mutation: settle adds the negative entry of an overtaken flight, and sharedAnswer does not look at the floor.
  it("a walk that a write overtook leaves no memory of an absence", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(truth)]);
    truth.hold();
    const early = get(db, "k");
    await w.runtime.settle();
    await db.write([w.write(w.value("k", "v1"))]);
    await db.write([w.write(w.value("other", "x"))]);
    truth.release();
    expect(await early).toBeUndefined();
    expect(await getFast(db, "k")).toBe("v1");
    await db.close();
  });
});

describe("2. nobody goes back behind a write", () => {
  for (const entriesMax of [1_000, 1]) {
    // Mutation: settle and finish (party.ts) do not look at `isLateWith`.
    it(`a get in flight while set(v2) fills nothing, memory of ${entriesMax}`, async () => {
      const w = await world();
      const truth = w.store("truth", RECORD);
      await truth.direct.write([w.write(w.value("k", "v1"))]);
      const db = w.open([layer(w.memory({ entriesMax })), layer(truth)]);
      truth.hold();
      const early = get(db, "k");
      await w.runtime.settle();
      await db.write([w.write(w.value("k", "v2"))]);
      await db.write([w.write(w.value("other", "x"))]);
      truth.release();
      expect(await early).toBe("v1"); // it began before
      for (let i = 0; i < 3; i++) expect(await getFast(db, "k")).toBe("v2");
      await db.close();
    });

    // The same mutation.
    it(`a get in flight while delete fills nothing, memory of ${entriesMax}`, async () => {
      const w = await world();
      const truth = w.store("truth", RECORD);
      await truth.direct.write([w.write(w.value("k", "v1"))]);
      const db = w.open([layer(w.memory({ entriesMax })), layer(truth)]);
      truth.hold();
      const early = get(db, "k");
      await w.runtime.settle();
      await db.write([w.write(w.tombstone("k"))]);
      await db.write([w.write(w.value("other", "x"))]);
      truth.release();
      await early;
      for (let i = 0; i < 3; i++) expect(await getFast(db, "k")).toBeUndefined();
      await db.close();
    });
  }

  // Mutation: `joinable` (flight.ts) does not look at `overtaken`.
  it("a get after a set does not join a walk from before it", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(truth)]);
    truth.hold();
    const early = get(db, "k");
    await w.runtime.settle();
    await db.write([w.write(w.value("k", "v2"))]);
    await db.write([w.write(w.value("other", "x"))]);
    const later = get(db, "k");
    await w.runtime.settle();
    truth.release();
    expect(await Promise.all([early, later])).toEqual(["v1", "v2"]);
    await db.close();
  });

  // Mutation: walkTogether gives `begin` no floor.
  it("a fill that lands in a cache after everything forgot v2 is not answered", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const v1 = w.value("k", "v1");
    await truth.direct.write([w.write(v1)]);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(disk), layer(truth)]);
    const v2 = w.value("k", "v2");
    await db.write([w.write(v2)]);
    await db.write([w.write(w.value("other", "x"))]);
    await disk.direct.forget([{ key: "k", version: v2.version, reason: "ghost" }]);
    await disk.direct.write([{ entry: v1, asOf: w.runtime.now() }]); // what hung in a queue lands now
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: `within` (call.ts) has no timer: the read then waits for as long as the layer likes.
  it("an answer that comes after the layer's deadline is dropped", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const v1 = w.value("k", "v1");
    await disk.direct.write([w.write(v1)]);
    await truth.direct.write([w.write(v1)]);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(disk, { deadlineMs: 500 }), layer(truth)]);
    disk.hold();
    const early = outcomeOf(get(db, "k"));
    await w.runtime.advance(500);
    expect(early).toMatchObject({ done: true, value: "v1" });
    const set = db.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
    await set;
    await db.write([w.write(w.value("other", "x"))]);
    disk.release();
    await w.runtime.settle();
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: settle (party.ts) does not overtake the other walks of a key when the floor rises.
  it("a walk that another read overtook fills nothing and is joined by nobody", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await disk.direct.write([w.write(w.value("k", "v1"))]);
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(disk), layer(truth)]);
    disk.hold();
    const slow = get(db, "k");
    await w.runtime.settle();
    expect(await get(db, "k", { authority: true })).toBe("v2");
    const later = get(db, "k");
    await w.runtime.settle();
    disk.release();
    await db.write([w.write(w.value("other", "x"))]); // evicts k
    await slow;
    expect(await later).toBe("v2");
    await w.runtime.settle();
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: `isLateWith` is true of what is just as new, as of what a node reads while it is told of it.
  it("a walk fills what it found when nothing newer became known", async () => {
    const w = await world();
    const [memory, disk, truth] = [w.memory(), w.store("disk"), w.store("truth", RECORD)];
    const v1 = w.value("k", "v1");
    for (const store of [disk, truth]) await store.direct.write([w.write(v1)]);
    const db = w.open([layer(memory), layer(disk), layer(truth)]);
    disk.hold();
    const slow = get(db, "k");
    await w.runtime.settle();
    expect(await get(db, "k", { authority: true })).toBe("v1");
    await memory.forget([{ key: "k", version: v1.version, reason: "ghost" }]);
    expect(memory.held("k")).toBeUndefined();
    disk.release();
    expect(await slow).toBe("v1");
    await w.runtime.settle();
    expect(memory.held("k")).toBeDefined();
    await db.close();
  });

  // Mutation: settle does not take the older copy out of memory when the walk that found a newer one was overtaken.
  it("memory does not keep what an overtaken walk found to be old", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.write([w.write(w.value("k", "v1"))]);
    truth.state.copies.set("k", { entry: w.value("k", "v2"), asOf: w.runtime.now() }); // not told to any watch
    truth.hold();
    const fresh = get(db, "k", { authority: true });
    await w.runtime.settle();
    truth.failNth(1, { verb: "write" });
    const [result] = await db.write([w.write(w.value("k", "v3"))]);
    expect(result?.status).toBe("failed");
    truth.release();
    expect(await fresh).toBe("v2");
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: the life of floors (state.ts) does not cover the grace of the layers.
  it("an old copy within its grace is not answered behind an own write", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const v1 = w.value("k", "v1");
    const v2 = w.value("k", "v2");
    const db = w.open([
      layer(w.memory({ entriesMax: 1 }), { ttlMs: 1_000 }),
      layer(disk, { ttlMs: 1_000, graceMs: 600_000, staleWhileRefresh: true }),
      layer(truth),
    ]);
    await db.write([w.write(v2)]);
    await db.write([w.write(w.value("other", "x"))]);
    await disk.direct.forget([{ key: "k", version: v2.version, reason: "ghost" }]);
    await disk.direct.write([w.write(v1)]);
    await w.runtime.advance(400_000);
    expect(await get(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: invalidate.ts writes no stubs into memory.
  it("another process sees a write once its watch delivered it", async () => {
    const w = await world();
    const [region, truth] = [w.store("region", { shared: true }), w.store("truth", RECORD)];
    const layers = () => [layer(w.memory()), layer(region, { name: "region" }), layer(truth)];
    const [here, there] = [await w.process(layers()), await w.process(layers())];
    await there.ready();
    await here.write([w.write(w.value("k", "v1"))]);
    await w.runtime.settle();
    expect(await getFast(there, "k")).toBe("v1");
    for (const store of [region, truth]) store.hang({ verbs: ["read"] }); // nobody can fetch it yet
    await here.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
    expect(there.look("k")).toBeUndefined();
    for (const store of [region, truth]) store.resume();
    expect(await getFast(there, "k")).toBe("v2");
    await Promise.all([here.close(), there.close()]);
  });

  // Mutation: invalidate.ts does not raise the floor.
  it("after that no late fill brings v1 back", async () => {
    const w = await world();
    const [region, truth] = [w.store("region", { shared: true }), w.store("truth", RECORD)];
    const layers = () => [layer(w.memory({ entriesMax: 1 })), layer(region, { name: "region" }), layer(truth)];
    const [here, there] = [await w.process(layers()), await w.process(layers())];
    await there.ready();
    const [v1, v2] = [w.value("k", "v1"), w.value("k", "v2")];
    await here.write([w.write(v1)]);
    await here.write([w.write(v2)]);
    await w.runtime.settle();
    await region.direct.forget([{ key: "k", version: v2.version, reason: "ghost" }]);
    await region.direct.write([w.write(v1)]);
    for (let i = 0; i < 3; i++) {
      expect(await getFast(there, "k")).toBe("v2");
      await there.write([w.write(w.value("other", `${i}`))]);
    }
    await Promise.all([here.close(), there.close()]);
  });

  // Mutation: invalidate.ts does not overtake the walks under way.
  it("a walk that a watched change overtook fills nothing", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.ready();
    truth.hold();
    const early = get(db, "k");
    await w.runtime.settle();
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
    const later = get(db, "k");
    await w.runtime.settle();
    truth.release();
    await early;
    expect(await later).toBe("v2");
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: look.ts gives a slot no deadline; walk.ts isFresh is always true.
  it("without a watch another process sees a write at the latest after ttl", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const layers = () => [
      layer(w.memory(), { ttlMs: 1_000 }),
      layer(w.store("disk"), { ttlMs: 1_000 }),
      layer(truth, { watch: false }),
    ];
    const [here, there] = [await w.process(layers()), await w.process(layers())];
    await here.write([w.write(w.value("k", "v1"))]);
    expect(await getFast(there, "k")).toBe("v1");
    await here.write([w.write(w.value("k", "v2"))]);
    await w.runtime.advance(1_001);
    expect(await getFast(there, "k")).toBe("v2");
    await Promise.all([here.close(), there.close()]);
  });

  // Mutation: look.ts does not look at `suspectUntil`.
  it("after a gap in the watch memory is asked again", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.ready();
    await db.write([w.write(w.value("k", "v1"))]);
    truth.state.copies.set("k", { entry: w.value("k", "v2"), asOf: w.runtime.now() });
    truth.storm({ relist: 1 });
    await w.runtime.advance(1);
    await truth.direct.write([w.write(w.value("any", "x"))]);
    await w.runtime.settle();
    truth.storm({});
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });

  // Mutation: look.ts does not refuse a slot that is dated after now.
  it("a clock that steps back does not make memory fresh for longer", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory(), { ttlMs: 1_000 }), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1"))]);
    expect(await getFast(db, "k")).toBe("v1");
    await truth.direct.write([w.write(w.value("k", "v2"))]);
    w.runtime.stepWall(-3_600_000);
    await w.runtime.advance(1_001);
    expect(await getFast(db, "k")).toBe("v2");
    await db.close();
  });
});
