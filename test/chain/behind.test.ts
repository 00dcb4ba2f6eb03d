import { describe, expect, it } from "vitest";
import { budget } from "../../src/budget.ts";
import { SyncError } from "../../src/error.ts";
import { behindWorld } from "./behind-world.ts";
import { get, getFast, listed, outcomeOf, readOne, textOf } from "./world.ts";

const INTERVAL_MS = 200; // of the first layer, sql
const GIT_INTERVAL_MS = 1_000; // five times that

describe("a write", () => {
  // Mutation: `landed` not called, or the acknowledgement before `durable`.
  it("is acknowledged once it is on disk, though every layer is down, and read by this node at once", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").down(["write"]);
    const before = w.files().operations;
    expect(await w.set(chain, "k", "1")).toEqual([{ status: "stored" }]);
    expect(w.files().operations).toBeGreaterThan(before);
    expect(await getFast(chain, "k")).toBe("1");
    expect(w.has("sql", "k")).toBeUndefined();
  });

  // Mutation: the journal keeps the entry as it was given.
  it("goes on with the bytes that it was given, whatever its caller does with them afterwards", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const texts = ["small", "x".repeat(5_000)];
    const entries = texts.map((text, i) => w.value(`k${i}`, text));
    await w.during(chain.write(entries.map((entry) => w.write(entry))));
    for (const { value } of entries) value?.fill(0);
    await w.during(chain.flush());
    expect([w.has("sql", "k0"), w.has("sql", "k1")]).toEqual(texts);
    expect([w.has("git", "k0"), w.has("git", "k1")]).toEqual(texts);
    expect([await get(chain, "k0"), await get(chain, "k1")]).toEqual(texts);
  });

  // Mutations: the journal copies them; memory does.
  it("is kept in the bytes that its caller gave away, by the queues and by memory", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const [given, lent] = [w.value("given", "x".repeat(100)), w.value("lent", "x".repeat(100))];
    await chain.write([w.write(given)], { givesBytes: true });
    await chain.write([w.write(lent)]);
    expect((await readOne(chain, "given")).entry?.value).toBe(given.value);
    expect((await readOne(chain, "lent")).entry?.value).not.toBe(lent.value);
    await w.during(chain.flush());
    expect(w.states["sql"]?.copies.get("given")?.entry.value).toEqual(given.value);
  });

  it("goes to sql after its interval and to git after five", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.set(chain, "k", "1");
    await w.runtime.advance(INTERVAL_MS - 1);
    expect(w.has("sql", "k")).toBeUndefined();
    await w.runtime.advance(1);
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual(["1", undefined]);
    await w.runtime.advance(GIT_INTERVAL_MS);
    expect(w.has("git", "k")).toBe("1");
  });

  it("waits for a pause in writes, but not longer than the longest delay", async () => {
    const w = await behindWorld({ sql: { flushIntervalMs: 100, flushDelayMsMax: 350 } });
    const chain = await w.start();
    for (let i = 0; i < 10; i++) {
      await w.set(chain, `k${i}`, String(i));
      await w.runtime.advance(50);
    }
    expect(w.sent["sql"]?.[0]).toMatchObject({ atMs: 350 });
    expect(w.sent["sql"]?.[0]?.keys).toHaveLength(7);
  });

  // Mutations: what takes another's place waits anew; a layer that has what it lacked keeps the age of it.
  it("does not wait longer for being written again and again, in the first layer or below", async () => {
    const w = await behindWorld({ sql: { flushIntervalMs: 100, flushDelayMsMax: 350 } });
    const chain = await w.start();
    for (let i = 0; i < 200; i++) {
      await w.set(chain, "hot", String(i));
      await w.runtime.advance(50);
    }
    const sql = w.sent["sql"]?.map(({ atMs }) => atMs) ?? [];
    expect(sql.slice(0, 3)).toEqual([350, 700, 1_050]);
    // It has the first from 350 ms on, which was written at 300; what comes at 5,250 is due a moment later, with the next.
    expect(w.sent["git"]).toMatchObject([{ atMs: 5_600 }]);
    await w.during(chain.flush());
    await w.runtime.advance(10_000);
    await w.set(chain, "later", "1");
    await w.runtime.advance(99);
    expect(w.has("sql", "later")).toBeUndefined();
  });

  it("is sent in batches by count and by bytes, at once when more waits", async () => {
    const w = await behindWorld({ sql: { flushEntriesMax: 3, flushBytesMax: 10 } });
    const chain = await w.start();
    await chain.write(["a", "b", "c", "d"].map((key) => w.write(w.value(key, "1"))));
    await w.runtime.advance(0);
    expect(w.sent["sql"]?.map(({ keys }) => keys.join(""))).toEqual(["abc"]);
    await w.runtime.advance(INTERVAL_MS);
    await chain.write(["e", "f", "g"].map((key) => w.write(w.value(key, "123456"))));
    await w.during(chain.flush());
    expect(w.sent["sql"]?.map(({ keys }) => keys.join(""))).toEqual(["abc", "d", "e", "f", "g"]);
  });

  it("is replaced in the queue by a newer one of its key", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    for (const text of ["1", "2", "3"]) await w.set(chain, "k", text);
    await w.during(chain.flush());
    expect(w.sent["sql"]?.map(({ texts }) => texts)).toEqual([["3"]]);
  });

  it("is not replaced once a flush has begun", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").hang({ verbs: ["write"] });
    await w.set(chain, "a", "1");
    const flush = chain.flush();
    await w.runtime.advance(10);
    await w.set(chain, "k", "1");
    const second = chain.flush();
    await w.runtime.advance(10);
    await w.set(chain, "k", "2");
    w.store("sql").resume();
    await w.during(Promise.all([flush, second]));
    await w.during(chain.flush());
    expect(w.sent["sql"]?.flatMap(({ texts }) => texts)).toEqual(["1", "1", "2"]);
  });

  it("never takes back what is under way: the newer one follows", async () => {
    const w = await behindWorld({ git: { flushIntervalMs: 0 } });
    const chain = await w.start();
    w.store("git").hang({ verbs: ["write"] });
    await w.set(chain, "k", "1");
    await w.runtime.advance(INTERVAL_MS);
    await w.set(chain, "k", "2");
    await w.runtime.advance(INTERVAL_MS);
    expect(w.sent["git"]?.map(({ texts }) => texts)).toEqual([["1"]]);
    w.store("git").resume();
    await w.during(chain.flush());
    expect(w.sent["git"]?.map(({ texts }) => texts)).toEqual([["1"], ["2"]]);
  });

  it("gives way to what is newer there, and says so where it was asked to wait", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const mine = w.value("k", "mine");
    const theirs = w.value("k", "theirs");
    await w.store("sql").direct.write([w.write(theirs)]);
    const [result] = await w.during(chain.write([w.write(mine)], { ack: "sql" }));
    expect(result).toEqual({ status: "superseded", by: theirs.version });
    expect(w.has("sql", "k")).toBe("theirs");
    expect(await get(chain, "k")).toBe("theirs");
  });

  // Authority first: rule 6.
  it("reaches no other shared layer before the one that decides, not even as a stub", async () => {
    const w = await behindWorld({ etcd: { onWrite: "invalidate" }, git: { flushIntervalMs: 0 } });
    const chain = await w.start();
    w.store("sql").down(["write"]);
    await w.set(chain, "k", "1");
    await w.runtime.advance(10_000);
    expect([w.sent["etcd"], w.sent["git"]]).toEqual([[], []]);
    w.store("sql").up();
    await w.during(chain.flush());
    expect(w.states["etcd"]?.copies.get("k")?.entry.state).toBe("stub");
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual(["1", "1"]);
  });

  it("pays each batch from the layer's budget", async () => {
    const w = await behindWorld();
    const limits = [{ name: "pushes a minute", max: 2, windowMs: 60_000, weights: { push: 1 } }];
    const pushes = budget({ runtime: w.runtime, name: "test", limits });
    const chain = await w.start({ git: { flushIntervalMs: 0, budget: pushes } });
    for (let i = 0; i < 20; i++) {
      await w.set(chain, `k${i}`, "1");
      await w.runtime.advance(1_000);
    }
    expect(w.sent["git"]).toHaveLength(2);
    await w.runtime.advance(60_000);
    expect(w.sent["git"]?.at(2)?.keys).toHaveLength(18);
  });
});

