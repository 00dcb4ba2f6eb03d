import type { Git } from "./command.ts";
import type { Objects } from "./objects.ts";

/** Where the branch pointed, and when the asking began. */
export interface Seen {
  /** Null while the branch has no commit yet. */
  readonly commit: string | null;
  readonly asOf: number;
}

/** A branch, and a repository on this machine in which its commits can be read and made. */
export interface Place {
  readonly git: Git;
  readonly objects: Objects;
  /** The name of the branch, as in `main`. */
  readonly branch: string;
  readonly algorithm: "sha1" | "sha256";
  /** Undefined: it takes writes. Otherwise why not, and what to do about it. */
  readonly refusesWrites: { readonly what: string; readonly cure: string } | undefined;
  /** Whether other machines can move the branch. */
  readonly remote: boolean;
  /** The branch as seen by an asking that began after `notBefore` (Unix ms). Joins no older asking. */
  head(notBefore: number): Promise<Seen>;
  /**
   * Moves the branch from `old` to `commit`, whose parent is `old`: compare-and-set. False: it was not at `old`.
   * @throws SyncError INDETERMINATE when the branch may have moved, another code when it has not.
   */
  publish(old: string | null, commit: string): Promise<boolean>;
  close(): Promise<void>;
}
