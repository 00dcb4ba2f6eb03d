import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GitReport } from "../../../src/stores/git/index.ts";
import type { Store } from "../../../src/store.ts";
import { isLow } from "../../../src/version.ts";
import { keysOf, nextVersion, one, put, textOf, told, tombstone, value, versionOf, writes } from "./entries.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

/**
 * What people do to the branch with git, and what becomes of it. Mutations these catch: adoption left out (every
 * "edit" test), a record trusted without its past ("revert"), a version taken from the commit's time ("back-dated"),
 * a stamp not above the past ("twice"), adoption without compare-and-set ("two nodes").
 */
let place: Scratch;
let store: Store;
let reports: GitReport[];
const URL = "git:./truth.git#main";

beforeEach(async () => {
  place = scratch();
  reports = [];
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
  place.run("", ["clone", "--quiet", "truth.git", "work"]);
  store = await place.open(URL, { onReport: (report) => reports.push(report) });
});
afterEach(() => place.remove());

/** A person's commit, pushed. */
function commit(change: () => void, env: Record<string, string> = {}, message = "by hand"): void {
  if (place.run("truth.git", ["for-each-ref"]) !== "") {
    place.run("work", ["pull", "--quiet", "--rebase=false", "--no-edit", "origin", "main"]);
  }
  change();
  place.run("work", ["add", "--all"]);
  place.run("work", ["commit", "--quiet", "-m", message], { env });
  place.run("work", ["push", "--quiet", "origin", "HEAD:main"]);
}

function file(path: string, text: string): void {
  const full = place.path(`work/${path}`);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
}

const commits = () => Number(place.run("truth.git", ["rev-list", "--count", "main"]));

