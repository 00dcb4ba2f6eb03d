import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Answer, Listed, Store } from "../../../src/store.ts";
import { git } from "../../../src/stores/git/index.ts";
import { systemRuntime } from "../../../src/system.ts";
import { isLow } from "../../../src/version.ts";
import { keysOf, one, put, textOf, told, tombstone, value, versionOf, writes } from "../git/entries.ts";
import { githubWorld } from "./world.ts";
import type { GithubWorld } from "./world.ts";

/** `git:` and `github:` on one repository at once: what one writes the other reads, and neither can tell them apart. */
let world: GithubWorld;
let viaGit: Store;

beforeEach(async () => {
  world = await githubWorld();
});
afterEach(async () => {
  await viaGit?.close();
  await world.close();
});

const openGit = async (name = "git-cache"): Promise<Store> => {
  const url = `git:${world.server.api}/octo/store.git#main`;
  viaGit = await git(url, { runtime: systemRuntime, cacheFolder: join(world.folder, name) });
  return viaGit;
};

const PERSON = {
  ...process.env,
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
};
const asPerson = (args: readonly string[], cwd = join(world.folder, "work")): string =>
  execFileSync("git", args, { cwd, env: PERSON, stdio: ["ignore", "pipe", "pipe"] })
    .toString()
    .trim();

async function everything(store: Store): Promise<Listed[]> {
  const all: Listed[] = [];
  for await (const item of store.list({ prefix: "" }, { detail: "values" })) all.push(item);
  return all;
}

const sameAnswers = (a: readonly Answer[], b: readonly Answer[]) =>
  expect(a.map(({ entry }) => entry)).toEqual(b.map(({ entry }) => entry));

