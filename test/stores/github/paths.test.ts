import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Store } from "../../../src/store.ts";
import { EMPTY_TREE } from "../../../src/stores/github/tree.ts";
import { put, value } from "../git/entries.ts";
import { githubWorld } from "./world.ts";
import type { GithubWorld } from "./world.ts";

/** Files that are asked for by their paths, when the folders on the way are not in memory. */
let world: GithubWorld;
let queries: string[];
beforeEach(async () => {
  world = await githubWorld();
  queries = [];
  const writer = await world.open();
  await put(writer, value("a/b/c", "one"), value("d", "two"), value("large", "x".repeat(3_000)));
});
afterEach(() => world.close());

/** A store that keeps nothing of what it reads; what it asks is counted from here on. */
async function forgetful(fault: GithubWorld["server"]["fault"] = () => undefined): Promise<Store> {
  const store = await world.open(undefined, {
    cacheFolder: `${world.folder}/other`,
    freshMs: 86_400_000,
    keptBytesMax: 1,
  });
  world.server.fault = (request, body) => {
    queries.push(`${request.method} ${/graphql|git\/[a-z]+/.exec(request.url ?? "")?.[0]}`);
    return fault(request, body);
  };
  return store;
}

async function textOf(store: Store, key: string): Promise<string> {
  const [answer] = await store.read([key]);
  return new TextDecoder().decode(answer?.entry?.value ?? undefined);
}

const byPath = (body: Buffer) => body.includes(":file(path:");
const answers = (body: unknown) => ({ status: 200, body });

describe("a read without folders in memory", () => {
  // Mutation: isCheaper (paths.ts) says false: one request for each folder on the way.
  it("asks for the record by its path, and for the value: two requests, whatever lies above them", async () => {
    const store = await forgetful();
    expect(await textOf(store, "a/b/c")).toBe("one");
    expect(queries).toEqual(["POST graphql", "GET git/blobs"]);
    queries.length = 0;
    const all = await store.read(["a/b/c", "d", "large"]);
    expect(all.map(({ entry }) => entry?.state)).toEqual(["value", "value", "value"]);
    expect(queries).toEqual(["POST graphql", "POST graphql"]);
  });

  // Mutation: "absent" in byPath's found is undefined: it is looked for folder by folder once more.
  it("knows from the answer that there is no record", async () => {
    const store = await forgetful();
    expect((await store.read(["nothing"]))[0]?.entry).toBeUndefined();
    expect(queries.filter((query) => query !== "POST graphql")).toEqual([]);
    expect(queries.length).toBeLessThanOrEqual(2);
  });

  // Mutation: found of byPath takes every null for absent.
  it("takes null for an absence only if GitHub says so, and looks through the folders else", async () => {
    const store = await forgetful((_, body) =>
      byPath(body)
        ? answers({
            data: { repository: { object: { f0: null } } },
            errors: [{ type: "UNPROCESSABLE", path: ["repository", "object", "f0"], message: "over 10mb" }],
          })
        : undefined,
    );
    expect(await textOf(store, "a/b/c")).toBe("one");
    expect(queries.length).toBeGreaterThan(3);
  });

  // Mutation: found of byPath goes on when there is no commit.
  it("fails when the server that answers has not got the commit yet: that is no miss", async () => {
    const store = await forgetful((_, body) =>
      byPath(body) ? answers({ data: { repository: { object: null } } }) : undefined,
    );
    await expect(store.read(["a/b/c"])).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("does not give the commit"),
    });
  });

  // Mutation: hasFiles (paths.ts) is not set to false.
  it("asks a server that has no such field once, and reads folders from then on", async () => {
    let asked = 0;
    const store = await forgetful((_, body) => {
      if (!byPath(body)) return undefined;
      asked++;
      const message = "Field 'file' doesn't exist on type 'Commit'";
      return answers({ errors: [{ path: ["query"], extensions: { code: "undefinedField" }, message }] });
    });
    for (let i = 0; i < 3; i++) expect(await textOf(store, "a/b/c")).toBe("one");
    expect(asked).toBe(1);
  });

  // Mutation: bytesOfText does not look at the id.
  it("believes no text that is not what its id says", async () => {
    const store = await forgetful((_, body) => {
      const [, path] = /:file\(path:\\"([^"\\]+)/.exec(String(body)) ?? [];
      if (path === undefined) return undefined;
      const oid = execFileSync("git", ["-C", world.bare, "rev-parse", `main:${path}`], { encoding: "utf8" }).trim();
      const f0 = { mode: 0o100644, oid, object: { text: "{}", isTruncated: false } };
      return answers({ data: { repository: { object: { f0 } } } });
    });
    expect(await textOf(store, "a/b/c")).toBe("one");
    expect(queries).toEqual(["POST graphql", "GET git/blobs", "GET git/blobs"]);
  });

  // Mutation: treeKnown (objects.ts) looks for the empty folder among those that are kept.
  it("never asks for the empty folder, which a server need not have: not after a write into new folders either", async () => {
    const bodies: string[] = [];
    const store = await forgetful((_, body) => {
      bodies.push(String(body));
      return undefined;
    });
    await put(store, value("new/folder/x", "three"));
    expect(await textOf(store, "new/folder/x")).toBe("three");
    expect(bodies.filter((body) => body.includes(EMPTY_TREE))).toEqual([]);
    expect(bodies.length).toBeGreaterThan(0);
  });
});
