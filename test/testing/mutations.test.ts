import { describe, expect, it } from "vitest";
import { CHECKS, ReferenceStore, conformance, referenceState, simulatedRuntime } from "../../src/testing/index.ts";
import type { TestContext } from "../../src/testing/index.ts";
import { collectionMutants, conditionMutants } from "./mutants-deciding.ts";
import { callMutants, listMutants, readMutants } from "./mutants-reading.ts";
import { streamMutants } from "./mutants-streams.ts";
import { watchMutants } from "./mutants-watching.ts";
import { writeMutants } from "./mutants.ts";
import type { Mutant } from "./mutants.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

const MUTANTS: readonly Mutant[] = [
  ...writeMutants,
  ...conditionMutants,
  ...collectionMutants,
  ...readMutants,
  ...listMutants,
  ...callMutants,
  ...watchMutants,
  ...streamMutants,
];

let opened = 0;

/** Runs the checks named (or all) and returns how each ended: "passed", "skipped", or the failure's message. */
async function run(
  { store: Store, supports }: Pick<Mutant, "store" | "supports">,
  ids?: readonly string[],
  skip: Record<string, string> = {},
): Promise<Map<string, string>> {
  const tests = new Map<string, (context: TestContext) => Promise<void>>();
  const after: (() => Promise<void>)[] = [];
  conformance({
    name: "mutant",
    skip,
    runner: {
      describe: (_, body) => body(),
      test: (title, body) => tests.set(/\[([a-z/-]+)\]/.exec(title)?.[1] ?? title, body),
      afterAll: (body) => after.push(body),
    },
    open: async () => {
      const runtime = simulatedRuntime({ seed: ++opened, drain });
      const state = referenceState();
      const open = () => new Store({ runtime, supports, state });
      const behind = new ReferenceStore({ runtime, state, supports: { ...supports, readonly: false } });
      return {
        store: open(),
        runtime,
        advance: (ms) => runtime.advance(ms),
        reopen: supports?.durable ? async () => open() : undefined,
        put: supports?.readonly
          ? async (entries) => void (await behind.write(entries.map((entry) => ({ entry, asOf: runtime.now() }))))
          : undefined,
      };
    },
  });
  const results = new Map<string, string>();
  for (const id of ids ?? tests.keys()) {
    results.set(id, "passed");
    const body = tests.get(id) ?? (() => Promise.reject(new Error("there is no such check")));
    await body({ skip: () => results.set(id, "skipped") }).catch((error: unknown) => results.set(id, String(error)));
  }
  for (const body of after) await body().catch(() => undefined);
  return results;
}

const survived = (results: Map<string, string>) =>
  [...results].filter(([, result]) => result === "passed" || result === "skipped").map(([id]) => id);

describe("a store with one fault fails", () => {
  // The suite's own mutation proof: each fault below is a mutation, each check must see the ones it is named beside.
  it.each(MUTANTS.map((mutant) => [mutant.fault, mutant] as const))("that %s", async (_, mutant) => {
    const results = await run(mutant, mutant.kills);
    expect(survived(results)).toEqual([]);
  });

  it("in every check that there is: none is there for show", () => {
    const proven = new Set(MUTANTS.flatMap(({ kills }) => kills));
    expect(CHECKS.map(({ id }) => id).filter((id) => !proven.has(id))).toEqual([]);
  });
});

describe("the suite", () => {
  it("passes the store that has no fault", async () => {
    const results = await run({ store: ReferenceStore, supports: { durable: true } });
    const rest = [...results].filter(([, result]) => result !== "passed" && result !== "skipped");
    expect(rest).toEqual([]);
    expect(results.size).toBe(CHECKS.length);
  });

  it("prints the store's name, the seed and the check with a failure", async () => {
    const mutant = MUTANTS.find(({ fault }) => fault === "has no watermark") as Mutant;
    const results = await run(mutant, ["collection/watermark"]);
    expect(results.get("collection/watermark")).toMatch(/reference \(seed 1\) collection\/watermark: results: got /);
  });

  it("takes a named ignore that fails, refuses one that passes and one that names nothing", async () => {
    const reason = { "collection/watermark": "it cannot" };
    const mutant = MUTANTS.find(({ fault }) => fault === "has no watermark") as Mutant;
    expect([...(await run(mutant, ["collection/watermark"], reason)).values()]).toEqual(["passed"]);
    const whole = await run({ store: ReferenceStore }, ["collection/watermark"], reason);
    expect(whole.get("collection/watermark")).toMatch(/passes; remove it from skip \("it cannot"\)/);
    await expect(run(mutant, [], { "no/such": "x" })).rejects.toThrow(/checks that do not exist: no\/such/);
  });

  it("has one id and one sentence for each check", () => {
    expect(new Set(CHECKS.map(({ id }) => id)).size).toBe(CHECKS.length);
    expect(new Set(CHECKS.map(({ title }) => title)).size).toBe(CHECKS.length);
    for (const { id, title } of CHECKS) {
      expect(id).toMatch(/^[a-z]+\/[a-z-]+$/);
      expect(title).toMatch(/^[a-z].* .*[^.]$/);
    }
  });
});
