import { SyncError } from "../../error.ts";
import type { ErrorCode, ErrorDetails } from "../../error.ts";

const KNOWN: readonly (readonly [codes: readonly string[], code: ErrorCode, what: string, cure: string])[] = [
  [["ENOSPC", "EDQUOT", "EFBIG"], "UNAVAILABLE", "there is no space left", "free space on its disk, then try again"],
  [["EACCES", "EPERM", "EROFS"], "UNAUTHORISED", "the file system refuses it", "give this user the right to it"],
  [["ENAMETOOLONG"], "TOO_LARGE", "the path is too long", "shorten the key, or put the folder nearer to the root"],
  [["ENOTDIR", "EEXIST", "EISDIR"], "INVALID", "something else is in the way", "move it, or name another folder"],
  [["EMFILE", "ENFILE"], "OVERLOADED", "too many files are open", "try again; raise the limit of open files"],
];

/** An error of the file system as one of Sync's, with the cure. */
export function fileFailure(error: unknown, details: ErrorDetails): SyncError {
  if (error instanceof SyncError) return error;
  const name = codeOf(error);
  const [, code, what, cure] = KNOWN.find(([codes]) => codes.includes(name)) ?? [];
  const text = error instanceof Error ? error.message : String(error);
  if (code === undefined)
    return new SyncError("UNAVAILABLE", text, { ...details, cure: "see the cause", cause: error });
  return new SyncError(code, `${what}: ${name}`, { ...details, cure, cause: error });
}

export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}

/** There is no such file: also where a file stands in place of a folder above it. */
export function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOENT" || code === "ENOTDIR";
}
