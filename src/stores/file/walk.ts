import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { inParallel } from "../../in-parallel.ts";
import { isSidePath, keyOfPath, pathOfKey } from "../git-layout/path.ts";
import { isMissing } from "./failures.ts";
import { recordName } from "./record.ts";
import type { Side } from "./side.ts";

const AT_ONCE = 16;

/** Every key under a prefix that has a file or a record, in no order. Keeps them in memory, and nothing else of them. */
export async function keysUnder(root: string, side: Side, prefix: string, check: () => void): Promise<Set<string>> {
  const keys = new Set<string>();
  const names = new Set<string>();
  for await (const path of filesUnder(root, folderOf(prefix), check)) {
    const key = keyOfPath(path);
    if (key === undefined || !key.startsWith(prefix)) continue;
    keys.add(key);
    names.add(recordName(key));
  }
  for await (const { folder, names: found } of side.recordNames()) {
    check();
    const others = found.filter((name) => !names.has(folder + name));
    for (const key of await inParallel(others, AT_ONCE, (name) => side.keyOf(folder, name))) {
      if (key?.startsWith(prefix) === true) keys.add(key);
    }
  }
  return keys;
}

/** The paths of files below a folder, relative to the root. Links are not followed. */
async function* filesUnder(root: string, folder: string, check: () => void): AsyncIterable<string> {
  check();
  let found;
  try {
    found = await readdir(join(root, folder), { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  for (const entry of found) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isFile()) yield path;
    else if (entry.isDirectory() && !isSidePath(path) && entry.name.toLowerCase() !== ".git") {
      yield* filesUnder(root, path, check);
    }
  }
}

/** The innermost folder that holds every file of the range; "" when files of it may stand elsewhere. */
function folderOf(prefix: string): string {
  const slash = prefix.lastIndexOf("/");
  if (slash < 0) return "";
  const folder = prefix.slice(0, slash);
  // A name that is escaped may also stand literally, in another folder.
  return folder !== "" && pathOfKey(folder) === folder ? folder : "";
}
