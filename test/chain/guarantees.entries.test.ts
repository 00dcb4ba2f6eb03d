import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import type { Listed, Store } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import { get, getFast, outcomeOf, readOne, textOf, world } from "./world.ts";

/** The promises of docs/consistency.md about what is in an entry. Beside each test: the change of src that it catches. */

const RECORD = { durable: true, shared: true } as const;

async function keysOf(store: Store, partials: Listed[] = []): Promise<string[]> {
  const keys: string[] = [];
  for await (const item of store.list({ prefix: "" }, { detail: "values" })) {
    if (item.kind === "partial") partials.push(item);
    else if (item.head?.state === "value" && item.value !== null) keys.push(item.key);
  }
  return keys;
}

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
    const db = w.open([layer(sql, { role: "store" }), layer(git)]); // no memory whose refresh would fill sql
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
