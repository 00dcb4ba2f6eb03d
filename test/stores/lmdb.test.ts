import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open } from "lmdb";
import { afterAll, describe, expect, it, test } from "vitest";
import { conformance, simulatedRuntime } from "microsync/testing";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Store } from "../../src/store.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { openEnvironment } from "../../src/stores/lmdb/environment.ts";
import type { LmdbOptions } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

const runtime = systemRuntime;
const root = mkdtempSync(join(tmpdir(), "microsync-lmdb-"));
let folders = 0;
const newFolder = () => join(root, String(folders++), "data");
afterAll(() => rmSync(root, { recursive: true }));

conformance({
  name: "lmdb",
  runner: { describe, test, afterAll },
  open: async () => {
    const folder = newFolder();
    const options = { runtime, valueBytesMax: 1024 * 1024 };
    return { store: await lmdb(folder, options), runtime, reopen: () => lmdb(folder, options) };
  },
});

conformance({
  name: "lmdb with a limit",
  runner: { describe, test, afterAll },
  seed: 2,
  open: async () => {
    const options = { runtime, bytesMax: 64 * 1024 * 1024, valueBytesMax: 64 * 1024 };
    return { store: await lmdb(newFolder(), options), runtime };
  },
  runs: 10,
});

const entry = (key: string, at: number, value: Uint8Array | string = "x", expires: number | null = null): Entry => {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return {
    key,
    state: "value",
    value: bytes,
    version: formatVersion(1.7e12 + at, 0, "0".repeat(16)),
    expires,
    meta: NO_META,
  };
};

async function put(store: Store, entries: readonly Entry[], asOf = 5): Promise<void> {
  const results = await store.write(entries.map((item) => ({ entry: item, asOf })));
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(["stored"]));
}

async function keysOf(store: Store, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const item of store.list({ prefix })) if (item.kind === "entry") keys.push(item.key);
  return keys;
}

/** What a watch tells until it is current, and its cursor then. */
async function untilCurrent(store: Store, cursor?: string): Promise<{ told: string[]; cursor: string | undefined }> {
  const told: string[] = [];
  for await (const change of store.watch({ prefix: "" }, { cursor })) {
    if (change.kind === "current") return { told, cursor: change.cursor };
    told.push(change.kind !== "change" ? change.kind : `${change.key} ${change.head?.state ?? "removed"}`);
  }
  return { told, cursor: undefined };
}

async function failure(call: () => unknown): Promise<SyncError> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(SyncError);
    return error as SyncError;
  }
  throw new Error("it did not fail");
}

/** The rows of a table, past the store, which must be closed. */
async function tamper(folder: string, table: string, change: (rows: Map<string, Uint8Array>) => void): Promise<void> {
  const binary = { encoding: "binary", keyEncoding: "binary" } as const;
  const database = open<Uint8Array, Uint8Array>({ path: folder, noSubdir: false, overlappingSync: false, ...binary });
  const rows = database.openDB<Uint8Array, Uint8Array>({ name: table, ...binary });
  const all = [...rows.getRange({})];
  const map = new Map(all.map(({ key, value }) => [Buffer.from(key).toString(), value]));
  change(map);
  await database.transaction(() => {
    for (const { key } of all) rows.removeSync(key);
    for (const [key, value] of map) rows.putSync(Buffer.from(key), value);
  });
  await database.close();
}

