import { afterEach, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { chaos, referenceStore } from "../../src/testing/index.ts";
import { syncOver } from "../../src/sync.ts";
import { versionClock } from "../../src/version.ts";
import { runtime, serveChain, storeOf } from "./http/world.ts";

const closes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0).toReversed()) await close();
});

/** A node whose journal keeps writes from its truth until somebody flushes, and a chain with the node as its last layer. */
async function twoLevels() {
  const store = referenceStore({ runtime, name: "truth", supports: { durable: true, shared: true } });
  const truth = chaos(store, { runtime, seed: 1 });
  const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
  const clock = await versionClock({ runtime });
  const specs = [layer(memory({ runtime })), layer(truth, { name: "truth", flushIntervalMs: 3_600_000, watch: false })];
  const served = await serveChain(chain(specs, { runtime, clock, journal, collectIntervalMs: 0 }));
  closes.push(() => served.close());
  const near = chain([layer(memory({ runtime })), layer(await storeOf(served))], {
    runtime,
    clock,
    collectIntervalMs: 0,
  });
  closes.push(() => near.close());
  const has = async () => (await truth.read(["k"]))[0]?.entry !== undefined;
  return { near, db: syncOver(near), has, truth };
}

// Rule 10. Mutation: the flush of the layers below left out of the chain's.
it("a flush here is one of the node below", async () => {
  const { db, near, has } = await twoLevels();
  await db.set("k", "v");
  expect(await has()).toBe(false);
  await near.flush();
  expect(await has()).toBe(true);
});

// Rule 15. Mutation: `allTheWayDown` left out of the chain's write.
it('a write that "all" is asked for is in every layer of the node below', async () => {
  const { db, has } = await twoLevels();
  await db.set("k", "v", { ack: "all" });
  expect(await has()).toBe(true);
});

it("a flush that cannot be done below says so here, and what stands in the way", async () => {
  const { db, near, truth } = await twoLevels();
  truth.down(["write"]);
  await db.set("k", "v");
  await expect(near.flush()).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("truth") });
  await expect(db.set("k", "w", { ack: "all" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  truth.up();
  await near.flush();
});
