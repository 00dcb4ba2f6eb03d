import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Entry } from "../../src/entry.ts";
import type { Store } from "../../src/store.ts";
import type { LayoutReport } from "../../src/stores/git-layout/report.ts";
import { gitLfsMissing } from "../servers/git-lfs.ts";
import { gitServer } from "../servers/git-server.ts";
import type { GitServer } from "../servers/git-server.ts";
import { keysOf, one, put, textOf, tombstone, value, versionOf, writes } from "./git/entries.ts";
import { scratch } from "./git/place.ts";
import type { Scratch } from "./git/place.ts";
import { githubWorld } from "./github/world.ts";
import type { GithubWorld } from "./github/world.ts";
import { lfsServer } from "../servers/lfs.ts";
import type { LfsServer } from "../servers/lfs.ts";

/**
 * Large values in Git LFS, through `git:` and `github:`, and the same files through the real client in a person's
 * clone. Mutations: no .gitattributes (the clone holds pointers), an upload after the commit, a pointer of another
 * encoding, a pointer that is returned as the value.
 */
const missing = await gitLfsMissing();

let world: GithubWorld;
let lfs: LfsServer;
let place: Scratch;
let http: GitServer;

beforeEach(async () => {
  world = await githubWorld();
  lfs = await lfsServer();
  place = scratch();
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
  place.run("truth.git", ["config", "http.receivepack", "true"]);
  http = await gitServer(place.folder);
});
afterEach(async () => {
  await place.remove();
  await http.close();
  await world.close();
  await lfs.close();
});

/** Bytes that no compression makes small, the same each time. */
function bytesOf(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed + 1;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
const large = (key: string, size = 3_000_000, seed = 1): Entry => ({ ...value(key, ""), value: bytesOf(size, seed) });

/** An entry with its value as a digest: comparing megabytes number by number takes a minute. */
function brief(entry: Entry | undefined): unknown {
  if (entry === undefined || entry.value === null) return entry;
  return { ...entry, value: createHash("sha256").update(entry.value).digest("hex") };
}

interface Way {
  readonly name: string;
  /** The bare repository, and what a person clones. */
  readonly bare: () => string;
  readonly remote: () => string;
  /** What the client needs to be told of the server; undefined: it finds the objects by itself. */
  readonly lfsUrl: () => string | undefined;
  readonly open: (options?: object) => Promise<Store>;
}

const WAYS: readonly Way[] = [
  {
    name: "github:",
    bare: () => world.bare,
    remote: () => `${world.server.api}/octo/store.git`,
    lfsUrl: () => lfs.url,
    open: (options = {}) => world.open("github:octo/store#main", { lfsUrl: lfs.url, ...options }),
  },
  {
    name: "git: in a bare repository of this machine",
    bare: () => place.path("truth.git"),
    remote: () => `file://${place.path("truth.git")}`,
    lfsUrl: () => undefined,
    open: (options = {}) => place.open("git:./truth.git#main", options),
  },
  {
    name: "git: over HTTP",
    bare: () => place.path("truth.git"),
    remote: () => `${http.url}truth.git`,
    lfsUrl: () => lfs.url,
    open: (options = {}) => place.open(`git:${http.url}truth.git#main`, { lfsUrl: lfs.url, ...options }),
  },
];

const env = () => ({
  ...process.env,
  HOME: place.folder,
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
  GIT_TERMINAL_PROMPT: "0",
});
/** Git, and the LFS client behind it, as a person who has set it up. The servers live in this process: never block it. */
async function person(cwd: string, ...args: readonly string[]): Promise<string> {
  const { execFile } = await import("node:child_process");
  return new Promise((resolve, reject) => {
    execFile("git", args, { cwd, env: env(), encoding: "utf8", maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim());
      else reject(new Error(`git ${args.join(" ")}: ${stderr}`));
    });
  });
}
const clone = async ({ remote, lfsUrl }: Way, name: string): Promise<string> => {
  await person(place.folder, "lfs", "install", "--skip-repo");
  const at = lfsUrl();
  const config = at === undefined ? [] : ["-c", `lfs.url=${at}`, "-c", "lfs.locksverify=false"];
  await person(place.folder, ...config, "clone", "--quiet", "--branch", "main", remote(), name);
  const folder = place.path(name);
  if (at !== undefined) {
    await person(folder, "config", "lfs.url", at);
    await person(folder, "config", "lfs.locksverify", "false");
  }
  return folder;
};
const shown = (way: Way, what: string) => execFileSync("git", ["-C", way.bare(), "show", what]).toString();