describe("a person's commit", () => {
  it("that edits a file becomes a version above the old one, the same for every node, and is adopted once", async () => {
    await put(store, value("a/b.txt", "one", nextVersion(), { "content-type": "text/x-own", note: "kept" }));
    const before = await versionOf(store, "a/b.txt");
    commit(() => file("a/b.txt", "two"));
    const answer = await one(store, "a/b.txt");
    expect(new TextDecoder().decode(answer.entry?.value ?? new Uint8Array())).toBe("two");
    expect(answer.entry?.meta).toEqual({ "content-type": "text/x-own", note: "kept" });
    expect(answer.entry !== undefined && answer.entry.version > before).toBe(true);
    const count = commits();
    const other = await place.open(URL, { cacheFolder: place.path("other") });
    expect(await versionOf(other, "a/b.txt")).toBe(answer.entry?.version);
    expect(await versionOf(store, "a/b.txt")).toBe(answer.entry?.version);
    expect(commits()).toBe(count);
    expect(reports.filter(({ kind }) => kind === "adopted")).toEqual([{ kind: "adopted", keys: 1 }]);
  });

  it("that deletes a file becomes a tombstone; one that adds it again, a value above that", async () => {
    await put(store, value("k", "one"));
    commit(() => rmSync(place.path("work/k")));
    const gone = await one(store, "k");
    expect(gone.entry?.state).toBe("deleted");
    commit(() => file("k", "back"));
    expect(await textOf(store, "k")).toBe("back");
    expect((await versionOf(store, "k")) > (gone.entry?.version ?? "")).toBe(true);
  });

  it("that reverts file and record to an older state is a change above everything the key was", async () => {
    await put(store, value("k", "one"));
    await put(store, value("k", "two"));
    const two = await versionOf(store, "k");
    commit(() => place.run("work", ["revert", "--no-edit", "--no-commit", "HEAD"]));
    expect(place.run("truth.git", ["show", "main:k"])).toBe("one");
    expect(await textOf(store, "k")).toBe("one");
    expect((await versionOf(store, "k")) > two).toBe(true);
  });

  it("that reverts is noticed as well by a node that was not there before", async () => {
    await put(store, value("k", "one"));
    await put(store, value("k", "two"));
    const two = await versionOf(store, "k");
    await store.close();
    commit(() => place.run("work", ["revert", "--no-edit", "--no-commit", "HEAD"]));
    commit(() => file("unrelated", "x"));
    const fresh = await place.open(URL, { cacheFolder: place.path("fresh") });
    expect(await textOf(fresh, "k")).toBe("one");
    expect((await versionOf(fresh, "k")) > two).toBe(true);
  });

  it("that reverts the commit which made a key is a deletion, not a key that never was", async () => {
    await put(store, value("base", "x"));
    await put(store, value("k", "one"));
    const before = await versionOf(store, "k");
    commit(() => place.run("work", ["revert", "--no-edit", "--no-commit", "HEAD"]));
    const { entry } = await one(store, "k");
    expect(entry?.state).toBe("deleted");
    expect((entry?.version ?? "") > before).toBe(true);
  });

  it.each([
    ["back-dated", "2001-01-01T00:00:00Z"],
    ["future-dated", "2099-01-01T00:00:00Z"],
  ])("that is %s counts by where it stands, not by its date", async (_, date) => {
    await put(store, value("k", "one"));
    const before = await versionOf(store, "k");
    commit(() => file("k", "edited"), { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date });
    expect(await textOf(store, "k")).toBe("edited");
    const edited = await versionOf(store, "k");
    expect(edited > before).toBe(true);
    // A date in 2099 has locked nothing.
    await put(store, value("k", "after", above(edited)));
    expect(await textOf(store, "k")).toBe("after");
  });

  it("on a branch that is merged counts when it is merged", async () => {
    await put(store, value("a", "1"), value("b", "1"));
    place.run("work", ["pull", "--quiet", "origin", "main"]);
    place.run("work", ["checkout", "--quiet", "-b", "topic"]);
    file("a", "topic");
    place.run("work", ["commit", "--quiet", "-a", "-m", "on the topic"]);
    place.run("work", ["checkout", "--quiet", "-B", "main", "origin/main"]);
    await put(store, value("b", "2"));
    const before = await versionOf(store, "a");
    place.run("work", ["pull", "--quiet", "origin", "main"]);
    place.run("work", ["merge", "--quiet", "--no-ff", "--no-edit", "topic"]);
    place.run("work", ["push", "--quiet", "origin", "main"]);
    expect(await textOf(store, "a")).toBe("topic");
    expect(await textOf(store, "b")).toBe("2");
    expect((await versionOf(store, "a")) > before).toBe(true);
  });

  it("that restores an old file of an old commit is a change of that file alone", async () => {
    await put(store, value("k", "one"), value("other", "1"));
    const first = place.run("truth.git", ["rev-parse", "main"]);
    await put(store, value("k", "two"), value("other", "2"));
    const other = await versionOf(store, "other");
    const two = await versionOf(store, "k");
    commit(() => place.run("work", ["checkout", first, "--", "k"]));
    expect(await textOf(store, "k")).toBe("one");
    expect((await versionOf(store, "k")) > two).toBe(true);
    expect(await versionOf(store, "other")).toBe(other);
  });

  it("seen by two nodes at once gets one version", async () => {
    await put(store, value("k", "one"), value("l", "one"));
    const other = await place.open(URL, { cacheFolder: place.path("other") });
    for (let round = 0; round < 5; round++) {
      commit(() => {
        file("k", `edit ${round}`);
        file("l", `edit ${round}`);
      });
      const seen = await Promise.all([store, other].map((node) => node.read(["k", "l"], { authority: true })));
      const versions = seen.map((answers) => answers.map(({ entry }) => entry?.version));
      expect(versions[0]).toEqual(versions[1]);
      expect(await textOf(store, "k")).toBe(`edit ${round}`);
    }
  });

  it("wins over a write that was stamped before it was seen, and loses to one stamped later", async () => {
    await put(store, value("k", "one"), value("l", "one"));
    const stamped = nextVersion();
    commit(() => {
      file("k", "edited");
      file("l", "edited");
    });
    const [late] = await store.write(writes([value("k", "pending", stamped)]));
    expect(late?.status).toBe("superseded");
    expect(await textOf(store, "k")).toBe("edited");
    await put(store, value("l", "later", above(await versionOf(store, "l"))));
    expect(await textOf(store, "l")).toBe("later");
  });

  it("to a file that Sync never wrote needs no adoption: it stands in the low band", async () => {
    commit(() => {
      file("docs/x.md", "x");
      file("y", "y");
    });
    commit(() => rmSync(place.path("work/y")));
    const count = commits();
    const x = await one(store, "docs/x.md");
    const y = await one(store, "y");
    expect(x.entry?.meta).toEqual({ "content-type": "text/markdown; charset=utf-8" });
    expect([x.entry?.state, y.entry?.state]).toEqual(["value", "deleted"]);
    for (const version of [x.entry?.version, y.entry?.version])
      expect(version !== undefined && isLow(version)).toBe(true);
    expect((y.entry?.version ?? "") > (x.entry?.version ?? "")).toBe(true);
    expect(commits()).toBe(count);
    const fresh = await place.open(URL, { cacheFolder: place.path("fresh") });
    expect(await versionOf(fresh, "docs/x.md")).toBe(x.entry?.version);
    expect(await versionOf(fresh, "y")).toBe(y.entry?.version);
    expect(await keysOf(fresh)).toEqual(["docs/x.md", "y"]);
    // A low tombstone can be forgotten, though history keeps it.
    await fresh.forget([{ key: "y", version: y.entry?.version ?? nextVersion(), reason: "ghost" }]);
    expect(await keysOf(fresh)).toEqual(["docs/x.md"]);
    expect(await keysOf(store)).toEqual(["docs/x.md"]);
    expect((await one(store, "y")).entry).toBeUndefined();
  });

  it("that brings back a key which was collected gets a version above the watermark", async () => {
    await put(store, value("k", "one"));
    const dead = tombstone("k");
    await put(store, dead);
    await store.forget([{ key: "k", version: dead.version, reason: "collected" }]);
    expect((await one(store, "k")).entry).toBeUndefined();
    commit(() => file("k", "again"));
    expect((await versionOf(store, "k")) > dead.version).toBe(true);
    const fresh = await place.open(URL, { cacheFolder: place.path("fresh") });
    expect(await versionOf(fresh, "k")).toBe(await versionOf(store, "k"));
  });

  it("that breaks a record is a change of its key, not the end of it", async () => {
    await put(store, value("k", "one"));
    const before = await versionOf(store, "k");
    const record = place.run("truth.git", ["ls-tree", "-r", "--name-only", "main", ".microsync/entries"]);
    commit(() => appendFileSync(place.path(`work/${record}`), "<<<<<<< not a record"));
    expect(await textOf(store, "k")).toBe("one");
    expect((await versionOf(store, "k")) > before).toBe(true);
  });

  it("that lowers the collection watermark does not make it lower", async () => {
    const dead = tombstone("k");
    await put(store, value("base", "x"), dead);
    await store.forget([{ key: "k", version: dead.version, reason: "collected" }]);
    commit(() => place.run("work", ["revert", "--no-edit", "--no-commit", "HEAD"]));
    const [result] = await store.write(writes([value("new", "x", tombstoneBefore(dead.version))]));
    expect(result?.status).toBe("too-old");
  });

  it("is told by a watch, after a cursor and live", async () => {
    await put(store, value("a", "1"), value("b", "1"));
    const first = await told(store, undefined);
    const cursor = first.at(-1);
    commit(() => file("b", "2"));
    const later = await told(store, cursor !== undefined && "cursor" in cursor ? cursor.cursor : "");
    expect(later.map((change) => (change.kind === "change" ? change.key : change.kind))).toEqual(["b", "current"]);
  });

  it("is left as it is in a fresh checkout: file contents are the values, byte for byte", async () => {
    const odd = "line\r\nline\n\u0000\u00ff\r";
    await put(store, value("a", "plain"), value("a/b", odd), value(".gitattributes", "* text eol=crlf\n"));
    place.run("", ["clone", "--quiet", "-c", "core.autocrlf=false", "truth.git", "fresh"]);
    expect(readFileSync(place.path("fresh/a/b"), "utf8")).toBe(odd);
    expect(readFileSync(place.path("fresh/a/%value"), "utf8")).toBe("plain");
    expect(readFileSync(place.path("fresh/%2Egitattributes"), "utf8")).toBe("* text eol=crlf\n");
    expect(place.run("truth.git", ["fsck", "--strict", "--full"])).not.toMatch(/error|warning/);
  });
});

/** The same time as another version, and more than it. */
function above(version: string): ReturnType<typeof nextVersion> {
  return version.replace(/-[0-9a-f]{4}-/, "-ffff-") as ReturnType<typeof nextVersion>;
}

/** The same time as another version, and less than it. */
function tombstoneBefore(version: string): ReturnType<typeof nextVersion> {
  return version.replace(/-[0-9a-f]{16}$/, `-${"0".repeat(16)}`) as ReturnType<typeof nextVersion>;
}
