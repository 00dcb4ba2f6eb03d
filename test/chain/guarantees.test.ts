import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import type { Listed, Store } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import { get, getFast, outcomeOf, readOne, textOf, world } from "./world.ts";

/** What docs/consistency.md promises. Beside each test stands the change of src that makes it fail. */

const RECORD = { durable: true, shared: true } as const;

const unhandled: unknown[] = [];
const note = (reason: unknown) => void unhandled.push(reason);
beforeAll(() => void process.on("unhandledRejection", note));
afterAll(() => void process.off("unhandledRejection", note));
// Mutation: newFlight without `answer.catch`, or forCaller without `work.catch`.
afterEach(() => expect(unhandled).toEqual([]));

async function keysOf(store: Store, partials: Listed[] = []): Promise<string[]> {
  const keys: string[] = [];
  for await (const item of store.list({ prefix: "" }, { detail: "values" })) {
    if (item.kind === "partial") partials.push(item);
    else if (item.head?.state === "value" && item.value !== null) keys.push(item.key);
  }
  return keys;
}

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

  // Mutation: walkTogether walks its keys one by one.
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
    const db = w.open([layer(w.memory({ entriesMax: 1 })), layer(w.store("truth", RECORD))]);
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
    // Mutation: fill and finish (read.ts) do not look at `flight.overtaken`.
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

  // Mutation: settle (read.ts) does not overtake the other walks of a key when the floor rises.
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

  // Mutation: settle does not take the older copy out of memory when the walk that found a newer one was overtaken.
  it("memory does not keep what an overtaken walk found to be old", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory()), layer(truth)]);
    await db.write([w.write(w.value("k", "v1"))]);
    await truth.state.copies.set("k", { entry: w.value("k", "v2"), asOf: w.runtime.now() }); // not told to any watch
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
    await here.write([w.write(w.value("k", "v2"))]);
    await w.runtime.settle();
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

