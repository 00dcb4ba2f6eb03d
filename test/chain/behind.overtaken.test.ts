import { describe, expect, it } from "vitest";
import type { Chain } from "../../src/chain/chain.ts";
import { SyncError } from "../../src/error.ts";
import { behindWorld } from "./behind-world.ts";
import { outcomeOf, readOne, textOf } from "./world.ts";

const HOUR_MS = 3_600_000;

/** A write that sql has and git, which this node does not reach, has not; somebody else deletes the key, and it sees that. */
async function overtaken() {
  const w = await behindWorld({ memoryEntriesMax: 1 });
  const chain = await w.start();
  w.store("git").down();
  await w.set(chain, "k", "mine");
  await w.runtime.advance(1_000);
  expect(w.has("sql", "k")).toBe("mine");
  const theirs = w.tombstone("k");
  for (const name of ["git", "sql"] as const) await w.store(name).direct.write([w.write(theirs)]);
  expect((await readOne(chain, "k", { authority: true })).entry?.version).toBe(theirs.version);
  /** Another node removes the deletion for good: every layer has had it for long. */
  const collect = async () => {
    for (const name of ["git", "sql"] as const) {
      await w.store(name).direct.forget([{ key: "k", version: theirs.version, reason: "collected" }]);
    }
    await w.runtime.advance(1_000);
    expect(w.has("sql", "k")).toBeUndefined();
  };
  return { w, chain, collect };
}

/** What a read says: the text, "nothing", or the code of its error. */
async function said(w: Awaited<ReturnType<typeof behindWorld>>, chain: Chain): Promise<string> {
  const read = outcomeOf(readOne(chain, "k"));
  for (let passed = 0; !read.done && passed < 60_000; passed += 50) await w.runtime.advance(50);
  if (read.error instanceof SyncError) return read.error.code;
  return read.value === undefined ? "pending" : (textOf(read.value) ?? "nothing");
}

async function listed(chain: Chain) {
  const items: (readonly [key: string, state: string | undefined])[] = [];
  for await (const item of chain.list({ prefix: "" }, { detail: "entries" })) {
    if (item.kind === "entry") items.push([item.key, item.head?.state]);
  }
  return items;
}

describe("a write that has to reach a layer still, and that a deletion has overtaken", () => {
  // Mutations: `drop` in place of `end` in carry.ts: it is read, from the journal; `pendingItems` of list.ts does not ask for the floor.
  it("does not come back when this node is told that the deletion was collected", async () => {
    const { w, chain, collect } = await overtaken();
    await collect();
    expect(await said(w, chain)).not.toBe("mine");
    expect(await listed(chain)).toEqual([["k", "deleted"]]);
    w.store("git").up();
    await w.runtime.advance(120_000);
    expect(w.has("git", "k")).toBeUndefined();
    expect(await said(w, chain)).toBe("nothing");
    await chain.close();
  });

  // Mutations: `isLive` in floors.ts looks at the age alone; what is held leaves with its generation.
  it("does not come back when this node was not told, and no copy elsewhere can be as old as that any more", async () => {
    const { w, chain, collect } = await overtaken();
    w.store("sql").down(["watch"]);
    await w.runtime.advance(2 * HOUR_MS);
    await w.set(chain, "other", "1");
    await w.runtime.advance(2 * HOUR_MS);
    await w.set(chain, "other", "2");
    await collect();
    expect(await said(w, chain)).not.toBe("mine");
    await chain.close();
  });
});
