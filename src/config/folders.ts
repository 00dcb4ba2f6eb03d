import { rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

/** What was not there when it was asked. */
export interface Missing {
  /** The folder and those above it, the deepest first. */
  readonly folders: readonly string[];
  /** Removes what came to be since. A folder that meanwhile holds anything else stays. */
  remove(): Promise<void>;
}

/** Remembers which of a folder, the folders above it and some files in it are not there yet. */
export async function rememberMissing(folder: string, files: readonly string[]): Promise<Missing> {
  const missingFiles: string[] = [];
  for (const name of files) {
    const path = join(folder, name);
    if (!(await exists(path))) missingFiles.push(path);
  }
  const missingFolders: string[] = [];
  for (let path = folder; !(await exists(path)) && dirname(path) !== path; path = dirname(path)) {
    missingFolders.push(path);
  }
  const remove = async () => {
    for (const path of missingFiles) {
      try {
        await rm(path);
      } catch (error) {
        if (!hasCode(error, "ENOENT", "ENOTDIR")) throw error;
      }
    }
    for (const path of missingFolders) {
      try {
        await rmdir(path);
      } catch (error) {
        if (!hasCode(error, "ENOENT", "ENOTEMPTY", "EEXIST", "ENOTDIR")) throw error;
      }
    }
  };
  return { folders: missingFolders, remove };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    // ENOTDIR: a file stands where a folder of the path would be, so nothing is below it.
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
