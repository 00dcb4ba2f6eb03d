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

interface Committed {
  readonly data: { readonly createCommitOnBranch?: { readonly commit: { readonly oid: string } } };
}

/** A request as the store sent it. */
interface Sent {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer | null;
}

/** What an answer depends on. */
const HEADERS = ["accept", "authorization", "content-type", "if-none-match"];

/**
 * The bare client sends what the store sent, in its order: the commits of a write to a repository of its own, the queries
 * of a read, and its looks at the branch, to the same one. Each of the store's is sent once.
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

  /** What each write sent. */
  const writes: Sent[][] = [];
  /** What a read sent, by its keys. */
  const asked = new Map<string, Sent[]>();
  let recorder: ((sent: Sent) => void) | undefined;
  server.fault = (incoming, bytes) => {
    if (recorder === undefined) return undefined;
    // In the store's time: as little as can be.
    const headers: Record<string, string> = {};
    for (const name of HEADERS) {
      const value = incoming.headers[name];
      if (typeof value === "string") headers[name] = value;
    }
    const body = bytes.length === 0 ? null : bytes;
    recorder({ method: incoming.method as Sent["method"], path: incoming.url ?? "", headers, body });
    return undefined;
  };
  const recording = async <T>(record: (sent: Sent) => void, call: () => Promise<T>): Promise<T> => {
    recorder = record;
    try {
      return await call();
    } finally {
      recorder = undefined;
    }
  };
  const nameOf = (names: readonly string[]) => JSON.stringify(names);
  const write: Store["write"] = (...args) => {
    const all: Sent[] = [];
    writes.push(all);
    return recording(
      (sent) => all.push(sent),
      () => store.write(...args),
    );
  };
  const read: Store["read"] = (...args) => {
    const all: Sent[] = [];
    asked.set(nameOf(args[0]), all);
    return recording(
      (sent) => all.push(sent),
      () => reader.read(...args),
    );
  };
  const recorded = Object.create(store, { write: { value: write }, read: { value: read } }) as Store;
  /** The answer, read as each program has to: what it says is asked for next. What comes as it is, is no JSON. */
  const send = async ({ path, ...sent }: Sent): Promise<unknown> => {
    const answer = await request(`${server.api}${path}`, { ...sent, dispatcher: agent });
    const text = await answer.body.text();
    return answer.headers["content-type"]?.includes("json") === true && text !== "" ? JSON.parse(text) : text;
  };
  /** The commit, in the other repository. */
  const commit = async (sent: Sent) => {
    const mutation = JSON.parse(String(sent.body)) as Mutation;
    mutation.variables.input.expectedHeadOid = head;
    mutation.variables.input.branch = { repositoryNameWithOwner: "octo/bare", branchName: "main" };
    const { data } = (await send({ ...sent, body: Buffer.from(JSON.stringify(mutation)) })) as Committed;
    head = data.createCommitOnBranch?.commit.oid ?? head;
  };
  return {
    store: recorded,
    bare: {
      async write() {
        for (const sent of writes.shift() ?? []) {
          const isCommit = sent.body?.includes("createCommitOnBranch") === true;
          if (isCommit) await commit(sent);
          else await send(sent);
        }
      },
      async read(names) {
        for (const sent of asked.get(nameOf(names)) ?? []) await send(sent);
      },
    },
    bareIs: "undici: the same commits and requests as the store has just sent, their answers read as JSON",
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
