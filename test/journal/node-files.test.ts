import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { random } from "microsync/testing";
import { SyncError } from "../../src/error.ts";
import { openLog } from "../../src/journal/log.ts";
import { nodeFiles } from "../../src/journal/node-files.ts";
import { systemRuntime } from "../../src/system.ts";
import { compiled } from "../stores/compiled.ts";
import { draftOf } from "./world.ts";

/** The log on real files, with real processes that are really killed. */
const SEED = 31;
const runtime = systemRuntime;
const linux = process.platform === "linux";
let folder = "";
let program = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-journal-"));
  program = compiled("test/journal/log.child.ts", "journal");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Child = ChildProcessByStdio<Writable, Readable, null>;

function start(work: string, place: string, argument = ""): Child {
  return spawn(process.execPath, [program, work, place, argument], { stdio: ["pipe", "pipe", "inherit"] });
}

async function linesOf(
  child: ChildProcessByStdio<Writable | null, Readable, null>,
  each: () => void,
): Promise<string[]> {
  const lines: string[] = [];
  const ended = once(child, "close");
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    each();
  }
  await ended;
  return lines;
}

/** What the lines of `acks` say was acknowledged: number to key. */
function acked(lines: readonly string[]): Map<number, string> {
  const found = lines.flatMap((line): [number, string][] => {
    const [word, seq = "", key = ""] = line.split(" ");
    return word === "ack" ? [[Number(seq), key]] : [];
  });
  return new Map(found);
}

async function refusal(place: string): Promise<SyncError> {
  const error = await nodeFiles(place)
    .claim()
    .catch((error: unknown) => error);
  if (!(error instanceof SyncError)) throw new Error("it was claimed");
  return error;
}

describe("node files", () => {
  it("keep a folder for their owner alone", async () => {
    const place = join(folder, "fresh", "deep");
    const files = nodeFiles(place);
    expect(await files.list()).toEqual([]);
    const file = await files.create("a");
    await file.append(Uint8Array.of(1, 2, 3));
    await file.truncate(2);
    await file.append(Uint8Array.of(4));
    await file.sync();
    expect([...(await files.read("a", 1, 100))]).toEqual([2, 4]);
    expect(await files.size("a")).toBe(3);
    await expect(files.create("a")).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("EEXIST"),
    });
    await file.close();
    await files.rename("a", "b");
    await files.syncFolder();
    expect(await files.list()).toEqual(["b"]);
    await expect(files.read("a", 0, 1)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await files.remove("b");
    if (process.platform !== "win32") expect(statSync(place).mode & 0o777).toBe(0o700);
  });

  it("leave no file open once the claim is released", { timeout: 60_000 }, async () => {
    if (!linux) return expect(linux).toBe(false);
    const place = join(folder, "descriptors");
    const open = () =>
      readdirSync("/proc/self/fd")
        .map(targetOf)
        .filter((path) => path.startsWith(place));
    const log = await openLog({ files: nodeFiles(place), runtime, segmentBytes: 2000 });
    const chance = random(SEED);
    for (let i = 0; i < 40; i++) await log.append([draftOf(chance, i, 400)]).durable;
    await log.close();
    const again = await openLog({ files: nodeFiles(place), runtime });
    await Promise.all(
      [...again.recovered].flatMap(({ place, key, head }) => (head === null ? [] : [again.read(place, key)])),
    );
    expect(again.segments().length).toBeGreaterThan(5);
    expect(open().length).toBeGreaterThan(0);
    await again.close();
    expect(open()).toEqual([]);
  });
});