describe("an acknowledgement level", () => {
  it("of a layer waits for that layer, and of all for every one", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.during(w.set(chain, "a", "1", "sql"));
    expect([w.has("sql", "a"), w.has("git", "a")]).toEqual(["1", undefined]);
    await w.during(w.set(chain, "b", "1", "all"));
    expect([w.has("sql", "b"), w.has("git", "b")]).toEqual(["1", "1"]);
  });

  it("that a layer cannot meet is an error that says what is durable; the write goes on", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("git").down(["write"]);
    const [result] = await w.during(w.set(chain, "k", "1", "git"));
    const error = result?.status === "failed" ? result.error : undefined;
    expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: false });
    expect(error?.message).toContain("in the journal, but not yet in git (1: the store is down)");
    w.store("git").up();
    await w.runtime.advance(60_000);
    expect(w.has("git", "k")).toBe("1");
  });

  it("of memory does not wait for the disk, and is taken back when the disk refuses", async () => {
    const w = await behindWorld({ memoryEntriesMax: 1 });
    const chain = await w.start();
    w.files().failAt(w.files().operations + 1);
    expect(await w.set(chain, "k", "1", "memory")).toEqual([{ status: "stored" }]);
    await w.set(chain, "other", "1", "memory"); // takes k's place in memory
    expect(await get(chain, "k")).toBe("1");
    await w.runtime.advance(100);
    expect(w.reports.filter(({ kind }) => kind === "write-failed")).not.toEqual([]);
    expect(await get(chain, "k")).toBeUndefined();
  });

  it("that the chain does not have is refused", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await expect(w.set(chain, "k", "1", "disk")).rejects.toThrow('use one of "memory", "journal", "all", "sql", "git"');
    await expect(w.start({ chain: { ack: "disk" } })).rejects.toMatchObject({ code: "UNAVAILABLE" }); // one owner
  });
});

