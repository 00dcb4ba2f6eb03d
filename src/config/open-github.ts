import { github } from "../stores/github/index.ts";
import { answersOf } from "./answers.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import { inUrlWords, told } from "./repository-words.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** The token comes from GITHUB_TOKEN or GH_TOKEN: a URL is no place for it. */
export async function openGithub(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, clock, report }: OpenContext,
): Promise<Opened> {
  const answers = answersOf();
  const opening = github(`github:${url.place}`, {
    runtime,
    clock,
    api: values.get("api") as string | undefined,
    create: values.get("create") as boolean | undefined,
    readonly: values.get("readonly") as boolean | undefined,
    cacheFolder: values.get("cacheFolder") as string | undefined,
    freshMs: values.get("fresh") as number | undefined,
    timeoutMs: values.get("timeout") as number | undefined,
    connectionsMax: values.get("connectionsMax") as number | undefined,
    keptBytesMax: values.get("keptBytesMax") as number | undefined,
    lfs: values.get("lfs") as boolean | undefined,
    lfsAboveBytes: values.get("lfsAboveBytes") as number | undefined,
    lfsUrl: values.get("lfsUrl") as string | undefined,
    onAnswer: answers.onAnswer,
    onReport: (event) => report({ kind: "store", layer: "github", message: told(event) }),
  });
  const store = await opening.catch((error: unknown) => Promise.reject(inUrlWords(error)));
  return { store, clock: answers.clockOf(store), requests: answers.count, keepsHistory: true };
}