/** What a descriptor of this process is open on; nothing once it is closed. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return "";
  }
}

describe("a claim", () => {
  // Mutations: the others not looked at; a dead one taken for living; the start time not compared.
  it("is refused while another process has it, naming it, and had once that was killed", async () => {
    const place = join(folder, "held");
    const child = start("hold", place);
    await once(child.stdout, "data");
    const error = await refusal(place);
    expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
    expect(error.message).toContain(`process ${child.pid} owns it`);
    expect(readdirSync(place).length).toBe(1); // nothing of the refused one is left
    child.kill("SIGKILL");
    await once(child, "close");
    const claim = await nodeFiles(place).claim();
    expect(readdirSync(place)).toEqual([expect.stringContaining(`owner.${process.pid}.`)]);
    await claim.release();
    await claim.release();
    expect(readdirSync(place)).toEqual([]);
  });

  // Mutation: a process that has ended and was not fetched by its parent taken for living.
  it.runIf(linux)("is had when its owner has ended, though the parent has not noticed", async () => {
    const place = join(folder, "unfetched");
    const script = `"$0" "$@" & exec sleep 1000 >/dev/null`; // a parent that never looks
    const parent = spawn("sh", ["-c", script, process.execPath, program, "hold", place], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(parent.stdout, "data");
    const [name = ""] = readdirSync(place);
    const pid = Number(name.split(".")[1]);
    process.kill(pid, "SIGKILL");
    const state = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0];
    while (state() !== "Z") await new Promise<void>((resolve) => setImmediate(resolve));
    await (await nodeFiles(place).claim()).release();
    expect(state()).toBe("Z"); // and was not fetched in the meantime
    parent.kill("SIGKILL");
    await once(parent, "close");
  });

  it("is refused to a second one of the same process", async () => {
    const files = nodeFiles(join(folder, "twice"));
    const claim = await files.claim();
    expect((await refusal(join(folder, "twice"))).message).toContain(`this process (${process.pid}) has it open`);
    await expect(files.claim()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await claim.release();
    await (await files.claim()).release();
  });

  it.runIf(linux)(
    "knows the dead by start time and boot, and does not judge other machines or containers",
    async () => {
      const place = join(folder, "claims");
      mkdirSync(place);
      const files = nodeFiles(place);
      const probe = await files.claim();
      const [own = ""] = readdirSync(place);
      const [, pid = "", startTime = ""] = own.split(".");
      const [host = "", boot = "", namespace = ""] = readFileSync(join(place, own), "utf8").split("\n");
      await probe.release();
      expect([pid, host]).toEqual([String(process.pid), hostname()]);
      const other = (start: string, lines: string[], ownPid = pid) => {
        const name = `owner.${ownPid}.${start}.0123456789abcdef`;
        writeFileSync(join(place, name), `${lines.join("\n")}\n`);
        return join(place, name);
      };

      other("1", [host, boot, namespace]); // this process's number, of a process that began earlier
      other(startTime, [host, "another boot", namespace]);
      other("77", [host, boot, namespace], "4194303"); // above what this machine numbers
      await (await files.claim()).release();
      expect(readdirSync(place)).toEqual([]);

      const elsewhere = other("1", ["far-away", boot, namespace]);
      const error = await refusal(place);
      expect(error.message).toMatch(/process \d+ of the machine "far-away"/);
      expect(error.cure).toContain(elsewhere);
      rmSync(elsewhere);
      const container = other("1", [host, boot, "pid:[1]"]);
      expect((await refusal(place)).message).toContain("another container");
      rmSync(container);
      await (await files.claim()).release();
    },
  );

  // Mutation: looking at the others before putting the own file there.
  it("goes to one of several at most that claim at the same moment", { timeout: 60_000 }, async () => {
    const place = join(folder, "raced");
    const children = [1, 2, 3, 4].map(() => start("race", place));
    const readers = children.map((child) => createInterface(child.stdout)[Symbol.asyncIterator]());
    const said = () => Promise.all(readers.map(async (reader) => String((await reader.next()).value)));
    await said();
    let had = 0;
    for (let round = 0; round < 60; round++) {
      for (const child of children) child.stdin.write("claim\n");
      const words = await said();
      const winners = words.filter((word) => word === "claimed").length;
      expect(winners).toBeLessThanOrEqual(1);
      had += winners;
      expect(words.filter((word) => word !== "claimed" && !word.includes("one owner at a time"))).toEqual([]);
      for (const child of children) child.stdin.write("release\n");
      await said();
    }
    for (const child of children) child.stdin.end();
    await Promise.all(children.map((child) => once(child, "close")));
    expect(had).toBeGreaterThan(0);
    expect(readdirSync(place)).toEqual([]);
  });
});

describe("the log on disk", () => {
  it("has everything it acknowledged after SIGKILL at a random moment, 30 times", { timeout: 120_000 }, async () => {
    const place = join(folder, "killed");
    const chance = random(SEED);
    const all = new Map<number, string>();
    for (let round = 0; round < 30; round++) {
      const child = start("acks", place, `round-${round}`);
      const until = 2 + chance.below(120);
      let seen = 0;
      const lines = await linesOf(child, () => {
        if (++seen === until) child.kill("SIGKILL");
      });
      for (const [seq, key] of acked(lines)) all.set(seq, key);
      const log = await openLog({ files: nodeFiles(place), runtime });
      const there = new Map([...log.recovered].map((record) => [record.seq, record]));
      const lost = [...all].filter(([seq, key]) => there.get(seq)?.key !== key);
      expect(lost, `seed ${SEED}, round ${round}`).toEqual([]);
      for (const { seq, key, place, valueBytes } of [...log.recovered].slice(-50)) {
        const { value } = await log.read(place, key);
        expect([seq, value?.length]).toEqual([seq, valueBytes]);
        all.set(seq, key); // what was told once stays
      }
      await log.close();
    }
    expect(all.size).toBeGreaterThan(500);
  });

  const strace = spawnSync("strace", ["-V"]).error === undefined;
  const traced = (place: string, inject: string) => {
    const calls = "trace=openat,close,pwrite64,write";
    const output = ["-o", join(folder, `${place}.trace`), "-s", "100000"];
    const options = ["-f", "-y", ...output, "-e", calls, "-e", `inject=${inject}`];
    const child = spawn("strace", [...options, process.execPath, program, "acks", join(folder, place), "t"], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, UV_THREADPOOL_SIZE: "1" }, // strace counts calls by thread
    });
    return linesOf(child, () => undefined);
  };

  // Mutations: an acknowledgement that does not wait for the write, which is slowed down here; a file opened without
  // O_DSYNC.
  it.skipIf(!strace)("has written through to the disk what it acknowledges", { timeout: 60_000 }, async () => {
    const lines = await traced("synced", "pwrite64:delay_enter=5000");
    expect(acked(lines).size).toBe(8 * 401);
    const through = new Set<string>();
    const begun = new Map<string, string>();
    const durable = new Set<string>();
    let acks = 0;
    for (const line of readFileSync(join(folder, "synced.trace"), "utf8").split("\n")) {
      const thread = line.slice(0, line.indexOf(" "));
      const fd = / openat\(.*\.log", [^)]*O_DSYNC[^)]*\) = (\d+)</.exec(line)?.[1];
      if (fd !== undefined) through.add(fd);
      through.delete(/ close\((\d+)</.exec(line)?.[1] ?? "");
      const [, to = "", data = ""] = / pwrite64\((\d+)<[^>]*>, "(.*)/.exec(line) ?? [];
      if (through.has(to)) begun.set(thread, data);
      if (/pwrite64.* = \d+/.test(line)) {
        for (const [key] of begun.get(thread)?.matchAll(/t\/\d\/\d+/g) ?? []) durable.add(key);
        begun.delete(thread);
      }
      const [, key] = / write\(1<[^>]*>, "ack \d+ (\S+)\\n"/.exec(line) ?? [];
      if (key === undefined) continue;
      acks++;
      expect(durable).toContain(key);
    }
    expect(acks).toBe(8 * 401);
  });

  it.skipIf(!strace)(
    "takes a new segment when the disk refuses to sync, and loses nothing",
    { timeout: 60_000 },
    async () => {
      const lines = await traced("unsynced", "pwrite64:error=EIO:when=20+40");
      const refused = lines.flatMap((line) => (line.startsWith("refused") ? [line.split(" ")] : []));
      expect(refused.length).toBeGreaterThan(8);
      expect(refused.filter(([, , code, retryable]) => code !== "UNAVAILABLE" || retryable !== "true")).toEqual([]);
      expect(lines.at(-1)).toBe("end");
      const log = await openLog({ files: nodeFiles(join(folder, "unsynced")), runtime });
      const sure = acked(lines);
      expect([...log.recovered].map(({ seq, key }) => [seq, key])).toEqual([...sure].sort(([a], [b]) => a - b));
      expect(log.segments().length).toBeGreaterThan(3);
      await log.close();
    },
  );

  const disk = () => {
    const place = mkdtempSync(join(folder, "disk-"));
    const mounted = linux && spawnSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", place]).status === 0;
    return mounted ? place : undefined;
  };

  it("refuses clearly on a full disk, harms nothing, and goes on when there is room", async (context) => {
    const place = disk();
    if (place === undefined) return context.skip("no small disk can be mounted here");
    try {
      writeFileSync(join(place, "filler"), new Uint8Array(200_000));
      const files = nodeFiles(join(place, "journal"));
      const log = await openLog({ files, runtime, segmentBytes: 60_000 });
      const chance = random(SEED);
      const sure: [number, string][] = [];
      const append = async (number: number): Promise<SyncError | undefined> => {
        const draft = draftOf(chance, number, 8000);
        const { first, durable } = log.append([draft]);
        const error = await durable.then(
          () => void sure.push([first, draft.key]),
          (error: SyncError) => error,
        );
        return error ?? undefined;
      };
      let error: SyncError | undefined;
      for (let i = 0; error === undefined; i++) error = await append(i);
      expect(sure.length).toBeGreaterThan(20);
      expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
      expect(error.message).toMatch(/ENOSPC.*free space/);
      for (let i = 0; i < 50; i++) await append(1000 + i); // small ones may fit, most do not
      for (const { place, key, head } of log.recovered) if (head !== null) await log.read(place, key);
      rmSync(join(place, "filler"));
      expect(await append(2000)).toBeUndefined();
      await log.close();
      const again = await openLog({ files, runtime });
      expect([...again.recovered].map(({ seq, key }) => [seq, key])).toEqual(sure);
      for (const { place, key, head } of again.recovered) if (head !== null) await again.read(place, key);
      await again.close();
    } finally {
      spawnSync("umount", [place]);
    }
  });
});
