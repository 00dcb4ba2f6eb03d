import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEmulator } from "emulate";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { github } from "../../../src/stores/github/index.ts";
import { systemRuntime } from "../../../src/system.ts";
import { keysOf, put, textOf, tombstone, value } from "../git/entries.ts";
import { githubServer } from "../../servers/github.ts";
import type { GithubServer } from "../../servers/github.ts";
import { ampleBudgets } from "./world.ts";

/**
 * The test server against somebody else's idea of GitHub: the same requests to both, the same answers, wherever both
 * answer. `emulate` has no GraphQL, tags or git transport, which is why there is a server of our own.
 */
let emulator: { close(): Promise<unknown> };
let own: GithubServer;
let folder: string;
let both: readonly [string, string];

const freePort = () =>
  new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "microsync-emulate-"));
  own = await githubServer(join(folder, "served"));
  own.create("octo", "store");
  const port = await freePort();
  emulator = await createEmulator({
    service: "github",
    port,
    seed: {
      tokens: { tok_octo: { login: "octo", scopes: ["repo"] } },
      github: { users: [{ login: "octo" }], repos: [{ owner: "octo", name: "store", auto_init: true }] },
    },
  });
  both = [own.api, `http://127.0.0.1:${port}`];
  const readme = { message: "Initial commit", content: Buffer.from("# store\n").toString("base64") };
  await ask(own.api, "PUT", "/contents/README.md", readme);
});
afterAll(async () => {
  await emulator.close();
  await own.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Said {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function ask(api: string, method: string, path: string, body?: unknown): Promise<Said> {
  const answer = await fetch(`${api}/repos/octo/store${path}`, {
    method,
    headers: { authorization: "Bearer tok_octo", "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown> };
}

/** What both say, without what is each one's own: URLs, dates, people, commit ids. */
async function same(
  method: string,
  path: string | ((api: string) => string),
  body?: (api: string) => unknown,
  pick = statusOf,
) {
  const said = [];
  for (const api of both) said.push(await ask(api, method, typeof path === "string" ? path : path(api), body?.(api)));
  const [ours, theirs] = said;
  if (ours === undefined || theirs === undefined) throw new Error("no answer");
  expect(pick(ours), `${method} ${typeof path === "string" ? path : path(own.api)}`).toEqual(pick(theirs));
  return [ours, theirs] as const;
}
function statusOf({ status }: Said): unknown {
  return status;
}
const shaOf = ({ status, body }: Said): unknown => ({ status, sha: body["sha"] });
const entriesOf = ({ status, body }: Said): unknown => ({
  status,
  sha: body["sha"],
  truncated: body["truncated"],
  // Emulate sorts as people do, git by bytes; the tree's id says that they mean the same.
  entries: new Set(
    (body["tree"] as Record<string, string>[]).map(({ path, mode, type, sha }) => `${path} ${mode} ${type} ${sha}`),
  ),
});

describe("the test server and emulate", () => {
  it("give the same ids and statuses to the same requests", async () => {
    const head = new Map<string, string>();
    const ref = await same("GET", "/git/ref/heads/main", undefined, ({ status, body }) => ({
      status,
      ref: body["ref"],
    }));
    for (const [i, said] of ref.entries()) head.set(both[i] ?? "", (said.body["object"] as { sha: string }).sha);
    await same("GET", "/git/ref/heads/none");
    await same("GET", `/git/blobs/${"0".repeat(40)}`);
    const blob = await same("POST", "/git/blobs", () => ({ content: "AP8B", encoding: "base64" }), shaOf);
    const base = await same("GET", (api) => `/git/trees/${head.get(api)}`, undefined, entriesOf);
    const tree = await same(
      "POST",
      "/git/trees",
      (api) => ({
        base_tree: base[both.indexOf(api)]?.body["sha"],
        tree: [
          { path: "a/b/c.txt", mode: "100644", type: "blob", content: "text ☃\n" },
          { path: "bin", mode: "100644", type: "blob", sha: blob[0].body["sha"] },
          { path: "gone", mode: "100644", type: "blob", content: "x" },
        ],
      }),
      shaOf,
    );
    const less = await same(
      "POST",
      "/git/trees",
      () => ({ base_tree: tree[0].body["sha"], tree: [{ path: "gone", mode: "100644", type: "blob", sha: null }] }),
      shaOf,
    );
    await same("GET", `/git/trees/${String(less[0].body["sha"])}?recursive=1`, undefined, entriesOf);
    const commits = await same("POST", "/git/commits", (api) => ({
      message: "made by a test",
      tree: less[0].body["sha"],
      parents: [head.get(api)],
    }));
    const commitOf = (api: string) => String(commits[both.indexOf(api)]?.body["sha"]);
    await same("PATCH", "/git/refs/heads/main", (api) => ({ sha: commitOf(api), force: false }));
    const other = await same("POST", "/git/commits", (api) => ({
      message: "on the old head",
      tree: less[0].body["sha"],
      parents: [head.get(api)],
    }));
    // Not a fast forward, and a reference that is there.
    await same("PATCH", "/git/refs/heads/main", (api) => ({
      sha: other[both.indexOf(api)]?.body["sha"],
      force: false,
    }));
    await same("POST", "/git/refs", (api) => ({ ref: "refs/heads/main", sha: commitOf(api) }));
    await same("POST", "/git/refs", (api) => ({ ref: "refs/heads/more", sha: commitOf(api) }));
    await same(
      "GET",
      (api) => `/commits?sha=${commitOf(api)}&per_page=10`,
      undefined,
      ({ status, body }) => ({
        status,
        commits: (body as unknown as { commit: { message: string; tree: { sha: string } } }[]).map(({ commit }) => [
          commit.message.trim(),
          commit.tree.sha,
        ]),
      }),
    );
  });

  it("carry the store alike: by REST it writes, reads, lists and decides on emulate too", async () => {
    for (const api of both) {
      const open = (name: string) =>
        github("github:octo/store#main:data", {
          runtime: systemRuntime,
          api,
          token: "tok_octo",
          budgets: ampleBudgets(),
          cacheFolder: join(folder, `${name}-${new URL(api).port}`),
        });
      const store = await open("a");
      await put(store, value("a", "1"), value("a/b", "2"), { ...value("bin", ""), value: new Uint8Array([0, 255, 7]) });
      await put(store, value("a", "3"), tombstone("a/b"));
      const [conflict] = await store.write([{ entry: value("a", "4"), asOf: 0, if: "absent" }]);
      expect(conflict?.status).toBe("conflict");
      await store.close();
      const other = await open("b");
      expect(await keysOf(other)).toEqual(["a", "a/b", "bin"]);
      expect(await textOf(other, "a")).toBe("3");
      await other.close();
    }
  });
});
