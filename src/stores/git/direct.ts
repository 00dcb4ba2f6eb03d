import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { gitError } from "./command.ts";
import type { Git } from "./command.ts";
import { commits } from "./commits.ts";
import type { Place } from "../git-layout/place.ts";
import { objects } from "./objects.ts";
import type { GitPlace } from "./place.ts";
import { gitRepository } from "./repository.ts";
import { tidy } from "./tidy.ts";

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
export function direct({ runtime, git, branch, algorithm, refusesWrites }: DirectSettings): GitPlace {
  const reader = objects(git);
  const maker = commits({ git, objects: reader, algorithm });
  const ref = `refs/heads/${branch}`;
  const none = "0".repeat(algorithm === "sha1" ? 40 : 64);
  return {
    git,
    repository: gitRepository(git, reader, algorithm),
    branch,
    refusesWrites,
    remote: false,
    async head() {
      const asOf = runtime.now();
      const [found] = await reader.infos([ref]);
      return { commit: found?.id ?? null, asOf };
    },
    async publish(made) {
      const commit = await maker.commit(made);
      const { code, stderr } = await git.run(["update-ref", ref, commit, made.parent ?? none]);
      if (code === 0) return commit;
      if (LOST.test(stderr)) return undefined;
      const error = gitError("update-ref", stderr);
      if (error.code !== "UNAVAILABLE") throw error;
      throw new SyncError("UNAVAILABLE", error.message, { cause: error });
    },
    onPush: () => () => {}, // nobody says
    tidy: () => tidy(git),
    interrupt: () => {}, // a command ends by itself, or by its time
    async close() {
      await maker.close();
      await reader.close();
    },
  };
}
