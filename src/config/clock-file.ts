import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { SyncError } from "../error.ts";
import type { ClockBound } from "../version.ts";

const FORMAT = /^microsync clock 1 (\d{1,15})\n$/;

/**
 * Keeps the bound of a version clock in a file of one line, `microsync clock 1 UNIX-MS`. Nothing is created before the
 * first stamp. The file is replaced as a whole (new file, fsync, rename, fsync of the folder), so a crash or a power
 * loss leaves the old line or the new one.
 *
 * Several processes may share the file: each raises it and never lowers it, up to the instant between looking and
 * replacing. Versions stay unique whatever happens to it, by the node id in each.
 */
export function clockFile(path: string): ClockBound {
  let count = 0;
  const load = async (): Promise<number> => {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (cause) {
      if (isMissing(cause)) return 0;
      throw unusable(path, "cannot be read", cause);
    }
    const [, ms] = FORMAT.exec(text) ?? [];
    if (ms === undefined) {
      throw new SyncError("CORRUPT", `the clock file ${path} is not one`, {
        cure: "restore it, or remove it if this machine's clock has not gone back since its last write",
      });
    }
    return Number(ms);
  };
  return {
    load,
    async store(ms) {
      const bound = Math.max(ms, await load());
      const folder = dirname(path);
      const temporary = `${path}.${process.pid}.${count++}.tmp`;
      try {
        await mkdir(folder, { recursive: true });
        const file = await open(temporary, "w");
        try {
          await file.writeFile(`microsync clock 1 ${bound}\n`);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(temporary, path);
        await syncFolder(folder);
      } catch (cause) {
        throw unusable(path, "cannot be written", cause);
      }
    },
  };
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return; // a folder cannot be opened there; NTFS logs the rename itself
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function unusable(path: string, what: string, cause: unknown): SyncError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
  return new SyncError("UNAVAILABLE", `the clock file ${path} ${what}: ${code}`, {
    cure: "name a file in a folder that can be written, or none, with the option clock",
    retryable: false,
    cause,
  });
}
