import { access, constants, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { SyncError, asSyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Store, Supports } from "../../store.ts";
import { systemRuntime } from "../../system.ts";
import { versionClock } from "../../version.ts";
import type { VersionClock } from "../../version.ts";
import { Branch } from "../git-layout/branch.ts";
import { cacheFolder, fingerprint } from "../git-layout/cache.ts";
import { checkFormat } from "../git-layout/format.ts";
import { loadHistory } from "../git-layout/history.ts";
import type { Place } from "../git-layout/place.ts";
import type { LayoutReport } from "../git-layout/report.ts";
import { branchStore } from "../git-layout/store.ts";
import { checkGit, gitCommand, gitError } from "./command.ts";
import type { Git } from "./command.ts";
import { direct } from "./direct.ts";
import { folderOf, largeFiles } from "./large.ts";
import type { LargeOptions } from "./large.ts";
import { CHECKED_OUT_CURE, REMOTE, REMOTE_REFS, mirror } from "./mirror.ts";
import type { GitPlace } from "./place.ts";
import { remoteConfig } from "./remote-config.ts";
import { parseGitUrl } from "./url.ts";
import type { GitUrl } from "./url.ts";

export interface GitOptions extends LargeOptions {
  readonly runtime?: Runtime | undefined;
  /** What relative paths start from. Default: the working folder. */
  readonly folder?: string | undefined;
  /** Stamps what persons changed. Default: a clock of its own. */
  readonly clock?: VersionClock | undefined;
  /** Creates the repository (bare) or the branch when it is not there. Default false. */
  readonly create?: boolean | undefined;
  /** Folder for mirrors of remotes and for what was read from logs. Default: the user's cache folder. */
  readonly cacheFolder?: string | undefined;
  /** Author of the commits. Default: git's user.name and user.email, else "Sync". */
  readonly author?: { readonly name: string; readonly email: string } | undefined;
  /** True: never write. False: do not ask the remote at opening whether it takes pushes. Default: ask. */
  readonly readonly?: boolean | undefined;
  /** A larger value is refused. Default 100 MiB, which is what GitHub takes. */
  readonly valueBytesMax?: number | undefined;
  /** A read of a mirror that says nothing else is answered by what was fetched so long ago at most. Default 1,000. */
  readonly freshMs?: number | undefined;
  /** For one command that speaks with a remote. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  readonly onReport?: ((report: LayoutReport) => void) | undefined;
}

/** Once per process is enough. */
let gitChecked: Promise<void> | undefined;

const BATCH_MAX = 10_000;
const VALUE_BYTES_MAX = 100 * 1024 * 1024;
const FRESH_MS = 1_000;
const TIMEOUT_MS = 60_000;

/**
 * Opens `git:PATH-OR-URL#branch:prefix`. Writes nothing to a repository that is there.
 * @throws SyncError NOT_FOUND (no git, repository or branch), UNAUTHORISED, UNAVAILABLE, INVALID, UNSUPPORTED.
 */
export async function git(url: string, options: GitOptions = {}): Promise<Store> {
  const parsed = parseGitUrl(url, options.folder);
  try {
    return await opened(parsed, options);
  } catch (error) {
    const known = asSyncError(error, { store: "git", operation: "open" });
    if (known.store !== undefined) throw known;
    const cure = known.cure === undefined ? {} : { cure: known.cure };
    const where = known.cure === undefined ? known.message : known.message.replace(` (${known.cure})`, "");
    throw new SyncError(known.code, `${parsed.shown}: ${where}`, {
      store: "git",
      operation: "open",
      ...cure,
      cause: error,
    });
  }
}

async function opened(url: GitUrl, options: GitOptions): Promise<Store> {
  const { runtime = systemRuntime, valueBytesMax = VALUE_BYTES_MAX, freshMs = FRESH_MS } = options;
  for (const [name, value] of Object.entries({ valueBytesMax, freshMs, timeoutMs: options.timeoutMs ?? TIMEOUT_MS })) {
    if (!(value >= 0)) throw new SyncError("INVALID", `${name} is a number from 0 on`);
  }
  await (gitChecked ??= checkGit(gitCommand({ runtime })).catch((error: unknown) => {
    gitChecked = undefined;
    throw error;
  }));
  const clock = options.clock ?? (await versionClock({ runtime }));
  const cache = join(options.cacheFolder ?? cacheFolder("git"), fingerprint(url.remote));
  const place = await placeOf(url, options, runtime, cache);
  try {
    const historyFile = join(cache, `history-${fingerprint(`${place.branch}\0${url.prefix}`)}`);
    const report = options.onReport ?? (() => {});
    const author = await authorOf(place.git, options.author);
    const gitDir = await objectsDir(url, place, runtime);
    const large = largeFiles({
      ...options,
      runtime,
      url,
      branch: place.branch,
      gitDir,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
    });
    const settings = { store: "git", large, runtime, clock, place, prefix: url.prefix, author, historyFile, report };
    const branch = new Branch(settings, await loadHistory(historyFile));
    const { view } = await branch.view(runtime.now());
    if (view.commit !== null) await checkFormat(branch.naming, view.commit);
    const supports: Supports = {
      keyBytesMax: 512,
      valueBytesMax,
      streamBytesMax: large === undefined ? 0 : Infinity,
      batchMax: BATCH_MAX,
      conditional: true,
      atomicBatch: true,
      stubs: false,
      watch: "poll",
      expiry: false,
      writers: "many",
      durable: true,
      shared: true,
      asOf: "known",
      readonly: place.refusesWrites !== undefined,
    };
    return branchStore({ runtime, branch, supports, freshMs, report });
  } catch (error) {
    await place.close();
    throw error;
  }
}

/** Where the repository itself is, when it is on this machine, and not just a mirror of it. */
async function objectsDir(url: GitUrl, { git, remote }: GitPlace, runtime: Runtime): Promise<string | undefined> {
  if (!remote) return git.gitDir;
  const folder = folderOf(url);
  return folder === undefined ? undefined : (await repositoryAt(folder, runtime))?.git.gitDir;
}

async function placeOf(url: GitUrl, options: GitOptions, runtime: Runtime, cache: string): Promise<GitPlace> {
  if (url.path === undefined) return remotePlace(url, options, runtime, cache);
  const found = await repositoryAt(url.path, runtime);
  if (found !== undefined && !found.bare) return checkoutPlace(url, options, runtime, cache, found.git);
  if (found !== undefined) return directPlace(url, options, runtime, found);
  if (options.create !== true) throw await notARepository(url.path);
  await mkdir(url.path, { recursive: true });
  const branch = url.branch ?? "main";
  await gitCommand({ runtime }).need(["init", "--quiet", "--bare", `--initial-branch=${branch}`, "--", url.path]);
  const git = gitCommand({ runtime, gitDir: url.path });
  return directPlace(url, options, runtime, { git, bare: true, algorithm: "sha1" });
}

async function notARepository(path: string): Promise<SyncError> {
  const there = await stat(path).then(
    () => true,
    () => false,
  );
  const what = there ? "is not a git repository" : "does not exist";
  const cure = "correct the path, make one with `git init --bare PATH`, or open with create: true";
  return new SyncError("NOT_FOUND", `${path} ${what}`, { store: "git", operation: "open", cure });
}

interface Found {
  readonly git: Git;
  readonly bare: boolean;
  readonly algorithm: "sha1" | "sha256";
}

/** The repository that is exactly here: bare, or the one of a working tree whose top this is. */
async function repositoryAt(path: string, runtime: Runtime): Promise<Found | undefined> {
  for (const gitDir of [path, join(path, ".git")]) {
    const is = await stat(gitDir).catch(() => undefined); // not there, or not for us: git would not find it either
    if (is === undefined || (gitDir === path && !is.isDirectory())) continue;
    const probe = gitCommand({ runtime });
    const what = ["--is-bare-repository", "--is-shallow-repository", "--show-object-format", "--absolute-git-dir"];
    const { code, stdout, stderr } = await probe.run([`--git-dir=${gitDir}`, "rev-parse", ...what]);
    if (code !== 0) {
      if (/dubious ownership/.test(stderr)) throw gitError("rev-parse", stderr);
      continue;
    }
    const [bare, isShallow, format, absolute = gitDir] = stdout.toString("utf8").trim().split("\n");
    if (isShallow === "true") throw shallow();
    const algorithm = format === "sha256" ? "sha256" : "sha1";
    return { git: gitCommand({ runtime, gitDir: absolute }), bare: bare === "true", algorithm };
  }
  return undefined;
}

async function directPlace(url: GitUrl, options: GitOptions, runtime: Runtime, found: Found): Promise<GitPlace> {
  const { git, algorithm } = found;
  const text = async (args: readonly string[]) => (await git.run(args)).stdout.toString("utf8").trim();
  const [ref, refs] = await Promise.all([
    text(["symbolic-ref", "--quiet", "HEAD"]),
    text(["for-each-ref", "--format=%(refname)"]),
  ]);
  const head = ref.replace(/^refs\/heads\//, "");
  const branch = branchOf(url, options, head, refs === "" ? [] : refs.split("\n"));
  const writable = await access(join(git.gitDir ?? "", "objects"), constants.W_OK).then(
    () => true,
    () => false,
  );
  const refusesWrites = asked(options) ?? (writable ? undefined : NOT_WRITABLE);
  return direct({ runtime, git, branch, algorithm, refusesWrites });
}

/** A person's checkout: never touched. Commits go there by a push, under the rules that git has for it. */
async function checkoutPlace(
  url: GitUrl,
  options: GitOptions,
  runtime: Runtime,
  cache: string,
  checkout: Git,
): Promise<GitPlace> {
  const trees = (await checkout.need(["worktree", "list", "--porcelain"])).toString("utf8");
  const place = await remotePlace(url, { ...options, readonly: options.readonly ?? false }, runtime, cache);
  const isOut = trees.split("\n").includes(`branch refs/heads/${place.branch}`);
  const deny = (await checkout.run(["config", "receive.denyCurrentBranch"])).stdout.toString("utf8").trim();
  if (!isOut || /^(?:ignore|warn|updateInstead|false|no|off|0)$/i.test(deny)) return place;
  const refusesWrites = asked(options) ?? {
    what: `the branch ${place.branch} is checked out in ${url.shown}`,
    cure: CHECKED_OUT_CURE,
  };
  return { ...place, refusesWrites };
}

async function remotePlace(url: GitUrl, options: GitOptions, runtime: Runtime, cache: string): Promise<GitPlace> {
  const { timeoutMs = TIMEOUT_MS } = options;
  const config = [
    ...remoteConfig(REMOTE, url.remote),
    [`remote.${REMOTE}.fetch`, `+refs/heads/*:${REMOTE_REFS}/*`],
  ] as const;
  const anywhere = gitCommand({ runtime, config });
  const answer = await anywhere.run(["ls-remote", "--symref", REMOTE], { timeoutMs });
  if (answer.code !== 0) throw gitError("ls-remote", answer.stderr);
  const lines = answer.stdout
    .toString("utf8")
    .split("\n")
    .filter((line) => line !== "");
  const head = /^ref: refs\/heads\/(.*)\tHEAD$/m.exec(lines.join("\n"))?.[1] ?? "main";
  const refs = lines.filter((line) => !line.startsWith("ref:")).map((line) => line.split("\t")[1] ?? "");
  const algorithm = lines.some((line) => /^[0-9a-f]{64}\t/.test(line)) ? "sha256" : "sha1";
  const branch = branchOf(url, options, head, refs);

  const gitDir = join(cache, `mirror-${algorithm}.git`);
  await mkdir(cache, { recursive: true, mode: 0o700 });
  await gitCommand({ runtime }).need(["init", "--quiet", "--bare", `--object-format=${algorithm}`, "--", gitDir]);
  const git = gitCommand({ runtime, gitDir, config });
  const known = refs.includes(`refs/heads/${branch}`);
  const refusesWrites =
    asked(options) ?? (options.readonly === undefined && known ? await pushRefused(git, branch, timeoutMs) : undefined);
  return mirror({ runtime, git, branch, algorithm, refusesWrites, timeoutMs });
}

/** Asks the remote to delete a branch that cannot be there, without doing it: enough to learn whether it takes pushes. */
async function pushRefused(git: Git, branch: string, timeoutMs: number): Promise<Place["refusesWrites"]> {
  const none = `refs/heads/microsync-probe-of-${branch}`;
  const { code, stderr } = await git.run(["push", "--dry-run", "--no-verify", "--porcelain", REMOTE, `:${none}`], {
    timeoutMs,
  });
  if (code === 0 || /remote ref does not exist/.test(stderr)) return undefined;
  const error = gitError("push", stderr);
  if (error.code === "UNAVAILABLE" && !/not enabled|hung up|Could not read from remote/.test(stderr)) throw error;
  return { what: `the remote takes no pushes from here: ${error.message}`, cure: "give git credentials that may push" };
}

function asked({ readonly }: GitOptions): Place["refusesWrites"] {
  return readonly === true ? { what: "the store was opened read-only", cure: "open it without readonly" } : undefined;
}

const NOT_WRITABLE = { what: "the repository's folder may not be written", cure: "give this user write access to it" };

function branchOf(url: GitUrl, { create }: GitOptions, head: string, refs: readonly string[]): string {
  const branches = refs.flatMap((ref) => (ref.startsWith("refs/heads/") ? [ref.slice("refs/heads/".length)] : []));
  const branch = url.branch ?? (head === "" ? "main" : head);
  if (branches.includes(branch) || refs.length === 0 || create === true) return branch;
  const shown = branches.slice(0, 10).join(", ") + (branches.length > 10 ? ", …" : "");
  throw new SyncError("NOT_FOUND", `${url.shown} has no branch ${branch}`, {
    store: "git",
    operation: "open",
    cure: `it has ${shown === "" ? "none" : shown}; name one of them after #, or open with create: true`,
  });
}

function shallow(): SyncError {
  const what = "the repository is shallow: where its commits stand cannot be counted";
  return new SyncError("UNSUPPORTED", what, { cure: "git fetch --unshallow" });
}

async function authorOf(git: Git, author: GitOptions["author"]): Promise<string> {
  const { stdout } = await git.run(["config", "--null", "--get-regexp", "^user\\.(name|email)$"]);
  const configured = new Map(
    stdout
      .toString("utf8")
      .split("\0")
      .map((line) => [line.slice(0, line.indexOf("\n")), line.slice(line.indexOf("\n") + 1)] as const),
  );
  const name = plainText(author?.name ?? configured.get("user.name") ?? "");
  const email = plainText(author?.email ?? configured.get("user.email") ?? "");
  return `${name === "" ? "Sync" : name} <${email === "" ? "sync@localhost" : email}>`;
}

/** Without what would end a name or an address in a commit. */
function plainText(text: string): string {
  return text.replace(/[<>\p{Cc}]/gu, "").trim();
}
