import { describe, expect, it } from "vitest";
import { answers } from "../../bench/peers/answers.ts";
import type { Cache, Candidate } from "../../bench/peers/candidate.ts";
import type { Second } from "../../bench/peers/second.ts";
import { syncCandidates } from "../../bench/peers/sync.ts";

const says = { undeleted: "says so", lost: "says so", missed: "says so" };

describe("the wrong answers of the benchmark", () => {
  // Mutations: not overtaking walks in write.ts (`learn`) makes it stale; answering "none" where a store was silent in
  // walk.ts makes it a miss; leaving a failed layer out of a write's result makes it lost; a decoded value that is not frozen is altered.
  it.each(syncCandidates(() => import("../../src/index.ts")).map((candidate) => [candidate.name, candidate] as const))(
    "are none of %s",
    async (name, candidate) => {
      const kept = { undeleted: "right", lost: "right", missed: "says so" };
      const others = name === "sync, journal" ? kept : says;
      expect(await answers(candidate)).toEqual({ stale: "right", returned: "right", altered: "right", ...others });
    },
  );

  it("are all found in a cache that has them", async () => {
    expect(await answers(candidateOf(careless))).toEqual({
      stale: "wrong",
      returned: "wrong",
      undeleted: "wrong",
      lost: "wrong",
      missed: "wrong",
      altered: "wrong",
    });
  });

  it("are not asked of memory alone", async () => {
    const memory = candidateOf((second) => ({ ...careless(second), through: (key) => second.get(key) }));
    expect(await answers({ ...memory, layers: "memory" })).toMatchObject({
      stale: "-",
      altered: "-",
      missed: "says so",
    });
  });
});

function candidateOf(open: (second: Second) => Cache): Candidate {
  return { name: "careless", package: "", nodeMin: 20, layers: "two", ack: "", open: async (second) => open(second) };
}

/** A map in front of the second layer, whose errors are nobody's concern. */
function careless(second: Second): Cache {
  const map = new Map<string, unknown>();
  const ignored = (work: Promise<unknown>) => work.catch(() => undefined);
  return {
    async get(key) {
      if (map.has(key)) return map.get(key);
      const value = await ignored(second.get(key));
      if (value !== undefined) map.set(key, value);
      return value;
    },
    async set(key, value) {
      map.set(key, value);
      await ignored(second.set(key, value));
    },
    async delete(key) {
      map.delete(key);
      await ignored(second.delete([key]));
    },
    close: async () => {},
  };
}
