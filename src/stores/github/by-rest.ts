import { isUtf8 } from "node:buffer";
import { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import { json } from "./api.ts";
import type { Api } from "./api.ts";
import type { Commits } from "./commits.ts";
import { messageOf, statusError } from "./failures.ts";
import type { HttpAnswer } from "../wire/http.ts";
import type { Pace } from "./pace.ts";
import type { Parcel, ParcelFile, Way } from "./publish.ts";

export interface RestSettings {
  readonly api: Api;
  readonly commits: Commits;
  readonly owner: string;
  readonly repo: string;
  readonly branch: string;
  /** Of the commits; undefined: whoever the credential belongs to. */
  readonly author: { readonly name: string; readonly email: string } | undefined;
  readonly head: () => Promise<string | null>;
  /** How many entries go into one request that makes a folder. */
  readonly entries: Pace;
}

/** Larger bodies are answered by 502 on some plans. */
const BODY_BYTES_MAX = 2 * 1024 * 1024;
const CREATES = { write: 1, create: 1 } as const;

/**
 * Folder, commit, reference: three requests however many keys there are, more only above what one request takes, and
 * one for each value that is no text. The reference moves by fast-forward only.
 */
export function byRest(settings: RestSettings): Way {
  const { api, commits, owner, repo, branch, author, head, entries } = settings;
  const base = `/repos/${owner}/${repo}`;

  const create = async (what: string, body: unknown, options: CallOptions): Promise<HttpAnswer> => {
    const call = { method: "POST", path: `${base}/git/${what}`, body, cost: CREATES, repeatable: true } as const;
    return api.rest(call, options);
  };
  const idOf = (answer: HttpAnswer): string => {
    if (answer.status !== 201) throw statusError(answer, "write");
    return (json(answer) as { sha: string }).sha;
  };

  const treeOf = async (parcel: Parcel, options: CallOptions): Promise<string> => {
    const wanted: (ParcelFile | string)[] = [...parcel.deletes, ...parcel.files];
    let tree = parcel.base?.tree;
    for (let at = 0; at < wanted.length;) {
      const piece = pieceOf(wanted, at, entries.size);
      const items = [];
      for (const item of piece) items.push(typeof item === "string" ? gone(item) : await entryOf(item, options));
      try {
        const body = { ...(tree === undefined ? {} : { base_tree: tree }), tree: items };
        tree = idOf(await create("trees", body, options));
        entries.grow();
        at += piece.length;
      } catch (error) {
        const isTooMuch = error instanceof SyncError && /^(?:UNAVAILABLE|TIMEOUT|TOO_LARGE)$/.test(error.code);
        if (!isTooMuch || error.retryAfterMs !== undefined || piece.length === 1 || !entries.shrink()) throw error;
      }
    }
    if (tree === undefined) throw new SyncError("INTERNAL", "a commit without files", { store: "github" });
    return tree;
  };

  const entryOf = async ({ path, id, bytes }: ParcelFile, options: CallOptions) => {
    const entry = { path, mode: "100644", type: "blob" };
    if (bytes === undefined) return { ...entry, sha: id };
    if (isText(bytes)) return { ...entry, content: textOf(bytes) };
    const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
    return { ...entry, sha: idOf(await create("blobs", { content, encoding: "base64" }, options)) };
  };

  /** True: it is there. False: the branch is somewhere else. */
  const move = async (parent: string | null, commit: string, options: CallOptions): Promise<boolean> => {
    const call =
      parent === null
        ? ({ method: "POST", path: `${base}/git/refs`, body: { ref: `refs/heads/${branch}`, sha: commit } } as const)
        : ({
            method: "PATCH",
            path: `${base}/git/refs/heads/${encodeRef(branch)}`,
            body: { sha: commit, force: false },
          } as const);
    // The same commit again is no other move.
    const answer = await api.rest({ ...call, cost: { write: 1, push: 1 }, repeatable: true }, options);
    if (answer.status === 200 || answer.status === 201) return true;
    if (answer.status === 404) throw statusError(answer, "write");
    const said = messageOf(answer);
    if (/fast.?forward|already exists|does not exist|not found/i.test(said) || answer.status === 409) return false;
    throw new SyncError("READONLY", `GitHub refuses to move the branch: ${said}`, {
      store: "github",
      cure: `let the rules of ${branch} take commits of this token`,
    });
  };

  return async (parcel, options) => {
    const { parent, message, timeMs } = parcel.commit;
    const tree = await treeOf(parcel, options);
    const parents = parent === null ? [] : [parent];
    const by = author === undefined ? {} : { author: { ...author, date: new Date(timeMs).toISOString() } };
    const commit = idOf(await create("commits", { message, tree, parents, ...by }, options));
    let moved: boolean;
    try {
      moved = await move(parent, commit, options);
    } catch (error) {
      const isLost = error instanceof SyncError && error.retryAfterMs === undefined && LOST.has(error.code);
      if (!isLost) throw error;
      moved = await hasArrived(parent, commit, error);
    }
    // "Reference already exists" and "not a fast forward" are also the answers to what has happened before.
    if (!moved && !(await isThere(commit))) return undefined;
    return { id: commit, tree };
  };

  async function isThere(commit: string): Promise<boolean> {
    const at = await head();
    return at !== null && (at === commit || (await commits.isAncestor(commit, at)));
  }

  async function hasArrived(parent: string | null, commit: string, cause: unknown): Promise<boolean> {
    const at = await head().catch(() => parent);
    if (at !== parent) return at !== null && (at === commit || (await commits.isAncestor(commit, at)));
    throw new SyncError("INDETERMINATE", "the answer to a move of the branch was lost, and it may still arrive", {
      store: "github",
      cure: "try again: the same versions are sent, and count once",
      cause,
    });
  }
}

const LOST = new Set(["UNAVAILABLE", "TIMEOUT", "ABORTED"]);

function pieceOf(wanted: readonly (ParcelFile | string)[], at: number, count: number): (ParcelFile | string)[] {
  const piece: (ParcelFile | string)[] = [];
  let bytes = 0;
  for (const item of wanted.slice(at, at + count)) {
    const size = 200 + (typeof item === "string" || item.bytes === undefined ? 0 : item.size);
    if (piece.length > 0 && bytes + size > BODY_BYTES_MAX) break;
    piece.push(item);
    bytes += size;
  }
  return piece;
}

function gone(path: string) {
  return { path, mode: "100644", type: "blob", sha: null };
}

/** Whether JSON carries these bytes as they are, to a server that may be written in C. */
export function isText(bytes: Uint8Array): boolean {
  return isUtf8(bytes) && !bytes.includes(0);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** A branch in a path of the API: its slashes stay. */
export function encodeRef(branch: string): string {
  return branch.split("/").map(encodeURIComponent).join("/");
}