describe("a folder that lmdb cannot use", () => {
  // Each mutation is the removal of the check in environment.ts; a file that is no database then ends the process.
  const cases: readonly [string, (path: string) => void, string, Partial<LmdbOptions>?][] = [
    ["a file", (path) => writeFileSync(path, "x"), "INVALID"],
    ["below a file", (path) => writeFileSync(join(path, ".."), "x"), "INVALID"],
    [
      "with a data.mdb that is a text",
      (path) => (mkdirSync(path), writeFileSync(join(path, "data.mdb"), "x".repeat(9000))),
      "CORRUPT",
    ],
    [
      "with a data.mdb that is cut short",
      (path) => (mkdirSync(path), writeFileSync(join(path, "data.mdb"), "x")),
      "CORRUPT",
    ],
    ["with a data.mdb that is a folder", (path) => mkdirSync(join(path, "data.mdb"), { recursive: true }), "INVALID"],
    [
      "with a data.mdb of LMDB's next format",
      (path) => (mkdirSync(path), writeFileSync(join(path, "data.mdb"), nextFormat())),
      "CORRUPT",
    ],
    ["missing, and not to be created", () => {}, "NOT_FOUND", { create: false }],
  ];

  it.each(cases)("%s: one line with the cure, nothing written", async (_, prepare, code, options = {}) => {
    const path = newFolder();
    const above = join(path, "..");
    mkdirSync(join(above, ".."), { recursive: true });
    if (_ !== "below a file") mkdirSync(above);
    prepare(path);
    const before = treeOf(root);
    const error = await failure(() => lmdb(path, { runtime, ...options }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^lmdb[^\n]*\([^\n]+\)$/);
    expect(treeOf(root)).toEqual(before);
  });

  it.skipIf(process.getuid?.() === 0 || process.platform === "win32")("unwritable: UNAUTHORISED", async () => {
    const path = newFolder();
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o555);
    expect((await failure(() => lmdb(path, { runtime }))).code).toBe("UNAUTHORISED");
    expect(readdirSync(path)).toEqual([]);
  });

  it("with another program's LMDB: refused, and left as it is", async () => {
    const path = newFolder();
    const theirs = open<string, string>({ path, noSubdir: false });
    await theirs.put("theirs", "kept");
    await theirs.close();
    expect((await failure(() => lmdb(path, { runtime }))).code).toBe("INVALID");
    const again = open<string, string>({ path, noSubdir: false });
    expect([...again.getKeys()]).toEqual(["theirs"]);
    await again.close();
  });

  it("of a later format of Sync: refused with the cure, and left as it is", async () => {
    const path = newFolder();
    await (await lmdb(path, { runtime })).close();
    await tamper(path, "about", (rows) => rows.set("format", Buffer.from("2")));
    const error = await failure(() => lmdb(path, { runtime }));
    expect([error.code, error.message]).toEqual(["CORRUPT", expect.stringContaining("format 2")]);
    await tamper(path, "about", (rows) => expect(Buffer.from(rows.get("format") ?? []).toString()).toBe("2"));
  });

  it.each([{ bytesMax: 5 }, { valueBytesMax: -1 }, { removalsMax: 0.5 }, { waitingMax: Number.NaN }])(
    "option %o: INVALID",
    async (wrong) => {
      const path = newFolder();
      expect((await failure(() => lmdb(path, { runtime, ...wrong }))).code).toBe("INVALID");
      expect(existsSync(path)).toBe(false);
    },
  );
});

function nextFormat(): Uint8Array {
  const page = new Uint8Array(8192);
  const view = new DataView(page.buffer);
  view.setUint32(24, 0xbeefc0de, true);
  view.setUint32(28, 3, true);
  return page;
}

function treeOf(path: string): unknown {
  return readdirSync(path, { recursive: true })
    .map(String)
    .sort((a, b) => (a < b ? -1 : 1));
}