describe("git: and github: on one repository", () => {
  // Mutations it catches: another path, record, trailer or version in either; a file mode of one's own.
  it("see each other's values, deletions, metadata and expiry, entry for entry, tag for tag", async () => {
    const hub = await world.open();
    const via = await openGit();
    const keys = ["a", "a/b", "CON", "ünï/çode ☃", "empty", "bin", "x".repeat(300), ".gitignore", "gone", "never"];
    const binary = { ...value("bin", ""), value: new Uint8Array([0, 255, 1, 254, 13, 10]) };
    await put(hub, value("a", "1"), value("gone", "x"), binary, value("CON", "device"));
    await put(via, value("a/b", "2", undefined, { "content-type": "x/y", mine: "1" }), value("ünï/çode ☃", "3"));
    await put(hub, { ...value("empty", ""), expires: 4e12 }, value("x".repeat(300), "long"), tombstone("gone"));
    await put(via, value(".gitignore", "hidden"), value("a", "newer"));
    const options = { authority: true };
    sameAnswers(await hub.read(keys, options), await via.read(keys, options));
    expect(await textOf(hub, "a")).toBe("newer");
    expect(await everything(hub)).toEqual(await everything(via));
    expect((await keysOf(hub)).length).toBe(9);
    expect(asPerson(["fsck", "--strict", "--no-dangling"], world.bare)).not.toMatch(/error|warning/);
  });

  it("decide conditions and races together: a counter that both raise loses no step", async () => {
    const stores = [await world.open(), await openGit()];
    const raise = async (store: Store) => {
      for (let done = 0; done < 4;) {
        const { entry } = await one(store, "n");
        const n = entry?.value == null ? 0 : Number(new TextDecoder().decode(entry.value));
        const [result] = await store.write([
          { entry: value("n", String(n + 1)), asOf: 0, if: entry?.version ?? "absent" },
        ]);
        if (result?.status === "stored") done++;
        else expect(result?.status).toBe("conflict");
      }
    };
    await Promise.all(stores.map(raise));
    for (const store of stores) expect(await textOf(store, "n")).toBe("8");
  });

  it("give what nobody wrote by Sync the same low versions, and adopt a person's changes once for both", async () => {
    asPerson(["clone", "--quiet", world.bare, "work"], world.folder);
    const file = (name: string) => join(world.folder, "work", name);
    writeFileSync(file("plain.txt"), "1");
    asPerson(["add", "--all"]);
    asPerson(["commit", "--quiet", "-m", "first"]);
    writeFileSync(file("other.txt"), "2");
    writeFileSync(file("old.txt"), "3");
    asPerson(["add", "--all"]);
    asPerson(["commit", "--quiet", "-m", "second"]);
    asPerson(["rm", "--quiet", "old.txt"]);
    asPerson(["commit", "--quiet", "-m", "third"]);
    asPerson(["push", "--quiet", "origin", "HEAD:main"]);
    const head = asPerson(["rev-parse", "main"], world.bare);
    const hub = await world.open();
    const via = await openGit();
    const low = await everything(hub);
    expect(low).toEqual(await everything(via));
    expect(low.map((item) => (item.kind === "entry" ? item.key : ""))).toEqual(["old.txt", "other.txt", "plain.txt"]);
    for (const name of ["plain.txt", "old.txt"]) expect(isLow(await versionOf(hub, name))).toBe(true);
    expect(asPerson(["rev-parse", "main"], world.bare)).toBe(head);

    await put(hub, value("plain.txt", "by Sync"));
    const cursor = (await told(via, undefined)).at(-1);
    asPerson(["pull", "--quiet", "origin", "main"]);
    writeFileSync(file("plain.txt"), "by hand");
    asPerson(["commit", "--quiet", "-am", "by hand"]);
    asPerson(["push", "--quiet", "origin", "HEAD:main"]);
    expect(await textOf(hub, "plain.txt")).toBe("by hand");
    expect(await textOf(via, "plain.txt")).toBe("by hand");
    expect(await versionOf(hub, "plain.txt")).toBe(await versionOf(via, "plain.txt"));
    const adopted = asPerson(["log", "--format=%s", "main"], world.bare).split("\n");
    expect(adopted.filter((subject) => subject.startsWith("Sync: adopt")).length).toBe(1);
    const since = await told(via, cursor?.kind === "current" ? cursor.cursor : "");
    expect(since.map((change) => (change.kind === "change" ? change.key : change.kind))).toEqual([
      "plain.txt",
      "current",
    ]);
    const [again] = await hub.write(writes([value("plain.txt", "stamped before")]));
    expect(again?.status).toBe("superseded");
  });

  // Mutation: of what others committed only a page is followed, in commits.ts.
  it("follow more commits than GitHub shows at once, to the same entries", { timeout: 60_000 }, async () => {
    const [hub, via] = [await world.open(), await openGit()];
    await put(hub, value("first", "by Sync"));
    await via.read(["first"], { authority: true });
    const commits = Array.from({ length: 115 }, (_, i) => {
      const from = i === 0 ? "from refs/heads/main^0\n" : "";
      const committer = `committer Ada <ada@example.org> ${1_700_000_000 + i} +0000`;
      return `commit refs/heads/main\n${committer}\ndata 1\nm\n${from}M 100644 inline f/${i % 20}/${i}\ndata 1\nx\n\n`;
    });
    execFileSync("git", ["-C", world.bare, "fast-import", "--quiet"], { input: commits.join("") });
    const seen = await everything(hub);
    expect(seen).toHaveLength(116);
    expect(await everything(via)).toEqual(seen);
  });

  it("follow each other's cursors: a watch of one goes on in the other", async () => {
    const hub = await world.open();
    await put(hub, value("a", "1"));
    const via = await openGit();
    const last = (await told(hub, undefined)).at(-1);
    const cursor = last?.kind === "current" ? last.cursor : "";
    await put(via, value("b", "2"), tombstone("a"));
    for (const store of [hub, via]) {
      const changes = await told(store, cursor);
      expect(changes.map((change) => (change.kind === "change" ? change.key : change.kind))).toEqual([
        "a",
        "b",
        "current",
      ]);
    }
  });

  it("collect together: what one forgot is too old for the other", async () => {
    const hub = await world.open();
    const via = await openGit();
    const dead = tombstone("k");
    await put(hub, dead);
    await via.forget([{ key: "k", version: dead.version, reason: "collected" }]);
    expect((await one(hub, "k")).entry).toBeUndefined();
    const [result] = await hub.write(writes([value("k", "late", dead.version)]));
    expect(result).toEqual({ status: "too-old" });
  });
});
