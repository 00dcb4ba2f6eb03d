import { rm } from "node:fs/promises";
import { SyncError } from "../error.ts";
import { git, parseGitUrl } from "../stores/git/index.ts";
import type { GitReport } from "../stores/git/index.ts";
import { rememberMissing } from "./folders.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

export async function openGit(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, clock, base, report }: OpenContext,
): Promise<Opened> {
  const text = `git:${url.place}`;
  const create = values.get("create") as boolean | undefined;
  const { path } = parseGitUrl(text, base);
  const store = async () =>
    git(text, {
      runtime,
      clock,
      folder: base,
      create,
      readonly: values.get("readonly") as boolean | undefined,
      cacheFolder: values.get("cacheFolder") as string | undefined,
      freshMs: values.get("fresh") as number | undefined,
      timeoutMs: values.get("timeout") as number | undefined,
      onReport: (event) => report({ kind: "store", layer: "git", message: told(event) }),
    });
  if (path === undefined) return { store: await store() };

  const missing = await rememberMissing(path, []);
  if (create !== true) return { store: await store().catch((error: unknown) => Promise.reject(inUrlWords(error))) };
  const undo = async () => {
    if (missing.folders.length === 0) return;
    // It was not there before this call, so nothing in it is anybody else's.
    await rm(path, { recursive: true, force: true });
    await missing.remove();
  };
  try {
    return { store: await store(), undo };
  } catch (error) {
    await undo();
    throw error;
  }
}

/** A store's report as a sentence. */
function told(event: GitReport): string {
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

/** What is an option of `git()` is one of the URL here. */
function inUrlWords(error: unknown): unknown {
  const words = "open with create: true";
  if (!(error instanceof SyncError) || error.cure?.includes(words) !== true) return error;
  const { code, what, cure, retryable } = error;
  return new SyncError(code, what, {
    cure: cure.replace(words, "add ?create=true to the URL"),
    retryable,
    cause: error,
  });
}
