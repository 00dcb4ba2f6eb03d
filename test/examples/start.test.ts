import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DemoReport } from "../../examples/start/demo.ts";
import { root } from "../project.ts";

const KEYS = 60;

/** The main job as `npm start` runs it, built (`npm run build:examples`), with few keys. */
describe("npm start", () => {
  let folder: string;
  let reports: DemoReport[];
  const start = (...args: string[]) =>
    spawnSync(process.execPath, [resolve(root, "build/examples/start/main.js"), "--dir", folder, ...args], {
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "" },
    });

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "microsync-start-"));
    reports = [1, 2].map(() => {
      const { status, stdout, stderr } = start("--keys", String(KEYS), "--json");
      expect(status).toBe(0);
      expect(stderr).toMatch(/^(filling git\n)?(reading from [a-z]+\n)+$/); // the steps' names, and no bar
      return JSON.parse(stdout) as DemoReport;
    });
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  // Mutation: a chain that does not fill a layer on the way back, or asks further than the first layer that knows.
  it("reads every key from git, then from disk, then from memory", () => {
    for (const { walks } of reports) {
      const half = KEYS / 2;
      const ways = ["git", "lmdb", "memory"].flatMap((layer) => [{ [layer]: half }, { [layer]: half }]);
      expect(walks.map(({ hits }) => hits)).toEqual(ways);
      expect(walks.map(({ from }) => from)).toEqual(["git", "git", "disk", "disk", "memory", "memory"]);
      for (const { atATime, keys, count, p50Ms, p99Ms, totalMs } of walks) {
        expect([keys, count]).toEqual([half, atATime === 1 ? half : 1]);
        expect(p50Ms).toBeLessThanOrEqual(p99Ms);
        expect(totalMs).toBeGreaterThan(0);
      }
    }
  });

  it("fills the repository once", () => {
    expect(reports.map(({ fill }) => fill.reused)).toEqual([false, true]);
    expect(reports[0]?.fill.commits).toBe(2); // one of the keys, one of the mark that they are all there
    const files = execFileSync("git", ["-C", join(folder, "truth.git"), "ls-tree", "-r", "--name-only", "main"], {
      encoding: "utf8",
    });
    expect(files).toContain("ANGLE_instanced_arrays");
  });

  // Mutation: a write that does not reach the last layer before it is acknowledged.
  it("shows a write as a commit", () => {
    for (const { write } of reports) {
      expect(write.commit.id).toMatch(/^[0-9a-f]{7,}$/);
      expect(write.commit.paths.length).toBeGreaterThan(0);
    }
    expect(reports[0]?.write.commit.id).not.toBe(reports[1]?.write.commit.id);
  });

  // Mutation: a chain without its watch, in which memory keeps the older value until its time to live has passed.
  it("shows a person's commit in memory", () => {
    for (const { person } of reports) {
      expect(person).toMatchObject({ agrees: true, layer: "memory", commit: { author: "A Person" } });
    }
  });

  it("prints a report of at most 80 columns, without colours where there is no terminal", () => {
    const { status, stdout } = start("--keys", String(KEYS));
    expect(status).toBe(0);
    expect(stdout).toContain("┌");
    expect(stdout).not.toContain("\u001b");
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  it("refuses an option that it does not have", () => {
    expect(start("--kyes", "3")).toMatchObject({ status: 2, stdout: "" });
    expect(start("--keys", "0")).toMatchObject({ status: 2, stdout: "" });
  });
});
