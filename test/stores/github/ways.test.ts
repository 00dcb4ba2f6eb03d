import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Api } from "../../../src/stores/github/api.ts";
import { byMutation } from "../../../src/stores/github/by-mutation.ts";
import type { Commits } from "../../../src/stores/github/commits.ts";
import type { Objects } from "../../../src/stores/github/objects.ts";
import { EMPTY_TREE } from "../../../src/stores/github/tree.ts";
import { differences } from "../../../src/stores/github/walk.ts";
import { systemRuntime } from "../../../src/system.ts";
import { one, put, textOf, value } from "../git/entries.ts";
import { githubWorld } from "./world.ts";
import type { GithubWorld } from "./world.ts";

/** What the ways to and from GitHub owe beyond what goes wrong at once. */
let world: GithubWorld;
beforeEach(async () => {
  world = await githubWorld();
});
afterEach(() => world.close());

const subjects = () =>
  execFileSync("git", ["-C", world.bare, "log", "--format=%s", "main"]).toString().trim().split("\n");

describe.each([
  ["by GraphQL", true],
  ["by REST", false],
] as const)("a commit %s", (_, hasGraphql) => {
  // Mutations: `found.made` not told in by-mutation.ts; `isThere` left out in by-rest.ts.
  it("whose answer is lost, and which another store follows, has happened all the same", async () => {
    world.server.hasGraphql = hasGraphql;
    const store = await world.open();
    await put(store, value("first", "0"));
    const mine = value("k", "mine");
    const other = await world.open(undefined, { cacheFolder: `${world.folder}/other` });
    const theirs = value("k", "theirs");
    const follow = [() => put(other, theirs)];
    let isLost = false;
    let isFollowing = false;
    world.server.fault = (request, body) => {
      if (isLost || !(hasGraphql ? body.includes("createCommitOnBranch") : request.method === "PATCH"))
        return undefined;
      isLost = true;
      return "lose";
    };
    // What comes next is the first store's, which looks or sends again: by then the branch has gone on.
    world.server.extra = async () => {
      if (isFollowing) await follow.pop()?.();
      isFollowing = isLost;
      return false;
    };
    expect(await store.write([{ entry: mine, asOf: 0, if: "absent" }])).toEqual([{ status: "stored" }]);
    expect(await textOf(store, "k")).toBe("theirs");
    expect(subjects().filter((subject) => subject === 'Sync: set "k"').length).toBe(2);
  });
});

// Mutation: `bySync: false` in repository.ts: what Sync removed for good would be a person's deletion.
it("a key that another store forgot is none, not one that a person deleted", async () => {
  const store = await world.open();
  const entry = value("k", "1");
  await put(store, entry, value("stays", "1"));
  const other = await world.open(undefined, { cacheFolder: `${world.folder}/other` });
  expect(await textOf(other, "k")).toBe("1");
  await store.forget([{ key: "k", version: entry.version, reason: "ghost" }]);
  const before = subjects().length;
  const [answer] = await other.read(["k"], { authority: true });
  expect(answer?.entry).toBeUndefined();
  await put(other, value("beside", "1"));
  expect((await one(other, "k")).entry).toBeUndefined();
  expect(subjects().length).toBe(before + 1);
});

it("a mutation expects the branch at the parent that was decided on, wherever it is by now", async () => {
  const asked: { readonly expectedHeadOid: unknown }[] = [];
  const api = {
    mutate(_text: string, { input }: { readonly input: { readonly expectedHeadOid: unknown } }) {
      asked.push(input);
      const commit = { oid: "c".repeat(40), tree: { oid: EMPTY_TREE } };
      return Promise.resolve({ data: { createCommitOnBranch: { commit } }, errors: [] });
    },
  } as unknown as Api;
  const parent = "a".repeat(40);
  const way = byMutation({
    runtime: systemRuntime,
    api,
    objects: { blobs: () => Promise.resolve([]) } as unknown as Objects,
    commits: {} as Commits,
    owner: "octo",
    repo: "store",
    branch: "main",
    head: () => Promise.resolve("b".repeat(40)),
  });
  const commit = { parent, message: "m", timeMs: 0, deletes: [], files: [] };
  await way({ commit, base: undefined, deletes: [], files: [] } as unknown as Parameters<typeof way>[0], {});
  expect(asked.map(({ expectedHeadOid }) => expectedHeadOid)).toEqual([parent]);
});

// Mutation: `differing` without its filter in walk.ts: each commit that leaves a prefix alone would cost its folder.
it("folders that are the same are not asked for", async () => {
  const asked: string[] = [];
  const objects = {
    trees(ids: readonly string[]) {
      asked.push(...ids);
      return Promise.resolve(new Map(ids.map((id) => [id, new Map()])));
    },
  } as unknown as Objects;
  const [same, from, to] = ["a".repeat(40), "b".repeat(40), "c".repeat(40)];
  const pairs = [
    { from: same, to: same },
    { from, to },
    { from: null, to: null },
  ];
  expect(await differences(objects, pairs, () => {})).toEqual([[], [], []]);
  expect(asked.toSorted()).toEqual([from, to]);
});
