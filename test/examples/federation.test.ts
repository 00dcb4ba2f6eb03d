import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TourReport } from "../../examples/federation/tour.ts";
import { until } from "../../examples/start/person.ts";
import { root } from "../project.ts";

let folder: string;
const begun: { child: ChildProcess; ended: Promise<unknown> }[] = [];

/** The built program (`npm run build:federation`), in a temporary folder of its own, so that what it leaves behind is seen. */
function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [resolve(root, "build/federation/federation/main.js"), ...args], {
    env: { ...process.env, NO_COLOR: "", TMPDIR: folder, ...env },
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said.stderr += text));
  const ended = new Promise<{ status: number | null; stdout: string; stderr: string }>((done) =>
    child.once("close", (status) => done({ status, ...said })),
  );
  begun.push({ child, ended });
  return { child, ended };
}

interface Seen {
  readonly pid: number;
  readonly command: string;
  /** T: stopped by a signal. */
  readonly state: string;
}

/** The processes that work in a folder below the test's, or name it. */
function running(): Seen[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        const [state = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").slice(-1);
        return environment.includes(folder) ? [{ pid: Number(pid), command, state: state.slice(0, 1) }] : [];
      } catch {
        return []; // it has ended meanwhile, or is somebody else's
      }
    });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-federation-test-"));
});
afterEach(async () => {
  for (const { child, ended } of begun.splice(0)) {
    child.kill("SIGTERM"); // a test that failed may have left it running
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

describe("npm run start:federation", () => {
  // Mutations: a node without its journal, a layer that does not fill or whose changes are not carried upwards, reads that do
  // not share a walk, a write that is not sent on: each makes one of these differ.
  it("shows three levels at work, loses nothing when nodes are away, and leaves nothing behind", async () => {
    const { status, stdout, stderr } = await start(["--json"]).ended;
    expect([status, stderr]).toEqual([0, ""]); // no progress bar where there is no terminal
    const report = JSON.parse(stdout) as TourReport;
    const locals = ["local-a", "local-b"];
    expect(report.nodes.map(({ name }) => name)).toEqual(["global", "region", ...locals]);
    expect(report.cold.cacheStatus).toMatch(/^region\/global\/git; hit, .*, memory; fwd=miss; stored$/);
    expect(report.cold.filled).toEqual(["local-a", "region", "global"]);
    expect(report.cold.againCacheStatus).toBe("memory; hit");
    expect(report.crowd).toEqual({
      readsAtEach: 100,
      nodes: locals,
      answered: 200,
      regionReads: 2,
      globalReads: 1,
      gitReads: 1,
    });
    expect(report.write.commit.paths).toContain(report.write.key);
    expect(report.write.agrees).toBe(true);
    expect(report.person.commit).toMatchObject({ author: "A Person", paths: [report.write.key] });
    expect(Object.keys(report.person.arrivedMs)).toEqual(locals);
    expect(Object.values(report.person.arrivedMs)).not.toContain(null);
    expect(report.outages.map(({ without, writes }) => [without, writes])).toEqual([
      ["global", 2 * 30],
      ["region", 3 * 30],
    ]);
    const { keys, acknowledged, wrongAtNodes, wrongInGit } = report.agreement;
    expect([keys, acknowledged]).toEqual([124, 171]); // each outage began with 10 writes, and one was made before them
    expect([wrongAtNodes, wrongInGit]).toEqual([[], []]);
    expect(report.checks.filter(({ isSo }) => !isSo)).toEqual([]);
    expect(report.checks).toHaveLength(17);
    expect(report.agrees).toBe(true);
    expect([readdirSync(folder), running()]).toEqual([[], []]);
  }, 300_000);

  // Mutations: a node that is cut off not healed before it is told to end, or the nodes not ended at all.
  it("leaves nothing behind when it is interrupted while a node is cut off", async () => {
    const { child, ended } = start([]);
    const isCutOff = () => running().some(({ state, command }) => state === "T" && command.includes("--name region"));
    expect(await until(() => Promise.resolve(isCutOff() || child.exitCode !== null), 240_000)).toBe(true);
    child.kill("SIGINT");
    expect(await ended).toEqual({ status: 130, stdout: "", stderr: "stopping the nodes\ninterrupted\n" });
    expect([readdirSync(folder), running()]).toEqual([[], []]);
  }, 300_000);

  it("says what is missing, before it does anything", async () => {
    const { status, stdout, stderr } = await start([], { PATH: folder }).ended;
    expect([status, stdout]).toEqual([69, ""]);
    expect(stderr).toContain("git is missing");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("refuses options that it does not have, and a folder with something in it", async () => {
    for (const args of [["--dri", "x"], ["x"], ["--dir", root]]) {
      expect(await start(args).ended).toMatchObject({ status: 2, stdout: "" });
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  it("says what it does", async () => {
    const { status, stdout } = await start(["--help"]).ended;
    expect(status).toBe(0);
    expect(stdout).toContain("npm run start:federation");
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });
});