describe("reads", () => {
  it("see this node's own write after every layer forgot it, while it is pending and after", async () => {
    const w = await behindWorld({ memoryEntriesMax: 1 });
    const chain = await w.start();
    const old = w.value("k", "old");
    await w.store("sql").direct.write([w.write(old)]);
    await w.store("git").direct.write([w.write(old)]);
    await w.set(chain, "k", "new");
    await w.set(chain, "other", "1");
    expect(await getFast(chain, "k")).toBe("new");
    await w.during(chain.flush());
    w.states["sql"]?.copies.set("k", { entry: old, asOf: w.runtime.now() }); // as a late fill of another node would
    expect(await getFast(chain, "k")).toBe("new");
  });

  // Rule 14: what is pending has an age.
  it("do not let a pending entry hide what others wrote since for longer than the layers' ttl", async () => {
    const w = await behindWorld({ git: { flushIntervalMs: 3_600_000 }, memoryEntriesMax: 1 });
    const chain = await w.start();
    await w.set(chain, "k", "mine");
    await w.runtime.advance(INTERVAL_MS);
    await w.store("sql").direct.write([w.write(w.value("k", "theirs"))]);
    await w.set(chain, "other", "1");
    await w.runtime.advance(61_000);
    expect(await get(chain, "k")).toBe("theirs");
  });

  it("with authority see an own write that the authority has not got yet, and give it that", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.set(chain, "k", "1");
    expect(textOf(await readOne(chain, "k", { authority: true }))).toBe("1");
    expect(w.has("sql", "k")).toBe("1");
  });

  it("list what is pending, and not what a pending delete took away", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.store("sql").direct.write(["a", "b"].map((key) => w.write(w.value(key, "1"))));
    await w.set(chain, "c", "1");
    await w.delete(chain, "a");
    expect((await listed(chain, { detail: "entries" })).keys).toEqual(["a", "b", "c"]);
    const states: string[] = [];
    for await (const item of chain.list({ prefix: "" }, { detail: "entries" })) {
      if (item.kind === "entry") states.push(item.head?.state ?? "");
    }
    expect(states).toEqual(["deleted", "value", "value"]);
  });

  it("see what is pending at once after a restart, from a damaged memory's point of view: none", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").down();
    w.store("git").down();
    await w.set(chain, "k", "1");
    await w.delete(chain, "gone");
    w.kill();
    const again = await w.start();
    w.store("sql").down();
    w.store("git").down();
    expect(await getFast(again, "k")).toBe("1");
    expect((await readOne(again, "gone")).entry?.state).toBe("deleted");
    const where = await again.where("k");
    expect(where[0]).toMatchObject({ layer: "journal", state: "has" });
  });
});

