import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { open } from "../../src/config/open.ts";
import { systemRuntime } from "../../src/system.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { build } from "../cli/built.ts";
import type { Built } from "../cli/built.ts";
import { compiled } from "../stores/compiled.ts";
import { Told } from "./crash.model.ts";

/** Whole processes with a journal: killed at certain moments, ended in good order, kept out, and out of disk. */
let program: string;
const folder = mkdtempSync(join(tmpdir(), "microsync-process-"));
beforeAll(() => {
  program = compiled("test/journal/process.child.ts", "process");
});
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

type Child = ChildProcessByStdio<Writable, Readable, null>;

interface Ended {
  readonly lines: readonly string[];
  readonly code: number | null;
}

function place(name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
}

/** Runs a child to its end. `each` is told every line as it comes. */
async function child(
  work: string,
  where: string,
  argument: string,
  each: (line: string, child: Child) => void | Promise<void> = () => undefined,
): Promise<Ended> {
  const running: Child = spawn(process.execPath, [program, work, where, argument], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => running.on("close", resolve));
  const lines: string[] = [];
  for await (const line of createInterface(running.stdout)) {
    lines.push(line);
    await each(line, running);
  }
  return { lines, code: await ended };
}

describe("a process that is killed at a certain moment", () => {
  /** Lives one after the other over one folder, each stopped at a moment of its own. @returns those that came. */
  async function lives(name: string, what: string, moments: readonly string[]): Promise<readonly string[]> {
    const where = place(name);
    const told = new Told();
    const came: string[] = [];
    for (const moment of moments) {
      writeFileSync(join(where, "keys.json"), JSON.stringify(told.names));
      const { lines } = await child("held", where, `${moment},${what}`, (line, running) => {
        if (line === "held") running.kill("SIGKILL");
      });
      for (const line of lines) if (line !== "held" && line !== "end") told.hear(line);
      if (lines.includes("held")) came.push(moment);
      expect(told.wrong, `${name}, ${moment}`).toEqual([]);
      if (what === "files") tear(join(where, "journal"));
    }
    return came;
  }

  /** What a kill in the middle of an append leaves. */
  function tear(journal: string): void {
    const last = readFileSync(join(journal, "segments"), "utf8")
      .match(/^\d+ \d+ [0-9a-f]{16}$/gm)
      ?.at(-1);
    const [number = ""] = last?.split(" ") ?? [];
    appendFileSync(join(journal, `${number.padStart(10, "0")}.log`), new Uint8Array(20).fill(7));
  }

  const OPERATIONS = [
    "claim",
    "sync the folder",
    "open N.log",
    "truncate N.log",
    "remove N.log",
    "create N.log",
    "append N.log",
    "sync N.log",
    "create segments.new",
    "append segments.new",
    "sync segments.new",
    "rename segments.new",
    "create cursors.new",
    "append cursors.new",
    "sync cursors.new",
    "rename cursors.new",
  ];

  // A start behind a kill, writes, changes of segments, saved cursors, removals. What comes after an operation comes
  // before the next one.
  it("loses nothing, whichever operation on its folder comes next", { timeout: 240_000 }, async () => {
    // The first life leaves a journal with several segments, so that the next ones have something to start from.
    const moments = OPERATIONS.flatMap((what) => [1, 2, 3].map((n) => `${what},${n},before`));
    const halves = [0, 1].map((half) => {
      const own = moments.filter((_, i) => i % 2 === half);
      return lives(`files-${half}`, "files", ["append N.log,6,before", ...own]);
    });
    const came = (await Promise.all(halves)).flat();
    expect(OPERATIONS.filter((what) => !came.some((moment) => moment.startsWith(`${what},`)))).toEqual([]);
    expect(came.length).toBeGreaterThan(30);
  });

  it.each(["before", "after"])("sends it again when it is %s a write to git", { timeout: 120_000 }, async (when) => {
    const moments = [1, 2, 3, 4].map((n) => `write,${n},${when}`);
    expect(await lives(`git-${when}`, "git", moments)).toContain(`write,1,${when}`);
  });
});

