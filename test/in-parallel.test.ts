import { describe, expect, it } from "vitest";
import { inParallel } from "../src/in-parallel.ts";

/** Work that ends when it is told to. */
function held() {
  const ends = new Map<number, { done(): void; fail(error: Error): void }>();
  const work = (item: number) =>
    new Promise<number>((resolve, reject) => ends.set(item, { done: () => resolve(item * 10), fail: reject }));
  return { ends, work };
}

const drained = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("work in parallel", () => {
  // Mutations: results in the order in which they come; one more or less at once.
  it("has so many under way, and answers in the order of its items", async () => {
    const { ends, work } = held();
    const all = inParallel([1, 2, 3, 4], 2, work);
    expect([...ends.keys()]).toEqual([1, 2]);
    ends.get(2)?.done();
    await drained();
    expect([...ends.keys()]).toEqual([1, 2, 3]);
    for (const item of [3, 1, 4]) {
      ends.get(item)?.done();
      await drained();
    }
    expect(await all).toEqual([10, 20, 30, 40]);
  });

  // Mutations: the next is begun after a failure; it does not wait for those under way.
  it("begins none after a failure, and tells of it when those under way have ended", async () => {
    const { ends, work } = held();
    let told: unknown;
    const all = inParallel([1, 2, 3], 2, work).catch((error: unknown) => {
      told = error;
    });
    const failure = new Error("the second");
    ends.get(2)?.fail(failure);
    await drained();
    expect([[...ends.keys()], told]).toEqual([[1, 2], undefined]);
    ends.get(1)?.done();
    await all;
    expect([[...ends.keys()], told]).toEqual([[1, 2], failure]);
  });
});
