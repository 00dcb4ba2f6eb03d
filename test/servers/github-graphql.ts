import { headOf, itemsOf } from "./github-data.ts";
import type { Repo } from "./github.ts";

interface Problem {
  readonly type: string;
  readonly message: string;
}

interface CommitInput {
  readonly branch: { readonly repositoryNameWithOwner: string; readonly branchName: string };
  readonly message: { readonly headline: string; readonly body?: string };
  readonly expectedHeadOid: string;
  readonly fileChanges: {
    readonly additions?: readonly { readonly path: string; readonly contents: string }[];
    readonly deletions?: readonly { readonly path: string }[];
  };
}

/** GitHub's GraphQL, as far as Sync asks: objects by id, and commits on a branch. */
export async function graphql(
  repos: ReadonlyMap<string, Repo>,
  may: "write" | "read",
  { query, variables }: { query: string; variables: Record<string, unknown> },
): Promise<unknown> {
  if (query.startsWith("mutation")) return commitOnBranch(repos, may, variables["input"] as CommitInput);
  const repo = repos.get(`${String(variables["owner"])}/${String(variables["name"])}`);
  if (repo === undefined) {
    return failed({ repository: null }, { type: "NOT_FOUND", message: "Could not resolve to a Repository." });
  }
  const commit = /object\(oid:"([0-9a-f]{40})"\)\{\.\.\.on Commit\{/.exec(query)?.[1];
  if (commit !== undefined) return filesOf(repo, commit, query);
  const found: Record<string, unknown> = {};
  const asked = [...query.matchAll(/(\w+):object\(oid:"([0-9a-f]{40})"\)/g)];
  const objects = await repo.objects.contents(asked.map(([, , id = ""]) => id));
  for (const [i, [, alias = ""]] of asked.entries()) {
    const object = objects[i];
    if (object === undefined) found[alias] = null;
    else if (object.type === "tree") found[alias] = await treeOf(repo, object.bytes);
    else found[alias] = blobOf(object.bytes);
  }
  return { data: { repository: found } };
}

/** `Commit.file`: the entry at each path; what is not there is null, and an error that names the field. */
async function filesOf(repo: Repo, commit: string, query: string): Promise<unknown> {
  const asked = [...query.matchAll(/(\w+):file\(path:("(?:[^"\\]|\\.)*")\)/g)].map(([, alias = "", path = ""]) => ({
    alias,
    path: JSON.parse(path) as string,
  }));
  const [info] = await repo.objects.infos([commit]);
  if (info?.type !== "commit") return { data: { repository: { object: null } } };
  const parents = await repo.objects.contents(asked.map(({ path }) => `${commit}:${dirname(path)}`));
  const object: Record<string, unknown> = {};
  const errors: unknown[] = [];
  const entries = asked.map(({ path }, i) => {
    const parent = parents[i];
    const items = parent?.type === "tree" ? itemsOf(parent.bytes) : [];
    return items.find(({ name }) => name.toString() === path.slice(path.lastIndexOf("/") + 1));
  });
  const wantsText = query.includes("text isTruncated");
  const contents = wantsText
    ? await repo.objects.contents(entries.flatMap((item) => (item === undefined ? [] : [item.id])))
    : [];
  let next = 0;
  for (const [i, { alias, path }] of asked.entries()) {
    const item = entries[i];
    object[alias] = null;
    if (item === undefined) {
      errors.push({
        type: "NOT_FOUND",
        path: ["repository", "object", alias],
        message: `Could not resolve file for path '${path}'.`,
      });
      continue;
    }
    const content = wantsText ? contents[next++] : undefined;
    const text = content === undefined ? {} : { object: content.type === "blob" ? blobOf(content.bytes) : {} };
    object[alias] = { mode: Number.parseInt(item.mode, 8), oid: item.id, ...text };
  }
  const data = { repository: { object } };
  return errors.length === 0 ? { data } : { data, errors };
}

function dirname(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function failed(data: unknown, problem: Problem): unknown {
  return { data, errors: [problem] };
}

async function treeOf(repo: Repo, bytes: Uint8Array): Promise<unknown> {
  const items = itemsOf(bytes);
  const infos = await repo.objects.infos(items.map(({ id }) => id));
  const entries = items.map(({ name, mode, id }, i) => ({
    nameRaw: name.toString("base64"),
    mode: Number.parseInt(mode, 8),
    oid: id,
    size: infos[i]?.type === "blob" ? infos[i].size : 0,
  }));
  return { entries };
}

const TEXT_BYTES_MAX = 512 * 1024;

function blobOf(bytes: Uint8Array): unknown {
  // What git takes for binary: a NUL in the first 8,000 bytes.
  const isBinary = bytes.subarray(0, 8_000).includes(0);
  const cut = bytes.subarray(0, TEXT_BYTES_MAX);
  const text = isBinary ? null : new TextDecoder("utf-8", { ignoreBOM: true }).decode(cut);
  return { text, isTruncated: cut.length < bytes.length };
}

async function commitOnBranch(repos: ReadonlyMap<string, Repo>, may: "write" | "read", input: CommitInput) {
  const { branch, message, expectedHeadOid, fileChanges } = input;
  const none = { createCommitOnBranch: null };
  const repo = repos.get(branch.repositoryNameWithOwner);
  if (repo === undefined) return failed(none, { type: "NOT_FOUND", message: "Could not resolve to a Repository." });
  if (may !== "write") {
    return failed(none, { type: "FORBIDDEN", message: "Resource not accessible by personal access token" });
  }
  const stale = {
    type: "STALE_DATA",
    message: `Expected branch to point to "${expectedHeadOid}" but it did not. Pull and try again.`,
  };
  const { additions = [], deletions = [] } = fileChanges;
  if ((await headOf(repo, branch.branchName)) !== expectedHeadOid) return failed(none, stale);
  const there = await repo.objects.infos(deletions.map(({ path }) => `${expectedHeadOid}:${path}`));
  if (there.includes(undefined)) {
    return failed(none, { type: "UNPROCESSABLE", message: "A path was requested for deletion which does not exist." });
  }
  const commit = await repo.commit({
    parent: expectedHeadOid,
    message: message.body === undefined ? message.headline : `${message.headline}\n\n${message.body}`,
    author: "octo <octo@localhost>",
    timeMs: Date.now(),
    deletes: deletions.map(({ path }) => path),
    files: additions.map(({ path, contents }) => ({ path, content: Buffer.from(contents, "base64") })),
  });
  const args = ["update-ref", `refs/heads/${branch.branchName}`, commit, expectedHeadOid];
  if ((await repo.try(args)).code !== 0) return failed(none, stale);
  const tree = await repo.git(["rev-parse", `${commit}^{tree}`]);
  return { data: { createCommitOnBranch: { commit: { oid: commit, tree: { oid: tree } } } } };
}
