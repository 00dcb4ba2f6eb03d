import type { NewFile } from "../../src/stores/git-layout/repository.ts";
import type { Reply, Repo } from "./github.ts";

export interface RouteRequest {
  readonly method: string;
  /** After `/repos/owner/name`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: unknown;
  readonly accept: string;
}

export interface TreeItem {
  readonly name: Buffer;
  readonly mode: string;
  readonly id: string;
}

const ID = "[0-9a-f]{40}";

function problem(status: number, message: string): Reply {
  return { status, body: { message, documentation_url: "https://docs.github.com/rest", status: String(status) } };
}

/** A tree object's bytes, taken apart. */
export function itemsOf(bytes: Uint8Array): TreeItem[] {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const items: TreeItem[] = [];
  for (let at = 0; at < all.length;) {
    const space = all.indexOf(32, at);
    const end = all.indexOf(0, space);
    const id = all.toString("hex", end + 1, end + 21);
    items.push({ mode: all.toString("latin1", at, space), name: all.subarray(space + 1, end), id });
    at = end + 21;
  }
  return items;
}

export async function headOf(repo: Repo, branch: string): Promise<string | undefined> {
  const [found] = await repo.objects.infos([`refs/heads/${branch}`]);
  return found?.id;
}

async function isEmpty(repo: Repo): Promise<boolean> {
  return (await repo.git(["for-each-ref", "--count=1"])) === "";
}

type Route = (request: RouteRequest, ...parts: string[]) => Promise<Reply>;

export function dataRoutes(
  repo: Repo,
  { may, treeEntriesMax }: { may: "write" | "read" | undefined; treeEntriesMax: number },
): (request: RouteRequest) => Promise<Reply> {
  const refReply = (branch: string, sha: string, status = 200): Reply => ({
    status,
    body: {
      ref: `refs/heads/${branch}`,
      node_id: Buffer.from(branch).toString("base64"),
      url: `https://api.github.com/repos/${repo.name}/git/refs/heads/${branch}`,
      object: { sha, type: "commit", url: `https://api.github.com/repos/${repo.name}/git/commits/${sha}` },
    },
  });

  const treeReply = async (id: string, recursive: boolean, status = 200): Promise<Reply> => {
    const [found] = await repo.objects.infos([`${id}^{tree}`]);
    if (found === undefined) return problem(404, "Not Found");
    const args = ["ls-tree", "-z", "-l", "--full-tree", ...(recursive ? ["-r", "-t"] : []), found.id];
    const lines = (await repo.git(args)).split("\0").filter((line) => line !== "");
    const tree = lines.slice(0, treeEntriesMax).map((line) => {
      const tab = line.indexOf("\t");
      const [meta, path] = [line.slice(0, tab), line.slice(tab + 1)];
      const [mode = "", type = "", sha = "", size = ""] = meta.split(/ +/);
      return { path, mode, type, sha, ...(type === "blob" ? { size: Number(size) } : {}) };
    });
    return { status, body: { sha: found.id, url: "", tree, truncated: lines.length > treeEntriesMax } };
  };

  const commitsFrom = async (args: readonly string[]) => {
    const text = await repo.git(["log", "-z", "--format=%H%n%T%n%P%n%an%n%ae%n%aI%n%cI%n%B", ...args]);
    return text
      .split("\0")
      .filter((part) => part.trim() !== "")
      .map((part) => {
        const [sha = "", tree = "", parents = "", name, email, date, , ...message] = part.trim().split("\n");
        const author = { name, email, date };
        return {
          sha,
          commit: { message: message.join("\n").trimEnd(), tree: { sha: tree, url: "" }, author, committer: author },
          parents: parents === "" ? [] : parents.split(" ").map((parent) => ({ sha: parent, url: "" })),
        };
      });
  };

  const routes: readonly (readonly [string, RegExp, Route])[] = [
    [
      "GET",
      /^$/,
      async () => {
        const head = await repo.git(["symbolic-ref", "--short", "HEAD"]);
        const permissions = may === undefined ? undefined : { admin: false, push: may === "write", pull: true };
        return { status: 200, body: { full_name: repo.name, default_branch: head, archived: false, permissions } };
      },
    ],
    [
      "GET",
      /^\/branches$/,
      async () => {
        const names = (await repo.git(["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"])).split("\n");
        return { status: 200, body: names.filter((name) => name !== "").map((name) => ({ name })) };
      },
    ],
    [
      "GET",
      /^\/git\/ref\/heads\/(.+)$/,
      async (_, branch = "") => {
        const sha = await headOf(repo, branch);
        if (sha !== undefined) return refReply(branch, sha);
        return (await isEmpty(repo)) ? problem(409, "Git Repository is empty.") : problem(404, "Not Found");
      },
    ],
    [
      "POST",
      /^\/git\/refs$/,
      async ({ body }) => {
        const { ref, sha } = body as { ref: string; sha: string };
        const branch = ref.replace("refs/heads/", "");
        if ((await headOf(repo, branch)) !== undefined) return problem(422, "Reference already exists");
        const { code } = await repo.try(["update-ref", `refs/heads/${branch}`, sha, "0".repeat(40)]);
        return code === 0 ? refReply(branch, sha, 201) : problem(422, "Object does not exist");
      },
    ],
    [
      "PATCH",
      /^\/git\/refs\/heads\/(.+)$/,
      async ({ body }, branch = "") => {
        const { sha, force } = body as { sha: string; force?: boolean };
        const old = await headOf(repo, branch);
        if (old === undefined) return problem(422, "Reference does not exist");
        const { code } = await repo.try(["merge-base", "--is-ancestor", old, sha]);
        if (force !== true && code !== 0) return problem(422, "Update is not a fast forward");
        const moved = await repo.try(["update-ref", `refs/heads/${branch}`, sha, old]);
        return moved.code === 0 ? refReply(branch, sha) : problem(409, "Reference cannot be updated");
      },
    ],
    [
      "GET",
      new RegExp(`^/git/trees/(${ID})$`),
      async ({ query }, id = "") => treeReply(id, query.get("recursive") !== null),
    ],
    [
      "POST",
      /^\/git\/trees$/,
      async ({ body }) => {
        if (await isEmpty(repo)) return problem(409, "Git Repository is empty.");
        const { base_tree: base, tree } = body as { base_tree?: string; tree: NewItem[] };
        if (tree.some(({ mode }) => mode !== "100644")) return problem(422, "this server makes plain files only");
        const parent = base === undefined ? null : await repo.git(["commit-tree", `${base}^{tree}`, "-m", "base"]);
        const deletes = tree.flatMap(({ path, sha, content }) => (sha === null && content === undefined ? [path] : []));
        const there = await repo.objects.infos(deletes.map((path) => `${parent}:${path}`));
        if (there.includes(undefined)) return problem(422, "GitRPC::BadObjectState");
        const files = tree.flatMap(({ path, sha, content }): NewFile[] => {
          if (content !== undefined) return [{ path, content: Buffer.from(content, "utf8") }];
          return typeof sha === "string" ? [{ path, content: sha }] : [];
        });
        const made = { parent, message: "tree", author: "x <x@localhost>", timeMs: 0, deletes, files };
        const commit = await repo.commit(made);
        return treeReply(commit, false, 201);
      },
    ],
    [
      "GET",
      new RegExp(`^/git/blobs/(${ID})$`),
      async ({ accept }, id = "") => {
        const [blob] = await repo.objects.contents([id]);
        if (blob?.type !== "blob") return problem(404, "Not Found");
        if (/vnd\.github\.raw/.test(accept)) return { status: 200, raw: blob.bytes };
        const content = Buffer.from(blob.bytes).toString("base64");
        return { status: 200, body: { sha: id, size: blob.size, content, encoding: "base64" } };
      },
    ],
    [
      "POST",
      /^\/git\/blobs$/,
      async ({ body }) => {
        if (await isEmpty(repo)) return problem(409, "Git Repository is empty.");
        const { content, encoding } = body as { content: string; encoding?: string };
        const bytes = Buffer.from(content, encoding === "base64" ? "base64" : "utf8");
        const files = [{ path: "blob", content: bytes }];
        const made = { parent: null, message: "blob", author: "x <x@localhost>", timeMs: 0, deletes: [], files };
        const sha = await repo.git(["rev-parse", `${await repo.commit(made)}:blob`]);
        return { status: 201, body: { sha, url: "" } };
      },
    ],
    [
      "POST",
      /^\/git\/commits$/,
      async ({ body }) => {
        const { message, tree, parents } = body as { message: string; tree: string; parents?: string[] };
        const args = ["commit-tree", tree, ...(parents ?? []).flatMap((parent) => ["-p", parent])];
        const sha = await repo.git(["-c", "user.name=octo", "-c", "user.email=octo@localhost", ...args], message);
        return { status: 201, body: { sha, tree: { sha: tree }, message, parents: parents?.map((p) => ({ sha: p })) } };
      },
    ],
    [
      "GET",
      new RegExp(`^/git/commits/(${ID})$`),
      async (_, id = "") => {
        const [found] = await repo.objects.infos([`${id}^{commit}`]);
        if (found === undefined) return problem(404, "Not Found");
        const [info] = await commitsFrom(["-n", "1", id]);
        return { status: 200, body: { sha: id, ...info?.commit, parents: info?.parents } };
      },
    ],
    [
      "GET",
      /^\/commits$/,
      async ({ query }) => {
        const sha = query.get("sha") ?? "HEAD";
        const [found] = await repo.objects.infos([`${sha}^{commit}`]);
        if (found === undefined) return problem(404, `No commit found for SHA: ${sha}`);
        const count = Math.min(100, Number(query.get("per_page") ?? "30"));
        const skip = (Number(query.get("page") ?? "1") - 1) * count;
        return { status: 200, body: await commitsFrom(["-n", String(count), `--skip=${skip}`, found.id]) };
      },
    ],
    [
      "GET",
      new RegExp(`^/compare/(${ID})\\.\\.\\.(${ID})$`),
      async (_, from = "", to = "") => {
        const found = await repo.objects.infos([`${from}^{commit}`, `${to}^{commit}`]);
        if (found.includes(undefined)) return problem(404, "Not Found");
        const is = async (a: string, b: string) => (await repo.try(["merge-base", "--is-ancestor", a, b])).code === 0;
        const [ahead, behind] = [await is(from, to), await is(to, from)];
        const status = ahead && behind ? "identical" : ahead ? "ahead" : behind ? "behind" : "diverged";
        return { status: 200, body: { status, commits: [], files: [] } };
      },
    ],
    [
      "PUT",
      /^\/contents\/(.+)$/,
      async ({ body }, path = "") => {
        const { message, content, branch = "main" } = body as Record<string, string>;
        const parent = (await headOf(repo, branch)) ?? null;
        if (parent !== null) {
          const [there] = await repo.objects.infos([`${parent}:${path}`]);
          if (there !== undefined) return problem(422, 'Invalid request.\n\n"sha" wasn\'t supplied.');
        }
        const files = [{ path, content: Buffer.from(content ?? "", "base64") }];
        const author = "octo <octo@localhost>";
        const commit = await repo.commit({
          parent,
          message: message ?? "",
          author,
          timeMs: Date.now(),
          deletes: [],
          files,
        });
        const { code } = await repo.try(["update-ref", `refs/heads/${branch}`, commit, parent ?? "0".repeat(40)]);
        if (code !== 0) return problem(409, `is at ${await headOf(repo, branch)} but expected ${parent}`);
        return { status: 201, body: { content: { path }, commit: { sha: commit } } };
      },
    ],
  ];

  return async (request) => {
    for (const [method, pattern, route] of routes) {
      const match = method === request.method ? pattern.exec(request.path) : null;
      if (match !== null) return route(request, ...match.slice(1));
    }
    return problem(404, "Not Found");
  };
}

interface NewItem {
  readonly path: string;
  readonly mode: string;
  readonly sha?: string | null;
  readonly content?: string;
}
