import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.ts";
import { open } from "../../src/config/open.ts";
import { jsonLines, microsync } from "./terminal.ts";
import type { TerminalOptions } from "./terminal.ts";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "microsync-cli-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A folder with a chain of its own, and the command in it. */
async function place() {
  const folder = join(root, String(count++));
  await mkdir(folder);
  const env = { MICROSYNC_CHAIN: "memory: lmdb:./data" };
  const run = (args: readonly string[], options: TerminalOptions = {}) => microsync(folder, args, { env, ...options });
  return { folder, run };
}

describe("get and set", () => {
  it("gives a value's bytes and nothing else, and a line break on a terminal only", async () => {
    const { run } = await place();
    const set = await run(["set", "k", "Grüße"]);
    expect(set).toMatchObject({ status: 0, err: "" });
    expect(set.out).toMatch(/^[0-9a-f]{12}-[0-9a-f]{4}-[0-9a-f]{16}\n$/);
    expect(await run(["get", "k"])).toMatchObject({ status: 0, out: "Grüße", err: "" });
    expect((await run(["get", "k"], { isTTY: true })).out).toBe("Grüße\n");
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    await run(["set", "bytes", "-"], { stdin: bytes });
    expect(new Uint8Array((await run(["get", "bytes"])).bytes)).toEqual(bytes);
  });

  it("tells a key without value by its status alone", async () => {
    const { run } = await place();
    expect(await run(["get", "nowhere"])).toMatchObject({ status: 3, out: "", err: "" });
    expect(await run(["get", "nowhere", "--json"])).toMatchObject({ status: 3, out: "", err: "" });
    expect(await run(["where", "nowhere"])).toMatchObject({ status: 3, err: "" });
  });

  it("stores text, JSON and bytes as programs read them", async () => {
    const { folder, run } = await place();
    await run(["set", "text", '{"n": 1}']);
    await run(["set", "json", '{"n": 1}', "--as", "json"]);
    await run(["set", "piped", "--as", "json"], { stdin: "[1, 2]\n" });
    await run(["set", "bytes"], { stdin: "raw" });
    await run(["set", "line", "-", "--as", "text"], { stdin: "a line\n" });
    await run(["set", "image", "--type", "image/png", "-"], { stdin: "PNG" });
    await run(["set", "--", "-dash", "-5"]);
    expect((await run(["get", "json"])).out).toBe('{"n":1}');
    const [line] = jsonLines((await run(["get", "image", "--json"])).out);
    expect(line).toMatchObject({ key: "image", base64: "UE5H", type: "image/png", layer: "lmdb", stale: false });
    const db = await open("lmdb:./data", { base: folder });
    expect(await db.getMany(["text", "json", "piped", "bytes", "line", "-dash"])).toEqual(
      new Map<string, unknown>([
        ["text", '{"n": 1}'],
        ["json", { n: 1 }],
        ["piped", [1, 2]],
        ["bytes", new TextEncoder().encode("raw")],
        ["line", "a line\n"],
        ["-dash", "-5"],
      ]),
    );
    await db.close();
  });

  it("takes expiry, metadata and conditions", async () => {
    const { run } = await place();
    const [set] = jsonLines(
      (await run(["set", "k", "v", "--ttl", "1h", "--meta", "a=b=c", "--meta", "d=", "--json"])).out,
    );
    const [got] = jsonLines((await run(["get", "k", "--json"])).out);
    expect(got).toMatchObject({ text: "v", version: set?.["version"], expires: set?.["expires"] });
    expect(got?.["meta"]).toMatchObject({ a: "b=c", d: "" });
    expect((await run(["set", "k", "w", "--if-absent"])).status).toBe(12);
    expect((await run(["set", "k", "w", "--if-version", String(set?.["version"])])).status).toBe(0);
    const conflict = await run(["set", "k", "x", "--if-version", String(set?.["version"])]);
    expect(conflict).toMatchObject({ status: 12, out: "" });
    expect(conflict.err).toMatch(/^microsync: set "k": the condition does not hold: .*\(read it again.*\)\n$/);
    await run(["set", "old", "v", "--expires", "2001-01-01T00:00:00Z"]);
    expect((await run(["get", "old"])).status).toBe(3);
    expect((await run(["delete", "k"])).status).toBe(0);
    expect((await run(["delete", "k"])).status).toBe(0);
    expect((await run(["get", "k"])).status).toBe(3);
  });
});

