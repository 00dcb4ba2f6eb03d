import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SyncError } from "../../../src/error.ts";
import type { Runtime } from "../../../src/runtime.ts";
import { githubApi } from "../../../src/stores/github/api.ts";
import type { Entry } from "../../../src/entry.ts";
import type { Api, GraphqlAnswer } from "../../../src/stores/github/api.ts";
import { byMutation } from "../../../src/stores/github/by-mutation.ts";
import type { Commits } from "../../../src/stores/github/commits.ts";
import type { Objects } from "../../../src/stores/github/objects.ts";
import { EMPTY_TREE } from "../../../src/stores/github/tree.ts";
import { differences } from "../../../src/stores/github/walk.ts";
import type { Http } from "../../../src/stores/wire/http.ts";
import { systemRuntime } from "../../../src/system.ts";
import type { Fault } from "../../servers/github.ts";
import { one, put, textOf, value } from "../git/entries.ts";
import { ampleBudgets, githubWorld } from "./world.ts";
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
  // Mutations: `found.made` not told, or a second answer taken for all, in by-mutation.ts; `isThere` left out in by-rest.ts.
  it("whose answer is lost, and which another store follows, has happened all the same", async () => {
    world.server.hasGraphql = hasGraphql;
    const store = await world.open();
    await put(store, value("first", "0"));
    const mine = value("k", "mine");
    const other = await world.open(undefined, { cacheFolder: `${world.folder}/other` });
    const theirs = value("k", "theirs");
    const follow = [() => put(other, theirs)];
    const parent = execFileSync("git", ["-C", world.bare, "rev-parse", "main"]).toString().trim();
    let isLost = false;
    let isFollowing = false;
    let lags = hasGraphql ? 1 : 0;
    world.server.fault = (request, body) => {
      // GitHub may show the branch as it was before: that is no sign that the commit was not made.
      if (isLost && request.url?.includes("/git/ref/") === true && lags-- > 0) {
        return { status: 200, body: { object: { sha: parent } } };
      }
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
  }, 120_000);

  // Mutation: any commit on the same parent taken for one's own in by-mutation.ts, whatever its mark.
  it("that never arrived is not taken for another store's on the same parent", async () => {
    world.server.hasGraphql = hasGraphql;
    const store = await world.open();
    await put(store, value("first", "0"));
    const other = await world.open(undefined, { cacheFolder: `${world.folder}/other` });
    const follow = [() => put(other, value("beside", "theirs"))];
    let isCut = false;
    world.server.fault = (request, body) => {
      if (isCut || !(hasGraphql ? body.includes("createCommitOnBranch") : request.method === "PATCH")) return undefined;
      isCut = true;
      return "cut";
    };
    world.server.extra = async () => {
      if (isCut) await follow.pop()?.();
      return false;
    };
    expect(await store.write([{ entry: value("k", "mine"), asOf: 0, if: "absent" }])).toEqual([{ status: "stored" }]);
    expect([await textOf(store, "k"), await textOf(store, "beside")]).toEqual(["mine", "theirs"]);
  }, 120_000);
});

describe("what a commit makes of the folders", () => {
  // Mutation: what learnFolders meets is thrown on in publish.ts.
  it("is read by the next one where GitHub does not give it meanwhile, and the commit is told as made", async () => {
    await put(await world.open(), value("deep/er/first", "0"));
    const store = await world.open(undefined, { cacheFolder: `${world.folder}/other`, keptBytesMax: 1 });
    let isSent = false;
    let refused = 0;
    world.server.fault = (_, body) => {
      isSent ||= body.includes("createCommitOnBranch");
      if (!isSent || !body.includes("Tree{entries")) return undefined;
      refused++;
      return { status: 400 };
    };
    expect(await store.write([{ entry: value("deep/er/k", "mine"), asOf: 0 }])).toEqual([{ status: "stored" }]);
    expect(refused).toBeGreaterThan(0);
    world.server.fault = () => undefined;
    expect([await textOf(store, "deep/er/k"), await textOf(store, "deep/er/first")]).toEqual(["mine", "0"]);
  });
});

