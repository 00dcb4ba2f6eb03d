import { setImmediate as turn } from "node:timers/promises";
import { SyncError } from "../../error.ts";
import { blobId } from "../git-layout/record.ts";
import type { NewCommit } from "../git-layout/repository.ts";
import type { CallOptions } from "../../store.ts";
import type { CommitInfo, Commits } from "./commits.ts";
import { learnEdited } from "./edit.ts";
import type { Edit, Folders } from "./edit.ts";
import type { Objects } from "./objects.ts";
import type { Tree } from "./tree.ts";
import { lookUp } from "./walk.ts";

/** A commit with all that has to be sent, and nothing that need not be. */
export interface Parcel {
  readonly commit: NewCommit;
  readonly base: CommitInfo | undefined;
  /** Files that are there and go. */
  readonly deletes: readonly string[];
  readonly files: readonly ParcelFile[];
}

export interface ParcelFile {
  readonly path: string;
  readonly id: string;
  /** Undefined: the object is in the repository. */
  readonly bytes: Uint8Array | undefined;
  readonly size: number;
}

/** A commit as it was made: its folder as GitHub says. */
export interface Made {
  readonly id: string;
  readonly tree: string;
}

/**
 * How a commit is made and published. @returns undefined: the branch was not at the parent any more.
 * @throws SyncError INDETERMINATE, or another code when nothing happened.
 */
export type Way = (parcel: Parcel, options: CallOptions) => Promise<Made | undefined>;

/** Looks at what there is, so that what is sent is exact: GitHub refuses to remove a file that is not there. */
export async function parcelOf(objects: Objects, commits: Commits, commit: NewCommit): Promise<Parcel> {
  const base = commit.parent === null ? undefined : await commits.info(commit.parent);
  if (commit.parent !== null && base === undefined) {
    throw new SyncError("UNAVAILABLE", `GitHub does not give the commit ${commit.parent}`, { store: "github" });
  }
  const there = base === undefined ? [] : await lookUp(objects, base.tree, commit.deletes);
  const deletes = commit.deletes.filter((_, i) => there[i] !== undefined && there[i]?.type !== "tree");
  const files = commit.files.map(({ path, content, id }): ParcelFile => {
    if (typeof content !== "string") {
      return { path, id: id ?? blobId(content, "sha1"), bytes: content, size: content.length };
    }
    return { path, id: content, bytes: undefined, size: objects.sizeOf(content) ?? 0 };
  });
  return { commit, base, deletes, files };
}

/**
 * Keeps the files and folders as the commit will leave them, while GitHub makes it: what is to be sent is on its way first.
 * Asks for nothing, since the commit may not be made. Ids name contents, so what comes out otherwise is kept in vain, and
 * no more. @returns false: the folders are for {@link learnFolders} afterwards.
 */
export async function foresee(objects: Objects, parcel: Parcel): Promise<boolean> {
  await turn();
  for (const { id, bytes } of parcel.files) if (bytes !== undefined) objects.learnBlob(id, bytes.slice());
  return learn(objects, parcel, (ids) => {
    const known = new Map<string, Tree>();
    for (const id of ids) {
      const tree = objects.known(id);
      if (tree === undefined) return undefined;
      known.set(id, tree);
    }
    return known;
  });
}

/** Keeps the folders of a commit that was made. Where they cannot be read their next reader is told, not who made it. */
export async function learnFolders(objects: Objects, parcel: Parcel): Promise<void> {
  await learn(objects, parcel, (ids) => objects.trees(ids)).catch(() => undefined);
}

function learn(objects: Objects, { base, deletes, files }: Parcel, folders: Folders): Promise<boolean> {
  const edits: Edit[] = [
    ...deletes.map((path) => ({ path, file: undefined })),
    ...files.map(({ path, id, size }) => ({ path, file: { id, size } })),
  ];
  return learnEdited(objects, base?.tree ?? null, edits, folders);
}
