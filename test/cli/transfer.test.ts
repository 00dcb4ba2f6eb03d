import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lineOf } from "../../src/cli/ndjson.ts";
import { itemOf, linesOf } from "../../src/node/lines.ts";
import { rawCodec } from "../../src/cli/raw.ts";
import type { Raw } from "../../src/node/lines.ts";
import { defaultCodec } from "../../src/codec.ts";
import { openChain } from "../../src/config/open.ts";
import { SyncError } from "../../src/error.ts";
import { syncOver } from "../../src/sync.ts";
import { WEIRD_KEYS } from "../../src/testing/index.ts";
import { collect } from "../sync/world.ts";
import { jsonLines, microsync } from "./terminal.ts";
import type { TerminalOptions } from "./terminal.ts";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "microsync-transfer-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const CHAIN = "memory: lmdb:./data";

async function place() {
  const folder = join(root, String(count++));
  await mkdir(folder);
  const run = (args: readonly string[], options: TerminalOptions = {}) =>
    microsync(folder, args, { env: { MICROSYNC_CHAIN: CHAIN }, ...options });
  const withDb = async <T>(work: (db: ReturnType<typeof syncOver>) => Promise<T>, raw = false): Promise<T> => {
    const chain = await openChain(CHAIN, { base: folder });
    const db = syncOver(chain, { codec: raw ? rawCodec : defaultCodec });
    try {
      return await work(db);
    } finally {
      await db.close();
    }
  };
  return { folder, run, withDb };
}

/** All entries with everything that is to survive a copy. */
const contents = (db: ReturnType<typeof syncOver>) =>
  collect(db.entries()).then((all) => all.map(({ key, value, expires, meta }) => ({ key, value, expires, meta })));

const VALUES: readonly unknown[] = [
  null,
  "",
  "text\u2028\n",
  { n: 1, deep: [{ a: "ü" }] },
  -0,
  12n,
  new Date(5),
  new Map([["a", new Set([1])]]),
  new Uint8Array([0, 255, 10]),
];

