import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { build, start } from "./built.ts";
import type { Built } from "./built.ts";

let built: Built;
let root: string;
let count = 0;
beforeAll(async () => {
  built = await build();
  root = await mkdtemp(join(tmpdir(), "microsync-process-"));
});
afterAll(async () => {
  await built.remove();
  await rm(root, { recursive: true, force: true });
});

async function place() {
  const cwd = join(root, String(count++));
  await mkdir(cwd);
  const env = { MICROSYNC_CHAIN: "memory: lmdb:./data" };
  const begin = (...args: string[]) => start([built.main, ...args], { cwd, env });
  const run = async (args: string[], stdin: string | Uint8Array = "") => {
    const { child, finished } = begin(...args);
    child.stdin.end(stdin);
    return finished;
  };
  return { cwd, begin, run };
}

describe("the command as a process", () => {
  it("sets and gets, and has its class's status when it fails", async () => {
    const { run } = await place();
    expect(await run(["--version"])).toEqual({ status: 0, out: `${manifest.version}\n`, err: "" });
    expect(await run(["set", "k", "-"], "from a pipe")).toMatchObject({ status: 0, err: "" });
    expect(await run(["get", "k"])).toEqual({ status: 0, out: "from a pipe", err: "" });
    expect(await run(["get", "nowhere"])).toEqual({ status: 3, out: "", err: "" });
    expect(await run(["get", ""])).toMatchObject({ status: 2, out: "" });
  });

  it("reads its chain from a configuration file", async () => {
    const { cwd } = await place();
    await writeFile(join(cwd, "microsync.config.js"), 'export default { chain: "memory: lmdb:./own" };');
    await start([built.main, "set", "k", "v"], { cwd, env: { MICROSYNC_CHAIN: "" } }).finished;
    expect((await readdir(cwd)).sort()).toEqual([".sync", "microsync.config.js", "own"]);
  });

  // Mutations: opening is not bounded; what is still being opened is waited for.
  it("ends when a system that takes connections says nothing, after the time given or at a signal", async () => {
    const { cwd } = await place();
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const env = { MICROSYNC_CHAIN: `memory: postgres://ada@127.0.0.1:${port}/db?timeout=1h` };
    try {
      const timed = await start([built.main, "get", "k", "--timeout", "200ms"], { cwd, env }).finished;
      expect(timed).toMatchObject({
        status: 10,
        out: "",
        err: expect.stringContaining("the deadline passed") as string,
      });
      const connected = once(silent, "connection");
      const { child, finished } = start([built.main, "get", "k"], { cwd, env });
      await connected;
      child.kill("SIGINT");
      expect(await finished).toMatchObject({ status: 130, out: "" });
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });

  it("ends with 130 at SIGINT and 143 at SIGTERM, with nothing on standard error", async () => {
    for (const [signal, status] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const) {
      const { begin, run } = await place();
      await run(["set", "k", "v"]);
      const { child, finished } = begin("watch", "--initial");
      await once(child.stdout, "data");
      child.kill(signal);
      expect(await finished).toEqual({ status, out: "set k\n", err: "" });
    }
  });

  // Mutation: the doctor's cleaning up made with the signal of the process.
  it("lets an interrupted doctor remove what it wrote", async () => {
    const { begin, run } = await place();
    await run(["set", "k", "v"]);
    const { child, finished } = begin("doctor", "lmdb:./data");
    await new Promise<void>((resolve) => {
      child.stdout.on("data", (data: Buffer) => {
        if (data.toString("utf8").includes(" values ok")) resolve();
      });
    });
    child.kill("SIGINT");
    const { status, out, err } = await finished;
    expect({ status, err }).toEqual({ status: 130, err: "" });
    expect(out).toContain("cleanup ok: nothing is left\n");
    expect(await run(["list"])).toMatchObject({ status: 0, out: "k\n" });
  });

  it("ends quietly when its reader has had enough", async () => {
    const { begin, run } = await place();
    const lines = Array.from({ length: 4_000 }, (_, i) => `{"key":"key-${"x".repeat(400)}-${i}","value":${i}}`);
    expect(await run(["import", "-"], lines.join("\n"))).toMatchObject({ status: 0, out: "" });
    const { child, finished } = begin("list");
    await once(child.stdout, "data");
    child.stdout.destroy();
    expect(await finished).toMatchObject({ status: 0, err: "" });
  });

  it.runIf(process.platform === "linux")("says that its output cannot be written", async () => {
    const { cwd, run } = await place();
    await run(["set", "k", "v"]);
    const shell = `${JSON.stringify(process.execPath)} ${JSON.stringify(built.main)} --chain lmdb:./data get k > /dev/full`;
    const { status, err } = await start(
      [
        "-e",
        `process.exit(require("node:child_process").spawnSync("sh", ["-c", ${JSON.stringify(shell)}], { stdio: "inherit" }).status)`,
      ],
      { cwd },
    ).finished;
    expect([status, err]).toEqual([
      9,
      "microsync: standard output cannot be written: ENOSPC (make room, or send it elsewhere)\n",
    ]);
  });

  // Mutation: importing a store's code in schemes.ts instead of in `open` loads lmdb with the package.
  it("loads no store before one is opened", async () => {
    const { cwd } = await place();
    const script = `
      import { createRequire } from "node:module";
      await import(${JSON.stringify(built.index)});
      const { COMMANDS } = await import(${JSON.stringify(built.main.replace("main.js", "commands.js"))});
      const loaded = Object.keys(createRequire(import.meta.url).cache ?? {}).concat(process.moduleLoadList ?? []);
      console.log(JSON.stringify([COMMANDS.length, loaded.filter((name) => /lmdb|msgpackr-extract|child_process/.test(name))]));`;
    const { out, err } = await start(["--input-type=module", "-e", script], { cwd }).finished;
    expect(err).toBe("");
    expect(JSON.parse(out)).toEqual([expect.any(Number), []]);
  });

  it("copies until SIGINT, lets what is under way come to its end, and goes on there when it is run again", async () => {
    const { cwd, begin, run } = await place();
    await mkdir(join(cwd, "from"));
    // Batches of 16 at most, so that the signal comes long before the last one is begun.
    for (let i = 0; i < 70; i++) await writeFile(join(cwd, "from", `k${i}`), Buffer.alloc(1_000_000, i));
    const copy = ["copy", "--json", "--parallel", "1", "file:./from", "file:./to"];
    const { child, finished } = begin(...copy);
    await once(child.stdout, "data");
    child.kill("SIGINT");
    const { status, out } = await finished;
    expect(status).toBe(130);
    const last = JSON.parse(out.trimEnd().split("\n").at(-1) ?? "") as { copied: number; error: { code: string } };
    expect(last.error.code).toBe("ABORTED");
    expect(last.copied).toBeGreaterThan(0);
    expect(last.copied).toBeLessThan(70);
    expect((await readdir(join(cwd, "to"))).filter((name) => name.startsWith("k"))).toHaveLength(last.copied);
    const again = await run(copy);
    const sum = JSON.parse(again.out.trimEnd().split("\n").at(-1) ?? "") as { copied: number; resumedAfter: string };
    expect([again.status, sum.copied]).toEqual([0, 70 - last.copied]);
    expect(sum.resumedAfter).toMatch(/^k/);
    expect(await run(["diff", "--brief", "file:./from", "file:./to"])).toMatchObject({ status: 0, out: "" });
  });
});
