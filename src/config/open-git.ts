import { git } from "../stores/git/index.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

export async function openGit(
  url: StoreUrl,
  _values: ReadonlyMap<string, OptionValue>,
  { runtime, clock, base }: OpenContext,
): Promise<Opened> {
  return { store: await git(`git:${url.place}`, { runtime, clock, folder: base }) };
}