describe("entries as lines", () => {
  it("bring back every value, expiry and metadata, under every key", async () => {
    const from = await place();
    await from.withDb(async (db) => {
      for (const [index, key] of WEIRD_KEYS.entries()) {
        await db.set(
          key,
          VALUES[index % VALUES.length],
          index % 3 === 0 ? { meta: { n: `${index}` }, expires: 4_000_000_000_000 } : {},
        );
      }
    });
    expect(await from.run(["export", "all.ndjson"])).toMatchObject({ status: 0, out: "" });
    const to = await place();
    const imported = await to.run(["import", join(from.folder, "all.ndjson"), "--json"]);
    expect(imported).toMatchObject({ status: 0, err: "" });
    expect(jsonLines(imported.out)).toMatchObject([{ imported: WEIRD_KEYS.length, failed: 0 }]);
    expect(await to.withDb(contents)).toStrictEqual(await from.withDb(contents));
    expect((await readdir(from.folder)).sort()).toEqual([".sync", "all.ndjson", "data"]);
  });

  it("go through a pipe, below a prefix", async () => {
    const { run, withDb } = await place();
    await withDb((db) =>
      db.setMany([
        ["a/1", 1],
        ["a/2", "two"],
        ["b", 3],
      ]),
    );
    const { out } = await run(["export", "a/", "-"]);
    expect(jsonLines(out)).toMatchObject([
      { key: "1", value: 1 },
      { key: "2", text: "two" },
    ]);
    expect(await run(["import", "-", "copy/"], { stdin: out })).toMatchObject({ status: 0 });
    expect(await withDb((db) => db.getMany(["copy/1", "copy/2"]))).toEqual(
      new Map<string, unknown>([
        ["copy/1", 1],
        ["copy/2", "two"],
      ]),
    );
  });

  // Mutation: ending at the first failure leaves the good lines after it out.
  it("that are wrong are told one by one, and do not stop the rest", async () => {
    const { run, withDb } = await place();
    const lines = [
      '{"key":"a","value":1}',
      "not json",
      "[]",
      '{"key":"b"}',
      '{"key":"b","value":1,"text":"x"}',
      '{"key":"b","valeu":1}',
      '{"key":5,"value":1}',
      '{"key":"b","base64":"AA"}',
      '{"key":"b","text":"\\ud800"}',
      '{"key":"b","value":1,"expires":-1}',
      '{"key":"b","value":1,"meta":{"a":1}}',
      '{"key":"b","value":1,"meta":{"A":"x"}}',
      `{"key":"${"x".repeat(600)}","value":1}`,
      '{"key":"","value":1}',
      "",
      '{"key":"z","value":2}\r',
    ];
    const ran = await run(["import", "-"], { stdin: lines.join("\n") });
    expect(ran.status).toBe(2);
    expect(ran.err.split("\n").filter((line) => line.includes("failed:"))).toHaveLength(13);
    expect(ran.err).toContain('"line 2" failed: the line is not an object of JSON in UTF-8 (correct the line');
    expect(ran.err).toContain("imported 2 keys, 2 B; 13 failed\n");
    expect(await withDb((db) => collect(db.list()))).toEqual(["a", "z"]);
    const told = jsonLines((await run(["import", "-", "--json"], { stdin: "x\ny\n" })).err);
    expect(told).toMatchObject([
      { failed: "line 1", code: "INVALID" },
      { failed: "line 2", code: "INVALID" },
    ]);
    const many = await run(["import", "-"], { stdin: "x\n".repeat(30) });
    expect(many.err.match(/"line \d+" failed/g)).toHaveLength(20);
    expect(many.err).toContain("and 10 more failed");
  });

  it("are read whatever pieces they come in, and not held when they are too long", async () => {
    const bytes = new TextEncoder().encode('{"key":"ä"}\n\n0123456789abcdef\nlast');
    const found = async (size: number, bytesMax: number) => {
      const chunks = (async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      })();
      const lines = await collect(linesOf(chunks, bytesMax));
      return lines.map(({ number, bytes: line }) => [
        number,
        line === undefined ? undefined : Buffer.from(line).toString(),
      ]);
    };
    for (const size of [1, 2, 3, 7, 100]) {
      expect(await found(size, 100)).toEqual([
        [1, '{"key":"ä"}'],
        [3, "0123456789abcdef"],
        [4, "last"],
      ]);
      expect(await found(size, 15)).toEqual([
        [1, '{"key":"ä"}'],
        [3, undefined],
        [4, "last"],
      ]);
    }
  });

  it("keep JSON that a parser would change as its bytes", () => {
    for (const text of ['{"a":1.0}', "12345678901234567890", '{"a":1,"a":2}', "[1, 2]"]) {
      const value: Raw = { bytes: new TextEncoder().encode(text), type: "application/json" };
      const line = lineOf({ key: "k", value, version: "v" as never, expires: null, meta: {} });
      expect(itemOf(new TextEncoder().encode(line)).raw).toStrictEqual(value);
    }
    expect(() => itemOf(new TextEncoder().encode("{}"))).toThrow(SyncError);
  });
});

