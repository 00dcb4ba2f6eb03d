import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { random } from "microsync/testing";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";
import { compiled } from "./compiled.ts";

/** Acknowledged means on disk, for one process and for several. */
const SEED = 20;
/** A process that has not ended by then hangs, in milliseconds. */
const ENDED_MS = 20_000;
const folder = mkdtempSync(join(tmpdir(), "microsync-lmdb-durable-"));
const runtime = systemRuntime;
let program = "";

beforeAll(() => {
  program = compiled("test/stores/lmdb.child.ts", "lmdb");
});
afterAll(() => rmSync(folder, { recursive: true }));

type Child = ChildProcessByStdio<null, Readable, null>;

function start(work: string, place: string, argument = ""): Child {
  return spawn(process.execPath, [program, work, place, argument], { stdio: ["ignore", "pipe", "inherit"] });
}

async function linesOf(child: Child, each: (line: string) => void = () => {}): Promise<string[]> {
  const lines: string[] = [];
  const ended = once(child, "close");
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    each(line);
  }
  await ended;
  return lines;
}

const strace = spawnSync("strace", ["-V"]).error === undefined;

/** Runs `acks` with the kernel's calls written down and one of them tampered with, until so many lines were said. */
async function traced(place: string, inject: string, lineCount: number): Promise<{ lines: string[]; steps: string[] }> {
  const file = join(folder, `${place}.trace`);
  const calls = "trace=openat,fdatasync,pwrite64,pwritev,writev,write";
  const options = ["-f", "-o", file, "-e", calls, "-e", `inject=${inject}`];
  const child = spawn("strace", [...options, process.execPath, program, "acks", join(folder, place), "t"], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, UV_THREADPOOL_SIZE: "1" }, // strace counts calls by thread
    detached: true,
  });
  let seen = 0;
  const lines = await linesOf(child, () => {
    if (++seen === lineCount) process.kill(-(child.pid ?? 0), "SIGKILL"); // strace and what it traces
  });
  return { lines, steps: readFileSync(file, "utf8").split("\n") };
}

