import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { root } from "../project.ts";
import { RULES } from "./rules.ts";
import { SCENARIOS } from "./scenarios.ts";
import { edited } from "./variants.ts";

/**
 * Federations in simulated time, as plain compiled programs: see docs/testing.md. `SIMULATION_SEEDS` says how many;
 * what fails says how to see it.
 */
const seeds = Number(process.env["SIMULATION_SEEDS"] ?? 1000);
const PROGRAM = "build/simulation/test/simulation/main.js";

async function node(...args: readonly string[]): Promise<string> {
  const call = promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 2 ** 28 });
  const { stdout } = await call.catch((error: { stdout?: string; message: string }) => ({
    stdout: `${error.stdout ?? ""}\n${error.message}`,
  }));
  return stdout.trim();
}

beforeAll(async () => {
  expect(await node("node_modules/typescript/bin/tsc", "-p", "tsconfig.simulation.json")).toBe("");
}, 120_000);

describe("federations on which everything goes wrong", () => {
  // Mutation: any of the rules below.
  it(`keep every promise in ${seeds} seeds and each scenario`, { timeout: 900_000 }, async () => {
    const said = await node(PROGRAM, "--seeds", String(seeds));
    expect(said).toMatch(new RegExp(`^${seeds} of ${seeds} seeds clean, ${SCENARIOS.length} scenarios, `));
  });

  it("print one trace for one seed, and the command that replays what was found", { timeout: 120_000 }, async () => {
    const [once, twice] = [
      await node(PROGRAM, "--seed", "7", "--trace"),
      await node(PROGRAM, "--seed", "7", "--trace"),
    ];
    expect(once).toBe(twice);
    expect(once.split("\n").length).toBeGreaterThan(100);
    const found = await node(PROGRAM, "--off", "newest wins", "--seeds", "20");
    const [, seed = "", topology = ""] =
      /replay: npm run simulate -- --seed (\d+) --topology (\w+) --off/.exec(found) ?? [];
    const replayed = await node(PROGRAM, "--seed", seed, "--topology", topology, "--off", "newest wins", "--trace");
    expect(replayed).toContain("*** version went back");
  });
});

describe("each rule", () => {
  it.each(RULES)("$name: is in the sources at the places that take it out", (rule) => {
    for (const { file } of rule.edits) expect(edited(rule, file)).not.toBe("");
  });

  it.each(RULES.filter(({ notFound }) => notFound === undefined))("$name: has a way to be found", (rule) => {
    expect(rule.seeds > 0 || SCENARIOS.some(({ name }) => name === rule.scenario)).toBe(true);
  });

  it("is missed when it is taken out", { timeout: 900_000 }, async () => {
    const said = await node(PROGRAM, "--rules");
    const missing = said.split("\n").filter((line) => line.includes("not found"));
    expect(missing).toEqual([]);
    const due = RULES.filter(({ notFound }) => notFound === undefined).length;
    expect(said).toContain(`${due} of ${due} rules are missed`);
  });
});