describe("flush", () => {
  it("resolves when everything written before it is in every layer, without waiting for intervals", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.set(chain, "k", "1");
    const flush = outcomeOf(chain.flush());
    await w.runtime.advance(0);
    expect(flush).toEqual({ done: true, value: undefined });
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual(["1", "1"]);
  });

  it("rejects naming the layer that fails and what waits for it", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").down(["write"]);
    await w.set(chain, "k", "1");
    await expect(w.during(chain.flush())).rejects.toThrow(
      "writes have not reached sql (1: the store is down), git (1)",
    );
    w.store("sql").up();
    await w.runtime.advance(60_000);
    await w.during(chain.flush());
    expect(w.has("git", "k")).toBe("1");
  });

  it("flushes a chain that is a layer too", async () => {
    const w = await behindWorld();
    const inner = await w.start();
    const { openJournal } = await import("../../src/journal/open.ts");
    const { simulatedFiles } = await import("../../src/testing/files.ts");
    const { layer } = await import("../../src/chain/layer.ts");
    const journal = await openJournal({ files: simulatedFiles({ seed: 2 }), runtime: w.runtime });
    const edge = w.open([layer(w.memory()), layer(inner, { name: "node" })], { journal });
    await edge.write([w.write(w.value("k", "1"))]);
    await w.during(edge.flush());
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual(["1", "1"]);
  });
});

describe("closing", () => {
  it("sends what can be sent", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.set(chain, "k", "1");
    await w.during(chain.close());
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual(["1", "1"]);
    expect(w.reports).toEqual([]);
  });

  it("keeps the rest within its limit, and says what is left and for whom", async () => {
    const w = await behindWorld({ chain: { drainMs: 500 } });
    const chain = await w.start();
    w.store("git").hang({ verbs: ["write"] });
    await w.set(chain, "k", "1");
    const from = w.runtime.monotonic();
    await w.during(chain.close(), 30_000);
    expect(w.runtime.monotonic() - from).toBeLessThan(11_000); // the batch under way has git's own deadline
    expect(w.reports.at(-1)?.message).toContain("1 entries are left in the journal, for git (1");
    const again = await w.start();
    await w.during(again.flush());
    expect(w.has("git", "k")).toBe("1");
  });

  it("refuses to go on with layers of other names while something waits for the old ones", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("git").down(["write"]);
    await w.set(chain, "k", "1");
    await w.during(chain.close());
    await expect(w.start({ git: { name: "github" } })).rejects.toThrow('keeps entries for a layer "git"');
  });
});

