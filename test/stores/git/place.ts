import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { git } from "../../../src/stores/git/index.ts";
import type { GitOptions } from "../../../src/stores/git/index.ts";
import type { Store } from "../../../src/store.ts";
import { systemRuntime } from "../../../src/system.ts";

/** A folder that is gone after the test. */
export interface Scratch {
  readonly folder: string;
  path(name: string): string;
  /** Runs git in a folder of it, as a person with a name of its own; returns what it says. */
  run(
    where: string,
    args: readonly string[],
    options?: { input?: string | Uint8Array; env?: Record<string, string> },
  ): string;
  /** Opens a store whose cache lies in the folder. */
  open(url: string, options?: GitOptions): Promise<Store>;
  remove(): Promise<void>;
}

const PERSON = {
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
};

export function scratch(): Scratch {
  const folder = mkdtempSync(join(tmpdir(), "microsync-git-"));
  const opened = new Set<Store>();
  return {
    folder,
    path: (name) => join(folder, name),
    run(where, args, { input, env = {} } = {}) {
      return execFileSync("git", args, {
        cwd: join(folder, where),
        env: { ...process.env, ...PERSON, ...env },
        stdio: ["pipe", "pipe", "pipe"],
        maxBuffer: 1 << 28,
        ...(input === undefined ? {} : { input }),
      })
        .toString("utf8")
        .trim();
    },
    async open(url, options = {}) {
      const store = await git(url, { runtime: systemRuntime, folder, cacheFolder: join(folder, "cache"), ...options });
      opened.add(store);
      return store;
    },
    async remove() {
      for (const store of opened) await store.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
