import { afterEach, describe, expect, it, vi } from "vitest";
import { Heads } from "../../src/journal/heads.ts";
import { SyncError } from "../../src/error.ts";
import { behindWorld } from "../chain/behind-world.ts";
import { get, getFast } from "../chain/world.ts";

/** A start over a log with much in it: what a read is told before the queues have what the log had. */
const PART = { journal: { replayRecords: 1 } };

/** What some keys were before the process ended: of each some history, of which the layers have nothing. */
async function ended() {
  const w = await behindWorld({ sql: { flushIntervalMs: 100 } });
  const first = await w.start();
  w.store("sql").down(["write"]);
  for (const round of [1, 2, 3]) {
    for (const key of ["a", "b", "c", "d"]) await w.during(w.set(first, key, `${key}${round}`));
  }
  await w.during(w.delete(first, "c"));
  w.kill();
  return w;
}

afterEach(() => vi.restoreAllMocks());

describe("a start that takes up the log in parts", () => {
  // Mutations: Replay.newest gives undefined; gives the oldest; reads records that had their turn as well; the bytes of
  // the log stay in memory.
  it("answers reads with what is pending, before and after its turn", async () => {
    const w = await ended();
    const cleared = vi.spyOn(Heads.prototype, "clear");
    const chain = await w.start(PART);
    expect(cleared).not.toHaveBeenCalled();
    w.store("sql").down(["read", "write"]);
    w.store("git").down();
    expect(chain.journal?.isReplayed).toBe(false);
    const asked = async () => Promise.all(["d", "c", "b", "a"].map((key) => get(chain, key)));
    expect(await asked()).toEqual(["d3", undefined, "b3", "a3"]);
    await w.runtime.advance(0);
    expect(chain.journal?.isReplayed).toBe(true);
    expect(cleared).toHaveBeenCalledOnce();
    expect(await asked()).toEqual(["d3", undefined, "b3", "a3"]);
    expect(chain.status().journal?.entries).toBe(4);
  });

  // Mutation: the next part comes without a turn for others.
  it("lets others have a turn between the parts, and sends nothing before the last one", async () => {
    const w = await ended();
    const chain = await w.start({ ...PART, sql: { flushIntervalMs: 0 } });
    let turns = 0;
    const turn = () => {
      turns++;
      if (chain.journal?.isReplayed === true) return;
      expect(w.sent["sql"]).toEqual([]);
      w.runtime.timer(0, turn);
    };
    turn();
    await w.runtime.advance(0);
    expect(turns).toBeGreaterThanOrEqual(12); // of 13 records the first is taken up at the start
    await w.during(chain.flush());
    expect(w.sent["sql"]?.map(({ texts }) => texts)).toEqual([["a3", "b3", "d3", null]]);
  });

  // Mutation: no replayAll in `parts`.
  it("takes up the rest at once for a write, a list, a status and the end", async () => {
    const acts: Readonly<Record<string, (w: Awaited<ReturnType<typeof ended>>) => Promise<unknown>>> = {
      write: async (w) => {
        const chain = await w.start(PART);
        await w.during(w.set(chain, "a", "a4"));
        expect(await get(chain, "a")).toBe("a4");
        return chain;
      },
      list: async (w) => {
        const chain = await w.start(PART);
        const keys: string[] = [];
        for await (const item of chain.list({ prefix: "" })) if (item.kind === "entry") keys.push(item.key);
        expect(keys).toEqual(["a", "b", "c", "d"]);
        return chain;
      },
      status: async (w) => {
        const chain = await w.start(PART);
        expect(chain.status().layers.find(({ name }) => name === "sql")?.pending).toBe(4);
        return chain;
      },
      close: async (w) => {
        const chain = await w.start({ ...PART, chain: { drainMs: 0 } });
        w.store("sql").down(["write"]);
        await w.during(chain.close());
        return w.start();
      },
    };
    for (const [name, act] of Object.entries(acts)) {
      const w = await ended();
      const chain = (await act(w)) as Awaited<ReturnType<typeof w.start>>;
      expect(chain.journal?.isReplayed, name).toBe(true);
      w.store("sql").up();
      await w.during(chain.flush());
      expect(
        ["b", "c", "d"].map((key) => w.has("git", key)),
        name,
      ).toEqual(["b3", null, "d3"]);
      expect(w.has("git", "a"), name).toBe(name === "write" ? "a4" : "a3");
    }
  });

  // Mutations: no source in floors; Replay.tell does nothing.
  it("knows of versions that every layer has, before their turn", async () => {
    const w = await behindWorld({ etcd: { role: "cache" } });
    const first = await w.start();
    await w.during(w.set(first, "other", "o", "all"));
    await w.during(w.set(first, "k", "old", "all"));
    const old = w.states["etcd"]?.copies.get("k");
    await w.during(w.set(first, "k", "new", "all"));
    await w.during(first.close());
    // The cache was given back from a backup: it has the older one, which counts as fresh there.
    if (old !== undefined) w.states["etcd"]?.copies.set("k", old);
    const again = await w.start(PART);
    expect(again.journal?.isReplayed).toBe(false);
    expect(await w.during(get(again, "k"))).toBe("new");
  });
});