describe("values as files", () => {
  it("bring back the same bytes under every key, in files that stay inside the folder", async () => {
    const { folder, run, withDb } = await place();
    const raw = (text: string): Raw => ({ bytes: new TextEncoder().encode(text), type: "application/octet-stream" });
    const keys = [...WEIRD_KEYS, "a", "a/b", "a/b/c", "../../escape", "/abs", ".microsync/x"];
    await withDb((db) => db.setMany([...new Set(keys)].map((key) => [key, raw(`value of ${key}`)])), true);
    const exported = await run(["export", "./files"]);
    expect(exported).toMatchObject({ status: 0, out: "" });
    expect((await readdir(folder)).sort()).toEqual([".sync", "data", "files"]);
    expect(await readdir(join(folder, "files"))).not.toContain(".microsync");
    expect(await readFile(join(folder, "files", "a", "%value"), "utf8")).toBe("value of a");
    const to = await place();
    expect(await to.run(["import", join(folder, "files")])).toMatchObject({ status: 0, out: "" });
    const bytesOf = async (db: ReturnType<typeof syncOver>) =>
      (await collect(db.entries())).map(({ key, value }) => [key, Buffer.from((value as Raw).bytes).toString()]);
    expect(await to.withDb(bytesOf, true)).toEqual(await withDb(bytesOf, true));
  });

  it("have the type that their name says, and say what files cannot hold", async () => {
    const { folder, run, withDb } = await place();
    await mkdir(join(folder, "in", ".git"), { recursive: true });
    await writeFile(join(folder, "in", "a.json"), '{"n": 1}');
    await writeFile(join(folder, "in", "b.txt"), "text");
    await writeFile(join(folder, "in", "c"), "bytes");
    await writeFile(join(folder, "in", ".git", "config"), "not a key");
    await symlink("/etc", join(folder, "in", "link"));
    const imported = await run(["import", "in", "site/"]);
    expect(imported.status).toBe(5);
    expect(imported.err).toContain('"link" failed: it is not a file');
    expect(await withDb(contents)).toMatchObject([
      { key: "site/a.json", value: { n: 1 } },
      { key: "site/b.txt", value: "text" },
      { key: "site/c", value: new TextEncoder().encode("bytes") },
    ]);
    await withDb((db) => db.set("site/d", { n: 1 }, { expires: 4_000_000_000_000 }));
    const exported = await run(["export", "site/", "out"]);
    expect(exported.err).toContain("1 key with a type, an expiry or metadata that files cannot say");
    expect(await readFile(join(folder, "out", "a.json"), "utf8")).toBe('{"n": 1}');
    expect(await readFile(join(folder, "out", "d"), "utf8")).toBe('{"n":1}');
  });

  it("are not written over what is there, unless asked to", async () => {
    const { folder, run } = await place();
    await run(["set", "k", "new"]);
    await mkdir(join(folder, "full"));
    await writeFile(join(folder, "full", "k"), "old");
    await writeFile(join(folder, "f.ndjson"), "old");
    for (const to of ["full", "f.ndjson"]) {
      const refused = await run(["export", to]);
      expect(refused).toMatchObject({ status: 2, out: "" });
      expect(refused.err).toContain("give --force to write over what is there");
    }
    expect(await readFile(join(folder, "full", "k"), "utf8")).toBe("old");
    expect(await readFile(join(folder, "f.ndjson"), "utf8")).toBe("old");
    expect((await run(["export", "full", "--force"])).status).toBe(0);
    expect(await readFile(join(folder, "full", "k"), "utf8")).toBe("new");
    expect(await readdir(join(folder, "full"))).toEqual(["k"]);
    expect((await run(["export", "f.ndjson", "--force"])).status).toBe(0);
    expect(jsonLines(await readFile(join(folder, "f.ndjson"), "utf8"))).toMatchObject([{ key: "k", text: "new" }]);
  });

  // Mutation: following links in makeFolders writes into the folder that the link names.
  it("are never written through a link", async () => {
    const { folder, run } = await place();
    await mkdir(join(folder, "outside"));
    await mkdir(join(folder, "out"));
    await symlink(join(folder, "outside"), join(folder, "out", "dir"));
    await writeFile(join(folder, "outside", "target"), "mine");
    await symlink(join(folder, "outside", "target"), join(folder, "out", "file"));
    await run(["set", "dir/k", "v"]);
    await run(["set", "file", "v"]);
    const ran = await run(["export", "out", "--force"]);
    expect(ran.status).toBe(2);
    expect(ran.err).toContain('"dir/k" failed: dir in out is a link or device');
    expect(await readdir(join(folder, "outside"))).toEqual(["target"]);
    expect(await readFile(join(folder, "outside", "target"), "utf8")).toBe("mine");
    expect(await readFile(join(folder, "out", "file"), "utf8")).toBe("v");
  });
});

describe("progress", () => {
  it("is drawn on a terminal and nowhere else", async () => {
    const { run } = await place();
    await run(["set", "k", "v"]);
    const seen = await run(["export", "-"], { isTTY: true });
    expect(seen.err.startsWith("\rexporting: 1 key, 1 B\u001b[K")).toBe(true);
    expect(seen.err.endsWith("\r\u001b[K")).toBe(true);
    expect((await run(["export", "-"])).err).toBe("");
    expect((await run(["export", "-"], { isTTY: true, env: { TERM: "dumb", MICROSYNC_CHAIN: CHAIN } })).err).toBe("");
  });
});
