import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SyncError } from "../../src/error.ts";
import { entry, listOf, scratch } from "./file/world.ts";

let place: ReturnType<typeof scratch>;
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

describe("many calls at once", () => {
  // Mutation: enterWriting lets everybody in.
  it("beyond the limit are refused, and the others are done", async () => {
    const store = await place.open({ durable: false, waitingMax: 30 });
    const calls = Array.from({ length: 40 }, (_, i) =>
      store.write([{ entry: entry(`k${i % 10}`, i, "x"), asOf: 0 }]).then(
        ([result]) => result?.status,
        (error: SyncError) => error.code,
      ),
    );
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === "OVERLOADED")).toHaveLength(10);
    expect(new Set(outcomes.slice(0, 30))).not.toContain("OVERLOADED");
    expect((await listOf(store)).map(({ head }) => head?.version)).toHaveLength(10);
  });
});