describe("what is sent once more to a layer that lost what it had", () => {
  // Mutation: what stands in the queues is looked up before the log is read.
  it("stands in the queues once, also what reaches the disk while the log is read", async () => {
    const w = await behindWorld({ sql: { flushIntervalMs: 100 } });
    const chain = await w.start();
    w.store("sql").down(["write"]);
    const { journal } = chain;
    const lane = journal?.queues.lanes.find(({ name }) => name === "sql");
    if (journal === undefined || lane === undefined) throw new Error("there is no such layer");
    const writing = w.set(chain, "a", "a1");
    const files = w.files();
    const list = files.list.bind(files);
    vi.spyOn(files, "list").mockImplementationOnce(async () => {
      await writing;
      return list();
    });
    await w.during(journal.resend(lane));
    expect(chain.status().journal?.entries).toBe(1);
    w.store("sql").up();
    await w.during(chain.flush());
    expect(w.sent["sql"]?.flatMap(({ texts }) => texts)).toEqual(["a1"]);
  });
});

describe("what a refused write took the place of", () => {
  // Mutations: `untaken` left out, or without the letters, or without what was given up: git has then what sql never had.
  it.each([
    ["is a dead letter", false],
    ["was given up", true],
  ])("goes to the layer that takes it first, after a start, when the refused one %s", async (_, isDropped) => {
    const w = await behindWorld({ sql: { flushIntervalMs: 100 } });
    const chain = await w.start();
    w.store("git").down(["write"]);
    await w.during(w.set(chain, "before", "1", "sql")); // git lacks it, and with it all that comes after
    const error = new SyncError("INVALID", "sql takes no such value", { store: "sql" });
    w.store("sql").failNth(1, { verb: "write", error });
    await Promise.all(["1", "2"].map((text) => w.set(chain, "k", text)));
    await w.runtime.advance(60_000);
    const [letter] = chain.journal?.letters ?? [];
    expect(letter).toMatchObject({ layer: "sql", head: { key: "k" } });
    if (isDropped) await chain.journal?.drop(letter?.id ?? "");
    await w.runtime.advance(60_000); // the cursors are saved
    w.kill();
    w.store("git").up();
    const had: boolean[] = [];
    const again = await w.start();
    const git = w.store("git");
    const write = git.write.bind(git);
    git.write = (writes, call) => {
      for (const { entry } of writes) if (entry.key === "k") had.push(w.has("sql", "k") === "1");
      return write(writes, call);
    };
    await w.runtime.advance(60_000);
    expect([w.has("git", "k"), had]).toEqual(["1", [true]]);
    await w.during(again.close());
  });
});

describe("an older write that comes from another node after a start", () => {
  // Mutation: `isBelow` not asked: memory answers the older one.
  it.each(["is pending", "is a dead letter"])("is not read where a newer one of this node %s", async (what) => {
    const w = await behindWorld();
    const chain = await w.start();
    const older = w.value("k", "older");
    const isDead = what === "is a dead letter";
    const error = new SyncError("INVALID", "sql takes no such value", { store: "sql" });
    if (isDead) w.store("sql").failNth(1, { verb: "write", error });
    else w.store("sql").down(["write"]);
    await w.during(w.set(chain, "k", "newer"));
    await w.runtime.advance(60_000);
    w.kill();
    const again = await w.start();
    if (!isDead) w.store("sql").down(["write"]);
    await w.during(again.write([w.write(older)]));
    expect([await getFast(again, "k"), await get(again, "k")]).toEqual(["newer", "newer"]);
    expect(again.journal?.letters).toHaveLength(isDead ? 1 : 0);
    await w.runtime.advance(120_000);
    expect(await get(again, "k")).toBe("newer");
  });
});
