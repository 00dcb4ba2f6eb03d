import { expect, it } from "vitest";
import { simulatedFiles } from "microsync/testing";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import type { JournalOptions } from "../../src/journal/contract.ts";
import { behindWorld } from "../chain/behind-world.ts";
import { outcomeOf, textOf, world } from "../chain/world.ts";
import type { World } from "../chain/world.ts";

/** A full journal: writers wait in their order, then are refused with the numbers; what is acknowledged is bounded. */
async function full(limits: Partial<JournalOptions>) {
  const w = await world();
  const sql = w.store("sql", { durable: true, shared: true });
  sql.down(["write"]);
  const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime: w.runtime, ...limits });
  const chain = w.open([layer(w.memory()), layer(sql)], { journal });
  const write = (key: string, text = key, options = {}) =>
    outcomeOf(chain.write([w.write(w.value(key, text))], options).then(([result]) => result));
  return { w, sql, chain, write, end: () => ended(w, chain) };
}

async function ended(w: World, chain: ReturnType<World["open"]>): Promise<void> {
  const closed = chain.close();
  await w.runtime.advance(20_000);
  await closed;
}

it("lets in what fits, also of writers that come at once, and refuses the others with the numbers", async () => {
  const { w, write, chain, end } = await full({ entriesMax: 5, waitMs: 3000 });
  const writes = Array.from({ length: 9 }, (_, i) => write(`k${i}`));
  await w.runtime.advance(2999);
  expect(writes.map(({ done }) => done)).toEqual([true, true, true, true, true, false, false, false, false]);
  expect(writes.slice(0, 5).map(({ value }) => value?.status)).toEqual(Array(5).fill("stored"));
  expect(chain.status().journal?.entries).toBe(5);
  await w.runtime.advance(1);
  expect(writes.slice(5).map(({ error }) => error)).toEqual(
    Array(4).fill(
      expect.objectContaining({
        code: "OVERLOADED",
        retryable: true,
        what: expect.stringMatching(/^5 of 5 entries and \d+ of \d+ bytes wait for layers, the oldest for 3 of \d+ s$/),
        cure: expect.stringContaining("limits"),
      }),
    ),
  );
  expect(chain.status().journal?.entries).toBe(5);
  await end();
});

it("lets the waiting ones go in their order when room is made, and no more of them than fit", async () => {
  const { w, write, sql, chain, end } = await full({ entriesMax: 4, waitMs: 60_000 });
  for (let i = 0; i < 4; i++) write(`first${i}`);
  await w.runtime.settle();
  const order: number[] = [];
  const waiting = Array.from({ length: 10 }, (_, i) => {
    return chain.write([w.write(w.value(`next${i}`, "x"))]).then(() => order.push(i));
  });
  await w.runtime.settle();
  expect(order).toEqual([]);
  // All four go at once, and ten writers wait for their room.
  sql.up();
  sql.failNth(2, { verb: "write" });
  let most = 0;
  for (let i = 0; i < 5_000 && order.length < 10; i++) {
    await w.runtime.advance(1);
    most = Math.max(most, chain.status().journal?.entries ?? 0);
  }
  await Promise.all(waiting);
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(most).toBe(4);
  await end();
});

it("is bounded in bytes, and takes alone what is larger than the whole bound", async () => {
  const { w, write, chain, end } = await full({ bytesMax: 2000, waitMs: 0 });
  const large = write("large", "x".repeat(5000));
  await w.runtime.settle();
  expect(large.value?.status).toBe("stored");
  const small = write("small");
  await w.runtime.settle();
  expect(small.error).toMatchObject({ code: "OVERLOADED", what: expect.stringContaining("of 2000 bytes") as string });
  expect(chain.status().journal?.entries).toBe(1);
  await end();
});

it("takes nothing while the oldest waits for longer than it may", async () => {
  const { w, write, sql, end } = await full({ ageMsMax: 60_000, waitMs: 1000 });
  const first = write("first");
  await w.runtime.advance(60_001);
  expect(first.value?.status).toBe("stored");
  const late = write("late");
  await w.runtime.advance(1000);
  expect(late.error).toMatchObject({ code: "OVERLOADED", what: expect.stringContaining("for 61 of 60 s") as string });
  sql.up();
  await w.runtime.advance(60_000); // the layer is tried again in the meantime
  const after = write("after");
  await w.runtime.settle();
  expect(after.value?.status).toBe("stored");
  await end();
});

it("ends a wait by the caller's signal or deadline, writes nothing then, and lets the next one go", async () => {
  const { w, write, sql, chain, end } = await full({ entriesMax: 3, waitMs: 60_000 });
  write("a");
  write("b");
  await w.runtime.settle();
  const controller = new AbortController();
  // Two entries do not fit; the one behind them would, and keeps its place.
  const pair = outcomeOf(
    chain.write([w.write(w.value("p", "1")), w.write(w.value("q", "2"))], { signal: controller.signal }),
  );
  const behind = write("c");
  const late = write("d", "d", { deadline: w.runtime.monotonic() + 500 });
  await w.runtime.advance(100);
  expect([pair.done, behind.done, late.done]).toEqual([false, false, false]);
  controller.abort();
  await w.runtime.advance(1);
  expect(pair.error).toMatchObject({ code: "ABORTED" });
  expect(behind.value?.status).toBe("stored");
  await w.runtime.advance(500);
  expect(late.error).toMatchObject({ code: "TIMEOUT", what: expect.stringContaining("3 of 3 entries") as string });
  sql.up();
  await w.runtime.advance(60_000);
  expect([...sql.state.copies.keys()].sort()).toEqual(["a", "b", "c"]);
  await end();
});

it("does not count for ever what the disk did not take", async () => {
  const { w, write, chain, sql, end } = await full({
    entriesMax: 3,
    waitMs: 0,
    files: simulatedFiles({ seed: 1, capacityBytes: 60 }),
  });
  const refused = [write("a"), write("b"), write("c")];
  await w.runtime.settle();
  expect(refused.map(({ value }) => value)).toEqual(
    Array.from({ length: 3 }, () => ({
      status: "failed",
      error: expect.objectContaining({ code: "UNAVAILABLE" }),
    })),
  );
  const again = write("d");
  await w.runtime.settle();
  expect(again.value).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
  expect(chain.status().journal?.entries).toBe(0);
  sql.up();
  await end();
});

// Mutation: what goes early makes this process's copies suspect, of which it knows all that was in it.
it("keeps answering from memory when versions that it keeps for the next start have to go", async () => {
  const w = await behindWorld({ journal: { segmentBytes: 400, keptBytesMax: 1 } });
  const chain = await w.start();
  await w.during(w.set(chain, "k", "1", "all"));
  for (let i = 0; i < 20; i++) await w.during(w.set(chain, `other-${i}`, "x".repeat(100), "all"));
  await w.runtime.advance(10_000); // the cursors are saved, and segments go
  const segments = (await w.files().list()).filter((name) => name.endsWith(".log"));
  expect(segments.length).toBeLessThan(4);
  const slot = chain.look("k");
  expect(slot && textOf(slot)).toBe("1");
  await w.during(chain.close());
});
