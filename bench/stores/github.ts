import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import type { Store } from "../../src/store.ts";
import { github } from "../../src/stores/github/index.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { githubServer } from "../../test/servers/github.ts";
import { ampleBudgets } from "../../test/stores/github/world.ts";
import { entries } from "./harness.ts";
import type { Subject } from "./harness.ts";

interface Mutation {
  readonly variables: { readonly input: { expectedHeadOid: string; branch: object } };
}

/**
 * The bare client sends what the store sent, in its order: the commits of a write to a repository of its own, the queries
 * of a read to the same one. Each of the store's is sent once.
 */
export async function githubSubject(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
  const server = await githubServer(join(folder, "served"));
  const agent = new Agent({ connections: 8 });
  const budgets = ampleBudgets();
  const open = (name: string, cache: string, keptBytesMax?: number) =>
    github(`github:octo/${name}#main`, {
      runtime,
      api: server.api,
      token: "tok_octo",
      budgets,
      cacheFolder: join(folder, cache),
      keptBytesMax,
    });
  server.create("octo", "store");
  // Keeps nothing, so that every read asks: what is kept would be read for nothing.
  const reader = await open("store", "cache-reader", 1);
  const bareFolder = server.create("octo", "bare");
  const store = await open("store", "cache");
  const seeding = await open("bare", "cache-bare");
  await seeding.write(entries(1).map((entry) => ({ entry, asOf: 0 })));
  await seeding.close();
  let head = execFileSync("git", ["-C", bareFolder, "rev-parse", "main"], { encoding: "utf8" }).trim();

  const commits: string[] = [];
  /** The queries of a read, by its keys. */
  const asked = new Map<string, string[]>();
  let recorder: ((query: string) => void) | undefined;
  server.fault = ({ url }, body) => {
    if (recorder === undefined || url !== "/graphql") return undefined;
    const text = body.toString("utf8");
    if (text.includes("createCommitOnBranch")) commits.push(text);
    else recorder(text);
    return undefined;
  };
  const recording = async <T>(record: (query: string) => void, call: () => Promise<T>): Promise<T> => {
    recorder = record;
    try {
      return await call();
    } finally {
      recorder = undefined;
    }
  };
  const nameOf = (names: readonly string[]) => JSON.stringify(names);
  const write: Store["write"] = (...args) =>
    recording(
      () => undefined,
      () => store.write(...args),
    );
  const read: Store["read"] = (...args) => {
    const queries: string[] = [];
    asked.set(nameOf(args[0]), queries);
    return recording(
      (query) => queries.push(query),
      () => reader.read(...args),
    );
  };
  const recorded = Object.create(store, { write: { value: write }, read: { value: read } }) as Store;
  const send = async (body: string) => {
    const answer = await request(`${server.api}/graphql`, {
      method: "POST",
      headers: { authorization: "Bearer tok_octo", "content-type": "application/json" },
      body,
      dispatcher: agent,
    });
    return (await answer.body.json()) as { data: { createCommitOnBranch?: { commit: { oid: string } } } };
  };
  return {
    store: recorded,
    bare: {
      async write() {
        const sent = JSON.parse(commits.shift() ?? "null") as Mutation | null;
        if (sent === null) throw new Error("nothing to imitate");
        sent.variables.input.expectedHeadOid = head;
        sent.variables.input.branch = { repositoryNameWithOwner: "octo/bare", branchName: "main" };
        const { data } = await send(JSON.stringify(sent));
        head = data.createCommitOnBranch?.commit.oid ?? head;
      },
      async read(names) {
        for (const query of asked.get(nameOf(names)) ?? []) await send(query);
      },
    },
    bareIs: "undici: the same GraphQL commits and queries as the store has just sent",
    versions: "the test server of this project, undici",
    imitates: true,
    unit: "requests",
    requests: () => server.requests.length,
    async close() {
      await reader.close();
      await store.close();
      await agent.close();
      await server.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
