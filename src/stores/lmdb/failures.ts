import { SyncError } from "../../error.ts";
import type { ErrorCode, ErrorDetails } from "../../error.ts";

/** What LMDB and the system call their errors (lmdb.h, errno.h), as far as somebody can do something about them. */
const DAMAGED: ReadonlySet<unknown> = new Set([-30797, -30796, -30795, -30794, -30793]);
const MAP_FULL = -30792;
const NO_SPACE: ReadonlySet<unknown> = new Set([MAP_FULL, 28, 27, 122, "ENOSPC", "EFBIG", "EDQUOT"]);
const REFUSED: ReadonlySet<unknown> = new Set([1, 13, 30, "EPERM", "EACCES", "EROFS"]);
const NOT_A_FOLDER: ReadonlySet<unknown> = new Set([20, "ENOTDIR", "EEXIST", "EISDIR"]);

/** An error of LMDB or of the file system as one of Sync's, with the cure. */
export function lmdbFailure(error: unknown, details: ErrorDetails): SyncError {
  if (error instanceof SyncError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const number: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  const [code, what, cure] = classify(number, text);
  const retryable = code === "UNAVAILABLE";
  return new SyncError(code, what, { ...details, cure, cause: error, retryable });
}

function classify(number: unknown, text: string): [ErrorCode, string, string] {
  if (DAMAGED.has(number)) {
    const cure = "a cache can be removed and fills again; otherwise restore the folder from a backup";
    return ["CORRUPT", `the database is damaged, or not one: ${text}`, cure];
  }
  if (NO_SPACE.has(number))
    return ["UNAVAILABLE", `there is no space left: ${text}`, "free space on its disk, then try again"];
  if (REFUSED.has(number)) {
    return [
      "UNAUTHORISED",
      `the folder may not be written: ${text}`,
      "give this user the right to write in it, or name another",
    ];
  }
  if (NOT_A_FOLDER.has(number)) return ["INVALID", `a file is in the way: ${text}`, "name a folder"];
  // A short write of LMDB is "Input/output error": a full disk as a rule.
  if (number === 5)
    return ["UNAVAILABLE", `the disk took no write: ${text}`, "free space on its disk, or look after it"];
  return ["UNAVAILABLE", text, "see the cause"];
}