describe.runIf(missing === undefined).each(WAYS)("large values: $name", (way) => {
  // Mutation: `wholeBytesMax` not looked at in values.ts: the value would be brought, and held, to be given in pieces.
  it("are pointers in git and real files in a clone made with the git lfs client", async () => {
    const store = await way.open();
    const entries = [large("dir/big.bin"), large("with space [x]!.bin", 2_000_000, 2), value("small.txt", "small")];
    await put(store, ...entries, large("a", 1_500_000, 3), value("a/b", "makes a folder of a"));
    expect(shown(way, "main:dir/big.bin")).toMatch(
      /^version https:\/\/git-lfs.github.com\/spec\/v1\noid sha256:[0-9a-f]{64}\nsize 3000000\n$/,
    );
    expect(shown(way, "main:small.txt")).toBe("small");
    const folder = await clone(way, "clone");
    for (const { key, value: bytes } of entries) {
      expect(Buffer.compare(readFileSync(join(folder, key)), bytes ?? Buffer.alloc(0))).toBe(0);
    }
    expect(readFileSync(join(folder, "a", "%value")).length).toBe(1_500_000);
    expect(await person(folder, "status", "--porcelain")).toBe("");
    expect((await person(folder, "lfs", "ls-files", "--name-only")).split("\n").sort()).toEqual([
      "a/%value",
      "dir/big.bin",
      "with space [x]!.bin",
    ]);
    // From another store, which has nothing of it in memory.
    const other = await way.open({ cacheFolder: place.path("other") });
    lfs.requests.length = 0;
    const [apart] = await other.read(["dir/big.bin"], { wholeBytesMax: 1024 });
    expect([apart?.entry?.state, apart?.body?.size]).toEqual(["stub", 3_000_000]);
    expect(lfs.requests).toEqual([]); // not before its bytes are asked for
    for (const entry of entries) expect(brief((await one(other, entry.key)).entry)).toEqual(brief(entry));
    expect(await keysOf(other)).toEqual(["a", "a/b", "dir/big.bin", "small.txt", "with space [x]!.bin"]);
  }, 60_000);

  it("pushed by the client are values, with the versions of their commits, and adopted when they change", async () => {
    const store = await way.open();
    await put(store, large("ours.bin"));
    const folder = await clone(way, "work");
    await person(folder, "lfs", "track", "*.iso");
    writeFileSync(join(folder, "theirs.iso"), bytesOf(1_234_567, 7));
    writeFileSync(join(folder, "ours.bin"), bytesOf(2_345_678, 8));
    await person(folder, "add", "--all");
    await person(folder, "commit", "--quiet", "-m", "by hand");
    await person(folder, "push", "--quiet", "origin", "main");
    const before = await versionOf(store, "ours.bin");
    const theirs = (await one(store, "theirs.iso")).entry;
    expect(Buffer.compare(theirs?.value ?? Buffer.alloc(0), bytesOf(1_234_567, 7))).toBe(0);
    const ours = (await one(store, "ours.bin")).entry;
    expect(Buffer.compare(ours?.value ?? Buffer.alloc(0), bytesOf(2_345_678, 8))).toBe(0);
    expect((ours?.version ?? "") >= before).toBe(true);
    const listed: number[] = [];
    for await (const item of store.list({ prefix: "" }, { detail: "values" })) {
      if (item.kind === "entry") listed.push(item.value?.length ?? 0);
    }
    expect(listed).toEqual([2_345_678, 1_234_567]);
  }, 60_000);

  it("leave .gitattributes as it was when they get small or go, and keep what others wrote there", async () => {
    const store = await way.open();
    await put(store, large("d/x"), large("d/y", 2_000_000, 2), value("d/z", "1"));
    expect(shown(way, "main:d/.gitattributes").split("\n").length).toBe(3);
    const folder = await clone(way, "work");
    writeFileSync(join(folder, "d", ".gitattributes"), `*.txt text\n${shown(way, "main:d/.gitattributes")}`);
    await person(folder, "commit", "--quiet", "-am", "by hand");
    await person(folder, "push", "--quiet", "origin", "main");
    await put(store, value("d/x", "small now"), large("d/y", 2_000_001, 3));
    expect(shown(way, "main:d/.gitattributes")).toBe("*.txt text\n/y filter=lfs diff=lfs merge=lfs -text\n");
    expect(await keysOf(store)).toEqual(["d/x", "d/y", "d/z"]);
    await put(store, tombstone("d/y"), value("other", "1"));
    expect(shown(way, "main:d/.gitattributes")).toBe("*.txt text\n");
    await put(store, large("e/only"));
    await put(store, value("e/only", "small"));
    expect(() => shown(way, "main:e/.gitattributes")).toThrow(/e\/\.gitattributes|does not exist/);
    expect(await textOf(store, "d/x")).toBe("small now");
  }, 60_000);

  // Mutation: a large file that has to move into its folder takes no line along, and leaves one behind.
  it("are told of where they stand when a key below theirs moves them", async () => {
    const store = await way.open();
    await put(store, large("m"), large("stays", 1_500_000, 2));
    await put(store, value("m/n", "1"));
    const says = "filter=lfs diff=lfs merge=lfs -text";
    expect(shown(way, "main:.gitattributes")).toBe(`/stays ${says}\n`);
    expect(shown(way, "main:m/.gitattributes")).toBe(`/%value ${says}\n`);
    const other = await way.open({ cacheFolder: place.path("other") });
    expect((await one(other, "m")).entry?.value?.length).toBe(3_000_000);
  }, 60_000);

  it("that only look like pointers are what they are", async () => {
    const store = await way.open();
    const text = `version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 12\n`;
    await put(store, value("pointer.txt", text), large("big"));
    const other = await way.open({ cacheFolder: place.path("other") });
    for (const each of [store, other]) expect(await textOf(each, "pointer.txt")).toBe(text);
    // With the same version, the same bytes: still what is stored.
    const { entry } = await one(other, "big");
    if (entry === undefined) throw new Error("not there");
    expect(await other.write(writes([entry]))).toEqual([{ status: "stored" }]);
    const [conflict] = await other.write([{ entry: value("big", "x"), asOf: 0, if: "absent" }]);
    expect(conflict?.status).toBe("conflict");
    expect(conflict?.status === "conflict" ? brief(conflict.current) : undefined).toEqual(brief(entry));
  }, 60_000);
});