describe("3. a layer that is down or hangs", () => {
  const NAMES = ["disk", "region"] as const;
  for (const name of NAMES) {
    for (const trouble of ["down", "hang"] as const) {
      // Mutation: advance (walk.ts) counts a failed cache as silent; `within` (call.ts) has no timer.
      it(`a cache that ${trouble === "down" ? "is down" : "hangs"} is passed within its deadline: ${name}`, async () => {
        const w = await world();
        const caches = { disk: w.store("disk"), region: w.store("region", { shared: true }) };
        const truth = w.store("truth", RECORD);
        await truth.direct.write([w.write(w.value("k", "v1"))]);
        const db = w.open([
          layer(w.memory()),
          layer(caches.disk, { name: "disk", deadlineMs: 300 }),
          layer(caches.region, { name: "region", deadlineMs: 300 }),
          layer(truth),
        ]);
        caches[name][trouble]();
        const found = outcomeOf(readOne(db, "k"));
        const missed = outcomeOf(readOne(db, "absent"));
        await w.runtime.advance(300);
        expect(found).toMatchObject({ done: true, value: { stale: false, complete: true } });
        expect(missed).toMatchObject({ done: true, value: { entry: undefined, stale: false } });
        const write = outcomeOf(db.write([w.write(w.value("k", "v2"))]));
        await w.runtime.advance(300);
        expect(write).toMatchObject({ done: true, value: [{ status: "stored" }] });
        await w.runtime.advance(2_000);
        expect(await getFast(db, "k")).toBe("v2");
        await db.close();
      });
    }
  }

  const below = async (trouble: "down" | "hang") => {
    const w = await world();
    const memory = w.memory();
    const sql = w.store("sql", RECORD);
    const git = w.store("git", { ...RECORD, conditional: false });
    const db = w.open([
      layer(memory),
      layer(sql, { name: "sql", role: "store", deadlineMs: 400, watch: false }),
      layer(git, { name: "git", watch: false }),
    ]);
    if (trouble === "hang") sql.hang({ verbs: ["read", "write"] });
    else sql.down(["read", "write"]);
    return { ...w, slots: memory, sql, git, db };
  };

  for (const trouble of ["down", "hang"] as const) {
    const says = trouble === "down" ? "that is down" : "that hangs";
    // Mutation: concludeAtLayer and concludeFound do not look at `silent`.
    it(`an answer from below a store ${says} is stale and fills nothing`, async () => {
      const w = await below(trouble);
      await w.git.direct.write([w.write(w.value("k", "v1"))]);
      const read = outcomeOf(readOne(w.db, "k"));
      await w.runtime.advance(400);
      expect(read).toMatchObject({ done: true, value: { stale: true, complete: false } });
      await w.runtime.settle();
      expect(w.slots.look("k")).toBeUndefined();
      expect(w.db.look("k")).toBeUndefined();
      w.sql.up();
      w.sql.resume();
      await w.sql.direct.write([w.write(w.value("k", "v2"))]);
      await w.runtime.advance(10_000);
      expect(await getFast(w.db, "k")).toBe("v2");
      await w.db.close();
    });

    // The same mutation.
    it(`below a store ${says} neither maxAge nor authority is satisfied`, async () => {
      const w = await below(trouble);
      await w.git.direct.write([w.write(w.value("k", "v1"))]);
      const aged = outcomeOf(readOne(w.db, "k", { maxAgeMs: 1_000 }));
      const strict = outcomeOf(readOne(w.db, "k", { authority: true }));
      await w.runtime.advance(400);
      expect(aged).toMatchObject({ done: true, value: { stale: true } });
      expect(strict).toMatchObject({ done: true, error: { code: "UNAVAILABLE", retryable: true } });
      await w.db.close();
    });

    // Mutation: concludeAbsent does not look at `silent`; conclude… lets a stale tombstone through.
    it(`below a store ${says} nothing is reported missing`, async () => {
      const w = await below(trouble);
      await w.git.direct.write([w.write(w.tombstone("deleted"))]);
      await w.git.direct.write([w.write(w.value("expired", "x", { expires: w.runtime.now() - 1 }))]);
      const reads = ["absent", "deleted", "expired"].map((key) => outcomeOf(readOne(w.db, key)));
      await w.runtime.advance(400);
      for (const read of reads) expect(read).toMatchObject({ done: true, error: { code: "UNAVAILABLE" } });
      await w.db.close();
    });
  }

  // Mutation: concludeAbsent does not look at `silent`, concludeFound not at the grace.
  it("with the source of truth down, a cache answers within ttl and grace, stale after ttl", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const disk = w.store("disk");
    const times = { ttlMs: 1_000, graceMs: 2_000 };
    const db = w.open([layer(w.memory(), times), layer(disk, times), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1"))]);
    truth.down();
    expect(await readOne(db, "k")).toMatchObject({ stale: false });
    await w.runtime.advance(1_500);
    expect(await readOne(db, "k")).toMatchObject({ stale: true });
    await expect(readOne(db, "k", { authority: true })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(readOne(db, "absent")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await w.runtime.advance(2_000);
    await expect(readOne(db, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await db.close();
  });

  // Mutation: `joinable` (flight.ts) also gives out walks that ask for more than a cached read.
  it("a cached read does not wait for an authority read that hangs", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const v1 = w.value("k", "v1");
    await disk.direct.write([w.write(v1)]);
    const db = w.open([layer(w.memory()), layer(disk), layer(truth)]);
    truth.hang({ verbs: ["read"] });
    const strict = outcomeOf(readOne(db, "k", { authority: true }));
    await w.runtime.settle();
    const cached = outcomeOf(get(db, "k"));
    await w.runtime.settle();
    expect(cached).toMatchObject({ done: true, value: "v1" });
    expect(strict.done).toBe(false);
    await w.runtime.advance(10_000);
    expect(strict).toMatchObject({ done: true, error: { code: "UNAVAILABLE" } });
    await db.close();
  });

  // Mutation: concludeAbsent without its STUB line.
  it("a live stub never ends in a miss", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", { ...RECORD, stubs: true })];
    const sql = w.store("sql", RECORD);
    await sql.direct.write([w.write(w.value("k", "", { state: "stub", value: null }))]);
    const db = w.open([layer(disk), layer(sql, { role: "store" }), layer(truth)]);
    await expect(readOne(db, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await db.close();
  });

  // Mutation: readKeys starts its walk without `.catch`, or newFlight without `answer.catch`.
  it("a reader that gave up leaves no unhandled rejection, and the walk goes on for the others", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write([w.write(w.value("k", "v1"))]);
    const db = w.open([layer(disk, { deadlineMs: 300 }), layer(truth)]);
    disk.hang();
    const controller = new AbortController();
    const impatient = outcomeOf(readOne(db, "k", { signal: controller.signal }));
    const late = outcomeOf(readOne(db, "k", { deadline: w.runtime.monotonic() + 100 }));
    const patient = outcomeOf(get(db, "k"));
    await w.runtime.settle();
    controller.abort();
    await w.runtime.advance(100);
    expect(impatient).toMatchObject({ done: true, error: { code: "ABORTED" } });
    expect(late).toMatchObject({ done: true, error: { code: "TIMEOUT" } });
    expect(patient.done).toBe(false);
    await w.runtime.advance(200);
    expect(patient).toMatchObject({ done: true, value: "v1" });
    expect(truth.calls("read")).toBe(1);
    disk.resume();
    await db.close();
  });
});

describe("4. expiry is the entry's own", () => {
  /** Removes what expired only at the full second after. */
  class InSeconds extends ReferenceStore {
    protected override sweep(): void {
      const second = Math.floor(this.runtime.now() / 1_000) * 1_000;
      for (const [key, { entry }] of this.state.copies) {
        if (entry.expires !== null && entry.expires <= second) this.state.copies.delete(key);
      }
    }
  }

  // Mutation: fill (read.ts) writes entries with `expires: null`.
  it("a filled copy keeps it", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const expires = w.runtime.now() + 50;
    await truth.direct.write([w.write(w.value("k", "v1", { expires }))]);
    const slots = w.memory();
    const db = w.open([layer(slots), layer(disk), layer(truth)]);
    expect(await get(db, "k")).toBe("v1");
    await w.runtime.settle();
    expect(slots.look("k")?.entry.expires).toBe(expires);
    expect((await readOne(disk.direct, "k")).entry?.expires).toBe(expires);
    await db.close();
  });

  // Mutation: look.ts takes no account of `expires`; isDead (entry.ts) not of expiry.
  it("50 ms are 50 ms through layers whose own expiry knows only seconds", async () => {
    const w = await world();
    const seconds = (name: string, extra = {}) =>
      new InSeconds({ runtime: w.runtime, name, supports: { expiry: true, ...extra } });
    const db = w.open([
      layer(w.memory({ entriesMax: 1 })),
      layer(seconds("disk")),
      layer(seconds("region")),
      layer(seconds("truth", RECORD)),
    ]);
    const dead = (answer: { entry?: { expires: number | null } | undefined }) =>
      answer.entry === undefined || (answer.entry.expires ?? Infinity) <= w.runtime.now();
    await db.write([w.write(w.value("k", "v1", { expires: w.runtime.now() + 50 }))]);
    await w.runtime.advance(49);
    expect(await getFast(db, "k")).toBe("v1");
    await w.runtime.advance(1);
    expect(db.look("k")).toBeUndefined();
    expect(dead(await readOne(db, "k"))).toBe(true);
    await db.write([w.write(w.value("other", "x"))]); // evicts k from memory
    expect(dead(await readOne(db, "k"))).toBe(true);
    await w.runtime.advance(2_000);
    expect(dead(await readOne(db, "k"))).toBe(true);
    await db.close();
  });

  // Mutation: advance (walk.ts) does not let an expired entry stop the walk, and bestOf leaves dead copies out.
  it("an expired entry never uncovers an older value below", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const slots = w.memory();
    const db = w.open([layer(slots), layer(disk), layer(truth)]);
    const v1 = w.value("k", "v1");
    const v2 = w.value("k", "v2", { expires: w.runtime.now() + 50 });
    await slots.write([w.write(v2)]);
    await disk.direct.write([w.write(v1)]);
    await truth.direct.write([w.write(v1)]);
    await w.runtime.advance(50);
    const answer = await readOne(db, "k");
    expect(answer.entry?.version).toBe(v2.version);
    expect(answer.entry?.expires).toBeLessThanOrEqual(w.runtime.now());
    await db.close();
  });

  // Mutation: concludeAtEnd does not let a dead floor speak.
  it("nor when every layer has removed it but an old cache", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", { ...RECORD, expiry: true })];
    const db = w.open([layer(disk), layer(truth, { watch: false })]);
    const v1 = w.value("k", "v1");
    const v2 = w.value("k", "v2", { expires: w.runtime.now() + 50 });
    await db.write([w.write(v2)]);
    await disk.direct.forget([{ key: "k", version: v2.version, reason: "ghost" }]);
    await disk.direct.write([w.write(v1)]);
    await w.runtime.advance(50);
    expect(await get(db, "k")).toBeUndefined();
    expect(await get(db, "k", { authority: true })).toBeUndefined();
    await db.close();
  });
});

describe("5. a value too large for a layer leaves a stub there", () => {
  const BIG = "b".repeat(200);

  // Mutation: forLayer (write.ts) leaves a layer out whose value is too large, or writes the entry as it is.
  it("on a write", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const db = w.open([layer(disk, { valueBytesMax: 100 }), layer(truth)]);
    await db.write([w.write(w.value("k", "small"))]);
    const big = w.value("k", BIG);
    expect(await db.write([w.write(big)])).toEqual([{ status: "stored" }]);
    expect((await readOne(disk.direct, "k")).entry).toMatchObject({ state: "stub", version: big.version });
    const other = await w.process([layer(disk, { valueBytesMax: 100 }), layer(truth)]);
    expect(await get(other, "k")).toBe(BIG);
    await Promise.all([db.close(), other.close()]);
  });

  // Mutation: fill (read.ts) skips values that do not fit.
  it("on a fill", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await disk.direct.write([{ entry: w.value("k", "small"), asOf: w.runtime.now() - 3_600_000 }]);
    const big = w.value("k", BIG);
    await truth.direct.write([w.write(big)]);
    const layers = () => [layer(disk, { valueBytesMax: 100 }), layer(truth)];
    const db = w.open(layers());
    expect(await get(db, "k")).toBe(BIG);
    await w.runtime.settle();
    expect((await readOne(disk.direct, "k")).entry).toMatchObject({ state: "stub", version: big.version });
    await db.close();
  });

  // Mutation: feed (carry.ts) drops what does not fit into a store above.
  it("when a person's large value is carried to a store above", async () => {
    const w = await world();
    const sql = w.store("sql", { ...RECORD, valueBytesMax: 100, asOf: "known" });
    const git = w.store("git", { ...RECORD, conditional: false });
    const db = w.open([layer(w.memory(), { ttlMs: 1_000, graceMs: 0 }), layer(sql, { role: "store" }), layer(git)]);
    await db.ready();
    await db.write([w.write(w.value("k", "small"))]);
    await git.direct.write([w.write(w.value("k", BIG))]);
    await w.runtime.settle();
    await w.runtime.advance(600_000); // every floor is forgotten
    expect(await get(db, "k", { authority: true })).toBe(BIG);
    expect(await get(db, "k")).toBe(BIG);
    await db.close();
  });

  // Mutation: forLayer ignores onWrite.
  it("so does a write to a layer that only invalidates", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    const db = w.open([layer(disk, { onWrite: "invalidate" }), layer(truth)]);
    await db.write([w.write(w.value("k", "v1"))]);
    expect((await readOne(disk.direct, "k")).entry?.state).toBe("stub");
    expect(await get(db, "k")).toBe("v1");
    await w.runtime.settle();
    expect(textOf(await readOne(disk.direct, "k"))).toBe("v1");
    await db.close();
  });
});

