import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Why the real git lfs client cannot be had; undefined: it is there. Installs it when that is possible. */
export function gitLfsMissing(): string | undefined {
  const isThere = () => spawnSync("git", ["lfs", "version"], { encoding: "utf8" }).status === 0;
  if (isThere()) return undefined;
  const lock = join(tmpdir(), "microsync-install-git-lfs");
  try {
    mkdirSync(lock);
  } catch {
    return "another test installs git-lfs at this moment: run again";
  }
  try {
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", "git-lfs"], { stdio: "ignore" });
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
  return isThere() ? undefined : "git-lfs is not installed and cannot be had by apt-get";
}