describe.runIf(missing === undefined)("a folder as the place of large files", () => {
  it("is where the client looks, holds each once, and nothing half", async () => {
    const store = await place.open("git:./truth.git#main");
    const entry = large("x");
    await put(store, entry, { ...large("y"), value: entry.value });
    const oid = createHash("sha256")
      .update(entry.value ?? "")
      .digest("hex");
    const path = join("lfs", "objects", oid.slice(0, 2), oid.slice(2, 4), oid);
    expect(existsSync(place.path(join("truth.git", path)))).toBe(true);
    expect(readdirSync(place.path("truth.git/lfs/objects"))).toEqual([oid.slice(0, 2)]);
    writeFileSync(place.path(join("truth.git", path)), bytesOf(3_000_000, 99));
    await expect(store.read(["x"])).rejects.toMatchObject({ code: "CORRUPT" });
  });
});

describe.runIf(missing === undefined)("a remote without an LFS server", () => {
  it("keeps large values in git, and says so once", async () => {
    const reports: LayoutReport[] = [];
    const store = await place.open(`git:${http.url}truth.git#main`, { onReport: (report) => reports.push(report) });
    await put(store, large("x"));
    await put(store, large("y", 2_000_000, 2));
    expect(
      execFileSync("git", ["-C", place.path("truth.git"), "cat-file", "-s", "main:x"])
        .toString()
        .trim(),
    ).toBe("3000000");
    expect(reports.map(({ kind }) => kind)).toEqual(["no-lfs"]);
    expect((await one(store, "y")).entry?.value?.length).toBe(2_000_000);
  }, 60_000);
});
