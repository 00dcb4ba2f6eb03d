import { SyncError } from "../error.ts";
import type { LayoutReport } from "../stores/git-layout/report.ts";

/** A store's report as a sentence. */
export function told(event: LayoutReport): string {
  switch (event.kind) {
    case "no-key":
      return `${JSON.stringify(event.path)} is no key: its name is reserved, not UTF-8, or too long`;
    case "rewritten":
      return `the branch ${event.branch} was rewritten by others: everything known of it is looked up again`;
    case "adopted":
      return `${event.keys} changes made by people got versions`;
    case "provisional":
      return `${event.keys} changes made by people could not be committed with a version: ${messageOf(event.error)}`;
    case "untidy":
      return `git could not pack the repository: ${messageOf(event.error)}`;
    case "no-lfs":
      return `large values are kept in git itself: ${messageOf(event.error)}`;
    case "no-cache":
      return `the cache of the log could not be written: ${messageOf(event.error)}`;
  }
}

function messageOf(error: SyncError | undefined): string {
  return error?.message ?? "the repository is read-only";
}

/** What is an option of the function is one of the URL here. */
export function inUrlWords(error: unknown): unknown {
  const words = "open with create: true";
  if (!(error instanceof SyncError) || error.cure?.includes(words) !== true) return error;
  const { code, what, cure, retryable } = error;
  return new SyncError(code, what, {
    cure: cure.replace(words, "add ?create=true to the URL"),
    retryable,
    cause: error,
  });
}
