import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadFeatures } from "../../../examples/start/features.ts";
import type { Store } from "../../../src/store.ts";
import type { Naming } from "../../../src/stores/git-layout/names.ts";
import type { Known } from "../../../src/stores/git-layout/snapshot.ts";
import { groupsBySize } from "../../../src/stores/git-layout/values.ts";
import { put, textOf, value, writes } from "./entries.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

/** What a change costs, counted in objects and bytes, which no busy machine can change. bench/git-one-key.ts has times. */
let place: Scratch;
const strace = spawnSync("strace", ["-V"]).error === undefined;
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

function objectsOf(repository: string): Map<string, number> {
  const said = place.run(repository, ["cat-file", "--batch-check=%(objectname) %(objectsize)", "--batch-all-objects"]);
  return new Map(
    said.split("\n").map((line) => [line.slice(0, line.indexOf(" ")), Number(line.slice(line.indexOf(" ") + 1))]),
  );
}

/** The objects that a write adds, and their bytes. */
async function added(repository: string, write: () => Promise<void>): Promise<{ count: number; bytes: number }> {
  const before = objectsOf(repository);
  await write();
  const fresh = [...objectsOf(repository)].filter(([id]) => !before.has(id));
  return { count: fresh.length, bytes: fresh.reduce((sum, [, size]) => sum + size, 0) };
}

const open = (name: string): Promise<Store> => place.open(`git:./${name}.git`, { create: true });

describe("the cost of a write", () => {
  // Mutations it catches: records in one folder, or in one file (hundreds of kilobytes); a file per key at the top.
  it("grows with the keys changed, not with the keys stored: one key among 20,968 and one in an empty repository", async () => {
    const { all } = loadFeatures();
    const entries = all.map(([key, feature]) => value(key, JSON.stringify(feature)));
    const [full, empty] = [await open("full"), await open("empty")];
    for (let at = 0; at < entries.length; at += 10_000) {
      const results = await full.write(writes(entries.slice(at, at + 10_000)));
      expect(results.every(({ status }) => status === "stored")).toBe(true);
    }
    await put(empty, value("first", "x"));
    for (const key of ["api/AbortController/abort", "css/properties/grid", "javascript/builtins/Array/at"]) {
      expect(entries.some((entry) => entry.key === key)).toBe(true);
      const inFull = await added("full.git", () => put(full, value(key, "changed")));
      const inEmpty = await added("empty.git", () => put(empty, value(key, "changed")));
      // The folders on the way, twice, a value, a record, a commit. A key that is a folder too stands one deeper.
      expect(inFull.count - inEmpty.count).toBeLessThanOrEqual(1);
      expect(inFull.count).toBeLessThanOrEqual(8 + key.split("/").length + 2);
      expect(inFull.bytes).toBeLessThanOrEqual(64 * 1024);
      expect(await textOf(full, key)).toBe("changed");
    }
    expect(place.run("full.git", ["fsck", "--strict", "--full", "--no-dangling"])).not.toMatch(/error|warning/);
  }, 180_000);

  it("is one commit for a batch of 10,000 keys, read back in one call", async () => {
    const store = await open("one");
    const entries = Array.from({ length: 10_000 }, (_, i) => value(`flat/${i}`, `value ${i}`));
    const results = await store.write(writes(entries));
    expect(results.every(({ status }) => status === "stored")).toBe(true);
    expect(place.run("one.git", ["rev-list", "--count", "main"])).toBe("1");
    const answers = await store.read(entries.map(({ key }) => key));
    expect(answers.map(({ entry }) => entry)).toEqual(entries);
  }, 120_000);

  // Mutation it catches: git without MALLOC_TOP_PAD_, which asks more than 2,000 times.
  it.skipIf(!strace)("asks the system for memory now and then, and not for each object", async () => {
    const [traces, real] = [place.path("traces"), execFileSync("which", ["git"], { encoding: "utf8" }).trim()];
    for (const folder of [traces, place.path("bin")]) mkdirSync(folder);
    const program = `#!/bin/sh\nexec strace -f -e trace=brk -o "${traces}/$$" ${real} "$@"\n`;
    writeFileSync(place.path("bin/git"), program, { mode: 0o755 });
    vi.stubEnv("PATH", `${place.path("bin")}${delimiter}${process.env["PATH"]}`);
    vi.stubEnv("MALLOC_TOP_PAD_", undefined);
    const store = await open("traced");
    vi.unstubAllEnvs();
    for (let i = 0; i < 8; i++) {
      // Two files for each key: so few go to the process that compresses them itself.
      await store.write(writes(Array.from({ length: 14 }, (_, n) => value(`many/${n}/${i}/key`, `value ${i}`))));
    }
    const calls = readdirSync(traces).map((name) => readFileSync(join(traces, name), "utf8").split("brk(").length - 1);
    expect(Math.max(...calls)).toBeGreaterThan(0);
    expect(Math.max(...calls)).toBeLessThan(200);
  });
});

// Mutation: values of a list are not cut into groups in values.ts: all of a page would be in memory at once.
it("a list of values holds a group of them at a time", async () => {
  const sizes = [3, 3, 1, 10, 0, 6];
  const naming = { repository: { sizes: () => Promise.resolve(sizes) } } as unknown as Naming;
  const knowns = sizes.map((size) => ({ blob: String(size) })) as unknown as Known[];
  const groups = await groupsBySize(naming, knowns, 6);
  expect(groups.map((group) => group.map(({ blob }) => Number(blob)))).toEqual([[3, 3], [1], [10], [0, 6]]);
});
