import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Api, GraphqlAnswer } from "./api.ts";
import type { Commits } from "./commits.ts";
import type { Objects } from "./objects.ts";
import type { Made, Parcel, Way } from "./publish.ts";

export interface MutationSettings {
  readonly runtime: Runtime;
  readonly api: Api;
  readonly objects: Objects;
  readonly commits: Commits;
  readonly owner: string;
  readonly repo: string;
  readonly branch: string;
  /** Where the branch is now. */
  readonly head: () => Promise<string | null>;
}

const MUTATION = `mutation($input:CreateCommitOnBranchInput!){createCommitOnBranch(input:$input){commit{oid tree{oid}}}}`;
const SENDS_MAX = 3;
const STALE = /expected branch to point|expectedHeadOid|is at .* but expected|does not exist/i;
const PROTECTED = /protected branch|rule violations|push declined|cannot force|not allowed to push|hook declined/i;
/** What GitHub says when it gave up, or something went wrong in it: the commit may have been made. */
const UNSURE = /something went wrong|timed? ?out|timeout/i;

/**
 * One GraphQL request for the whole commit, whatever its values are, and a true compare-and-set: the branch must be at
 * the parent. So sending it again after a lost answer is harmless, and tells what became of the first.
 */
export function byMutation(settings: MutationSettings): Way {
  const { runtime, api, objects, commits, owner, repo, branch, head } = settings;

  /** What the branch says of a commit whose answer was lost: made, or never to be made; undefined: not yet known. */
  const lookFor = async (mark: string, parent: string): Promise<{ made: Made | undefined } | undefined> => {
    const at = await head();
    if (at === parent) return undefined;
    if (at === null) return { made: undefined };
    const line = await commits.line(parent, at);
    const ours = line.find(({ trailers, parent: on }) => trailers.get("sync-mark") === mark && on === parent);
    return { made: ours === undefined ? undefined : { id: ours.id, tree: ours.tree } };
  };

  return async (parcel, options) => {
    const { commit } = parcel;
    const parent = commit.parent ?? "";
    const mark = Buffer.from(runtime.random(new Uint8Array(12))).toString("hex");
    const input = await inputOf(parcel, mark);
    let unsure: unknown;
    for (let sends = 1; sends <= SENDS_MAX; sends++) {
      // Once the first may have arrived, the caller's patience does not count: what happened has to be found out.
      const answer = await api
        .mutate(MUTATION, { input }, unsure === undefined ? options : {})
        .catch((error: unknown) => asUnsure(error, unsure !== undefined));
      if ("errors" in answer) {
        const outcome = outcomeOf(answer, branch);
        if (outcome === "lost" && unsure === undefined) return undefined;
        if (typeof outcome === "object") return outcome;
        unsure ??= new SyncError("UNAVAILABLE", "GitHub gave up on a commit", { store: "github" });
      } else {
        unsure = answer.cause;
      }
      const found = await lookFor(mark, parent).catch(() => undefined);
      if (found !== undefined) return found.made;
    }
    throw new SyncError("INDETERMINATE", "the answer to a commit was lost, and may still arrive", {
      store: "github",
      cure: "try again: the same versions are sent, and count once",
      cause: unsure,
    });
  };

  async function inputOf({ commit, deletes, files }: Parcel, mark: string): Promise<unknown> {
    const ids = files.flatMap(({ id, bytes }) => (bytes === undefined ? [id] : []));
    const known = new Map((await objects.blobs(ids)).map((bytes, i) => [ids[i] ?? "", bytes]));
    const [headline = "", ...rest] = commit.message.split("\n");
    return {
      branch: { repositoryNameWithOwner: `${owner}/${repo}`, branchName: branch },
      message: { headline, body: `${rest.join("\n").trim()}\nSync-Mark: ${mark}` },
      expectedHeadOid: commit.parent,
      fileChanges: {
        additions: files.map(({ path, id, bytes }) => ({ path, contents: base64(bytes ?? known.get(id), id) })),
        deletions: deletes.map((path) => ({ path })),
      },
    };
  }
}

/** An error after which nobody knows whether the commit was made; any other one is thrown. */
function asUnsure(error: unknown, wasUnsure: boolean): { readonly cause: unknown } {
  const wasSent = error instanceof SyncError && error.retryAfterMs === undefined;
  const lost = wasSent && (error.code === "UNAVAILABLE" || error.code === "TIMEOUT" || error.code === "ABORTED");
  if (!lost && !wasUnsure) throw error;
  return { cause: error };
}

function outcomeOf({ data, errors }: GraphqlAnswer, branch: string): Made | "lost" | "unsure" {
  const done = data?.["createCommitOnBranch"] as { commit?: { oid: string; tree: { oid: string } } } | null | undefined;
  if (done?.commit !== undefined) return { id: done.commit.oid, tree: done.commit.tree.oid };
  const [problem] = errors;
  const said = problem?.message?.slice(0, 200) ?? "no reason given";
  if (problem?.type === "STALE_DATA" || STALE.test(said)) return "lost";
  if (problem?.type === "FORBIDDEN" || problem?.type === "INSUFFICIENT_SCOPES" || PROTECTED.test(said)) {
    throw new SyncError("READONLY", `GitHub refuses the commit: ${said}`, {
      store: "github",
      cure: `let this token write contents, and the rules of ${branch} take its commits`,
    });
  }
  if (UNSURE.test(said)) return "unsure";
  throw new SyncError("UNAVAILABLE", `GitHub refuses the commit: ${said}`, { store: "github", retryable: false });
}

function base64(bytes: Uint8Array | undefined, id: string): string {
  if (bytes === undefined) {
    throw new SyncError("CORRUPT", `the object ${id} is not in the repository`, { store: "github" });
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
