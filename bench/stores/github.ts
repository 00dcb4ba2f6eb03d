import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import type { Entry } from "../../src/entry.ts";
import { github } from "../../src/stores/github/index.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { ampleBudgets } from "../../test/stores/github/world.ts";
import { startGithub } from "./github-server.ts";
import { entries } from "./harness.ts";
import type { Side, Subject } from "./harness.ts";

interface Committed {
  readonly data: { readonly createCommitOnBranch: { readonly commit: { readonly oid: string } } | null };
}

interface Text {
  readonly text: string;
}

interface File {
  readonly oid: string;
  readonly object: Text;
}

interface Files {
  readonly data: { readonly repository: { readonly object: Readonly<Record<string, File>> } };
}

interface Objects {
  readonly data: { readonly repository: Readonly<Record<string, Text>> };
}

/** So many texts are asked for in one query, as the store does in the end. */
const TOGETHER = 100;
/** What the head was is believed for so long, as the store does. */
const FRESH_MS = 1_000;
const MUTATION = "mutation($input:CreateCommitOnBranchInput!){createCommitOnBranch(input:$input){commit{oid}}}";

/**
 * The bare client does by hand what has to be done with the same layout: two files a key, a record with version and object
 * id, and the value. What it reads it checks against its id, as git does. It is never called off, asks once, and has no
 * budget. It writes to a repository of its own, and reads the store's: how git has packed one repository makes it faster or slower to read than another.
 *
 * @param answersAfterMs what the server waits for before each answer, as one does that is not on this machine.
 */
export async function githubSubject(answersAfterMs = 0): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
  const server = await startGithub(join(folder, "served"), answersAfterMs);
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
  await server.create("store");
  // Keeps nothing, so that every read asks: what is kept would be read for nothing.
  const reader = await open("store", "cache-reader", 1);
  const bareFolder = await server.create("bare");
  const store = await open("store", "cache");
  const seeding = await open("bare", "cache-bare");
  await seeding.write(entries(1).map((entry) => ({ entry, asOf: 0 })));
  await seeding.close();
  let head = execFileSync("git", ["-C", bareFolder, "rev-parse", "main"], { encoding: "utf8" }).trim();
  const read = { head: "", at: -FRESH_MS, etag: "" };
  /** Of the commit at the head; a commit of somebody else's is noticed by the head that is expected. */
  const versions = new Map<string, string>();

  const send = async (method: "GET" | "POST", path: string, type: string, body?: unknown) => {
    const headers = {
      authorization: "Bearer tok_octo",
      accept: type,
      // GitHub refuses requests that do not say who asks.
      "user-agent": "bench",
      "x-github-api-version": "2022-11-28",
      "content-type": "application/json",
      ...(path.includes("/ref/") ? { "if-none-match": read.etag } : {}),
    };
    const text = body === undefined ? null : JSON.stringify(body);
    const answer = await request(`${server.api}${path}`, { method, headers, body: text, dispatcher: agent });
    if (answer.statusCode >= 400) throw new Error(`${path}: ${answer.statusCode}`);
    return answer;
  };
  const graphql = async <T>(query: string, variables: unknown): Promise<T> =>
    (await (await send("POST", "/graphql", "application/json", { query, variables })).body.json()) as T;
  const ask = <T>(fields: string): Promise<T> =>
    graphql(`query($owner:String!,$name:String!){repository(owner:$owner,name:$name){${fields}`, {
      owner: "octo",
      name: "store",
    });
  const look = async () => {
    if (performance.now() - read.at < FRESH_MS) return;
    read.at = performance.now();
    const answer = await send("GET", "/repos/octo/store/git/ref/heads/main", "application/json");
    const text = await answer.body.text();
    if (answer.statusCode === 304) return;
    read.etag = String(answer.headers["etag"]);
    read.head = (JSON.parse(text) as { object: { sha: string } }).object.sha;
  };
  /** The blobs that the records name, in order. */
  const named = async (keys: readonly string[]): Promise<string[]> => {
    const files = keys.map((key, i) => `f${i}:file(path:"${recordPath(key)}"){...F}`).join(" ");
    const query = `object(oid:"${read.head}"){...on Commit{${files}}}}} fragment F on TreeEntry{mode oid object{...on Blob{text isTruncated}}}`;
    const { object } = (await ask<Files>(query)).data.repository;
    return keys.map((_, i) => {
      const { oid, object: found } = object[`f${i}`] as File;
      return (JSON.parse(verified(oid, found.text)) as { blob: string }).blob;
    });
  };
  const texts = async (ids: readonly string[]): Promise<string[]> => {
    const [only] = ids;
    if (only !== undefined && ids.length === 1) {
      const answer = await send("GET", `/repos/octo/store/git/blobs/${only}`, "application/vnd.github.raw+json");
      return [verified(only, await answer.body.text())];
    }
    const objects = ids.map((id, i) => `o${i}:object(oid:"${id}"){...F}`).join(" ");
    const { repository } = (await ask<Objects>(`${objects}}} fragment F on Blob{text isTruncated}`)).data;
    return ids.map((id, i) => verified(id, repository[`o${i}`]?.text ?? ""));
  };
  const bare: Side = {
    async write(items) {
      const newer = items.filter(({ key, version }) => version > (versions.get(key) ?? ""));
      const additions = newer.flatMap((item) => {
        const value = Buffer.from(item.value ?? "");
        return [
          { path: recordPath(item.key), contents: record(item, value).toString("base64") },
          { path: item.key, contents: value.toString("base64") },
        ];
      });
      const input = {
        branch: { repositoryNameWithOwner: "octo/bare", branchName: "main" },
        message: { headline: `set ${newer.length} keys` },
        expectedHeadOid: head,
        fileChanges: { additions, deletions: [] },
      };
      const { data } = await graphql<Committed>(MUTATION, { input });
      if (data.createCommitOnBranch === null) throw new Error("the branch has moved");
      head = data.createCommitOnBranch.commit.oid;
      for (const { key, version } of newer) versions.set(key, version);
    },
    async read(keys) {
      await look();
      for (let at = 0; at < keys.length; at += TOGETHER) {
        const found = await texts(await named(keys.slice(at, at + TOGETHER)));
        if (found.includes("")) throw new Error("not found");
      }
    },
  };
  return {
    store: Object.create(store, { read: { value: reader.read.bind(reader) } }) as typeof store,
    bare,
    bareIs: "undici: the same files by the same requests, versions compared, records read and written, ids verified",
    versions: `the test server of this project${answersAfterMs > 0 ? `, each answer ${answersAfterMs} ms late` : ""}, undici`,
    unit: "requests",
    requests: () => server.requests(),
    async close() {
      await reader.close();
      await store.close();
      await agent.close();
      await server.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function recordPath(key: string): string {
  const name = createHash("sha256").update(key).digest("hex").slice(0, 40);
  return `.microsync/entries/${name[0]}/${name[1]}/${name[2]}/${name.slice(3)}`;
}

function record({ key, version }: Entry, value: Buffer): Buffer {
  return Buffer.from(`${JSON.stringify({ key, version, blob: idOf(value) })}\n`);
}

function verified(id: string, text: string): string {
  if (idOf(Buffer.from(text)) !== id) throw new Error(`${id} came with other bytes`);
  return text;
}

/** What git calls these bytes. */
function idOf(bytes: Buffer): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}
