import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GitReport } from "../../../src/stores/git/index.ts";
import { isLow } from "../../../src/version.ts";
import { keysOf, one, put, textOf, value, versionOf, writes } from "./entries.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

/** Repositories that others made: large, refused, rewritten, checked out, with names that nobody would choose. */
let place: Scratch;
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

function bare(name = "truth.git"): void {
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", name]);
}

interface Step {
  readonly files?: Readonly<Record<string, string>>;
  readonly deletes?: readonly string[];
}

/** Commits in a row, by fast-import. */
function history(steps: readonly Step[], name = "truth.git", branch = "main"): void {
  const lines: string[] = [];
  for (const [i, { files = {}, deletes = [] }] of steps.entries()) {
    lines.push(
      `commit refs/heads/${branch}`,
      `committer Ada <ada@example.org> ${1_500_000_000 + i} +0000`,
      "data 1",
      "m",
    );
    for (const path of deletes) lines.push(`D "${path}"`);
    for (const [path, text] of Object.entries(files)) {
      const quoted = path.replace(/["\\]/g, "\\$&");
      lines.push(`M 100644 inline "${quoted}"`, `data ${Buffer.byteLength(text)}`, text);
    }
    lines.push("");
  }
  place.run(name, ["fast-import", "--quiet", "--force"], { input: lines.join("\n") });
}

const refs = (name = "truth.git") => place.run(name, ["for-each-ref"]);
const objects = (name = "truth.git") => place.run(name, ["count-objects", "-v"]);

describe("an existing repository", () => {
  it("of 20,000 files and 2,000 commits is opened in one pass over its log, and nothing is written to it", async () => {
    bare();
    const first: Record<string, string> = {};
    for (let i = 0; i < 20_000; i++) first[`d${i % 200}/f${i}.json`] = `{"n":${i}}`;
    const steps: Step[] = [{ files: first }];
    for (let i = 1; i < 2_000; i++) {
      if (i % 10 === 0) steps.push({ deletes: [`d${i % 200}/f${i}.json`] });
      else steps.push({ files: { [`d${i % 200}/f${i}.json`]: `{"edit":${i}}` } });
    }
    history(steps);
    const before = [refs(), objects()];
    const started = performance.now();
    const store = await place.open("git:./truth.git");
    const openMs = performance.now() - started;
    expect(await textOf(store, "d7/f7.json")).toBe('{"edit":7}');
    expect(await textOf(store, "d50/f15050.json")).toBe('{"n":15050}');
    expect((await one(store, "d10/f10.json")).entry?.state).toBe("deleted");
    const versions = [await versionOf(store, "d7/f7.json"), await versionOf(store, "d50/f15050.json")];
    expect(versions.every(isLow)).toBe(true);
    // The 8th and the 1st commit of the line.
    expect(versions.map((version) => Number.parseInt(version.slice(0, 12), 16))).toEqual([8, 1]);
    expect((await keysOf(store)).length).toBe(20_000);
    await store.close();
    expect([refs(), objects()]).toEqual(before);

    const again = performance.now();
    const second = await place.open("git:./truth.git");
    const againMs = performance.now() - again;
    expect([await versionOf(second, "d7/f7.json"), await versionOf(second, "d50/f15050.json")]).toEqual(versions);
    console.log(`opened in ${openMs.toFixed(0)} ms, again in ${againMs.toFixed(0)} ms`);
  }, 120_000);

  it("keeps names that the rule would escape, and answers for them under their own names", async () => {
    bare();
    const names = ["CON", "aux.c", "a%2Fb", "what?", "trailing.", ".gitignore", "dir:x/y", 'q"uote', "tab", "100%25"];
    history([{ files: Object.fromEntries(names.map((name) => [name, name])) }]);
    const store = await place.open("git:./truth.git");
    for (const name of names.slice(0, -1)) expect(await textOf(store, name)).toBe(name);
    expect(await textOf(store, "100%")).toBe("100%25");
    expect((await keysOf(store)).length).toBe(names.length);
    // Writing one leaves it where it is; a new key of the kind goes where the rule says.
    await put(store, value("aux.c", "new"), value("nul", "x"));
    expect(place.run("truth.git", ["show", "main:aux.c"])).toBe("new");
    expect(place.run("truth.git", ["show", "main:%6Eul"])).toBe("x");
    expect(await textOf(store, "aux.c")).toBe("new");
  });

  // Mutation: `others` not looked at in plan.ts: a person's link would be replaced.
  it("reports files that no key can name, and says nothing of links and submodules", async () => {
    bare();
    const blob = place.run("truth.git", ["hash-object", "-w", "--stdin"], { input: "x" });
    const commit = place.run("truth.git", [
      "commit-tree",
      "-m",
      "m",
      place.run("truth.git", ["mktree"], { input: "" }),
    ]);
    const entries = [
      Buffer.from(`100644 blob ${blob}\tbad-`),
      Buffer.from([0xff, 0]),
      Buffer.from(
        `120000 blob ${blob}\tlink\u0000160000 commit ${commit}\tmodule\u0000100644 blob ${blob}\tplain\u0000`,
      ),
    ];
    const tree = place.run("truth.git", ["mktree", "-z", "--missing"], { input: Buffer.concat(entries) });
    place.run("truth.git", ["update-ref", "refs/heads/main", place.run("truth.git", ["commit-tree", "-m", "m", tree])]);
    const reports: GitReport[] = [];
    const store = await place.open("git:./truth.git", { onReport: (report) => reports.push(report) });
    expect(await keysOf(store)).toEqual(["plain"]);
    expect((await one(store, "link")).entry).toBeUndefined();
    expect(reports).toEqual([{ kind: "no-key", path: "bad-\u00ff" }]);
    // Nor is anything written through a link, or in the place of one, or of a module.
    const results = await store.write(
      writes([value("link/x", "x"), value("link", "x"), value("module", "x"), value("new", "x")]),
    );
    const refused = { status: "failed", error: { code: "INVALID" } };
    expect(results).toMatchObject([refused, refused, refused, { status: "stored" }]);
    expect(place.run("truth.git", ["ls-tree", "main", "link", "module"])).toMatch(/^120000.*\n160000.*$/);
  });

  it("gets a file moved into its folder when a key needs the folder, without a change of the key", async () => {
    bare();
    history([{ files: { a: "plain", "b/c": "1" } }]);
    const store = await place.open("git:./truth.git");
    const before = await versionOf(store, "a");
    await put(store, value("a/b/c", "deep"), value("b", "folder"));
    expect(await textOf(store, "a")).toBe("plain");
    expect(await versionOf(store, "a")).toBe(before);
    expect(place.run("truth.git", ["show", "main:a/%value"])).toBe("plain");
    expect(place.run("truth.git", ["show", "main:b/%value"])).toBe("folder");
    const fresh = await place.open("git:./truth.git", { cacheFolder: place.path("fresh") });
    expect(await versionOf(fresh, "a")).toBe(before);
    expect(await keysOf(fresh)).toEqual(["a", "a/b/c", "b", "b/c"]);
  });
});

describe("a branch that others force", () => {
  it("is noticed: the watch says relist, reads go by the new head, and nothing is merged", async () => {
    bare();
    history([{ files: { a: "1" } }, { files: { b: "2" } }]);
    const reports: GitReport[] = [];
    const store = await place.open("git:./truth.git", { onReport: (report) => reports.push(report) });
    await put(store, value("c", "3"));
    const watching = store.watch({ prefix: "" }, { intervalMs: 1, initial: false })[Symbol.asyncIterator]();
    const current = await watching.next();
    const cursor = current.value !== undefined && "cursor" in current.value ? current.value.cursor : "";
    const waiting = watching.next();
    history([{ files: { a: "other", z: "26" } }]);
    expect((await waiting).value).toMatchObject({ kind: "relist" });
    expect((await watching.next()).done).toBe(true);
    expect(await keysOf(store)).toEqual(["a", "z"]);
    expect(await textOf(store, "a")).toBe("other");
    expect((await one(store, "c")).entry).toBeUndefined();
    expect(reports).toContainEqual({ kind: "rewritten", branch: "main" });
    for await (const change of store.watch({ prefix: "" }, { cursor })) expect(change.kind).toBe("relist");
  });

  it("back to an older commit is noticed too, and nothing of the dropped commits comes back by a write", async () => {
    bare();
    const store = await place.open("git:./truth.git");
    await put(store, value("a", "1"));
    const first = place.run("truth.git", ["rev-parse", "main"]);
    await put(store, value("b", "2"));
    place.run("truth.git", ["update-ref", "refs/heads/main", first]);
    await put(store, value("c", "3"));
    expect(await keysOf(store)).toEqual(["a", "c"]);
    expect(place.run("truth.git", ["rev-parse", "main~1"])).toBe(first);
  });
});

describe("a person's checkout", () => {
  const setup = () => {
    place.run("", ["init", "--quiet", "--initial-branch=main", "work"]);
    writeFileSync(place.path("work/a.txt"), "1");
    place.run("work", ["add", "--all"]);
    place.run("work", ["commit", "--quiet", "-m", "first"]);
  };

  it("can be read; its checked out branch is not written, with the cure", async () => {
    setup();
    const store = await place.open("git:./work");
    expect(await textOf(store, "a.txt")).toBe("1");
    expect(store.supports.readonly).toBe(true);
    const [result] = await store.write(writes([value("b", "2")]));
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
    expect(String(result?.status === "failed" ? result.error.cure : "")).toMatch(/receive.denyCurrentBranch/);
    expect(place.run("work", ["status", "--porcelain"])).toBe("");
  });

  it("with another branch checked out takes writes to this one, and its files and index stay", async () => {
    setup();
    place.run("work", ["branch", "data"]);
    const store = await place.open("git:./work#data");
    await put(store, value("b", "2"));
    expect(place.run("work", ["show", "data:b"])).toBe("2");
    expect(place.run("work", ["status", "--porcelain"])).toBe("");
    expect(existsSync(place.path("work/b"))).toBe(false);
  });

  it("that says updateInstead is updated by git, files and all", async () => {
    setup();
    place.run("work", ["config", "receive.denyCurrentBranch", "updateInstead"]);
    const store = await place.open("git:./work");
    await put(store, value("b", "2"));
    expect(readFileSync(place.path("work/b"), "utf8")).toBe("2");
    expect(place.run("work", ["status", "--porcelain"])).toBe("");
  });
});

describe("bad input", () => {
  it.each([
    ["git:./nowhere.git", "NOT_FOUND", /create: true/],
    ["git:./folder", "NOT_FOUND", /git init --bare/],
    ["git:./truth.git#missing", "NOT_FOUND", /it has main/],
    ["git:", "INVALID", /write git:PATH/],
    ["git:-oProxyCommand=x:y", "INVALID", /write git:PATH/],
    ["git:ext::sh -c x", "INVALID", /write git:PATH/],
    ["git:./truth.git#--upload-pack=x", "INVALID", /write git:PATH/],
    ["git:./truth.git#a..b", "INVALID", /write git:PATH/],
    ["git:./truth.git#main:../x", "INVALID", /write git:PATH/],
    ["git:./truth.git#main:.git/x", "INVALID", /write git:PATH/],
    ["git:http://user:secret@127.0.0.1:1/x.git", "UNAVAILABLE", /^(?!.*secret)/s],
    ["git:file:///nowhere/at-all.git", "NOT_FOUND", /correct the URL/],
  ] as const)("%s is refused as %s", async (url, code, cure) => {
    bare();
    history([{ files: { a: "1" } }]);
    mkdirSync(place.path("folder"));
    const error: unknown = await place.open(url).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toMatch(cure);
    expect((error as Error).message).not.toMatch(/secret|\n/);
    expect(existsSync(place.path("nowhere.git"))).toBe(false);
  });

  it("an empty repository opens, and create makes one, or a branch", async () => {
    bare();
    const empty = await place.open("git:./truth.git");
    expect(await keysOf(empty)).toEqual([]);
    await put(empty, value("a", "1"));
    const made = await place.open("git:./made/new.git#trunk", { create: true });
    await put(made, value("a", "1"));
    expect(refs("made/new.git")).toMatch(/refs\/heads\/trunk$/);
    const branch = await place.open("git:./truth.git#other", { create: true });
    await put(branch, value("b", "2"));
    expect(await keysOf(branch)).toEqual(["b"]);
  });
});

describe("a repository that may not be written", () => {
  it("answers; what a person changed has a version that every such node computes, and nothing is committed", async () => {
    bare();
    const writer = await place.open("git:./truth.git");
    await put(writer, value("a", "1"), value("b", "1"));
    const before = await versionOf(writer, "a");
    await writer.close();
    place.run("", ["clone", "--quiet", "truth.git", "work"]);
    writeFileSync(place.path("work/a"), "by hand");
    place.run("work", ["commit", "--quiet", "-a", "-m", "by hand"]);
    place.run("work", ["push", "--quiet"]);
    const state = [refs(), objects()];
    const nodes = await Promise.all(
      ["x", "y"].map((name) => place.open("git:./truth.git", { readonly: true, cacheFolder: place.path(name) })),
    );
    const versions = await Promise.all(nodes.map((node) => versionOf(node, "a")));
    expect(versions[0]).toBe(versions[1]);
    expect((versions[0] ?? "") > before).toBe(true);
    const [reader] = nodes;
    if (reader === undefined) throw new Error("not opened");
    expect(await textOf(reader, "a")).toBe("by hand");
    expect([refs(), objects()]).toEqual(state);
    // Also when it was opened before: what is provisional is found again.
    await reader.close();
    const again = await place.open("git:./truth.git", { readonly: true, cacheFolder: place.path("x") });
    expect(await textOf(again, "a")).toBe("by hand");
    expect(await versionOf(again, "a")).toBe(versions[0]);
    nodes[0] = again;
    // Once somebody adopts it, everybody has that version.
    const adopter = await place.open("git:./truth.git");
    const adopted = await versionOf(adopter, "a");
    expect(adopted > (versions[0] ?? "")).toBe(true);
    for (const node of nodes) expect(await versionOf(node, "a")).toBe(adopted);
  });
});