describe("damage", () => {
  it("of any byte of an entry is an error that names the key, never a miss and never another value", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    await put(store, [entry("k", 1, "the value", 2e12)]);
    await store.close();
    let length = 0;
    await tamper(path, "entries", (rows) => (length = rows.get("k")?.length ?? 0));
    expect(length).toBeGreaterThan(40);
    for (let at = 8; at < length; at++) {
      await tamper(path, "entries", (rows) => flip(rows.get("k"), at));
      const damaged = await lmdb(path, { runtime });
      const error = await failure(() => damaged.read(["k"]));
      expect([error.code, error.key], `byte ${at}`).toEqual(["CORRUPT", "k"]);
      await damaged.close();
      await tamper(path, "entries", (rows) => flip(rows.get("k"), at));
    }
  });

  it("is healed by an unconditional write; a conditional one is refused, as nobody knows what it would overwrite", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    await put(store, [entry("k", 9, "the value"), entry("other", 1)]);
    await store.close();
    await tamper(path, "entries", (rows) => flip(rows.get("k"), 30));
    const damaged = await lmdb(path, { runtime });
    expect(await keysOf(damaged)).toEqual(["k", "other"]);
    const again = entry("k", 3, "again");
    const [refused] = await damaged.write([{ entry: again, asOf: 5, if: "absent" }]);
    expect(refused).toMatchObject({ status: "failed", error: { code: "CORRUPT", key: "k" } });
    await put(damaged, [again]);
    expect((await damaged.read(["k"]))[0]?.entry).toEqual(again);
    expect((await untilCurrent(damaged)).told).toEqual(["k value", "other value"]);
    await damaged.close();
  });

  it("of the store's own record is found at open", async () => {
    const path = newFolder();
    await (await lmdb(path, { runtime })).close();
    await tamper(path, "about", (rows) => flip(rows.get("state"), 3));
    expect((await failure(() => lmdb(path, { runtime }))).code).toBe("CORRUPT");
  });
});

function flip(row: Uint8Array | undefined, at: number): void {
  if (row === undefined) throw new Error("there is no such row");
  row[at] = (row[at] ?? 0) ^ 0x10;
}

describe("renewals", () => {
  // Mutation it catches: renewals kept in memory only.
  it("outlive the store, without the entry being written again", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    const item = entry("k", 1, new Uint8Array(100_000));
    await put(store, [item], 100);
    const [before] = await tagsOf(store);
    await put(store, [item], 200);
    await put(store, [item], 150);
    expect((await store.read(["k"]))[0]?.asOf).toBe(200);
    await store.close();
    let row: Uint8Array | undefined;
    await tamper(path, "renewals", (rows) => (row = rows.get("k")));
    expect(row?.length).toBe(28);
    const again = await lmdb(path, { runtime });
    expect((await again.read(["k"]))[0]?.asOf).toBe(200);
    expect(await tagsOf(again)).toEqual([before]);
    // The next version has its own asOf, and leaves no renewal behind.
    await put(again, [entry("k", 2)], 120);
    expect((await again.read(["k"]))[0]?.asOf).toBe(120);
    await again.close();
    await tamper(path, "renewals", (rows) => expect(rows.size).toBe(0));
  });

  it("that are damaged count for nothing", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    await put(store, [entry("k", 1)], 100);
    await put(store, [entry("k", 1)], 200);
    await store.close();
    await tamper(path, "renewals", (rows) => flip(rows.get("k"), 20));
    const again = await lmdb(path, { runtime });
    expect((await again.read(["k"]))[0]?.asOf).toBe(100);
    await again.close();
  });

  // Mutations it catches: the state written by every transaction; renewals put on disk by each of them.
  it("and what is superseded have no commit of their own", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    await put(store, [entry("k", 2)], 100);
    const disk = await openEnvironment(path, false, "lmdb");
    const turn = () => {
      disk.refresh();
      return Buffer.from(disk.tables.about.get(new TextEncoder().encode("turn")) ?? []).toString("hex");
    };
    const before = turn();
    expect(before).toMatch(/^[0-9a-f]{16}$/);
    for (const asOf of [200, 300]) await put(store, [entry("k", 2)], asOf);
    const [older] = await store.write([{ entry: entry("k", 1), asOf: 400 }]);
    expect(older?.status).toBe("superseded");
    expect((await store.read(["k"]))[0]?.asOf).toBe(300);
    expect(turn()).toBe(before);
    await disk.close();
    await store.close();
  });

  it("reach the disk by themselves after a while", async () => {
    const path = newFolder();
    const simulated = simulatedRuntime({ seed: 1, drain: () => new Promise((resolve) => setImmediate(resolve)) });
    const store = await lmdb(path, { runtime: simulated });
    await put(store, [entry("k", 1)], 100);
    await put(store, [entry("k", 1)], 200);
    const other = await lmdb(path, { runtime: simulated });
    expect((await other.read(["k"]))[0]?.asOf).toBe(100);
    await simulated.advance(5000);
    await put(store, [entry("unrelated", 1)]); // behind the renewal's transaction
    expect((await other.read(["k"]))[0]?.asOf).toBe(200);
    await other.close();
    await store.close();
  });
});

