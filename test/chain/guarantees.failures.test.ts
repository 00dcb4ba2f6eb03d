import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { get, getFast, outcomeOf, readOne, world } from "./world.ts";

/** The promises of docs/consistency.md about layers that fail. Beside each test: the change of src that it catches. */

const RECORD = { durable: true, shared: true } as const;

const unhandled: unknown[] = [];
const note = (reason: unknown) => void unhandled.push(reason);
beforeAll(() => void process.on("unhandledRejection", note));
afterAll(() => void process.off("unhandledRejection", note));
// Mutation: newFlight without `answer.catch`, or forCaller without `work.catch`.
afterEach(() => expect(unhandled).toEqual([]));

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

  // Mutation: concludeFound lets a dead copy through that is not fresh.
  it("with the source of truth down, an old tombstone is no answer", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const db = w.open([layer(w.memory(), { ttlMs: 1_000 }), layer(truth, { watch: false })]);
    await db.write([w.write(w.tombstone("k"))]);
    truth.down();
    expect(await get(db, "k")).toBeUndefined();
    await w.runtime.advance(1_001);
    await expect(readOne(db, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await db.close();
  });

  // Mutation: concludeFound does not compare a stale answer with the floor.
  it("from below a silent store nothing older than an own write is answered, not even stale", async () => {
    const w = await below("down");
    w.sql.up();
    const v1 = w.value("k", "v1");
    await w.git.direct.write([w.write(v1)]);
    w.git.down(["write"]);
    await w.db.write([w.write(w.value("k", "v2"))], { ack: "sql" });
    await w.slots.forget([{ key: "k", version: w.slots.look("k")?.entry.version ?? v1.version, reason: "ghost" }]);
    w.sql.down(["read"]);
    await expect(readOne(w.db, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    w.git.up();
    await w.db.close();
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

  // Mutation: newFlight without `answer.catch`: nobody waits for a refresh.
  it("a refresh that fails leaves no unhandled rejection", async () => {
    const w = await world();
    const truth = w.store("truth", RECORD);
    const slots = w.memory();
    const times = { ttlMs: 1_000, graceMs: 5_000 };
    const db = w.open([layer(slots, { ...times, staleWhileRefresh: true }), layer(truth, { watch: false })]);
    await db.write([w.write(w.value("k", "v1", { expires: w.runtime.now() + 3_000 }))]);
    await w.runtime.advance(2_000);
    truth.hang({ verbs: ["read"] });
    expect(await readOne(db, "k")).toMatchObject({ stale: true });
    await w.runtime.advance(10_000); // the refresh fails when the old copy has expired
    expect(unhandled).toEqual([]);
    await db.close();
  });

  // Mutation: forCaller does not catch the work that its caller has left.
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