describe("lmdb on disk", () => {
  it("has everything it acknowledged after SIGKILL at a random moment, 30 times", { timeout: 120_000 }, async () => {
    const place = join(folder, "killed");
    const chance = random(SEED);
    let acknowledged = 0;
    for (let round = 0; round < 30; round++) {
      const child = start("acks", place, `round-${round}`);
      const last = 1 + chance.below(8);
      let seen = 0;
      const lines = await linesOf(child, () => {
        if (++seen === last) child.kill("SIGKILL");
      });
      acknowledged += lines.length;
      const store = await lmdb(place, { runtime });
      const keys = lines.flatMap((line) => [0, 1, 2].map((n) => `${line}/${n}`));
      const answers = await store.read(keys);
      const lost = keys.filter((_, i) => answers[i]?.entry?.value?.length !== 100 + 50 * (i % 3));
      // A batch is there as a whole or not at all, the last one, which nobody heard of, too.
      const listed: string[] = [];
      for await (const { key } of listEntries(store, `round-${round}/`)) listed.push(key);
      await store.close();
      expect(lost, `seed ${SEED}, round ${round}`).toEqual([]);
      expect(listed.length % 3, `seed ${SEED}, round ${round}`).toBe(0);
    }
    expect(acknowledged).toBeGreaterThanOrEqual(30);
  });

  // Mutation it catches: `root.childTransaction` in environment.ts, whose thread then waits for one that is waiting for it.
  it("lets a process end that exits in the middle of writes, 30 times, and keeps what it acknowledged", async () => {
    const place = join(folder, "exited");
    for (let round = 0; round < 30; round++) {
      const child = start("exits", place, `${round},${round % 5},${round % 4}`);
      const late = setTimeout(() => child.kill("SIGKILL"), ENDED_MS);
      const lines = await linesOf(child);
      clearTimeout(late);
      expect([child.exitCode, child.signalCode], `round ${round}`).toEqual([7, null]);
      const store = await lmdb(place, { runtime });
      const answers = await store.read(lines);
      await store.close();
      expect(answers.filter(({ entry }) => entry?.value?.length !== 100)).toEqual([]);
    }
  }, 120_000);

  // A killed process proves nothing about the power: what the kernel was told to do does. The sync is slowed down, so
  // that an acknowledgement that does not wait for it comes first. Mutation it catches: `noSync: true`.
  it.skipIf(!strace)("tells the kernel to write data, then the root, to the disk before it acknowledges", async () => {
    const { lines, steps } = await traced("traced", "fdatasync:delay_enter=30000", 5);
    expect(lines.length).toBeGreaterThanOrEqual(5);
    const opened = steps.find((line) => line.includes("O_DSYNC")) ?? "";
    const [, rootFd] = /data\.mdb", O_WRONLY\|O_DSYNC.* = (\d+)/.exec(opened) ?? [];
    expect(rootFd).toBeDefined();
    const order = steps.flatMap((line) => {
      if (/ write\(1, "t\/\d/.test(line)) return ["ack"];
      if (/ fdatasync\(\d+\) += 0|<\.\.\. fdatasync resumed>.* = 0/.test(line)) return ["sync"];
      if (line.includes(` pwrite64(${rootFd},`)) return ["root"];
      if (/ (?:pwrite64|pwritev|writev)\(\d+,/.test(line)) return ["data"];
      return [];
    });
    const untilAck = order.join(" ").split(" ack").slice(0, -1);
    expect(untilAck.length).toBeGreaterThanOrEqual(5);
    for (const before of untilAck) expect(before).toMatch(/data sync root$/);
  });

  it.skipIf(!strace)("acknowledges nothing that the disk refused to sync", async () => {
    const { lines } = await traced("unsynced", "fdatasync:error=EIO:when=12+", 100);
    const acked = lines.filter((line) => line.startsWith("t/"));
    expect(acked.length).toBeLessThan(12);
    expect(lines[acked.length]).toMatch(/^refused UNAVAILABLE/);
    const store = await lmdb(join(folder, "unsynced"), { runtime });
    const answers = await store.read(acked.map((line) => `${line}/0`));
    await store.close();
    expect(answers.filter(({ entry }) => entry === undefined)).toEqual([]);
  });

  it(
    "decides newest-wins and conditions right while three processes race on one folder",
    { timeout: 60_000 },
    async () => {
      const place = join(folder, "raced");
      const ROUNDS = 40;
      await (await lmdb(place, { runtime })).close();
      const lines = await Promise.all([1, 2, 3].map((id) => linesOf(start("race", place, `${id},${ROUNDS}`))));
      expect(lines.map((own) => own.at(-1))).toEqual(["end", "end", "end"]);
      const newest = new Map<string, string>();
      for (const line of lines.flat()) {
        const [key = "", version = ""] = line.split(" ");
        if (version > (newest.get(key) ?? "")) newest.set(key, version);
      }
      newest.delete("end");
      const store = await lmdb(place, { runtime });
      const keys = [...newest.keys()];
      const answers = await store.read(["counter", ...keys]);
      await store.close();
      // Each of the 120 additions saw the one before it; a lost update would leave the counter lower.
      expect(new TextDecoder().decode(answers[0]?.entry?.value ?? undefined)).toBe(String(3 * ROUNDS));
      expect(answers.slice(1).map(({ entry }) => entry?.version)).toEqual(keys.map((key) => newest.get(key)));
    },
  );

  it.skipIf(process.platform === "win32")(
    "refuses clearly on a full disk, loses nothing, and works on when there is room",
    async () => {
      const place = join(folder, "full");
      const script = `trap "" XFSZ; ulimit -f 4000; exec "$0" "$@"`; // a file of at most 2 or 4 MB; more is EFBIG
      const child = spawn("bash", ["-c", script, process.execPath, program, "fill", place], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      const lines = await linesOf(child);
      const acked = lines.filter((line) => line.startsWith("ack")).length;
      expect(acked).toBeGreaterThan(10);
      expect(lines[acked]).toMatch(/^refused UNAVAILABLE true lmdb write: .*free space/);
      expect(lines.slice(acked + 1)).toEqual(["reads on 20000", "end"]);
      const store = await lmdb(place, { runtime });
      const numbers = Array.from({ length: acked + 1 }, (_, i) => i);
      const big = await store.read(numbers.map((i) => `big/${i}`));
      const beside = await store.read(numbers.map((i) => `beside/${i}`));
      expect(big.map(({ entry }) => entry?.value?.length)).toEqual(
        numbers.map((i) => (i < acked ? 20_000 : undefined)),
      );
      expect(beside.map(({ entry }) => entry?.value?.length)).toEqual(numbers.map((i) => (i < acked ? 10 : undefined)));
      await store.close();
    },
  );
});

async function* listEntries(store: Awaited<ReturnType<typeof lmdb>>, prefix: string) {
  for await (const item of store.list({ prefix })) if (item.kind === "entry") yield item;
}
