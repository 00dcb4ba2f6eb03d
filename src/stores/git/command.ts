import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { devNull } from "node:os";
import { SyncError } from "../../error.ts";
import type { ErrorCode } from "../../error.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { redact } from "./url.ts";

/** Below this, git lacks `cat-file --batch-command` (2.36) or `core.fsyncMethod=batch` (2.37). */
export const GIT_VERSION_MIN = "2.37";
const STDERR_BYTES_MAX = 16 * 1024;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export interface Output {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** Killed after so many milliseconds. Default: no limit, for what touches no network. */
  readonly timeoutMs?: number | undefined;
  readonly input?: string | undefined;
}

/** System git in one repository: argument arrays, never a shell, and nothing of the caller's environment in between. */
export interface Git {
  readonly gitDir: string | undefined;
  /** Runs to the end; a code other than 0 is returned, not thrown. */
  run(args: readonly string[], options?: RunOptions): Promise<Output>;
  /** Like run, but throws a SyncError for a code other than 0. */
  need(args: readonly string[], options?: RunOptions): Promise<Buffer>;
  /** Standard output as it comes; throws a SyncError at the end for a code other than 0. */
  stream(args: readonly string[]): AsyncIterable<Buffer>;
  /** A process whose streams the caller speaks with. Its stderr is collected. */
  start(args: readonly string[]): Running;
}

export interface Running {
  readonly child: ChildProcess;
  readonly stderr: () => string;
}

export interface GitSettings {
  readonly runtime: Runtime;
  readonly gitDir?: string | undefined;
  /** Configuration for this repository's commands. It travels in the environment, so that no URL shows in `ps`. */
  readonly config?: readonly (readonly [string, string])[] | undefined;
}

/** What no repository, user or caller may change: it would run foreign code, ask a person, or change bytes. */
const HARDENED: readonly (readonly [string, string])[] = [
  ["core.hooksPath", devNull],
  ["core.fsmonitor", "false"],
  ["core.quotePath", "false"],
  ["core.ignoreCase", "false"], // fast-import would fold keys that differ in case
  ["core.precomposeUnicode", "false"], // and NFC with NFD
  ["core.fsync", "all"], // acknowledged means on disk
  ["core.fsyncMethod", "batch"],
  ["protocol.ext.allow", "never"],
  ["credential.interactive", "false"],
  ["commit.gpgSign", "false"],
  ["push.gpgSign", "false"],
  ["push.followTags", "false"],
  ["log.showSignature", "false"],
  ["log.follow", "false"],
  ["log.showRoot", "true"],
  ["maintenance.auto", "false"], // Sync says when; a detached collector would outlive the store
  ["gc.auto", "0"],
  ["fetch.recurseSubmodules", "false"],
  ["transfer.fsckObjects", "false"],
];

/** Of the caller's GIT_ variables, those that say how to reach a remote. The others name repositories and indexes. */
const KEPT =
  /^GIT_(?:SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|PROXY_.*|SSL_.*|HTTP_.*|CONFIG_GLOBAL|CONFIG_SYSTEM|CONFIG_NOSYSTEM|EXEC_PATH)$/;

/**
 * glibc gives memory back to the system as soon as 128 KiB are free at the top of its heap, which is less than what git takes
 * and frees for each object that it compresses: nearly all time of a large commit went into that. So it keeps 8 MiB.
 */
const MALLOC_TOP_PAD = String(8 * 2 ** 20);

function environment(config: readonly (readonly [string, string])[]): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!name.startsWith("GIT_") || KEPT.test(name)) env[name] = value;
  }
  Object.assign(env, { LC_ALL: "C", LANGUAGE: "", GIT_TERMINAL_PROMPT: "0", GIT_OPTIONAL_LOCKS: "0", GIT_FLUSH: "1" });
  env["GIT_NO_REPLACE_OBJECTS"] = "1"; // refs/replace would show each node another history
  env["MALLOC_TOP_PAD_"] ??= MALLOC_TOP_PAD;
  env["GIT_SSH_COMMAND"] ??= env["GIT_SSH"] === undefined ? "ssh -o BatchMode=yes" : undefined;
  const all = [...HARDENED, ...config];
  env["GIT_CONFIG_COUNT"] = String(all.length);
  for (const [i, [name, value]] of all.entries()) {
    env[`GIT_CONFIG_KEY_${i}`] = name;
    env[`GIT_CONFIG_VALUE_${i}`] = value;
  }
  return env;
}

