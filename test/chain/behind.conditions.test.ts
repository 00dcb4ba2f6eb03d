import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { VERSION_ZERO, versionMs } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";
import { syncOver } from "../../src/sync.ts";
import { behindWorld } from "./behind-world.ts";
import { get, getFast, outcomeOf, readOne } from "./world.ts";

const DAY_MS = 24 * 3_600_000;
const RETENTION_MS = 30 * DAY_MS;

describe("a conditional write", () => {
  // Rule 5. Mutation: `sendKey` before the intent left out.
  it("is decided with this node's own pending write of the key", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const first = w.value("k", "1");
    await chain.write([w.write(first)]);
    const [result] = await w.during(chain.write([w.write(w.value("k", "2"), first.version)]));
    expect(result?.status).toBe("stored");
    expect(w.sent["sql"]?.map(({ texts }) => texts)).toEqual([["1"], ["2"]]);
    expect(await get(chain, "k")).toBe("2");
  });

  it("loses no step of a counter that was set and updated by turns", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const db = syncOver(chain);
    await db.set("n", 5);
    await w.during(Promise.all(Array.from({ length: 10 }, () => db.update("n", (n = 0) => n + 1))));
    await db.set("n", 100);
    await w.during(db.update("n", (n = 0) => n + 1));
    expect(await db.get("n")).toBe(101);
    await w.during(db.flush());
    expect(w.has("git", "n")).toBe("101");
  });

  it("fails UNAVAILABLE while the layer that decides is down, and leaves nothing to be decided", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").down();
    const [result] = await w.during(chain.write([w.write(w.value("k", "1"), "absent")]));
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    expect(chain.status().journal?.undecided).toBe(0);
    w.store("sql").up();
    await w.runtime.advance(60_000);
    expect(w.has("sql", "k")).toBeUndefined();
  });

  // Mutation: `learnRefusal` raises the floor alone: memory, which answers without a look at it, has the older one.
  it("that is refused takes what is older than what it met out of memory", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    const first = w.value("k", "1");
    await w.during(chain.write([w.write(first)], { ack: "all" }));
    const other = w.value("k", "of another node");
    const store = w.store("sql");
    const write = store.write.bind(store);
    store.write = (writes, call) => {
      w.states["sql"]?.copies.set("k", { entry: other, asOf: w.runtime.now() }); // a moment before, and told to nobody
      return write(writes, call);
    };
    const [result] = await w.during(chain.write([w.write(w.value("k", "2"), first.version)]));
    expect(result).toMatchObject({ status: "conflict", current: { version: other.version } });
    expect(await getFast(chain, "k")).toBe("of another node");
  });

  // Rule 19: the intent is on disk first. Mutation: `intend` after `send`.
  it("is on disk before it is sent", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    let before = 0;
    let atSend = 0;
    const store = w.store("sql");
    const write = store.write.bind(store);
    store.write = (writes, call) => {
      atSend = w.files().operations;
      return write(writes, call);
    };
    before = w.files().operations;
    await w.during(chain.write([w.write(w.value("k", "1"), "absent")]));
    expect(atSend).toBeGreaterThan(before);
  });

  it("whose answers are lost is INDETERMINATE, is sent again until it is decided, and then goes on to git", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    for (const n of [1, 2]) w.store("sql").failNth(n, { verb: "write", point: "after" });
    const [result] = await w.during(chain.write([w.write(w.value("k", "1"), "absent")]));
    expect(result).toMatchObject({ status: "failed", error: { code: "INDETERMINATE" } });
    expect(chain.status().journal?.undecided).toBe(1);
    await w.runtime.advance(60_000);
    expect(chain.status().journal?.undecided).toBe(0);
    expect(w.has("git", "k")).toBe("1");
    const versions = w.sent["sql"]?.map(({ texts }) => texts[0]);
    expect(versions).toEqual(["1", "1", "1"]);
  });

  // Mutation: `mayReturn` not asked. Told as not happened, it happened at the next start after a power loss.
  it.each([
    ["UNAVAILABLE", "gives back", 2],
    ["INDETERMINATE", "does not give back", 3],
  ])("is %s when the disk refuses its intent and %s what of it was written", async (code, _, failing) => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.during(w.set(chain, "other", "1", "all"));
    const { operations } = w.files();
    for (let nth = 2; nth <= failing; nth++) w.files().failAt(operations + nth);
    const [result] = await w.during(chain.write([w.write(w.value("k", "1"), "absent")]));
    expect(result).toMatchObject({ status: "failed", error: { code } });
    expect([chain.status().journal?.undecided, w.has("sql", "k")]).toEqual([0, undefined]);
    const [next] = await w.during(chain.write([w.write(w.value("k", "2"), "absent")]));
    expect(next?.status).toBe("stored");
  });

  it("whose process died before the answer is sent again by the next one, the same version", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("sql").hang({ verbs: ["write"], late: true });
    const entry = w.value("k", "1");
    outcomeOf(chain.write([w.write(entry, "absent")]));
    await w.runtime.advance(10);
    w.kill();
    const again = await w.start();
    await w.runtime.advance(1_000);
    expect(again.status().journal?.undecided).toBe(0);
    expect(w.states["sql"]?.copies.get("k")?.entry.version).toBe(entry.version);
    await w.during(again.flush());
    expect(w.has("git", "k")).toBe("1");
  });

  // Mutation: `lastIntents` left out of the replay: the first is then nobody's, and reaches git never.
  it("that happened goes on after a restart, though the disk took neither the word of it nor that of the next one", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    w.store("git").down(["write"]);
    const store = w.store("sql");
    const write = store.write.bind(store);
    store.write = (writes, call) => {
      w.files().failAt(w.files().operations + 1);
      return write(writes, call);
    };
    const [first, second] = [w.value("k", "1"), w.value("k", "2")];
    const [done] = await w.during(chain.write([w.write(first, "absent")]));
    const [next] = await w.during(chain.write([w.write(second, first.version)]));
    expect([done?.status, next?.status]).toEqual(["stored", "stored"]);
    w.kill();
    w.store("git").up();
    store.write = write;
    const again = await w.start();
    await w.during(again.flush());
    expect(again.status().journal).toMatchObject({ entries: 0, undecided: 0 });
    expect(w.has("git", "k")).toBe("2");
  });

  // Mutation: the decision of a refused condition not written down.
  it("that was refused does not happen after a restart, though the condition holds by then", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.during(w.set(chain, "k", "there", "all"));
    const [result] = await w.during(chain.write([w.write(w.value("k", "mine"), "absent")]));
    expect(result?.status).toBe("conflict");
    await w.delete(chain, "k");
    await w.during(chain.flush());
    w.kill();
    const again = await w.start();
    await w.runtime.advance(60_000);
    expect((await readOne(again, "k")).entry?.state).toBe("deleted");
  });

  // Mutation: `maySend` without walls.
  it("is decided before what was written after it is sent", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    for (const n of [1, 2]) w.store("sql").failNth(n, { verb: "write", point: "before" });
    const [result] = await w.during(chain.write([w.write(w.value("k", "1"), "absent")]));
    expect(result).toMatchObject({ error: { code: "INDETERMINATE" } });
    await w.set(chain, "k", "2");
    await w.during(chain.flush());
    expect(w.sent["sql"]?.map(({ texts }) => texts[0])).toEqual(["1", "1", "1", "2"]);
    expect(w.sent["git"]?.flatMap(({ texts }) => texts)).toEqual(["1", "2"]); // nothing takes a decided one's place
  });

  // Rule 9.
  it("sees what only git has", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.store("git").direct.write([w.write(w.value("k", "imported"))]);
    const [result] = await w.during(chain.write([w.write(w.value("k", "mine"), "absent")]));
    expect(result?.status).toBe("conflict");
  });
});

