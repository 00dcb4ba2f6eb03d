import { expect, test } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { get, outcomeOf, world } from "./world.ts";

// Mutation: yielding a change in watch.ts without learn() lets memory answer what was there before.
test("whoever was told of a change reads nothing older", async () => {
  const w = await world();
  const truth = w.store("truth", { durable: true, shared: true });
  const chain = w.open([layer(w.memory()), layer(truth, { watch: false })]);
  await chain.write([w.write(w.value("k", "old"))]);
  expect(await get(chain, "k")).toBe("old");
  const changes = chain.watch({ prefix: "" }, { initial: false })[Symbol.asyncIterator]();
  expect((await changes.next()).value).toMatchObject({ kind: "current" });
  const told = changes.next();
  await truth.write([w.write(w.value("k", "new"))]);
  expect((await told).value).toMatchObject({ kind: "change", key: "k" });
  expect(chain.look("k")).toBeUndefined();
  expect(await get(chain, "k")).toBe("new");
  await changes.return?.();
  await chain.close();
});

// Mutation: leaving `entries` out of within() in call.ts ends the large batch at the deadline of a small one.
test("a large batch has the layer's deadline once for each 1,000 entries", async () => {
  const w = await world();
  const truth = w.store("truth", { durable: true });
  const chain = w.open([layer(truth, { deadlineMs: 1_000 })]);
  truth.hang({ verbs: ["write"] });
  const writes = (count: number) => Array.from({ length: count }, (_, i) => w.write(w.value(`k${count}/${i}`, "v")));
  const small = outcomeOf(chain.write(writes(1_000)));
  const large = outcomeOf(chain.write(writes(4_000)));
  await w.runtime.advance(1_500);
  expect([small.done, large.done]).toEqual([true, false]);
  await w.runtime.advance(2_600);
  expect(large.done).toBe(true);
  expect((large.value as { status: string }[] | undefined)?.[0]?.status).toBe("failed");
});

// Mutation: clearing `probing` in call.ts for any failure lets a second call through to a layer that is being tried.
test("an old call that fails late does not let a second one through to a layer that is being tried", async () => {
  const w = await world();
  const disk = w.store("disk");
  const chain = w.open([
    layer(disk, { breakerFailures: 1, breakerMs: 1_000, deadlineMs: 3_000 }),
    layer(w.store("truth", { durable: true })),
  ]);
  disk.hang({ verbs: ["read"] });
  const old = chain.read(["old"]);
  await w.runtime.advance(2_500);
  disk.resume();
  disk.failNth(1);
  await chain.read(["opens the breaker"]);
  await w.runtime.advance(1_100);
  disk.hang({ verbs: ["read"] });
  const before = disk.calls("read");
  void chain.read(["probe"]);
  await old;
  await w.runtime.settle();
  await chain.read(["meanwhile"]);
  expect(disk.calls("read") - before).toBe(1);
  await w.runtime.advance(10_000);
  await chain.close();
});
