import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { delimiter } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { gitCommand } from "../../../src/stores/git/command.ts";
import type { Git } from "../../../src/stores/git/command.ts";
import { commits } from "../../../src/stores/git/commits.ts";
import { importer } from "../../../src/stores/git/importer.ts";
import { objects } from "../../../src/stores/git/objects.ts";
import { addPack, newObject, packed } from "../../../src/stores/git/pack.ts";
import { commitAsPack } from "../../../src/stores/git/packer.ts";
import { mergedTree } from "../../../src/stores/git/tree-body.ts";
import type { NewCommit, NewFile } from "../../../src/stores/git-layout/repository.ts";
import { systemRuntime } from "../../../src/system.ts";
import { random } from "../../../src/testing/index.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

/** Commits that are made without fast-import, beside those that it makes of the same. */
const SEED = 11;
const ROUNDS = 60;
const strace = spawnSync("strace", ["-V"]).error === undefined;
let place: Scratch;
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

const AUTHOR = { author: "Ada <ada@example.org>", message: "Subject\n\nTräiler: ü\n", timeMs: 1.7e12 } as const;
/** Names of which each begins another, and which git sorts in one way as files and in another as folders. */
const NAMES = ["a", "a-", "a.b", "a0", "ab", "A", "é", "e\u0301", "%value", "z", "\u{1f600}", "a b"];
/** At the edges of what is compressed in one way or another. */
const SIZES = [0, 1, 15, 16, 255, 256, 257, 2_047, 2_048, 4_096, 4_097, 65_536, 65_537];

function repository(name: string, format: "sha1" | "sha256"): { git: Git; started: string[] } {
  place.run("", ["init", "--quiet", "--bare", `--object-format=${format}`, "--initial-branch=main", name]);
  // What is on disk is not looked at here, and waiting for the disk would be most of the time.
  const git = gitCommand({ runtime: systemRuntime, gitDir: place.path(name), config: [["core.fsync", "none"]] });
  const started: string[] = [];
  const start: Git["start"] = (args) => {
    started.push(args[0] ?? "");
    return git.start(args);
  };
  return { git: { ...git, start }, started };
}

const file = (path: string, text: string): NewFile => ({ path, content: Buffer.from(text) });

/** What a person's commit may hold: links, submodules, programs. */
function person(name: string): string {
  const input = `commit refs/heads/main
committer Ada <ada@example.org> 1700000000 +0000
data 0
M 100755 inline a/program
data 1
x
M 120000 inline a/link
data 1
y
M 160000 ${"1".repeat(40)} z/module
M 100644 inline a/a/a
data 1
z
`;
  place.run(name, ["fast-import", "--quiet"], { input });
  return place.run(name, ["rev-parse", "main"]);
}

/** A commit of so many files in one folder, which has them already or not. */
function many(parent: string | null, count: number, text: string): NewCommit {
  const files = Array.from({ length: count }, (_, i) => file(`flat/${i}`, `${text} ${i}`));
  return { ...AUTHOR, parent, deletes: [], files };
}

describe("a commit as a pack", () => {
  // Mutations it catches: folders sorted as files; empty folders kept; what is no folder removed with what lies below it.
  it.each(["sha1", "sha256"] as const)(
    "is what fast-import makes of the same changes, at random (%s)",
    async (algorithm) => {
      const [here, there] = [repository("here.git", algorithm), repository("there.git", algorithm)];
      const [reader, fast, chance] = [objects(here.git), importer(there.git), random(SEED)];
      let parent = algorithm === "sha1" ? person("here.git") : null;
      if (parent !== null) expect(person("there.git")).toBe(parent);
      let before: string[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const path = () => Array.from({ length: 1 + chance.below(4) }, () => chance.pick(NAMES)).join("/");
        const files = new Map<string, NewFile>();
        for (let i = chance.below(25); i > 0; i--) {
          const put = path();
          const isAbove = (a: string, b: string) => b.startsWith(`${a}/`);
          if ([...files.keys()].some((other) => isAbove(other, put) || isAbove(put, other))) continue;
          files.set(put, { path: put, content: Buffer.alloc(chance.pick(SIZES), `${round % 3} ${i} `) });
        }
        const deletes = Array.from({ length: chance.below(30) }, () => chance.pick([path(), "a", ...before]));
        const made: NewCommit = { ...AUTHOR, parent, deletes, files: [...files.values()] };
        parent = await fast.commit(made);
        expect(await commitAsPack({ git: here.git, objects: reader, algorithm }, made)).toBe(parent);
        before = [...files.keys()];
      }
      await fast.close();
      await reader.close();
      place.run("here.git", ["update-ref", "refs/heads/main", parent ?? ""]);
      expect(place.run("here.git", ["fsck", "--strict", "--full"])).toBe("");
      expect(place.run("here.git", ["rev-list", "--count", "main"])).toBe(
        String(ROUNDS + (algorithm === "sha1" ? 1 : 0)),
      );
    },
  );

  // Mutation it catches: an object twice in a pack, which git refuses to check strictly.
  it("has each object once, whatever the files have in common", async () => {
    const { git } = repository("same.git", "sha1");
    const reader = objects(git);
    const files = ["a", "b", "c"].flatMap((name) => [file(`${name}/x`, "same"), file(`${name}/y`, "same")]);
    const commit = { ...AUTHOR, parent: null, deletes: [], files };
    const id = await commitAsPack({ git, objects: reader, algorithm: "sha1" }, commit);
    await reader.close();
    expect(place.run("same.git", ["count-objects", "-v"])).toMatch(/^in-pack: 4$/m);
    expect(place.run("same.git", ["ls-tree", "-r", "--name-only", id])).toBe("a/x\na/y\nb/x\nb/y\nc/x\nc/y");
  });

  // Mutation it catches: a tree that somebody broke is merged as it stands, and git does not find what was put there.
  it("puts a tree in order that is not", () => {
    const entry = (name: string, mode = "100644") => Buffer.from(`${mode} ${name}\0${"i".repeat(20)}`);
    const broken = Buffer.concat([entry("d", "040000"), entry("c"), entry("a")]);
    const merged = mergedTree(
      broken,
      20,
      new Map([["b", { mode: "100644", id: Buffer.from("i".repeat(20)).toString("hex") }]]),
    );
    expect(Buffer.from(merged)).toEqual(Buffer.concat([entry("a"), entry("b"), entry("c"), entry("d", "040000")]));
  });
});

