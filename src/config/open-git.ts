import { rm } from "node:fs/promises";
import { git, parseGitUrl } from "../stores/git/index.ts";
import { rememberMissing } from "./folders.ts";
import { pushBudget } from "./push-budget.ts";
import { inUrlWords, told } from "./repository-words.ts";
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
  const { path, remote } = parseGitUrl(text, base);
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
      lfs: values.get("lfs") as boolean | undefined,
      lfsAboveBytes: values.get("lfsAboveBytes") as number | undefined,
      lfsUrl: values.get("lfsUrl") as string | undefined,
      onReport: (event) => report({ kind: "store", layer: "git", message: told(event) }),
    });
  if (path === undefined) {
    const pushes = pushBudget(runtime, remote);
    return { store: await store(), keepsHistory: true, ...(pushes === undefined ? {} : { layer: { budget: pushes } }) };
  }

  const missing = await rememberMissing(path, []);
  if (create !== true) {
    const opened = await store().catch((error: unknown) => Promise.reject(inUrlWords(error)));
    return { store: opened, keepsHistory: true };
  }
  const undo = async () => {
    if (missing.folders.length === 0) return;
    // It was not there before this call, so nothing in it is anybody else's.
    await rm(path, { recursive: true, force: true });
    await missing.remove();
  };
  try {
    return { store: await store(), undo, keepsHistory: true };
  } catch (error) {
    await undo();
    throw error;
  }
}