describe("6. a list is complete, or says that it is not", () => {
  // Mutation: listMerged asks the caches too, or the first layer alone.
  it("never comes from a cache", async () => {
    const w = await world();
    const [disk, truth] = [w.store("disk"), w.store("truth", RECORD)];
    await truth.direct.write(["a", "b", "c"].map((key) => w.write(w.value(key, key))));
    await disk.direct.write([w.write(w.value("only-here", "x"))]);
    const db = w.open([layer(w.memory()), layer(disk), layer(truth)]);
    await get(db, "b");
    await w.runtime.settle();
    expect(await keysOf(db)).toEqual(["a", "b", "c"]);
    await db.close();
  });

  // Mutation: listMerged lists the first `store` layer alone.
  it("merges every store, the newest wins, and what is deleted above does not come back from below", async () => {
    const w = await world();
    const [sql, git] = [w.store("sql", RECORD), w.store("git", RECORD)];
    const old = ["both", "deleted", "git"].map((key) => w.write(w.value(key, "old")));
    await git.direct.write(old);
    await sql.direct.write(
      [w.value("both", "new"), w.tombstone("deleted"), w.value("sql", "x")].map((e) => w.write(e)),
    );
    const db = w.open([layer(sql, { role: "store" }), layer(git)]);
    const listed: Record<string, string | undefined> = {};
    for await (const item of db.list({ prefix: "" }, { detail: "values" })) {
      if (item.kind === "entry") listed[item.key] = item.value === null ? "-" : new TextDecoder().decode(item.value);
    }
    expect(listed).toEqual({ both: "new", deleted: "-", git: "old", sql: "x" });
    await db.close();
  });

  for (const which of ["sql", "git"] as const) {
    // Mutation: `step` (list.ts) swallows the error.
    it(`says partial when a layer fails: ${which}`, async () => {
      const w = await world();
      const stores = { sql: w.store("sql", RECORD), git: w.store("git", RECORD) };
      await stores.sql.direct.write(["a", "c"].map((key) => w.write(w.value(key, key))));
      await stores.git.direct.write(["b", "d"].map((key) => w.write(w.value(key, key))));
      const db = w.open([layer(stores.sql, { name: "sql", role: "store" }), layer(stores.git, { name: "git" })]);
      stores[which].failNth(1, { verb: "list", point: "midway" });
      const partials: Listed[] = [];
      const keys = await keysOf(db, partials);
      expect(partials).toMatchObject([{ kind: "partial", from: which, error: { code: "UNAVAILABLE" } }]);
      expect(keys).toEqual(which === "sql" ? ["a", "b", "d"] : ["a", "b", "c"]);
      await db.close();
    });
  }

  // Mutation: `iterate` (call.ts) gives its steps no deadline.
  it("says partial when a layer hangs", async () => {
    const w = await world();
    const [sql, git] = [w.store("sql", RECORD), w.store("git", RECORD)];
    await git.direct.write([w.write(w.value("a", "a"))]);
    const db = w.open([layer(sql, { name: "sql", role: "store", deadlineMs: 500 }), layer(git)]);
    sql.hang({ verbs: ["list"] });
    const partials: Listed[] = [];
    const keys = outcomeOf(keysOf(db, partials));
    await w.runtime.advance(500);
    expect(keys).toMatchObject({ done: true, value: ["a"] });
    expect(partials).toMatchObject([{ from: "sql", error: { code: "TIMEOUT" } }]);
    await db.close();
  });
});
