import type { SyncError } from "../../error.ts";

/** What a person should know and no call could say. */
export type LayoutReport =
  /** A file that no key names: not UTF-8, too long, or in a reserved place. Told once a path. */
  | { readonly kind: "no-key"; readonly path: string }
  /** The branch was rewritten: what was known of it does not hold any more. */
  | { readonly kind: "rewritten"; readonly branch: string }
  /** Changes made by persons got versions. */
  | { readonly kind: "adopted"; readonly keys: number }
  /** They could not be committed: versions are provisional until somebody can. */
  | { readonly kind: "provisional"; readonly keys: number; readonly error: SyncError | undefined }
  /** Git could not pack what has piled up; the repository works, and grows. */
  | { readonly kind: "untidy"; readonly error: SyncError }
  /** The repository has no place for large files: large values lie in git itself. */
  | { readonly kind: "no-lfs"; readonly error: SyncError }
  /** The cache of the log could not be written; opening will read the log again. */
  | { readonly kind: "no-cache"; readonly error: SyncError };
