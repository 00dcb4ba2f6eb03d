import { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import { json } from "./api.ts";
import type { Api } from "./api.ts";
import { statusError } from "./failures.ts";

/** What is needed of a commit. */
export interface CommitInfo {
  readonly id: string;
  /** The first one; null for a root. */
  readonly parent: string | null;
  readonly tree: string;
  /** The values of trailers by their names in lower case; repeated ones with commas between. */
  readonly trailers: ReadonlyMap<string, string>;
}

/** The branch's commits, a hundred in one request; they are kept, since they never change. */
export interface Commits {
  /** Undefined: there is no such commit. */
  info(id: string): Promise<CommitInfo | undefined>;
  /** From `to` back along first parents to the one after `from`; null: down to the root. */
  line(from: string | null, to: string): Promise<CommitInfo[]>;
  isAncestor(commit: string, of: string): Promise<boolean>;
  learn(info: CommitInfo): void;
}

const PAGE = 100;
/** Usually only a few commits are new. */
const FIRST_PAGE = 10;
const KEPT_MAX = 20_000;
const NO_OPTIONS: CallOptions = {};

export function githubCommits(api: Api, owner: string, repo: string): Commits {
  const known = new Map<string, CommitInfo>();
  const base = `/repos/${owner}/${repo}`;

  const learn = (info: CommitInfo) => {
    known.delete(info.id);
    known.set(info.id, info);
    const [oldest] = known.keys();
    if (known.size > KEPT_MAX && oldest !== undefined) known.delete(oldest);
  };

  /** The commit and those before it, in GitHub's order; none when it is not there. */
  const page = async (id: string, count: number): Promise<void> => {
    const answer = await api.rest({ method: "GET", path: `${base}/commits?sha=${id}&per_page=${count}` }, NO_OPTIONS);
    if (answer.status === 404 || answer.status === 422 || answer.status === 409) return;
    if (answer.status !== 200) throw statusError(answer, "read");
    for (const item of (json(answer) as RestCommit[]).toReversed()) learn(fromRest(item));
  };

  const info = async (id: string, count = 1): Promise<CommitInfo | undefined> => {
    if (!known.has(id)) await page(id, count);
    return known.get(id);
  };

  return {
    info,
    learn,
    async line(from, to) {
      const line: CommitInfo[] = [];
      let count = from === null ? PAGE : FIRST_PAGE;
      for (let at: string | null = to; at !== null && at !== from;) {
        const isKnown = known.has(at);
        const found: CommitInfo | undefined = await info(at, count);
        if (!isKnown) count = PAGE;
        if (found === undefined) {
          throw new SyncError("UNAVAILABLE", `GitHub does not give the commit ${at}, which the branch names`, {
            store: "github",
            operation: "read",
            cure: "try again; GitHub can lag behind its own writes",
          });
        }
        line.push(found);
        at = found.parent;
      }
      return line;
    },
    async isAncestor(commit, of) {
      for (let at: CommitInfo | undefined = known.get(of); at !== undefined; at = known.get(at.parent ?? "")) {
        if (at.id === commit || at.parent === commit) return true;
      }
      // The second page, because the first one comes with the files.
      const path = `${base}/compare/${commit}...${of}?per_page=1&page=2`;
      const answer = await api.rest({ method: "GET", path }, NO_OPTIONS);
      if (answer.status === 404 || answer.status === 422) return false;
      if (answer.status !== 200) throw statusError(answer, "read");
      const { status } = json(answer) as { status?: string };
      return status === "ahead" || status === "identical";
    },
  };
}

interface RestCommit {
  readonly sha: string;
  readonly commit: { readonly message: string; readonly tree: { readonly sha: string } };
  readonly parents: readonly { readonly sha: string }[];
}

function fromRest({ sha, commit, parents }: RestCommit): CommitInfo {
  return { id: sha, parent: parents[0]?.sha ?? null, tree: commit.tree.sha, trailers: trailersOf(commit.message) };
}

/** The `Name: value` lines of a message's last paragraph, as git reads them. */
export function trailersOf(message: string): ReadonlyMap<string, string> {
  const paragraphs = message.trimEnd().split(/\n[ \t]*\n/);
  const found = new Map<string, string>();
  if (paragraphs.length < 2) return found;
  for (const line of paragraphs.at(-1)?.split("\n") ?? []) {
    const match = /^([A-Za-z0-9-]+)\s*:\s*(.*)$/.exec(line);
    if (match === null) continue;
    const name = (match[1] ?? "").toLowerCase();
    const value = (match[2] ?? "").trim();
    const before = found.get(name);
    found.set(name, before === undefined ? value : `${before},${value}`);
  }
  return found;
}
