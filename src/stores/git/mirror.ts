import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { gitError } from "./command.ts";
import type { Git } from "./command.ts";
import { commits } from "./commits.ts";
import type { Place, Seen } from "../git-layout/place.ts";
import { objects } from "./objects.ts";
import type { GitPlace } from "./place.ts";
import { gitRepository } from "./repository.ts";
import { tidy } from "./tidy.ts";

export interface MirrorSettings {
  readonly runtime: Runtime;
  /** In the mirror, with the remote {@link REMOTE} configured. */
  readonly git: Git;
  readonly branch: string;
  readonly algorithm: "sha1" | "sha256";
  readonly refusesWrites: Place["refusesWrites"];
  /** For one command that speaks with the remote. */
  readonly timeoutMs: number;
}

export const REMOTE = "sync";
export const REMOTE_REFS = "refs/microsync/heads";

/** What git says of a push when the branch is not where it was expected, or is being moved by somebody at this moment. */
const LOST =
  /stale info|fetch first|non-fast-forward|failed to update ref|cannot lock ref|incorrect old value|already exists|failed to lock|needs force/;
/** How often a fetch that a push of our own overtook is made again, before what was pushed is the answer. */
const FETCHES_MAX = 8;
const NEVER_SENT = new Set(["UNAUTHORISED", "NOT_FOUND", "READONLY"]);

/** Any remote, through a bare mirror of our own: reads are answered from it, writes are made in it and pushed. */
export function mirror(settings: MirrorSettings): GitPlace {
  const { runtime, git, branch, algorithm, refusesWrites, timeoutMs } = settings;
  const reader = objects(git);
  const maker = commits({ git, objects: reader, algorithm });
  const ref = `refs/heads/${branch}`;
  const tracked = `${REMOTE_REFS}/${branch}`;
  let seen: Seen | undefined;
  let running: { readonly asOf: number; readonly done: Promise<Seen> } | undefined;
  let queued: Promise<Seen> | undefined;

  /** Counts the pushes that arrived. */
  let pushes = 0;

  const fetch = async (asOf: number, triesLeft = FETCHES_MAX): Promise<Seen> => {
    const before = pushes;
    const args = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", REMOTE, `+${ref}:${tracked}`];
    let output = await git.run(args, { timeoutMs });
    // Another process that shares the mirror may be at the same reference; its fetch is over in a moment.
    for (let i = 0; i < 3 && output.code !== 0 && /cannot lock ref/.test(output.stderr); i++) {
      output = await git.run(args, { timeoutMs });
    }
    let commit: string | null = null;
    if (output.code === 0) {
      commit = (await git.need(["rev-parse", "--verify", tracked])).toString("utf8").trim();
    } else if (!/couldn't find remote ref/.test(output.stderr)) {
      throw gitError("fetch", output.stderr);
    }
    // A push of our own arrived meanwhile: what was fetched may be from before it.
    if (pushes !== before) return triesLeft > 1 || seen === undefined ? fetch(asOf, triesLeft - 1) : seen;
    seen = { commit, asOf };
    return seen;
  };

  const start = (): Promise<Seen> => {
    const asOf = runtime.now();
    const done = fetch(asOf).finally(() => {
      if (running?.done === done) running = undefined;
    });
    running = { asOf, done };
    return done;
  };

  /** A fetch that begins after this call. */
  const anew = (): Promise<Seen> => {
    if (running === undefined) return start();
    const before = running.done;
    queued ??= before
      .then(
        () => {},
        () => {}, // those who wait for it are told; the next one is asked by itself
      )
      .then(() => {
        queued = undefined;
        return start();
      });
    return queued;
  };

  return {
    git,
    repository: gitRepository(git, reader, algorithm),
    branch,
    refusesWrites,
    remote: true,
    async head(notBefore) {
      const now = runtime.now();
      if (seen !== undefined && seen.asOf > notBefore && seen.asOf <= now) return seen;
      if (running !== undefined && running.asOf > notBefore && running.asOf <= now) return running.done;
      return anew();
    },
    async publish(made) {
      const commit = await maker.commit(made);
      const asOf = runtime.now();
      // The commit's parent is what is expected there: this never forces anything.
      const lease = `--force-with-lease=${ref}:${made.parent ?? ""}`;
      const args = ["push", "--porcelain", "--no-verify", lease, REMOTE, `${commit}:${ref}`];
      const outcome = await git
        .run(args, { timeoutMs })
        .catch((error: unknown) => ({ code: -1, stdout: undefined, error }));
      if (outcome.code === 0) {
        seen = { commit, asOf };
        pushes++;
        return commit;
      }
      const line = /^!\t[^\t]*\t(.*)$/m.exec(outcome.stdout?.toString("utf8") ?? "")?.[1];
      if (line !== undefined) {
        const stderr = "stderr" in outcome ? outcome.stderr : "";
        if (LOST.test(line) || LOST.test(stderr)) return undefined;
        throw refused(line, branch);
      }
      const error = "error" in outcome ? outcome.error : gitError("push", outcome.stderr);
      if (error instanceof SyncError && NEVER_SENT.has(error.code)) throw error;
      await arrived(commit, error);
      return commit;
    },
    onPush: () => () => {}, // nobody says
    tidy: () => tidy(git),
    interrupt: () => {}, // a command ends by itself, or by its time
    async close() {
      await maker.close();
      await running?.done.catch(() => {}); // its callers are told
      await reader.close();
    },
  };

  /** After a push whose answer was lost: the remote knows. */
  async function arrived(commit: string, cause: unknown): Promise<void> {
    const details = { cause, cure: "try again: the same versions are sent, and count once" };
    const now = await anew().catch(() => undefined);
    if (now === undefined) throw new SyncError("INDETERMINATE", "the answer to a push was lost", details);
    if (now.commit === commit) return;
    if (now.commit !== null) {
      const { code } = await git.run(["merge-base", "--is-ancestor", commit, now.commit]);
      if (code === 0) return;
    }
    throw new SyncError("INDETERMINATE", "a push failed on the way, and may still arrive", details);
  }
}

function refused(line: string, branch: string): SyncError {
  if (/currently checked out/.test(line)) return checkedOut(branch);
  if (/unpacker error/.test(line)) {
    const cure = "see that its disk has room and is in order";
    return new SyncError("UNAVAILABLE", `the remote could not store the push: ${line}`, { cure });
  }
  return new SyncError("READONLY", `the remote refuses the push: ${line}`, {
    cure: "its hooks or branch protection do not let this account push to the branch",
  });
}

function checkedOut(branch: string): SyncError {
  return new SyncError("READONLY", `the branch ${branch} is checked out in that repository`, {
    cure: CHECKED_OUT_CURE,
  });
}

export const CHECKED_OUT_CURE =
  "check out another branch there, use a bare repository, or git config receive.denyCurrentBranch updateInstead";
