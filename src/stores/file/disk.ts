import { lstat, mkdir, open, rename, rm, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf, isMissing } from "./failures.ts";

/** What the file system says of a regular file. */
export interface FileFacts {
  /** Absolute. */
  readonly path: string;
  readonly size: number;
  /** Size, time of the last change of the content (mtime), and number of the file. A rename keeps it; a copy does not. */
  readonly mark: string;
  /**
   * Nanoseconds since 1970 of the last change of anything about the file (ctime), which nobody can set. A file with the same
   * mark and the same of this has the same content, unless it changed again before the clock went on: {@link isSettledAt}.
   */
  readonly changedNs: bigint;
}

const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;
/** Changes closer together than this may have one time: the clock of a file system has ticks of up to 10 ms. */
export const TICK_MS = 20;
/** Of a file system whose times are whole seconds, or every second one. */
const COARSE_TICK_MS = 2000;

/**
 * Whether whatever happens to the file from this moment on shows in its `changedNs`: the tick of the last change is over.
 * What is told by a file of which this is not so may be out of date, with the same size and times (git's racy-git.txt).
 * @param nowMs the moment before the file was looked at, in Unix ms.
 */
export function isSettledAt({ changedNs }: FileFacts, nowMs: number): boolean {
  const tickMs = changedNs % NS_PER_S === 0n ? COARSE_TICK_MS : TICK_MS;
  return nowMs - Number(changedNs / NS_PER_MS) > tickMs;
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
