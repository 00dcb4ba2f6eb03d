import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A file system of its own, in memory, so small that it can be filled. */
export interface Disk {
  readonly folder: string;
  /** Uses up all there is left. */
  fill(): void;
  empty(): void;
  remove(): void;
}

/** Mounts one, which takes root; otherwise why there is none. */
export function mounted(prefix: string, bytes: number): Disk | { readonly missing: string } {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const isMounted =
    process.getuid?.() === 0 &&
    spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", folder]).status === 0;
  if (!isMounted) {
    rmSync(folder, { recursive: true });
    return { missing: "a full disk takes a mount, which is not allowed here" };
  }
  const filler = join(folder, "filler");
  return {
    folder,
    fill: () => void spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096"], { stdio: "ignore" }),
    empty: () => rmSync(filler),
    remove() {
      spawnSync("umount", ["-l", folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
