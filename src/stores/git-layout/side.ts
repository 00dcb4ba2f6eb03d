import { inRepository } from "./names.ts";
import type { Naming } from "./names.ts";
import { DEAD_FOLDER, LIVE_FOLDER, nameOfRecordPath } from "./record.ts";

/** The object ids of all records, by name. */
export async function recordIdsAt(
  { repository, prefix }: Naming,
  commit: string,
  which: "value" | "deleted",
): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  const folder = which === "value" ? LIVE_FOLDER : DEAD_FOLDER;
  for await (const { path, id } of repository.files(commit, inRepository(prefix, folder))) {
    const name = nameOfRecordPath(`${folder}/${path}`);
    if (name !== undefined) ids.set(name, id);
  }
  return ids;
}

export async function recordNamesAt(naming: Naming, commit: string): Promise<Set<string>> {
  const live = await recordIdsAt(naming, commit, "value");
  const dead = await recordIdsAt(naming, commit, "deleted");
  return new Set([...live.keys(), ...dead.keys()]);
}
