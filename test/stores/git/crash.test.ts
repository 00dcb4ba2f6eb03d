import { spawn } from "node:child_process";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { random } from "../../../src/testing/index.ts";
import { compiled } from "../compiled.ts";
import { keysOf, textOf } from "./entries.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

const SEED = 7;
const KILLS = 20;
let program: string;
let place: Scratch;
beforeAll(() => {
  program = compiled("test/stores/git/child.ts", "git");
});
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

/** Lets a writer acknowledge so many batches, then kills it in the middle of whatever comes next. */
function writeUntilKilled(round: number, batches: number, delayMs: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const args = [program, `git:${place.path("truth.git")}`, place.path("cache"), String(round)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (chunk: string) => {
      const before = said.split("\n").length;
      said += chunk;
      if (before <= batches && said.split("\n").length > batches) setTimeout(() => child.kill("SIGKILL"), delayMs);
    });
    child.on("error", reject);
    child.on("close", () => resolve(said.split("\n").slice(0, -1)));
  });
}

// Mutation it catches: acknowledging before the branch has moved (the last batch of some round is not there).
it(`keeps every acknowledged batch, whole, and a sound repository, over ${KILLS} kills (seed ${SEED})`, async () => {
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
  const chance = random(SEED);
  const acknowledged: string[] = [];
  for (let round = 0; round < KILLS; round++) {
    const said = await writeUntilKilled(round, 1 + chance.below(6), chance.below(40));
    expect(said.length).toBeGreaterThan(0);
    acknowledged.push(...said);
    expect(place.run("truth.git", ["rev-parse", "--verify", "main^{commit}"])).toMatch(/^[0-9a-f]{40}$/);
  }
  expect(place.run("truth.git", ["fsck", "--strict", "--full", "--no-dangling"])).not.toMatch(/error|missing|broken/);
  const store = await place.open("git:./truth.git");
  const keys = new Set(await keysOf(store, "own/"));
  expect(acknowledged.filter((batch) => !keys.has(`own/${batch}`))).toEqual([]);
  // Each batch is there as a whole: the shared key and the last of the own keys are of one commit.
  const last = [...keys]
    .map((key) => key.slice(4).split("/").map(Number))
    .sort(([a = 0, b = 0], [c = 0, d = 0]) => a - c || b - d);
  expect(await textOf(store, "shared")).toBe(last.at(-1)?.join("/"));
}, 240_000);