describe("a delete", () => {
  it("made while a layer was down stays a delete when it is back", async () => {
    const w = await behindWorld();
    const chain = await w.start();
    await w.during(w.set(chain, "k", "1", "all"));
    w.store("git").down();
    await w.delete(chain, "k");
    await w.runtime.advance(60_000);
    w.store("git").up();
    await w.runtime.advance(60_000);
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual([null, null]);
    expect(await get(chain, "k")).toBeUndefined();
  });

  it("of an expired value that waited is still sent, and hides what lies below", async () => {
    const w = await behindWorld({ git: { flushIntervalMs: 60_000 } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "old", "all"));
    await chain.write([w.write(w.value("k", "short", { expires: w.runtime.now() + 1_000 }))]);
    await w.runtime.advance(3_600_000);
    expect(w.has("git", "k")).toBe("short");
    expect(await get(chain, "k")).toBe("short"); // as an entry past its expiry
    expect((await readOne(chain, "k")).entry?.expires).toBeLessThan(w.runtime.now());
  });

  const collectable = async () => {
    const w = await behindWorld({ chain: { retentionMs: RETENTION_MS } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "1", "all"));
    await w.during(w.set(chain, "short", "1", "all"));
    await chain.write([w.write(w.value("short", "2", { expires: w.runtime.now() + 1_000 }))]);
    await w.delete(chain, "k");
    await w.during(chain.flush());
    return { w, chain };
  };

  it("is collected when every store has it and the retention has passed, watermarks first, the deepest store first", async () => {
    const { w, chain } = await collectable();
    await w.runtime.advance(RETENTION_MS - 60_000);
    expect(await w.during(chain.collect())).toMatchObject({ removed: 0, kept: 0 });
    await w.runtime.advance(DAY_MS);
    const order: string[] = [];
    for (const name of ["sql", "git"] as const) {
      const store = w.store(name);
      const forget = store.forget.bind(store);
      store.forget = (items, call) => {
        order.push(name);
        return forget(items, call);
      };
    }
    expect(await w.during(chain.collect({ dryRun: true }))).toMatchObject({ removed: 2 });
    expect(order).toEqual([]);
    const version = w.states["git"]?.copies.get("short")?.entry.version ?? VERSION_ZERO;
    expect(await w.during(chain.collect())).toMatchObject({ removed: 2, error: undefined });
    expect(order).toEqual(["git", "sql"]);
    expect([w.states["sql"]?.copies.size, w.states["git"]?.copies.size]).toEqual([0, 0]);
    expect(w.states["sql"]?.watermark.localeCompare(version)).toBeGreaterThanOrEqual(0);
    expect(await get(chain, "k")).toBeUndefined();
  });

  it("is not collected while some store has an older state of the key", async () => {
    const { w, chain } = await collectable();
    await w.runtime.advance(RETENTION_MS + DAY_MS);
    w.states["git"]?.copies.set("k", { entry: w.value("k", "old", { version: oldVersion(w) }), asOf: 0 });
    expect(await w.during(chain.collect())).toMatchObject({ removed: 1, kept: 1 });
    expect(w.has("sql", "k")).toBeNull();
  });

  // Mutation: `proven` left out of chain.ts: what git has comes back.
  it("is not collected by a node above, which sees one answer for all stores, while one of them has an older state", async () => {
    const { w, chain } = await collectable();
    await w.runtime.advance(RETENTION_MS + DAY_MS);
    w.states["git"]?.copies.set("k", { entry: w.value("k", "old", { version: oldVersion(w) }), asOf: 0 });
    const above = w.open([layer(w.memory()), layer(chain, { name: "below", role: "store" })]);
    expect(await w.during(above.collect())).toMatchObject({ error: undefined });
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual([null, "old"]);
    expect([w.has("sql", "short"), w.has("git", "short")]).toEqual([undefined, undefined]);
    expect(await w.during(get(above, "k"))).toBeUndefined();
  });

  // Mutation: `end` of floors.ts ends that version alone: the node takes the stores for gone back, and answers its copy.
  it("is gone too for a node that collects it without having known of it", async () => {
    const retentionMs = 400_000;
    const unwatched = { sql: { watch: false }, git: { watch: false } };
    const w = await behindWorld({ ...unwatched, chain: { retentionMs }, journal: { ageMsMax: 90_000 } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "1", "all"));
    const late = w.tombstone("k");
    await w.runtime.advance(retentionMs + 1_000);
    expect(await w.during(get(chain, "k"))).toBe("1");
    for (const name of ["sql", "git"] as const) await w.store(name).direct.write([w.write(late)]);
    expect(await w.during(chain.collect())).toMatchObject({ removed: 1 });
    await w.runtime.advance(61_000);
    expect(await w.during(get(chain, "k"))).toBeUndefined();
  });

  it("is collected in the background, once in a while", async () => {
    const w = await behindWorld({ chain: { retentionMs: RETENTION_MS, collectIntervalMs: DAY_MS } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "1", "all"));
    await w.delete(chain, "k");
    await w.runtime.advance(RETENTION_MS - DAY_MS);
    expect(w.has("git", "k")).toBeNull();
    await w.runtime.advance(3 * DAY_MS);
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual([undefined, undefined]);
  });

  // Rule 2.
  it("that was collected is not undone by a journal that comes back later: its entry goes to the conflict list", async () => {
    const retentionMs = 6 * 3_600_000;
    const w = await behindWorld({ chain: { retentionMs }, journal: { ageMsMax: 3_600_000 } });
    const chain = await w.start();
    w.store("sql").down();
    const entry = w.value("k", "late");
    await chain.write([w.write(entry)]);
    w.kill();
    await w.runtime.advance(retentionMs + 60_000);
    // Meanwhile other nodes wrote, deleted and collected.
    const later = w.tombstone("k");
    const collected = [{ key: "k", version: later.version, reason: "collected" }] as const;
    const again = await w.start();
    for (const name of ["git", "sql"] as const) {
      await w.store(name).direct.write([w.write(later)]);
      await w.store(name).direct.forget(collected);
    }
    await expect(w.during(again.flush())).rejects.toThrow('"k" too old by sql');
    expect(again.journal?.letters).toMatchObject([
      { list: "conflict", code: "TOO_OLD", head: { version: entry.version } },
    ]);
    expect([w.has("sql", "k"), w.has("git", "k")]).toEqual([undefined, undefined]);
    expect(await get(again, "k")).toBeUndefined();
    const [letter] = again.journal?.letters ?? [];
    await again.journal?.drop(letter?.id ?? "");
    await w.during(again.flush());
  });
});

describe("a layer that went back", () => {
  it("is sent everything that the journal still has", async () => {
    const w = await behindWorld({ git: { watch: true } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "1", "all"));
    w.states["git"]?.copies.clear();
    w.store("git").storm({ relist: 1 });
    await w.store("git").direct.write([w.write(w.value("other", "1"))]);
    await w.runtime.advance(2_000);
    w.store("git").storm({});
    await w.runtime.advance(60_000);
    expect(w.has("git", "k")).toBe("1");
    const message = "it may have lost what it had: 1 entries of the journal are sent again";
    expect(w.reports).toContainEqual({ kind: "journal", layer: "git", message });
  });
});

function oldVersion(w: Awaited<ReturnType<typeof behindWorld>>): Version {
  const now = w.value("any", "1").version;
  const ms = versionMs(now) - 3 * RETENTION_MS;
  return `${ms.toString(16).padStart(12, "0")}${now.slice(12)}` as Version;
}