describe("a process that ends", () => {
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

  /** What the layer has after a start with a layer that is well. */
  async function restarted(where: string, count: number): Promise<readonly unknown[]> {
    const disk = await lmdb(join(where, "disk"), { runtime: systemRuntime });
    const db = await open([layer(disk, { name: "disk" })], { base: where, journal: "journal" });
    const values = await db.getMany(numbers(count).map((i) => `k/${i}`)); // before anything was sent
    expect([...values.values()]).toEqual(numbers(count));
    await db.flush();
    expect(db.status().journal?.entries).toBe(0);
    await db.close();
    const direct = await lmdb(join(where, "disk"), { runtime: systemRuntime });
    const answers = await direct.read(numbers(count).map((i) => `k/${i}`));
    await direct.close();
    return answers.map(({ entry }) => JSON.parse(new TextDecoder().decode(entry?.value ?? undefined)) as unknown);
  }

  const term = (line: string, running: Child) => {
    if (line === "ready") running.kill("SIGTERM");
  };

  it("by SIGTERM sends what it can within its limit, says what is left, and the next one sends that", async () => {
    const where = place("slow");
    const { lines, code } = await child("drain", where, "slow,60,700", term);
    expect(code).toBe(0);
    const [, left = "0"] = /(\d+) entries are left in the journal, for disk \(\d+\)/.exec(lines.join("\n")) ?? [];
    // Some were sent, one at a time with up to 100 ms each, and not all.
    expect(Number(left)).toBeGreaterThan(0);
    expect(Number(left)).toBeLessThan(60);
    const [, took = "0"] = /^closed (\d+)$/m.exec(lines.join("\n")) ?? [];
    expect(Number(took)).toBeGreaterThanOrEqual(690);
    expect(await restarted(where, 60)).toEqual(numbers(60));
  });

  it("by SIGTERM does not wait for a layer that is down, and says what is left", async () => {
    const where = place("down");
    const { lines, code } = await child("drain", where, "down,20,60000", term);
    expect(code).toBe(0);
    expect(lines.join("\n")).toMatch(/20 entries are left in the journal, for disk \(20: .*down.*\)/);
    expect(await restarted(where, 20)).toEqual(numbers(20));
  });

  it("without closing loses nothing acknowledged", async () => {
    const where = place("exit");
    expect(await child("drain", where, "exit,20,0")).toEqual({ lines: ["ready"], code: 0 });
    expect(await restarted(where, 20)).toEqual(numbers(20));
  });
});

describe("a second process", () => {
  let built: Built;
  beforeAll(async () => {
    built = await build();
  });
  afterAll(() => built.remove());

  it("is refused by the pid of the first, by open and by the command, and let in after it", async () => {
    const where = place("owned");
    let pid = 0;
    const refusals: unknown[] = [];
    await child("own", where, "", async (line, running) => {
      if (line !== "ready") return;
      pid = running.pid ?? 0;
      refusals.push(
        await open(["memory:", "lmdb:./disk"], { base: where, journal: "journal" }).catch((e: unknown) => e),
      );
      refusals.push(command(where, "set", "a", "1"));
      running.kill("SIGKILL");
    });
    expect(refusals[0]).toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining(`process ${pid} owns it`),
    });
    expect(refusals[1]).toMatchObject({ status: 9, stderr: expect.stringContaining(`process ${pid} owns it`) });
    expect(command(where, "set", "a", "1")).toMatchObject({ status: 0, stderr: "" });
    expect(command(where, "get", "a")).toMatchObject({ status: 0, stdout: "1" });
  });

  function command(where: string, ...args: readonly string[]) {
    const options = ["--chain", "memory: lmdb:./disk", "--journal", "./journal"];
    return spawnSync(process.execPath, [built.main, ...options, ...args], { cwd: where, encoding: "utf8" });
  }
});

const mountable = canMount();

/** A small file system of its own needs root. */
function canMount(): boolean {
  if (process.platform !== "linux") return false;
  const at = mkdtempSync(join(tmpdir(), "microsync-mount-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", at]);
  if (status === 0) execFileSync("umount", [at]);
  rmSync(at, { recursive: true });
  return status === 0;
}

describe("a disk that is full", () => {
  it.skipIf(!mountable)("refuses the write, harms nothing before it, and goes on when there is room", async () => {
    const at = place("full");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", at]);
    try {
      writeFileSync(join(at, "ballast"), new Uint8Array(500_000));
      const { lines, code } = await child("fill", at, place("beside"), (line, running) => {
        if (!line.startsWith("intact")) return;
        rmSync(join(at, "ballast"));
        running.stdin.write("room\n");
      });
      const acked = lines.indexOf(lines.find((line) => line.startsWith("refused")) ?? "");
      expect(acked).toBeGreaterThan(20);
      expect(lines[acked]).toMatch(
        /^refused UNAVAILABLE true .*cannot (write|create|sync) .*ENOSPC.*free space on the disk/,
      );
      expect(lines[acked + 1]).toBe(`intact ${acked}`);
      expect(lines.slice(acked + 2)).toEqual([
        ...Array.from({ length: 20 }, (_, i) => `ack ${acked + i}`),
        "flushed 0",
        "end",
      ]);
      expect(code).toBe(0);
    } finally {
      execFileSync("umount", [at]);
    }
  });
});
