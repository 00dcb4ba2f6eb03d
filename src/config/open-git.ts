import { rm } from "node:fs/promises";
import { SyncError } from "../error.ts";
import { git, parseGitUrl } from "../stores/git/index.ts";
import { rememberMissing } from "./folders.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

export async function openGit(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, clock, base }: OpenContext,
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

/** What is an option of `git()` is one of the URL here. */
function inUrlWords(error: unknown): unknown {
  const words = "open with create: true";
  if (!(error instanceof SyncError) || error.cure?.includes(words) !== true) return error;
  const { code, message, cure, retryable } = error;
  const what = message.slice(0, -` (${cure})`.length);
  return new SyncError(code, what, {
    cure: cure.replace(words, "add ?create=true to the URL"),
    retryable,
    cause: error,
  });
}
