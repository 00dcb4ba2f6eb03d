import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chooseChain } from "../src/config/choose.ts";
import { clockFile } from "../src/config/clock-file.ts";
import { loadConfig } from "../src/config/file.ts";
import { planLayer } from "../src/config/layer-url.ts";
import { nearest } from "../src/config/nearest.ts";
import { open, openChain } from "../src/config/open.ts";
import { schemesWith } from "../src/config/schemes.ts";
import type { Scheme } from "../src/config/schemes.ts";
import { parseUrl } from "../src/config/url.ts";
import { readOption } from "../src/config/values.ts";
import { words } from "../src/config/words.ts";
import { layer } from "../src/chain/layer.ts";
import { SyncError } from "../src/error.ts";
import { referenceStore } from "../src/testing/index.ts";
import { systemRuntime } from "../src/system.ts";
import { versionClock } from "../src/version.ts";

let folder: string;
let count = 0;
/** A folder of its own for each test. */
const fresh = async () => {
  const path = join(folder, String(count++));
  await mkdir(path);
  return path;
};
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "microsync-config-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof SyncError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
};
const rejection = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call;
  } catch (error) {
    if (error instanceof SyncError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
};

describe("the text of a chain", () => {
  it.each([
    ["", []],
    ["  memory:\n lmdb:./a\t", ["memory:", "lmdb:./a"]],
    [`memory: "git:./my repo#main" 'a"b'`, ["memory:", "git:./my repo#main", 'a"b']],
    [`lmdb:"./my dir"?ttl=5s`, ["lmdb:./my dir?ttl=5s"]],
    [`""`, [""]],
  ])("%j", (text, parts) => {
    expect(words(text)).toEqual(parts);
  });

  it("refuses an open quote", () => {
    expect(refusal(() => words('memory: "git:x'))).toContain('INVALID the chain has a " that is not closed');
  });
});

describe("a URL", () => {
  it.each([
    ["memory:", "memory", "", {}],
    ["lmdb:./a?ttl=5s&name=x", "lmdb", "./a", { ttl: ["5s"], name: ["x"] }],
    ["git:https://host/a.git#main:data", "git", "https://host/a.git#main:data", {}],
    ["git:git@host:a/b.git#x?prefix=a%2Fb&prefix=c", "git", "git@host:a/b.git#x", { prefix: ["a/b", "c"] }],
    ["lmdb:./what?/x?", "lmdb", "./what?/x", {}],
    ["lmdb:C:\\data%20", "lmdb", "C:\\data%20", {}],
  ])("%s", (text, scheme, place, options) => {
    const url = parseUrl(text);
    expect([url.scheme, url.place, Object.fromEntries(url.options)]).toEqual([scheme, place, options]);
  });

  it.each([
    ["./data", "is not the URL of a store (write it as scheme:place"],
    ["", "is not the URL of a store"],
    ["lmdb:x?ttl", 'option "ttl" has no value'],
    ["lmdb:x?=5", 'option "=5" has no name'],
    ["lmdb:x?name=%zz", "option name has a broken % escape"],
    ["mysql://u:p@host/x", "there is no store of scheme mysql: (known are memory: lmdb: git:"],
    ["lmbd:x", "do you mean lmdb:?"],
    ["lmdb:x?tll=5s", 'there is no option "tll" (do you mean ttl? lmdb: takes bootstrap, breakerFailures'],
    ["lmdb:x?ttl=5s&ttl=6s", "option ttl is given 2 times"],
    ["lmdb:x?ttl=5", 'option ttl is "5" (it takes a duration'],
    ["lmdb:x?role=both", "it takes cache or store"],
    ["lmdb:x?readonly=yes", "it takes true or false"],
    ["memory:?bytesMax=64xb", "it takes a size"],
    ["memory:?bytesMax=-1", "it takes a size"],
    ["memory:?entriesMax=1e9", "it takes a whole number"],
    ["memory:?jitter=1", "it takes a share"],
    ["memory:?constructor=1", 'there is no option "constructor"'],
    ["memory:?prefix=", "it takes a text that is not empty"],
  ])("%j is refused: %s", (text, why) => {
    const message = refusal(() => planLayer(text, schemesWith(), false));
    expect(message).toMatch(/^INVALID /);
    expect(message).toContain(why);
    expect(message).not.toContain("\n");
    expect(message).not.toContain("u:p");
  });

  it.each([
    ["size", "65536", 65_536],
    ["size", "64kb", 65_536],
    ["size", "1.5GB", 1_610_612_736],
    ["duration", "0", 0],
    ["duration", "250ms", 250],
    ["duration", "1.5s", 1_500],
    ["duration", "2h", 7_200_000],
    ["share", "0.25", 0.25],
    ["count", "12", 12],
    ["flag", "true", true],
  ] as const)("reads the %s %s", (kind, text, value) => {
    expect(readOption("x", [text], kind)).toBe(value);
  });

  it("knows the nearest word, and none when none is near", () => {
    expect(nearest("memroy", ["memory", "lmdb"])).toBe("memory");
    expect(nearest("postgres", ["memory", "lmdb"])).toBeUndefined();
  });
});

describe("the clock's file", () => {
  it("is made by the first stamp and not before, and keeps versions from going back", async () => {
    const path = join(await fresh(), "deep", "clock");
    const first = await versionClock({ runtime: systemRuntime, bound: clockFile(path) });
    await expect(readFile(path)).rejects.toThrow("ENOENT");
    const version = await first.stamp();
    expect(await readFile(path, "utf8")).toMatch(/^microsync clock 1 \d{13}\n$/);
    expect(await readdir(join(path, ".."))).toEqual(["clock"]);
    // A clock set back by a day: what is stamped now is above what was stamped before all the same.
    const back = { ...systemRuntime, now: () => systemRuntime.now() - 86_400_000 };
    const second = await versionClock({ runtime: back, bound: clockFile(path) });
    expect((await second.stamp()) > version).toBe(true);
  });

  // Mutation: storing `ms` without the higher one of the file lets another process lower the bound.
  it("is never lowered", async () => {
    const path = join(await fresh(), "clock");
    await clockFile(path).store(2_000);
    await clockFile(path).store(1_000);
    expect(await clockFile(path).load()).toBe(2_000);
  });

  it.each(["", "0", "microsync clock 2 5\n", "microsync clock 1 5", "microsync clock 1 x\n", "\0\0\0"])(
    "refuses %j",
    async (text) => {
      const path = join(await fresh(), "clock");
      await writeFile(path, text);
      expect(await rejection(clockFile(path).load())).toMatch(/^CORRUPT the clock file .* is not one \(restore it/);
      expect(await rejection(clockFile(path).store(5))).toMatch(/^CORRUPT/);
      expect(await readFile(path, "utf8")).toBe(text);
    },
  );

  it("says that it cannot be written", async () => {
    const base = await fresh();
    await writeFile(join(base, "file"), "");
    expect(await rejection(clockFile(join(base, "file", "clock")).store(5))).toMatch(/^UNAVAILABLE the clock file/);
  });
});

describe("open", () => {
  it("opens layers from URLs, and keeps the data", async () => {
    const base = await fresh();
    const first = await open("memory: lmdb:./data", { base });
    expect(first.status().layers.map(({ name, role }) => [name, role])).toEqual([
      ["memory", "cache"],
      ["lmdb", "store"],
    ]);
    await first.set("k", { a: 1 });
    await first.close();
    const second = await open(["memory:?name=near", "lmdb:./data?name=disk"], { base });
    expect(await second.read("k")).toMatchObject({ value: { a: 1 }, layer: "disk" });
    await second.close();
    expect((await readdir(base, { recursive: true })).sort()).toContain(join(".sync", "clock"));
  });

  it("makes no clock file for a chain that forgets, nor for reading, nor when told not to", async () => {
    const base = await fresh();
    const forgetful = await open("memory:", { base });
    await forgetful.set("k", 1);
    await forgetful.close();
    const durable = await open("memory: lmdb:./data", { base });
    await durable.get("k");
    await durable.close();
    const none = await open("memory: lmdb:./data", { base, clock: false });
    await none.set("k", 1);
    await none.close();
    expect(await readdir(base)).toEqual(["data"]);
    const named = await open("lmdb:./data", { base, clock: "own" });
    await named.set("k", 1);
    await named.close();
    expect((await readdir(base)).sort()).toEqual(["data", "own"]);
  });

  it("takes stores and layers beside URLs", async () => {
    const truth = referenceStore({ runtime: systemRuntime, name: "mine" });
    const db = await open(["memory:", layer(truth, { name: "truth" })]);
    await db.set("k", 1);
    expect((await db.where("k")).map(({ layer: name }) => name)).toEqual(["memory", "truth"]);
    await db.close();
  });

  // Mutations: not undoing leaves the folders; not closing leaves the database open.
  it("closes what it opened and leaves nothing when a later layer cannot be opened", async () => {
    const base = await fresh();
    await mkdir(join(base, "old"));
    const closed: string[] = [];
    const scheme: Scheme = {
      name: "broken",
      example: "broken:",
      role: "store",
      durable: true,
      options: {},
      open: async () => {
        throw new SyncError("NOT_FOUND", "it is not there", { cure: "create it" });
      },
    };
    const counted: Scheme = {
      ...scheme,
      name: "counted",
      open: async (url) => {
        const store = referenceStore({ runtime: systemRuntime, name: url.place });
        const close = store.close.bind(store);
        store.close = async () => {
          closed.push(url.place);
          await close();
        };
        return { store };
      },
    };
    const schemes = schemesWith(scheme, counted);
    const chain = ["counted:one", "counted:two", "lmdb:./a/b/c", "lmdb:./old", "broken:x"];
    const message = await rejection(open(chain, { base, schemes }));
    expect(message).toBe("NOT_FOUND broken:x: it is not there (create it)");
    expect(closed).toEqual(["two", "one"]);
    expect(await readdir(base, { recursive: true })).toEqual(["old"]);
    // What the layers do not accept of each other is no different.
    expect(await rejection(open("counted:one?name=a lmdb:./a/b/c?name=a", { base, schemes }))).toMatch(/^INVALID/);
    expect(await readdir(base, { recursive: true })).toEqual(["old"]);
  });

  it.each([
    ["", {}, "INVALID the chain has no layers"],
    ["memory:", { jornal: 1 }, 'INVALID open: there is no option "jornal"'],
    ["memory:", { journal: "" }, 'INVALID open: option journal names no folder (as in "./.sync/journal")'],
    ["memory:", { journal: { folder: "./j", bytes: 5 } }, 'INVALID open: the journal has no option "bytes"'],
    ["memory:x", {}, "INVALID memory:x: memory has no place"],
    ["lmdb:", {}, "INVALID lmdb:: no folder is named"],
  ])("refuses %j with %j", async (chain, options, why) => {
    const base = await fresh();
    expect(await rejection(open(chain, { base, ...options }))).toContain(why);
    expect(await readdir(base)).toEqual([]);
  });

  it("gives a store only what its URL says", async () => {
    const chain = await openChain(
      "memory:?bytesMax=1mb&ttl=5s&grace=1m&jitter=0.2&prefix=a%2F&prefix=b&deadline=3s&watchInterval=2s lmdb:./x",
      {
        base: await fresh(),
        clock: false,
      },
    );
    expect(chain.layers[0]).toMatchObject({
      ttlMs: 5_000,
      graceMs: 60_000,
      jitter: 0.2,
      prefixes: ["a/", "b"],
      deadlineMs: 3_000,
      watchIntervalMs: 2_000,
    });
    expect(chain.layers[1]?.role).toBe("store");
    await chain.close();
  });
});

describe("the configuration file", () => {
  it("is JSON or a module; the flag and the environment go first", async () => {
    const base = await fresh();
    expect(await chooseChain({ env: {}, folder: base })).toMatchObject({ source: "the default", base });
    await writeFile(
      join(base, "microsync.config.json"),
      '{ "chain": "memory: lmdb:./a", "clock": "c", "journal": "j" }',
    );
    expect(await chooseChain({ env: {}, folder: base })).toEqual({
      spec: "memory: lmdb:./a",
      clock: join(base, "c"),
      journal: join(base, "j"),
      base,
      source: join(base, "microsync.config.json"),
    });
    const env = { MICROSYNC_CHAIN: "lmdb:./b" };
    expect(await chooseChain({ env, folder: base })).toMatchObject({ spec: "lmdb:./b", clock: join(base, "c") });
    const named = { ...env, MICROSYNC_JOURNAL: "env-j" };
    expect(await chooseChain({ env: named, folder: base })).toMatchObject({ journal: join(base, "env-j") });
    expect(await chooseChain({ env: named, journal: "k", folder: base })).toMatchObject({ journal: join(base, "k") });
    expect(await chooseChain({ flag: "memory:", env, folder: base })).toMatchObject({
      spec: "memory:",
      source: "--chain",
    });
    const other = await fresh();
    await writeFile(join(other, "mine.config.js"), 'export default { chain: ["memory:", "lmdb:./m"] };');
    const chosen = await chooseChain({ configFile: join(other, "mine.config.js"), env: {}, folder: base });
    expect(chosen).toMatchObject({ spec: ["memory:", "lmdb:./m"], base: other });
  });

  it.each([
    ["microsync.config.json", "{", "INVALID", "is not JSON"],
    ["microsync.config.json", "[]", "INVALID", "is not an object"],
    ["microsync.config.json", '{"chian":"memory:"}', "INVALID", "do you mean chain?"],
    ["microsync.config.json", '{"chain":5}', "INVALID", "chain is neither"],
    ["microsync.config.json", '{"clock":""}', "INVALID", "clock is neither"],
    ["microsync.config.json", '{"journal":5}', "INVALID", "journal is neither"],
    ["microsync.config.js", "export const chain = 5;", "INVALID", "has no default export"],
    ["microsync.config.js", "throw new Error('first\\nsecond');", "INVALID", "cannot be loaded: first"],
  ])("%s of %j is refused", async (name, text, code, why) => {
    const base = await fresh();
    await writeFile(join(base, name), text);
    const message = await rejection(loadConfig(base));
    expect(message.startsWith(code)).toBe(true);
    expect(message).toContain(why);
    expect(message).not.toContain("\n");
  });

  it("is one file, and has to be there when it is named", async () => {
    const base = await fresh();
    await writeFile(join(base, "microsync.config.json"), "{}");
    await writeFile(join(base, "microsync.config.js"), "export default {};");
    expect(await rejection(loadConfig(base))).toContain("keep one of them");
    expect(await rejection(loadConfig(base, "other.json"))).toMatch(/^NOT_FOUND/);
  });

  it("may be TypeScript where Node reads it, and says so where it does not", async () => {
    const base = await fresh();
    await writeFile(join(base, "microsync.config.ts"), 'export default { chain: "memory:" as string };');
    const { typescript } = process.features as { readonly typescript?: unknown };
    if (typescript === undefined || typescript === false) {
      expect(await rejection(loadConfig(base))).toMatch(/^UNSUPPORTED .*does not read TypeScript \(use Node 22.18/);
    } else {
      expect(await loadConfig(base)).toMatchObject({ chain: "memory:" });
    }
  });
});

describe("a git layer", () => {
  it("is created when its URL says so, and taken back when a later layer fails", async () => {
    const base = await fresh();
    const chain = "lmdb:./cache git:./deep/truth.git#main?create=true";
    expect(await rejection(open(`git:./deep/truth.git?create=true&role=store lmdb:`, { base }))).toMatch(/^INVALID/);
    expect(await readdir(base)).toEqual([]);
    const db = await open(chain, { base });
    await db.set("k", { a: 1 });
    await db.close();
    const again = await open("git:./deep/truth.git", { base });
    expect(await again.get("k")).toEqual({ a: 1 });
    await again.close();
    // What was there before is nobody's to remove.
    await rejection(open(`git:./deep/truth.git?create=true&role=store lmdb:`, { base }));
    expect(await readdir(join(base, "deep"))).toEqual(["truth.git"]);
  });
});
