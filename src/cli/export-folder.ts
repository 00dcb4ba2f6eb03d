import { lstat, mkdir, realpath, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { SyncError } from "../error.ts";
import { hasCode } from "../config/folders.ts";
import type { FoundStream } from "../sync.ts";
import { metaOfKey } from "../stores/git-layout/kind.ts";
import { SIDE_FOLDER, insidePath, keyOfPath, pathOfKey } from "../stores/git-layout/path.ts";
import { unwritable } from "./sink.ts";
import type { Sink } from "./sink.ts";
import { countText } from "./progress.ts";

/**
 * Values as files, laid out as the git store lays them out (docs/stores/git.md): an exported folder can be committed
 * and opened as a store. Each file appears whole: it is written beside, then renamed. Nothing is written through a link,
 * so nothing lands outside the folder.
 */
export async function exportFolder(folder: string, shown: string, force: boolean): Promise<Sink> {
  const side = join(folder, SIDE_FOLDER);
  let root: string;
  try {
    await mkdir(side, { recursive: true });
    root = await realpath(folder);
  } catch (error) {
    throw unwritable(shown, error);
  }
  let temporaries = 0;
  let untold = 0;
  let kept: string | undefined; // the folder made last: neighbours in the order of keys share theirs

  const temporary = () => join(root, SIDE_FOLDER, `export-${process.pid}-${temporaries++}.tmp`);

  /** Makes the folders above a file. A file that stands where a folder has to be moves into it. */
  const makeFolders = async (path: string): Promise<void> => {
    const above = dirname(path);
    if (above === "." || above === kept) return;
    await makeFolders(above);
    const full = join(root, above);
    const there = await look(full);
    if (there === undefined) await mkdir(full);
    else if (there.isFile()) {
      const moved = temporary();
      await rename(full, moved);
      await mkdir(full);
      await rename(moved, join(root, insidePath(above)));
    } else if (!there.isDirectory()) {
      throw new SyncError("INVALID", `${above} in ${shown} is a link or device`, { cure: "export to another folder" });
    }
    kept = above;
  };

  const write = async (
    key: string,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    { expires, meta }: Pick<FoundStream, "expires" | "meta">,
  ): Promise<void> => {
    const path = pathOfKey(key);
    if (keyOfPath(path) !== key) {
      throw new SyncError("UNSUPPORTED", "no file name stands for this key", { cure: "export to a file of lines" });
    }
    try {
      await makeFolders(path);
      let target = join(root, path);
      const there = await look(target);
      if (there?.isDirectory() === true) target = join(root, insidePath(path));
      else if (there !== undefined && !force) {
        throw new SyncError("CONFLICT", "another key has the same file name on this file system", {
          cure: "export to a file of lines, or to a file system that keeps upper and lower case apart",
        });
      }
      if (!target.startsWith(root + sep))
        throw new SyncError("INTERNAL", "the file would be outside the folder", { key });
      const written = temporary();
      await writeFile(written, content, { flag: "wx" });
      await rename(written, target);
    } catch (error) {
      if (error instanceof SyncError) throw error;
      throw unwritable(join(shown, path), error);
    }
    const { "content-type": type, ...own } = meta;
    if (expires !== null || Object.keys(own).length > 0 || type !== metaOfKey(key)["content-type"]) untold++;
  };

  return {
    whole: false,
    add: (entry) => write(entry.key, entry.value.bytes, entry),
    addStream: (key, found) => write(key, found.stream, found),
    async end() {
      await clean(side);
      if (untold === 0) return undefined;
      return `${countText(untold, "key")} with a type, an expiry or metadata that files cannot say (export to a file of lines keeps them)`;
    },
    cancel: () => clean(side),
  };

  async function clean(path: string): Promise<void> {
    for (let i = 0; i < temporaries; i++) {
      // Only the last one can be left over, and only after a failure; the others were renamed.
      if (i >= temporaries - 2) await rm(join(root, SIDE_FOLDER, `export-${process.pid}-${i}.tmp`), { force: true });
    }
    try {
      await rmdir(path);
    } catch (error) {
      if (!hasCode(error, "ENOTEMPTY", "EEXIST", "ENOENT")) throw error;
    }
  }
}

async function look(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