async function tagsOf(store: Store): Promise<string[]> {
  const tags: string[] = [];
  for await (const item of store.list({ prefix: "" })) if (item.kind === "entry") tags.push(item.tag);
  return tags;
}

describe("watch", () => {
  it("tells at once what this store wrote, without waiting for the interval", async () => {
    const store = await lmdb(newFolder(), { runtime });
    const watch = store.watch({ prefix: "" }, { intervalMs: 2 ** 30 })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ kind: "current" });
    const next = watch.next();
    await put(store, [entry("k", 1)]);
    expect((await next).value).toMatchObject({ kind: "change", key: "k" });
    await store.close();
    expect(await watch.next()).toEqual({ done: true, value: undefined });
  });

  it("notices what another store on the folder wrote when it looks", async () => {
    const path = newFolder();
    const simulated = simulatedRuntime({ seed: 1, drain: () => new Promise((resolve) => setImmediate(resolve)) });
    const [mine, theirs] = [await lmdb(path, { runtime: simulated }), await lmdb(path, { runtime })];
    const watch = mine.watch({ prefix: "" }, { intervalMs: 700 })[Symbol.asyncIterator]();
    await watch.next();
    const next = watch.next();
    await put(theirs, [entry("k", 1)]);
    await simulated.advance(700);
    expect((await next).value).toMatchObject({ kind: "change", key: "k" });
    await mine.close();
    await theirs.close();
  });

  // Mutation it catches: the epoch written once, at creation.
  it("recognises a folder that was set back to a backup, though the numbers come again", async () => {
    const path = newFolder();
    let store = await lmdb(path, { runtime });
    await put(store, [entry("a", 1)]);
    const early = await untilCurrent(store);
    await store.close();
    cpSync(path, `${path}-backup`, { recursive: true });
    store = await lmdb(path, { runtime });
    await put(store, [entry("b", 2), entry("c", 3)]);
    const late = await untilCurrent(store, early.cursor);
    expect(late.told).toEqual(["b value", "c value"]);
    await store.close();
    rmSync(path, { recursive: true });
    cpSync(`${path}-backup`, path, { recursive: true });
    store = await lmdb(path, { runtime });
    expect((await untilCurrent(store, late.cursor)).told).toEqual(["relist"]);
    await put(store, [entry("d", 4), entry("e", 5), entry("f", 6)]);
    expect((await untilCurrent(store, late.cursor)).told).toEqual(["relist"]);
    expect((await untilCurrent(store, early.cursor)).told).toEqual(["d value", "e value", "f value"]);
    await store.close();
  });

  it("keeps one row for each entry and a bounded number of removals; a cursor from before those is told to relist", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime, removalsMax: 32 });
    for (let round = 0; round < 20; round++)
      await put(
        store,
        Array.from({ length: 40 }, (_, i) => entry(`k/${i}`, round)),
      );
    const { cursor } = await untilCurrent(store);
    const forget = (from: number, to: number) =>
      store.forget(
        Array.from({ length: to - from }, (_, i) => ({ ...entry(`k/${from + i}`, 19), reason: "ghost" as const })),
      );
    await forget(0, 10);
    const { told } = await untilCurrent(store, cursor);
    expect(told).toEqual(Array.from({ length: 10 }, (_, i) => `k/${i} removed`));
    await forget(10, 36);
    expect((await untilCurrent(store, cursor)).told).toEqual(["relist"]);
    await store.close();
    await tamper(path, "changes", (rows) => expect(rows.size).toBe(4));
    await tamper(path, "removals", (rows) => expect(rows.size).toBeLessThanOrEqual(32));
  });

  it("goes on with the initial state from a cursor inside it", async () => {
    const store = await lmdb(newFolder(), { runtime });
    await put(
      store,
      ["a", "b", "c"].map((key, i) => entry(key, i)),
    );
    let cursor = "";
    for await (const change of store.watch({ prefix: "" })) {
      if (change.kind !== "change") throw new Error("too early");
      ({ cursor } = change);
      break;
    }
    await put(store, [entry("a", 9), entry("d", 9)]);
    expect((await untilCurrent(store, cursor)).told).toEqual(["b value", "c value", "d value", "a value", "d value"]);
    await store.close();
  });
});

