import type { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import type { NewCommit, Repository } from "./repository.ts";

/** Where the branch pointed, and when the asking began. */
export interface Seen {
  /** Null while the branch has no commit yet. */
  readonly commit: string | null;
  readonly asOf: number;
}

/** A branch of a repository: how it is read, and how it is moved. */
export interface Place {
  readonly repository: Repository;
  /** The name of the branch, as in `main`. */
  readonly branch: string;
  /** Undefined: it takes writes. Otherwise why not, and what to do about it. */
  readonly refusesWrites: { readonly what: string; readonly cure: string } | undefined;
  /** Whether asking for the head, or finding a lost race, costs a request to another machine. */
  readonly remote: boolean;
  /** The branch as seen by an asking that began after `notBefore` (Unix ms). Joins no older asking. */
  head(notBefore: number): Promise<Seen>;
  /**
   * Makes a commit and moves the branch to it from the commit's parent: compare-and-set. The new commit's id;
   * undefined: the branch was not there any more.
   * @throws SyncError INDETERMINATE when the branch may have moved, another code when it has not.
   */
  publish(commit: NewCommit, options: CallOptions): Promise<string | undefined>;
  /** Calls back when somebody says that the branch has moved, until it is told to stop. */
  onPush(listener: () => void): () => void;
  /** Lets the repository be packed, beside everything else; an error is reported, not thrown. */
  tidy(): Promise<SyncError | undefined>;
  /** Ends what goes on for nobody: every caller has left or been answered, and the store closes. */
  interrupt(): void;
  close(): Promise<void>;
}
