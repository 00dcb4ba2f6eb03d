import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TourReport } from "../../examples/full/tour.ts";
import { starter } from "./program.ts";
import type { Begun } from "./program.ts";
import { NEEDS, installed, mustRun } from "../servers/apt.ts";
import { root } from "../project.ts";

const KEYS = 60;
const { etcd, postgres, radosgw } = NEEDS;
const why = await Promise.all([etcd, postgres, radosgw].map((need) => installed(need))).then(
  () => undefined,
  (error: unknown) => {
    if (mustRun()) throw error;
    console.warn(`SKIPPED: npm run start:full: ${String(error)}`);
    return String(error);
  },
);

let folder: string;
const begun: Begun[] = [];
const start = starter("build/full/examples/full/main.js", () => folder, begun);

/** The command lines of processes that name the folder. */
function running(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return ""; // it has ended meanwhile
      }
    })
    .filter((line) => line.includes(folder));
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-full-test-"));
  chmodSync(folder, 0o755); // PostgreSQL runs as somebody else
});
afterEach(async () => {
  for (const { child, ended } of begun.splice(0)) {
    child.kill("SIGTERM"); // a test that failed may have left it running
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(why !== undefined)("npm run start:full", () => {
  // Mutations: a chain that does not fill or does not write through, a journal left out, a mirror that stops at the first
  // outage, a server that is not stopped: each makes one of these differ.
  it.each([
    { truth: "git", flags: [], commits: 1 },
    { truth: "github", flags: ["--github"], commits: 2 }, // the first one makes the branch
  ])(
    "on $truth shows every layer at work, loses nothing when servers are killed, and leaves nothing behind",
    async (way) => {
      const { truth, flags, commits } = way;
      const { status, stdout, stderr } = await start(["--keys", String(KEYS), "--json", ...flags]).ended;
      expect(status).toBe(0);
      // The steps' names, and no bar.
      expect(stderr).toMatch(/^starting the servers\nfilling git\n([a-z0-9 ,'-]+\n)+$/i);
      const report = JSON.parse(stdout) as TourReport;
      const half = KEYS / 2;
      const ways = [truth, "postgres", "etcd", "memory"].flatMap((layer) => [{ [layer]: half }, { [layer]: half }]);
      expect(report.walks.map(({ hits }) => hits)).toEqual(ways);
      expect(report.layers.map(({ name }) => name)).toEqual(["memory", "etcd", "postgres", truth]);
      expect(report.fill.commits).toBe(commits);
      expect(report.write.everywhere).toBe(true);
      expect(report.write.commit.paths.length).toBeGreaterThan(0);
      expect(report.person).toMatchObject({ agrees: true, layer: "memory", everywhere: true });
      expect(report.person.commit.author).toBe("A Person");
      expect(report.servers.map(({ name }) => name)).toEqual(report.outages.map(({ server }) => server));
      expect(report.outages.map(({ lost }) => lost)).toEqual([0, 0, 0, 0]);
      for (const { writes, waiting } of report.outages) {
        expect(writes).toBe(KEYS);
        expect(waiting).toBeGreaterThan(0); // they were acknowledged before any layer could have all of them
      }
      const keys = KEYS * 5; // those of the data set, and those written without each of four servers
      expect(report.checks).toEqual(["postgres", "git", "s3"].map((store) => ({ store, keys, wrong: 0 })));
      expect(report.agrees).toBe(true);
      expect([readdirSync(folder), running()]).toEqual([[], []]);
    },
    300_000,
  );

  // Mutation: without the handler, etcd's and PostgreSQL's folders and PostgreSQL itself stay.
  it("stops its servers and removes its folders when it is interrupted while they start", async () => {
    const begun = new Promise<void>((done) => {
      const watcher = watch(folder, (_, name) => {
        if (name?.startsWith("microsync-postgres-") !== true) return;
        watcher.close();
        done();
      });
    });
    const { child, ended } = start(["--keys", "50"]);
    await begun;
    child.kill("SIGTERM");
    const stderr = "starting the servers\nstopping the servers\ninterrupted\n";
    expect(await ended).toMatchObject({ status: 143, stdout: "", stderr });
    expect([readdirSync(folder), running()]).toEqual([[], []]);
  }, 300_000);
});

describe("npm run start:full, before it does anything", () => {
  // Mutation: a look for programs only when they are started fails later, with another status, and half of them running.
  it("says which packages to install where it may not", async () => {
    const { status, stdout, stderr } = await start([], { PATH: folder }).ended;
    expect([status, stdout]).toEqual([69, ""]);
    expect(stderr).toContain("missing: git, etcd, etcdctl, ");
    expect(stderr).toMatch(/apt-get install -y --no-install-recommends git etcd-server etcd-client .*radosgw ceph-mon/);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("refuses options that it does not have, and a folder with something in it", async () => {
    for (const args of [
      ["--kyes", "3"],
      ["--keys", "1"],
      ["--dir", root],
    ]) {
      expect(await start(args).ended).toMatchObject({ status: 2, stdout: "" });
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  it("says what it does", async () => {
    const { status, stdout } = await start(["--help"]).ended;
    expect(status).toBe(0);
    expect(stdout).toContain("npm run start:full");
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });
});
