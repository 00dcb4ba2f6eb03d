import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TourReport } from "../../examples/federation/tour.ts";
import { until } from "../../examples/start/person.ts";
import { read, root } from "../project.ts";
import { starter } from "./program.ts";
import type { Begun } from "./program.ts";

let folder: string;
const begun: Begun[] = [];
const start = starter("build/federation/federation/main.js", () => folder, begun);

/** The command lines of processes that were started below the folder, by their environment. */
function running(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
        return environment.includes(folder) ? readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ") : "";
      } catch {
        return ""; // it has ended meanwhile, or is somebody else's
      }
    })
    .filter((line) => line !== "");
}

/** Whether a process that this one started is stopped by a signal. */
function hasStoppedOne({ pid }: ChildProcess): boolean {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return children.some((child) => /\) T /.test(readFileSync(`/proc/${child}/stat`, "utf8")));
  } catch {
    return false; // one that has ended meanwhile
  }
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
    expect(status, `${stderr}\n${stdout}`).toBe(0);
    expect(stderr).toMatch(/^([a-z0-9 ,'-]+\n)+$/i); // the steps' names, and no bar, where there is no terminal
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

  // Mutations: the nodes not ended, or only asked to end, which one that is cut off does not hear.
  it("leaves nothing behind when it is interrupted while a node is cut off", async () => {
    const { child, ended } = start([]);
    await until(() => Promise.resolve(hasStoppedOne(child) || child.exitCode !== null), 240_000);
    child.kill("SIGINT");
    const said = expect.stringMatching(/^stopping the nodes\ninterrupted\n$/m) as string;
    expect(await ended).toEqual({ status: 130, stdout: "", stderr: said });
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

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

describe.skipIf(!hasCurl)("docs/federation.md", () => {
  /** The commands of a section, and what they need to run here: the command's name, ports that are free, an end. */
  async function script(): Promise<string> {
    const text = read("docs/federation.md");
    const section = text.slice(text.indexOf("## On one machine"), text.indexOf("## On three"));
    const blocks = [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, block = ""]) => block).join("");
    const ports = new Map<string, number>();
    for (const [port] of blocks.matchAll(/\b742\d\b/g)) ports.set(port, ports.get(port) ?? (await freePort()));
    const commands = blocks.replaceAll(/\b742\d\b/g, (port) => String(ports.get(port)));
    return `set -euo pipefail\ntrap 'kill $(jobs -p); wait' EXIT\n${commands}`;
  }

  // Mutation: another port in one of the commands.
  it("has commands that work as they are, on one machine", async () => {
    const command = join(folder, "microsync");
    const main = resolve(root, "dist/cli/main.js");
    writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, { mode: 0o755 });
    const env = { ...process.env, PATH: `${folder}:${process.env["PATH"]}`, XDG_CACHE_HOME: join(folder, "cache") };
    const child = spawn("bash", ["-c", await script()], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    const ended = once(child, "close");
    begun.push({ child, ended });
    expect([await ended, said]).toEqual([[0, null], expect.stringContaining("cache-status: memory; hit")]);
    expect(said).toContain("better");
    expect(said).toContain('Sync: set "notes/today.txt"');
  }, 120_000);
});

/** One that nothing listens on now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
