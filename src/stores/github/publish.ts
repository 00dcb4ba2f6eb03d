import { SyncError } from "../../error.ts";
import { blobId } from "../git-layout/record.ts";
import type { NewCommit } from "../git-layout/repository.ts";
import type { CallOptions } from "../../store.ts";
import type { CommitInfo, Commits } from "./commits.ts";
import { trailersOf } from "./commits.ts";
import { edited } from "./edit.ts";
import type { Edit } from "./edit.ts";
import type { Objects } from "./objects.ts";
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

/** Takes in what a commit of our own made of the folders, if it made what was expected. */
export async function learn(objects: Objects, commits: Commits, parcel: Parcel, made: Made): Promise<void> {
  const { commit, base, deletes, files } = parcel;
  commits.learn({ id: made.id, parent: commit.parent, tree: made.tree, trailers: trailersOf(commit.message) });
  for (const { id, bytes } of files) if (bytes !== undefined) objects.learnBlob(id, bytes.slice());
  const edits: Edit[] = [
    ...deletes.map((path) => ({ path, file: undefined })),
    ...files.map(({ path, id, size }) => ({ path, file: { id, size } })),
  ];
  const { root, trees } = await edited(objects, base?.tree ?? null, edits);
  // Another one is read like anybody's: a file's mode may have stayed, or GitHub have done it in its own way.
  if (root !== made.tree) return;
  for (const [id, tree] of trees) objects.learnTree(id, tree);
}