export function gitCommand({ runtime, gitDir, config = [] }: GitSettings): Git {
  const env = environment(config);
  const cwd = gitDir; // so that relative lookups never depend on the caller's folder

  const start = (args: readonly string[]): Running => {
    const where = gitDir === undefined ? [] : [`--git-dir=${gitDir}`];
    const options = { env, cwd, windowsHide: true, detached: GROUPS };
    const child = spawn("git", [...where, ...args], { ...options, stdio: ["pipe", "pipe", "pipe"] });
    let text = "";
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (chunk: string) => {
      text = (text + chunk).slice(-STDERR_BYTES_MAX);
    });
    // Writing to a process that died is told by its end, not twice.
    child.stdin.on("error", () => {});
    return { child, stderr: () => redact(text.trim()) };
  };

  const run = (args: readonly string[], { timeoutMs, input }: RunOptions = {}): Promise<Output> =>
    new Promise((resolve, reject) => {
      const { child, stderr } = start(args);
      const chunks: Buffer[] = [];
      let bytes = 0;
      let late: Timer | undefined;
      let timedOut = false;
      child.stdout?.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > OUTPUT_BYTES_MAX) end(child);
        else chunks.push(chunk);
      });
      if (timeoutMs !== undefined) {
        late = runtime.timer(timeoutMs, () => {
          timedOut = true;
          end(child);
        });
      }
      child.on("error", (error) => {
        late?.cancel();
        reject(notStarted(error));
      });
      child.on("close", (code) => {
        late?.cancel();
        if (timedOut) reject(new SyncError("TIMEOUT", `git ${args[0]} took more than ${timeoutMs} ms`));
        else if (bytes > OUTPUT_BYTES_MAX) reject(new SyncError("TOO_LARGE", `git ${args[0]} said too much`));
        else resolve({ code: code ?? -1, stdout: Buffer.concat(chunks), stderr: stderr() });
      });
      child.stdin?.end(input ?? "");
    });

  return {
    gitDir,
    start,
    run,
    async need(args, options) {
      const output = await run(args, options);
      if (output.code !== 0) throw gitError(args[0] ?? "", output.stderr);
      return output.stdout;
    },
    async *stream(args) {
      const { child, stderr } = start(args);
      const ended = new Promise<number>((resolve, reject) => {
        child.on("error", (error) => reject(notStarted(error)));
        child.on("close", (code) => resolve(code ?? -1));
      });
      ended.catch(() => {}); // told below, when the output has been read
      child.stdin?.end();
      let finished = false;
      try {
        for await (const chunk of child.stdout ?? []) yield chunk as Buffer;
        finished = true;
      } finally {
        if (!finished) end(child);
      }
      if ((await ended) !== 0) throw gitError(args[0] ?? "", stderr());
    },
  };
}

/** Where a command can lead a group of processes, and be ended with all that it has started. */
const GROUPS = process.platform !== "win32";

/**
 * Ends a command, politely, and its helpers with it: git that is told to end leaves the one behind that speaks with the
 * remote, which may wait for ever and holds the pipes.
 */
function end(child: ChildProcess): void {
  const { pid } = child;
  if (!GROUPS || pid === undefined) {
    child.kill();
    return;
  }
  try {
    process.kill(-pid, "SIGTERM");
  } catch {
    child.kill(); // the group is gone, or not there yet
  }
}

function notStarted(error: Error & { code?: string }): SyncError {
  if (error.code === "ENOENT") {
    const cure = `install git ${GIT_VERSION_MIN} or later and put it on the PATH`;
    return new SyncError("NOT_FOUND", "git is not installed, or its folder is gone", { cure, cause: error });
  }
  return new SyncError("UNAVAILABLE", "git could not be started", { cause: error });
}

/** What git says, in English by LC_ALL=C, and what it means for the caller. The first that matches counts. */
const MEANINGS: readonly (readonly [RegExp, ErrorCode, string | undefined])[] = [
  [/dubious ownership/, "UNAUTHORISED", "git config --global --add safe.directory DIR"],
  [
    /could not read (?:Username|Password)|Authentication failed|Permission denied|returned error: 40[13]|access denied|Host key verification failed|not authorized/i,
    "UNAUTHORISED",
    "check the credentials that git uses for this remote",
  ],
  [
    /not appear to be a git repository|not a git repository|[Rr]epository .*not found|returned error: 404|does not exist|not a gitdir/,
    "NOT_FOUND",
    "correct the URL, or create the repository",
  ],
  [/Read-only file system|unable to create.*(?:denied|Read-only)|insufficient permission/i, "READONLY", undefined],
  [/No space left|disk quota/i, "UNAVAILABLE", "free some space on the disk of the repository"],
  [
    /is corrupt|bad object|bad tree|inflate|unable to read tree|missing blob/i,
    "CORRUPT",
    "run git fsck in the repository",
  ],
];

/** A failed command as an error with its cure. Its text has passed {@link redact}. */
export function gitError(command: string, stderr: string): SyncError {
  const lines = stderr.split("\n").filter((line) => line !== "");
  const said = lines.find((line) => /^(?:fatal|error|remote|ERROR)/.test(line)) ?? lines.at(-1) ?? "no reason given";
  for (const [pattern, code, cure] of MEANINGS) {
    if (pattern.test(stderr)) {
      return new SyncError(code, `git ${command}: ${said}`, cure === undefined ? {} : { cure });
    }
  }
  return new SyncError("UNAVAILABLE", `git ${command}: ${said}`);
}

/** @throws SyncError NOT_FOUND or UNSUPPORTED when there is no git of a sufficient version. */
export async function checkGit(git: Git): Promise<void> {
  const text = (await git.need(["version"])).toString("utf8").trim();
  const match = /(\d+)\.(\d+)/.exec(text);
  const [major = 0, minor = 0] = GIT_VERSION_MIN.split(".").map(Number);
  const [have, haveMinor] = [Number(match?.[1]), Number(match?.[2])];
  if (have > major || (have === major && haveMinor >= minor)) return;
  throw new SyncError("UNSUPPORTED", `${text} is too old`, { cure: `install git ${GIT_VERSION_MIN} or later` });
}
