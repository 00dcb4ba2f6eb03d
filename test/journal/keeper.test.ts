import { describe, expect, it } from "vitest";
import { segmentKeeper } from "../../src/journal/keeper.ts";
import type { Log } from "../../src/journal/log.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";

/** A log of two closed segments and an open one, of which nobody waits for anything yet. */
function begun() {
  const done: string[] = [];
  const needed = new Set<number>();
  const segments = new Map([1, 2, 3].map((number) => [number, { number, first: number, last: number, bytes: 100 }]));
  const log = {
    segments: () => [...segments.values()],
    async removeSegments(numbers: readonly number[]) {
      done.push(`removed ${numbers.join(" ")}`);
      for (const number of numbers) segments.delete(number);
    },
  } as unknown as Log;
  let saved = () => {};
  const runtime = simulatedRuntime({ seed: 1, drain: () => Promise.resolve() });
  const keeper = segmentKeeper(log, runtime, {
    keptBytesMax: 0,
    needed: () => needed,
    saved: () => new Promise<void>((resolve) => (saved = resolve)),
    droppedEarly: () => {},
    report: (message) => done.push(message),
  });
  /** Finds out that records are needed again, which takes a while. */
  const look = (...records: readonly number[]) =>
    keeper.keeping(async () => {
      done.push(`looks at ${[...segments.keys()].join(" ")}`);
      await Promise.resolve();
      await keeper.tidy();
      for (const seq of records) if (segments.has(seq)) needed.add(seq);
    });
  return { keeper, done, look, saved: () => saved() };
}

const drained = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("segments that nobody waits for", () => {
  // Mutation: `keeping` does not wait for what is being removed: it finds records that are gone a moment later.
  it("are gone before it is looked for what is needed again", async () => {
    const { keeper, done, look, saved } = begun();
    const tidying = keeper.tidy();
    const looking = look(1);
    await drained();
    expect(done).toEqual([]);
    saved();
    await Promise.all([tidying, looking]);
    expect(done).toEqual(["removed 1 2", "looks at 3"]);
    keeper.stop();
  });

  // Mutation: `tidy` removes meanwhile.
  it("stay while it is looked for that, and afterwards those that are needed", async () => {
    const { keeper, done, look, saved } = begun();
    await look(2);
    expect(done).toEqual(["looks at 1 2 3"]);
    await drained();
    saved();
    await drained();
    expect(done).toEqual(["looks at 1 2 3", "removed 1"]);
    keeper.stop();
  });
});
