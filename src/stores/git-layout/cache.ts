import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";

/** A name for what is cached of a repository, which says nothing of its URL. */
export function fingerprint(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

/** Where the operating system keeps what may be deleted at any time. */
export function cacheFolder(store: string): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const { platform } = process;
  let base = XDG_CACHE_HOME;
  if (base === undefined || base === "") {
    if (platform === "win32") base = LOCALAPPDATA ?? join(homedir(), "AppData", "Local");
    else base = platform === "darwin" ? join(homedir(), "Library", "Caches") : join(homedir(), ".cache");
  }
  return join(base, "microsync", store);
}