describe("a move of the branch by REST", () => {
  const answering = async (fault: Fault, times = 1) => {
    world.server.hasGraphql = false;
    const store = await world.open();
    await put(store, value("first", "0"));
    let left = times;
    world.server.fault = (request) => (request.method === "PATCH" && left-- > 0 ? fault : undefined);
    return store.write([{ entry: value("k", "1"), asOf: 0, if: "absent" }]).catch((error: unknown) => error);
  };

  // Mutation: 409 taken for a refusal in by-rest.ts.
  it.each([
    [409, "Conflict"],
    [422, "Update is not a fast forward"],
  ])("that is answered by %i %s is decided again", async (status, message) => {
    expect(await answering({ status, body: { message } })).toEqual([{ status: "stored" }]);
  });

  it("that the branch's rules refuse is READONLY, with the reason", async () => {
    const body = { message: "Changes must be made through a pull request." };
    const told = await answering({ status: 422, body });
    expect(told).toMatchObject({ code: "READONLY", message: expect.stringContaining(body.message) });
  });

  // Mutation: that nothing has arrived yet taken for never in by-rest.ts.
  it("that nobody ever answered, and that is not there, is INDETERMINATE", async () => {
    expect(await answering("cut", 3)).toMatchObject({ code: "INDETERMINATE" });
  });
});

