import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { jsonLines, microsync } from "./terminal.ts";
import type { TerminalOptions } from "./terminal.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "microsync-sessions-"));
  await mkdir(join(folder, "data/sub"), { recursive: true });
  await writeFile(join(folder, "data/a.txt"), "a");
  await writeFile(join(folder, "data/b.json"), '{"b":1}');
  await writeFile(join(folder, "data/sub/c.txt"), "ccc");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const run = (args: readonly string[], options: TerminalOptions = {}) => microsync(folder, args, options);

describe("copy, mirror and diff on the command line", () => {
  it("copy a folder, show the difference, mirror what changed", async () => {
    const first = await run(["copy", "file:./data", "lmdb:./db"]);
    expect(first).toMatchObject({ status: 0, out: "", err: "3 keys copied, 11 B; 0 the same\n" });
    expect((await readdir(join(folder, "data"))).sort()).toEqual(["a.txt", "b.json", "sub"]); // nothing is written there
    expect(await run(["diff", "file:./data", "lmdb:./db"])).toMatchObject({
      status: 0,
      out: "= a.txt\n= b.json\n= sub/c.txt\n",
    });

    await writeFile(join(folder, "data/a.txt"), "changed");
    await writeFile(join(folder, "data/d.txt"), "new");
    await rm(join(folder, "data/sub"), { recursive: true });
    const different = await run(["diff", "--brief", "file:./data", "lmdb:./db"]);
    expect(different).toMatchObject({
      status: 1,
      out: "* a.txt\n+ d.txt\n- sub/c.txt\n",
      err: "1 the same, 1 only in the source, 1 only in the target, 1 different\n",
    });
    const dry = await run(["mirror", "--dry-run", "file:./data", "lmdb:./db"]);
    expect(dry).toMatchObject({
      status: 0,
      out: "would be copied: a.txt\nwould be copied: d.txt\nwould be deleted: sub/c.txt\n",
      err: "dry run: 2 keys copied, 10 B; 1 the same; 1 deleted\n",
    });
    expect((await run(["diff", "file:./data", "lmdb:./db"])).status).toBe(1);
    expect(await run(["mirror", "file:./data", "lmdb:./db"])).toMatchObject({ status: 0 });
    expect((await run(["diff", "file:./data", "lmdb:./db"])).status).toBe(0);
  });

  it("print lines of JSON", async () => {
    const { out } = await run(["copy", "--json", "--glob", "*.txt", "file:./data", "lmdb:./db"]);
    expect(jsonLines(out)).toMatchObject([
      { key: "a.txt", action: "copied", bytes: 1, dryRun: false },
      { verb: "copy", copied: 1, bytes: 1, failed: 0, dryRun: false, resumedAfter: null },
    ]);
    const compared = await run(["diff", "--json", "file:./data", "lmdb:./db"]);
    expect(jsonLines(compared.out)).toMatchObject([
      { symbol: "=", key: "a.txt" },
      { symbol: "+", key: "b.json" },
      { symbol: "+", key: "sub/c.txt" },
      { verb: "diff", equal: false, same: 1, added: 2, missing: 0, different: 0, failed: 0 },
    ]);
  });

  it("go on when nobody reads what they say any more", async () => {
    const ran = await run(["copy", "--json", "file:./data", "lmdb:./db"], { writesMax: 1 });
    expect(ran.status).toBe(0);
    expect((await run(["diff", "file:./data", "lmdb:./db"])).status).toBe(0);
  });

  it("draw a bar on a terminal, and nowhere else", async () => {
    const terminal = await run(["mirror", "file:./data", "lmdb:./db"], { isTTY: true });
    expect(terminal.err).toMatch(/\r.*mirror: /);
    expect((await run(["mirror", "file:./data", "lmdb:./db2"])).err).not.toContain("\r");
  });

  it("take chains, files of lines, and standard input and output", async () => {
    expect((await run(["copy", "file:./data", "all.ndjson"])).status).toBe(0);
    const lines = await readFile(join(folder, "all.ndjson"), "utf8");
    expect(jsonLines(lines)).toMatchObject([
      { key: "a.txt", text: "a" },
      { key: "b.json", value: { b: 1 } },
      { key: "sub/c.txt", text: "ccc" },
    ]);
    expect((await run(["diff", "all.ndjson", "file:./data"])).status).toBe(0);
    expect((await run(["copy", "-", "memory: lmdb:./db"], { stdin: lines })).status).toBe(0);
    expect((await run(["diff", "file:./data", "memory: lmdb:./db"])).status).toBe(0);
    const piped = await run(["copy", "lmdb:./db", "-"]);
    expect([piped.status, piped.out]).toEqual([0, lines]);

    const unsorted = `{"key":"z","text":"1"}\n{"key":"y","text":"2"}\n{"key":"z","text":"3"}\n`;
    await writeFile(join(folder, "some.ndjson"), unsorted);
    const mirrored = await run(["mirror", "some.ndjson", "all.ndjson", "--max-delete", "3"]);
    expect(mirrored.status).toBe(0);
    const after = jsonLines(await readFile(join(folder, "all.ndjson"), "utf8"));
    expect(after.map(({ key, text }) => [key, text])).toEqual([
      ["y", "2"],
      ["z", "3"],
    ]);
  });

  it("refuse what would delete too much, and say how much it is", async () => {
    await run(["copy", "file:./data", "lmdb:./db"]);
    for (const name of ["a.txt", "b.json"]) await rm(join(folder, "data", name));
    const refused = await run(["mirror", "file:./data", "lmdb:./db"]);
    expect(refused.status).toBe(12);
    expect(refused.err).toContain("2 of the target's 3 keys would be deleted");
    expect((await run(["mirror", "file:./data", "lmdb:./db", "--max-delete", "2"])).status).toBe(0);
  });

  it.each([
    [["copy", "file:./missing", "lmdb:./db"], 6],
    [["mirror", "--dry-run", "file:./data", "file:./missing"], 0],
    [["diff", "file:./data", "file:./missing"], 6],
    [["copy", "nowhere.ndjson", "lmdb:./db"], 6],
    [["copy", "file:./data"], 2],
    [["copy", "file:./data", "lmdb:./db", "--compare", "size"], 2],
    [["copy", "file:./data", "lmdb:./db", "--min-size", "x"], 2],
    [["mirror", "file:./data", "lmdb:./db", "--max-delete", "many"], 2],
    [["mirror", "file:./empty?create=true", "file:./data"], 6],
  ] as const)("%j ends with %i", async (args, status) => {
    expect((await run(args)).status).toBe(status);
    expect((await readdir(folder)).filter((name) => name === "missing" || name === "empty")).toEqual([]);
  });

  it("name the line that is none, and copy nothing of such a file", async () => {
    await writeFile(join(folder, "bad.ndjson"), `{"key":"a","text":"1"}\n{"key":"b"\n`);
    const ran = await run(["copy", "bad.ndjson", "lmdb:./db"]);
    expect(ran.status).toBe(2);
    expect(ran.err).toContain("line 2");
  });

  it("keep how far they came when they are interrupted, and go on there", async () => {
    for (let i = 0; i < 60; i++) await writeFile(join(folder, "data", `k${String(i).padStart(2, "0")}`), "x");
    const control = new AbortController();
    const interrupted = await run(["copy", "--json", "--parallel", "1", "file:./data", "lmdb:./db"], {
      signal: control.signal,
      onOut: () => control.abort(),
    });
    expect(interrupted.status).toBe(130);
    const { copied } = jsonLines(interrupted.out).at(-1) as { readonly copied: number };
    expect(copied).toBeGreaterThan(0);
    expect(copied).toBeLessThan(63);
    expect(await readdir(join(folder, ".sync/sessions"))).toHaveLength(1);
    const again = jsonLines((await run(["copy", "--json", "file:./data", "lmdb:./db"])).out).at(-1);
    expect(again).toMatchObject({ copied: 63 - copied, same: copied });
    expect(again?.["resumedAfter"]).not.toBeNull();
    expect(await readdir(join(folder, ".sync/sessions"))).toEqual([]);
  });
});