describe("list, where, status, flush", () => {
  it("lists keys one a line, or as one's program wants them", async () => {
    const { run } = await place();
    for (const key of ["b", "a", "a/1", "a\nb"]) await run(["set", key, key]);
    expect((await run(["list", "--null"])).out).toBe("a\0a\nb\0a/1\0b\0");
    expect(jsonLines((await run(["list", "--json", "a"])).out)).toEqual([
      { key: "a" },
      { key: "a\nb" },
      { key: "a/1" },
    ]);
    expect((await run(["list", "--after", "a\nb", "--limit", "1"])).out).toBe("a/1\n");
    expect((await run(["list", "x"])).status).toBe(0);
  });

  it("shows where a key is, and the chain", async () => {
    const { run } = await place();
    await run(["set", "k", "v"]);
    const { out } = await run(["where", "k"]);
    expect(out.split("\n").map((line) => line.split(/ {2,}/).slice(0, 3))).toEqual([
      ["layer", "role", "holds"],
      ["memory", "cache", "nothing"],
      ["lmdb", "store", "value"],
      [""],
    ]);
    expect(jsonLines((await run(["where", "k", "--json"])).out)).toMatchObject([
      { layer: "memory", state: "absent" },
      { layer: "lmdb", state: "value" },
    ]);
    expect((await run(["status"])).out).toMatch(/^layer +role +store +state +traits\nmemory +cache +memory +answers/);
    expect(jsonLines((await run(["status", "--json"])).out)).toMatchObject([
      { layers: [{ name: "memory" }, { name: "lmdb" }] },
    ]);
    expect(await run(["flush"])).toMatchObject({ status: 0, out: "", err: "" });
  });
});

describe("watch", () => {
  it("prints what is there and what comes, until so many, or interrupted", async () => {
    const { run } = await place();
    await run(["set", "a", "1"]);
    await run(["set", "b", "2"]);
    expect(await run(["watch", "--initial", "--limit", "2"])).toMatchObject({
      status: 0,
      out: "set a\nset b\n",
      err: "",
    });
    const end = new AbortController();
    const watched = await run(["watch", "--json", "--initial"], {
      signal: end.signal,
      onOut: (text) => {
        if (text.includes('"b"')) end.abort();
      },
    });
    expect(watched.status).toBe(130);
    expect(jsonLines(watched.out)).toMatchObject([
      { type: "set", key: "a" },
      { type: "set", key: "b" },
    ]);
  });
});

describe("the command", () => {
  it("says what it can do, with examples for every command", async () => {
    const { run, folder } = await place();
    const help = await run(["--help"]);
    expect(help).toMatchObject({ status: 0, err: "" });
    for (const { name } of COMMANDS) {
      expect(help.out).toContain(name);
      const { out, status } = await run([name, "--help"]);
      expect(status).toBe(0);
      expect(out).toContain(`Examples:\n  $ microsync ${name}`);
      expect((await run(["help", name])).out).toBe(out);
    }
    expect(await run(["--version"])).toMatchObject({ status: 0, out: "1.2.3\n" });
    expect(await readdir(folder)).toEqual([]);
  });

  it("ends quietly when nobody reads its output any more", async () => {
    const { run } = await place();
    for (const key of ["a", "b", "c"]) await run(["set", key, key]);
    expect(await run(["list"], { writesMax: 1, isTTY: true })).toMatchObject({ status: 0, out: "a\n", err: "" });
    expect(await run(["list"], { writesMax: 0 })).toMatchObject({ status: 0, out: "", err: "" });
    expect(await run(["export", "-"], { writesMax: 0 })).toMatchObject({ status: 0, out: "", err: "" });
    expect(await run(["--help"], { writesMax: 0 })).toMatchObject({ status: 0, out: "", err: "" });
  });

  it("ends cleanly when interrupted while it waits for input", async () => {
    const { run, folder } = await place();
    const end = new AbortController();
    const stdin = (async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array([1]);
      end.abort();
      await new Promise(() => undefined);
    })();
    const ran = await run(["set", "k", "-"], { stdin, signal: end.signal });
    expect(ran).toMatchObject({ status: 130, out: "" });
    expect(await readdir(folder)).toEqual([]);
  });

  // Mutation: `set` reads all of its input before it stores any of it (a test of memory is in test/streams).
  it("stores a file however large, and gives it back into a file, or a part of it", async () => {
    const { run, folder } = await place();
    const bytes = new Uint8Array(3 * 1024 * 1024).map((_, i) => i % 251);
    await writeFile(join(folder, "in.bin"), bytes);
    expect(await run(["set", "k", "--file", "in.bin", "--type", "video/mp4"])).toMatchObject({ status: 0, err: "" });
    expect(await run(["get", "k", "-o", "out.bin"])).toMatchObject({ status: 0, out: "", err: "" });
    expect((await readFile(join(folder, "out.bin"))).equals(bytes)).toBe(true);
    expect(await run(["get", "k", "--range", "251-254"])).toMatchObject({ status: 0, out: "\0\u0001\u0002" });
    expect((await run(["get", "none", "-o", "none.bin"])).status).toBe(3);
    expect((await readdir(folder)).filter((name) => /none|part/.test(name))).toEqual([]);
    expect((await run(["set", "k", "--file", "not-there"])).err).toContain("cannot be read");
    expect((await run(["get", "k", "--range", "x"])).err).toContain("--range");
  });
});
