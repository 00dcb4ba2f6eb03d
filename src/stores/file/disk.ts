import { lstat, mkdir, open, rename, rm, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf, isMissing } from "./failures.ts";

/** What the file system says of a regular file. */
export interface FileFacts {
  /** Absolute. */
  readonly path: string;
  readonly size: number;
  /**
   * Size, time of the last change of the content, and number of the file: a file whose mark is the one that is recorded has
   * the recorded content. A rename keeps it; a copy of the folder does not, and then the content is looked at.
   */
  readonly mark: string;
  /** Nanoseconds since 1970 of the last change of anything about the file, which nobody can set. */
  readonly changedNs: bigint;
}

/** Undefined for anything but a regular file: links are not followed. */
export async function factsOf(path: string): Promise<FileFacts | undefined> {
  try {
    const found = await lstat(path, { bigint: true });
    return found.isFile() ? factsFrom(path, found) : undefined;
  } catch (error) {
    if (isNowhere(error)) return undefined;
    throw error;
  }
}

/** Nothing can stand at a place whose name the file system does not take. */
function isNowhere(error: unknown): boolean {
  return isMissing(error) || codeOf(error) === "ENAMETOOLONG";
}

interface Stat {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
}

export function factsFrom(path: string, { size, mtimeNs, ctimeNs, ino }: Stat): FileFacts {
  return { path, size: Number(size), mark: `${size}.${mtimeNs}.${ino}`, changedNs: ctimeNs };
}

export type Kind = "file" | "folder" | "other" | "nothing";

export async function kindOf(path: string): Promise<Kind> {
  try {
    const found = await lstat(path);
    return found.isFile() ? "file" : found.isDirectory() ? "folder" : "other";
  } catch (error) {
    if (isNowhere(error)) return "nothing";
    throw error;
  }
}

/** False when there was no such file. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Replaces a file as a whole: written aside, synced where it is to last, renamed. The folder is the caller's to sync. */
export async function replaceFile(path: string, temporary: string, text: string, durable: boolean): Promise<void> {
  const write = async () => {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(text);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
  };
  try {
    await write().catch(async (error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
      await mkdir(dirname(temporary), { recursive: true });
      await write();
    });
    await rename(temporary, path).catch(async (error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
      await mkdir(dirname(path), { recursive: true });
      await rename(temporary, path);
    });
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the error that counts is on its way
    throw error;
  }
}

/** So that the names in it survive a power loss. One that is gone needs nothing. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return; // a folder cannot be opened there; NTFS logs the rename itself
  try {
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Calls `work` for each item, so many at once at most; the results in order. The first failure ends it. */
export async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return results;
}
