import { isUtf8 } from "node:buffer";
import type { Git } from "./command.ts";
import { isOther, tokens } from "./passage.ts";
import { DEAD_FOLDER, LIVE_FOLDER, nameOfRecordPath } from "./record.ts";

export interface TreeFile {
  /** From the store's root. */
  readonly path: string;
  readonly id: string;
}

/** Every regular file below a folder of the store, in the byte order of the paths. Names that are not UTF-8 are left out. */
export async function* filesAt(git: Git, commit: string, prefix: string, folder: string): AsyncIterable<TreeFile> {
  const where = [prefix, folder].filter((part) => part !== "").join("/");
  const scope = where === "" ? [] : ["--", `:(literal)${where}/`];
  const skip = prefix === "" ? 0 : prefix.length + 1;
  for await (const token of tokens(git.stream(["ls-tree", "-r", "-z", "--full-tree", commit, ...scope]))) {
    const tab = token.indexOf(9);
    const [mode = "", , id = ""] = token.toString("latin1", 0, tab).split(" ");
    const path = token.subarray(tab + 1);
    if (isOther(mode) || !isUtf8(path)) continue;
    yield { path: path.toString("utf8").slice(skip), id };
  }
}

/** The object ids of all records, by name. */
export async function recordIdsAt(
  git: Git,
  commit: string,
  prefix: string,
  which: "value" | "deleted",
): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for await (const { path, id } of filesAt(git, commit, prefix, which === "value" ? LIVE_FOLDER : DEAD_FOLDER)) {
    const name = nameOfRecordPath(path);
    if (name !== undefined) ids.set(name, id);
  }
  return ids;
}

export async function recordNamesAt(git: Git, commit: string, prefix: string): Promise<Set<string>> {
  const live = await recordIdsAt(git, commit, prefix, "value");
  const dead = await recordIdsAt(git, commit, prefix, "deleted");
  return new Set([...live.keys(), ...dead.keys()]);
}