describe("a request", () => {
  /** How many objects each query asked for; some of them are answered otherwise. */
  const queries = (what: string, fault: () => Fault | undefined = () => undefined) => {
    const sizes: number[] = [];
    world.server.fault = (_, body) => {
      const text = body.toString();
      if (!text.includes(`fragment F on ${what}{`)) return undefined;
      sizes.push(text.match(/:object\(/g)?.length ?? 0);
      return fault();
    };
    return sizes;
  };
  const fresh = () => world.open(undefined, { cacheFolder: `${world.folder}/fresh` });
  const texts = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, i) => value(`t/${i}`, "x".repeat(bytes) + i));
  const readAll = async (entries: readonly Entry[]) => {
    const store = await fresh();
    const answers = await store.read(entries.map(({ key }) => key));
    expect(answers.map(({ entry }) => entry?.value?.length)).toEqual(entries.map((entry) => entry.value?.length));
  };

  // Mutation: a query that GitHub cannot answer in time is asked again as it is, in objects.ts.
  it("that asks for more than GitHub answers in time is halved", async () => {
    const entries = texts(100, 1);
    await put(await world.open(), ...entries);
    let fails = 3; // so often one is sent before it has failed
    const sizes = queries("Blob", () => (fails-- > 0 ? { status: 502, body: { message: "Server Error" } } : undefined));
    await readAll(entries);
    expect(sizes.slice(0, 4)).toEqual([100, 100, 100, 50]);
  }, 60_000);

  // Mutations: no bound of bytes in objects.ts, or in by-rest.ts.
  it.each([true, false])(
    "holds some 2 MiB of values at most, with GraphQL %s",
    async (hasGraphql) => {
      const entries = texts(8, 390_000);
      world.server.hasGraphql = hasGraphql;
      const store = await world.open();
      await put(store, value("first", "0"));
      const bodies: number[] = [];
      world.server.fault = (request, body) => {
        if (request.method === "POST" && request.url?.endsWith("/git/trees") === true) bodies.push(body.length);
        return undefined;
      };
      await put(store, ...entries);
      if (!hasGraphql) {
        expect(bodies.length).toBeGreaterThan(1);
        expect(Math.max(...bodies)).toBeLessThan(2.1 * 1024 * 1024);
        return;
      }
      const sizes = queries("Blob");
      await readAll(entries);
      expect(sizes.filter((size) => size > 5)).toEqual([8]); // their records; then the values
    },
    60_000,
  );
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

describe("a mutation", () => {
  const parent = "a".repeat(40);
  /** Sends one commit to what answers so. @param at Where the branch is when it is looked at. */
  const sending = async (answer: Pick<GraphqlAnswer, "errors"> | undefined, at = parent) => {
    const asked: { readonly expectedHeadOid: unknown }[] = [];
    const api = {
      mutate(_text: string, { input }: { readonly input: { readonly expectedHeadOid: unknown } }) {
        asked.push(input);
        const commit = { oid: "c".repeat(40), tree: { oid: EMPTY_TREE } };
        const made = { data: { createCommitOnBranch: { commit } }, errors: [] };
        return Promise.resolve(answer === undefined ? made : { data: null, ...answer });
      },
    } as unknown as Api;
    const way = byMutation({
      runtime: systemRuntime,
      api,
      objects: { blobs: () => Promise.resolve([]) } as unknown as Objects,
      commits: {} as Commits,
      owner: "octo",
      repo: "store",
      branch: "main",
      head: () => Promise.resolve(at),
    });
    const commit = { parent, message: "m", timeMs: 0, deletes: [], files: [] };
    const parcel = { commit, base: undefined, deletes: [], files: [] } as unknown as Parameters<typeof way>[0];
    const told: unknown = await way(parcel, {}).catch((error: unknown) => error);
    return { told, asked };
  };

  it("expects the branch at the parent that was decided on, wherever it is by now", async () => {
    const { asked } = await sending(undefined, "b".repeat(40));
    expect(asked.map(({ expectedHeadOid }) => expectedHeadOid)).toEqual([parent]);
  });

  // Mutations: each way in which GitHub says that the branch is elsewhere, or that it gave up, left out.
  it.each([
    ["STALE_DATA", "in words of another day", "lost", 1],
    [undefined, `Expected branch to point to "${"a".repeat(40)}" but it did not.`, "lost", 1],
    ["FORBIDDEN", "in words of another day", "READONLY", 1],
    [undefined, "Protected branch hook declined", "READONLY", 1],
    [undefined, "Something went wrong while executing your query.", "INDETERMINATE", 3],
    [undefined, "in words of another day", "UNAVAILABLE", 1],
  ])("that is answered by %s, %s is %s", async (type, message, outcome, times) => {
    const { told, asked } = await sending({ errors: [{ message, ...(type === undefined ? {} : { type }) }] });
    expect(told instanceof SyncError ? told.code : (told ?? "lost")).toBe(outcome);
    expect(asked).toHaveLength(times);
  });
});

// Mutations: what changes something sent again after a 502, or a connection that broke, by api.ts: it may have happened.
it.each([502, "broken"])(
  "after %s a question is asked again, three times in all, and a mutation is not",
  async (fault) => {
    let sent = 0;
    const wire = {
      send() {
        sent++;
        if (fault === "broken") return Promise.reject(new SyncError("UNAVAILABLE", "the connection broke", {}));
        return Promise.resolve({ status: Number(fault), headers: {}, bytes: new Uint8Array() });
      },
    } as unknown as Http;
    const timer: Runtime["timer"] = (delayMs, fn, background) =>
      systemRuntime.timer(Math.min(delayMs, 1), fn, background);
    const credentials = { identity: "", token: () => Promise.resolve("tok"), refused: () => false };
    const places = { rest: "https://git.example", graphql: "https://git.example/graphql" };
    const budgets = ampleBudgets();
    const api = githubApi({
      runtime: { ...systemRuntime, timer },
      http: wire,
      credentials,
      budgets,
      ...places,
      timeoutMs: 60_000,
    });
    await expect(api.mutate("mutation", {}, {})).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(sent).toBe(1);
    await expect(api.query("query", {}, {})).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(sent).toBe(4);
  },
);

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
