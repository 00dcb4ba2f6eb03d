import { mkdir, mkdtemp, open as openFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openChain } from "../../src/config/open.ts";
import { SyncError } from "../../src/error.ts";
import { NO_META } from "../../src/entry.ts";
import { nodeFiles } from "../../src/journal/node-files.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";
import { jsonLines, microsync } from "./terminal.ts";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "microsync-cli-journal-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const ENV = { MICROSYNC_CHAIN: "memory: lmdb:./data?name=data", MICROSYNC_JOURNAL: "./j" };

async function place() {
  const folder = join(root, String(count++));
  await mkdir(folder);
  const run = (args: readonly string[]) => microsync(folder, args, { env: ENV });
  return { folder, run };
}

/** Writes keys whose layer refuses them for good, so that they become dead letters of the folder's journal. */
async function refusedWrites(folder: string, keys: readonly string[]) {
  const store = await lmdb(join(folder, "data"), { runtime: systemRuntime });
  const write = store.write.bind(store);
  store.write = async (writes, call) => {
    if (writes.some(({ entry }) => keys.includes(entry.key))) throw new SyncError("INVALID", "no such keys here");
    return write(writes, call);
  };
  const chain = await openChain([layer(store, { name: "data" })], { base: folder, journal: "./j" });
  const text = (key: string) => new TextEncoder().encode(`value of ${key}`);
  for (const key of [...keys, "good"]) {
    const version = await chain.clock.stamp();
    const head = { key, version, expires: null, meta: NO_META } as const;
    await chain.write([{ entry: { ...head, state: "value", value: text(key) }, asOf: systemRuntime.now() }]);
  }
  await expect(chain.flush()).rejects.toThrow("no such keys here");
  await chain.close();
}

describe("microsync journal", () => {
  it("lists what layers refused, sends it again, and gives it up", async () => {
    const { folder, run } = await place();
    await refusedWrites(folder, ["bad/1", "bad/2"]);
    const listed = await run(["journal", "ls"]);
    expect(listed).toMatchObject({ status: 0, err: "2 letters; nothing waits\n" });
    expect(listed.out).toMatch(/^letter\s+list\s+key\s+what\s+layer\s+when\s+why\n/);
    expect(listed.out).toContain('dead  "bad/1"  set   data');
    const letters = jsonLines((await run(["journal", "ls", "--json"])).out);
    expect(letters).toMatchObject([
      { list: "dead", key: "bad/1", layer: "data", code: "INVALID", message: "no such keys here" },
      { key: "bad/2" },
    ]);
    expect(await run(["status"])).toMatchObject({ status: 0 });
    expect((await run(["status"])).out).toContain("journal: 0 pending, 2 dead letters, 0 conflicts, 0 undecided");
    expect((await run(["get", "bad/1"])).out).toBe("value of bad/1");

    expect(await run(["journal", "retry", String(letters[0]?.["letter"])])).toMatchObject({
      status: 9, // the other one is still refused
      err: expect.stringContaining("1 letter sent again"),
    });
    expect(await run(["journal", "drop", "letter-1"])).toMatchObject({ status: 6 });
    expect(await run(["journal", "drop"])).toMatchObject({ status: 2 });
    expect(await run(["journal", "drop", "--all"])).toMatchObject({ status: 0, err: "1 letter dropped\n" });
    expect((await run(["get", "bad/1"])).out).toBe("value of bad/1");
    expect((await run(["get", "bad/2"])).status).toBe(3);
    expect(await run(["flush"])).toMatchObject({ status: 0, err: "" });
  });

  it("says which process owns the folder", async () => {
    const { folder, run } = await place();
    const claim = await nodeFiles(join(folder, "j")).claim();
    expect(await run(["set", "k", "1"])).toMatchObject({
      status: 9,
      err: expect.stringContaining(String(process.pid)),
    });
    expect(await run(["journal", "ls"])).toMatchObject({ status: 0 });
    await claim.release();
    expect(await run(["set", "k", "1"])).toMatchObject({ status: 0 });
  });

  it("tells damage by file and offset, and rescues what is readable", async () => {
    const { folder, run } = await place();
    for (const key of ["a", "b", "c"]) await run(["set", key, `value of ${key}`]);
    expect(await run(["journal", "check"])).toMatchObject({ status: 0, err: "3 records whole, 0 damaged places\n" });
    await rm(join(folder, "data"), { recursive: true });
    const segment = (await readdir(join(folder, "j"))).find((name) => name.endsWith(".log")) ?? "";
    const file = await openFile(join(folder, "j", segment), "r+");
    const bytes = await file.readFile();
    const at = bytes.indexOf("value of b");
    await file.write(new Uint8Array([0x58]), 0, 1, at);
    await file.close();

    const refused = await run(["get", "a"]);
    expect(refused).toMatchObject({
      status: 17,
      err: expect.stringMatching(/\.log.*offset \d+.*microsync journal rescue/),
    });
    const checked = await run(["journal", "check"]);
    expect(checked.status).toBe(17);
    expect(checked.out).toContain(segment);
    expect(await run(["journal", "rescue"])).toMatchObject({
      status: 0,
      err: expect.stringContaining("2 records and 0 letters rescued; the damaged journal is in "),
    });
    await run(["flush"]);
    expect((await run(["get", "a"])).out).toBe("value of a");
    expect((await run(["get", "c"])).out).toBe("value of c");
    expect((await run(["get", "b"])).status).toBe(3);
    expect((await readdir(folder)).filter((name) => name.startsWith("j.damaged-"))).toHaveLength(1);
  });

  it("needs a journal, and an action that it knows", async () => {
    const { folder } = await place();
    const bare = { env: { MICROSYNC_CHAIN: "memory:" } };
    expect(await microsync(folder, ["journal", "ls"], bare)).toMatchObject({
      status: 2,
      err: expect.stringContaining("no journal is named"),
    });
    expect(await microsync(folder, ["journal", "mend"], bare)).toMatchObject({ status: 2 });
  });
});

describe("microsync collect", () => {
  it("says what it removed, or would", async () => {
    const { run } = await place();
    await run(["set", "k", "1"]);
    await run(["delete", "k"]);
    expect(await run(["collect", "--dry-run"])).toMatchObject({
      status: 0,
      err: expect.stringContaining("0 keys would be removed"),
    });
    expect(jsonLines((await run(["collect", "--json"])).out)).toEqual([
      { removed: 0, kept: 0, dryRun: false, error: null },
    ]);
  });
});
