import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { gitError } from "./command.ts";
import type { Git } from "./command.ts";
import { objects } from "./objects.ts";
import type { Place } from "./place.ts";

export interface DirectSettings {
  readonly runtime: Runtime;
  /** In the bare repository itself. */
  readonly git: Git;
  readonly branch: string;
  readonly algorithm: "sha1" | "sha256";
  readonly refusesWrites: Place["refusesWrites"];
}

const LOST = /but expected|reference already exists|unable to resolve reference|File exists|\.lock'/;

/** A bare repository on this machine, worked on in place: no copy, no transport, one lock file per publication. */
export function direct({ runtime, git, branch, algorithm, refusesWrites }: DirectSettings): Place {
  const reader = objects(git);
  const ref = `refs/heads/${branch}`;
  const none = "0".repeat(algorithm === "sha1" ? 40 : 64);
  return {
    git,
    objects: reader,
    branch,
    algorithm,
    refusesWrites,
    remote: false,
    async head() {
      const asOf = runtime.now();
      const [found] = await reader.infos([ref]);
      return { commit: found?.id ?? null, asOf };
    },
    async publish(old, commit) {
      const { code, stderr } = await git.run(["update-ref", ref, commit, old ?? none]);
      if (code === 0) return true;
      if (LOST.test(stderr)) return false;
      const error = gitError("update-ref", stderr);
      if (error.code !== "UNAVAILABLE") throw error;
      throw new SyncError("UNAVAILABLE", error.message, { cause: error });
    },
    close: () => reader.close(),
  };
}