describe("a pack", () => {
  // Mutation it catches: no core.fsync, so that git leaves it to the system when they are written.
  it.skipIf(!strace)("is on the disk with its index before anybody hears of it", async () => {
    repository("flushed.git", "sha1");
    const trace = place.path("trace");
    const real = execFileSync("which", ["git"], { encoding: "utf8" }).trim();
    writeFileSync(
      place.path("git"),
      `#!/bin/sh\nexec strace -f -e trace=fsync,fdatasync,link -o "${trace}" ${real} "$@"\n`,
      {
        mode: 0o755,
      },
    );
    vi.stubEnv("PATH", `${place.folder}${delimiter}${process.env["PATH"]}`);
    const git = gitCommand({ runtime: systemRuntime, gitDir: place.path("flushed.git") });
    vi.unstubAllEnvs();
    const blob = newObject("blob", Buffer.from("text"), "sha1");
    await addPack(git, "sha1", 1, [await packed(blob)]);
    const [flushed, flushedToo, ...named] = readFileSync(trace, "utf8").match(/f(?:data)?sync|link/g) ?? [];
    expect([flushed, flushedToo]).not.toContain("link");
    expect(named).toEqual(["link", "link"]);
    expect(place.run("flushed.git", ["cat-file", "-p", blob.id])).toBe("text");
  });
});

describe("who makes a commit", () => {
  // Mutation it catches: large commits by fast-import, which looks up every name of every folder that they touch.
  it("is one process that stays for small ones, and one of its own for a large one, which looks no names up", async () => {
    const { git, started } = repository("who.git", "sha1");
    const reader = objects(git);
    const maker = commits({ git, objects: reader, algorithm: "sha1" });
    let parent: string | null = null;
    for (const count of [1, 30, 2, 31, 1, 5_000, 3]) parent = await maker.commit(many(parent, count, String(count)));
    await maker.close();
    await reader.close();
    expect(started.filter((name) => name !== "cat-file")).toEqual(["fast-import", "index-pack", "index-pack"]);
    expect(place.run("who.git", ["ls-tree", "--name-only", `${parent}:flat`]).split("\n")).toHaveLength(5_000);
  });

  // Mutation it catches: a folder read for each of its files (5,000 times).
  it("reads each folder once for a large one", async () => {
    const { git } = repository("once.git", "sha1");
    const reader = objects(git);
    const asked: string[] = [];
    const counting: typeof reader = {
      ...reader,
      contents(names) {
        asked.push(...names);
        return reader.contents(names);
      },
    };
    const settings = { git, objects: counting, algorithm: "sha1" } as const;
    const first = await commitAsPack(settings, many(null, 5_000, "first"));
    expect(asked).toEqual([]);
    await commitAsPack(settings, many(first, 5_000, "second"));
    expect(asked).toHaveLength(2);
    await reader.close();
  });

  // Mutation it catches: a limit of commits instead of files, or none.
  it("is replaced when it remembers much", async () => {
    const { git, started } = repository("replaced.git", "sha1");
    const fast = importer(git);
    for (let i = 0; i < 40; i++) await fast.commit(many(null, 50, String(i)));
    expect(started).toEqual(["fast-import"]);
    await fast.commit(many(null, 1, "last"));
    expect(started).toEqual(["fast-import", "fast-import"]);
    await fast.close();
  });
});