describe("limits", () => {
  it("drops what was written longest ago, in the background, and tells watches", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime, bytesMax: 1024 * 1024 });
    const noise = (i: number) => entry(`k/${String(i).padStart(5, "0")}`, i, runtime.random(new Uint8Array(3000)));
    const gone = (async () => {
      for await (const change of store.watch({ prefix: "k/" }, { initial: false, intervalMs: 5 })) {
        if (change.kind === "change" && change.head === null && change.key === "k/01700") return;
      }
    })();
    for (let i = 0; i < 2000; i += 500) {
      await put(
        store,
        Array.from({ length: 500 }, (_, n) => noise(i + n)),
      );
    }
    await gone;
    const keys = await keysOf(store);
    expect(keys.length).toBeLessThan(300);
    expect(keys.length).toBeGreaterThan(150);
    expect(keys.at(-1)).toBe("k/01999");
    expect(keys).toEqual(Array.from({ length: keys.length }, (_, i) => noise(2000 - keys.length + i).key));
    await store.close();
  });

  it("refuses writes above waitingMax, and none that were waiting", async () => {
    const store = await lmdb(newFolder(), { runtime, waitingMax: 3 });
    const calls = Array.from({ length: 5 }, (_, i) => store.write([{ entry: entry(`k/${i}`, 1), asOf: 5 }]));
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "fulfilled",
      "rejected",
      "rejected",
    ]);
    expect((outcomes[4] as PromiseRejectedResult).reason).toMatchObject({ code: "OVERLOADED", retryable: true });
    await put(store, [entry("k/4", 1)]);
    await store.close();
  });

  it("closes after the writes under way, which are all acknowledged and all there", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    const writes = Array.from({ length: 50 }, (_, i) => put(store, [entry(`k/${i}`, 1)]).then(() => put2(store, i)));
    await store.close();
    await Promise.allSettled(writes);
    const again = await lmdb(path, { runtime });
    expect((await keysOf(again)).length).toBe(50);
    await again.close();
  });
});

/** A second write by a caller that does not know that the store is closing. */
async function put2(store: Store, i: number): Promise<void> {
  expect((await failure(() => store.write([{ entry: entry(`late/${i}`, 1), asOf: 5 }]))).code).toBe("CLOSED");
}

describe("one transaction", () => {
  // Mutation it catches: `undo` left out in commits.ts, which commits what came before a throw.
  it("does nothing of a call that fails in the middle", async () => {
    const path = newFolder();
    const store = await lmdb(path, { runtime });
    const items = [entry("good", 1), entry("damaged", 2)];
    await put(store, items);
    await store.close();
    await tamper(path, "entries", (rows) => flip(rows.get("damaged"), 30));
    const again = await lmdb(path, { runtime });
    const error = await failure(() => again.forget(items.map((item) => ({ ...item, reason: "collected" as const }))));
    expect([error.code, error.key]).toEqual(["CORRUPT", "damaged"]);
    expect(await keysOf(again)).toEqual(["damaged", "good"]);
    await put(again, [entry("new", 0)]); // the watermark was not raised either
    await again.close();
  });

  it("stores nothing of a call that the caller gave up while it waited", async () => {
    const store = await lmdb(newFolder(), { runtime });
    const controller = new AbortController();
    const first = put(store, [entry("first", 1)]);
    const second = store.write([{ entry: entry("second", 1), asOf: 5 }], { signal: controller.signal });
    controller.abort();
    expect((await failure(() => second)).code).toBe("ABORTED");
    await first;
    await put(store, [entry("third", 1)]);
    expect(await keysOf(store)).toEqual(["first", "third"]);
    await store.close();
  });
});