describe("what a layer refuses", () => {
  const refusing = async () => {
    const w = await behindWorld({ git: { flushIntervalMs: 0 } });
    const chain = await w.start();
    const error = new SyncError("INVALID", "git takes no key of that name", { store: "git" });
    w.store("git").failNth(1, { verb: "write", error });
    await w.set(chain, "k", "1");
    await w.runtime.advance(INTERVAL_MS * 3);
    return { w, chain };
  };

  it("for good becomes a dead letter with its body, readable here; flush names it", async () => {
    const { w, chain } = await refusing();
    expect(chain.status().journal).toMatchObject({ entries: 0, deadLetters: 1 });
    expect(w.reports.at(-1)).toMatchObject({ kind: "refused", layer: "git", key: "k" });
    w.states["sql"]?.copies.clear();
    expect(await get(chain, "k")).toBe("1");
    await expect(w.during(chain.flush())).rejects.toThrow('"k" refused by git: git takes no key of that name');
    w.kill();
    const again = await w.start();
    w.states["sql"]?.copies.clear();
    expect(again.journal?.letters).toMatchObject([{ list: "dead", layer: "git", code: "INVALID", head: { key: "k" } }]);
    expect(await get(again, "k")).toBe("1");
  });

  it("can be sent again or given up", async () => {
    const { w, chain } = await refusing();
    const [letter] = chain.journal?.letters ?? [];
    await chain.journal?.retry(letter?.id ?? "");
    await w.during(chain.flush());
    expect(w.has("git", "k")).toBe("1");
    expect(chain.journal?.letters).toEqual([]);
    await expect(chain.journal?.drop(letter?.id ?? "")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("is forgotten when a newer write of its key comes", async () => {
    const { w, chain } = await refusing();
    await w.set(chain, "k", "2");
    await w.during(chain.flush());
    expect(chain.journal?.letters).toEqual([]);
    expect(w.has("git", "k")).toBe("2");
  });

  it("as one of a batch is found among the others, which arrive", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const store = w.store("git");
    const write = store.write.bind(store);
    store.write = (writes, call) => {
      if (writes.some(({ entry }) => entry.key === "bad")) throw new SyncError("INVALID", "a bad key is among them");
      return write(writes, call);
    };
    const keys = ["a", "b", "c", "bad", "d", "e", "f"];
    await chain.write(keys.map((key) => w.write(w.value(key, "1"))));
    await expect(w.during(chain.flush())).rejects.toThrow('"bad" refused by git');
    expect(keys.filter((key) => w.has("git", key) === "1")).toEqual(["a", "b", "c", "d", "e", "f"]);
  });

  it("for want of authority pauses the layer, which says so, and goes on when it may", async () => {
    const w = await behindWorld({ git: { flushIntervalMs: 0 } });
    const chain = await w.start();
    const error = new SyncError("UNAUTHORISED", "the token was refused", { store: "git" });
    for (let n = 1; n <= 2; n++) w.store("git").failNth(n, { verb: "write", error });
    await w.set(chain, "k", "1");
    await w.runtime.advance(30_000);
    expect(w.sent["git"]).toHaveLength(1);
    expect(chain.status().layers.at(-1)).toMatchObject({ name: "git", pending: 1 });
    expect(chain.status().layers.at(-1)?.paused).toContain("the token was refused");
    expect(w.reports.filter(({ kind }) => kind === "paused")).toHaveLength(1);
    await expect(w.during(chain.flush())).rejects.toThrow("git (1: the token was refused)");
    await w.runtime.advance(61_000);
    expect(w.has("git", "k")).toBe("1");
    expect(chain.status().layers.at(-1)?.paused).toBeUndefined();
  });

  it("for now is sent again: later each time, at random below a limit, and not before the server says", async () => {
    const w = await behindWorld({ git: { breakerFailures: 1_000 } });
    const chain = await w.start();
    w.store("git").down(["write"]);
    await w.set(chain, "k", "1");
    await w.runtime.advance(3_600_000);
    const waits = (w.sent["git"] ?? []).map(({ atMs }, i, all) => atMs - (all[i - 1]?.atMs ?? atMs)).slice(1);
    for (const [i, wait] of waits.entries()) expect(wait).toBeLessThanOrEqual(Math.min(30_000, 100 * 2 ** i) + 1);
    expect(Math.max(...waits)).toBeGreaterThan(15_000);
    expect(new Set(waits.slice(-50)).size).toBeGreaterThan(25);
    w.store("git").up();
    await w.during(chain.flush());

    const error = new SyncError("OVERLOADED", "slow down", { retryAfterMs: 120_000 });
    w.store("git").failNth(1, { verb: "write", error });
    await w.set(chain, "k", "2");
    await w.runtime.advance(119_000);
    expect(w.has("git", "k")).toBe("1");
    await w.runtime.advance(3_000);
    expect(w.has("git", "k")).toBe("2");
  });
});
