import { join } from "node:path";
import { SyncError, asSyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { CallOptions, Store, Supports } from "../../store.ts";
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
import { githubApi, json } from "./api.ts";
import type { Api } from "./api.ts";
import type { GithubApp } from "./app.ts";
import { encodeRef } from "./by-rest.ts";
import { credentials } from "./credentials.ts";
import { statusError } from "./failures.ts";
import { http } from "../wire/http.ts";
import { checkAddress } from "./address.ts";
import { largeFiles } from "./large.ts";
import { githubPlace } from "./place.ts";
import { sharedBudgets } from "./spending.ts";
import type { GithubBudgets } from "./spending.ts";
import { parseGithubUrl } from "./url.ts";
import type { GithubUrl } from "./url.ts";
import type { GithubWebhook } from "./webhook.ts";

export interface GithubOptions {
  readonly runtime?: Runtime | undefined;
  /** Stamps what persons changed. Default: a clock of its own. */
  readonly clock?: VersionClock | undefined;
  /** Default: GITHUB_TOKEN, then GH_TOKEN, of the environment. Without any, public repositories can be read. */
  readonly token?: string | undefined;
  /** In place of a token: a GitHub app that is installed on the repository. */
  readonly app?: GithubApp | undefined;
  /** Where the API is. Default: that of the URL's host. Without TLS only on this machine. */
  readonly api?: string | undefined;
  /** Creates the branch when it is not there. Default false. */
  readonly create?: boolean | undefined;
  /** Author of commits that are made by REST. Default, and always by GraphQL: whoever the credential belongs to. */
  readonly author?: { readonly name: string; readonly email: string } | undefined;
  readonly readonly?: boolean | undefined;
  /** False: large values lie in git, and pointers are values like any. Default true. */
  readonly lfs?: boolean | undefined;
  /** Values of more bytes go to Git LFS. Default 1 MiB. */
  readonly lfsAboveBytes?: number | undefined;
  /** The LFS server. Default: the one of the repository. */
  readonly lfsUrl?: string | undefined;
  /** A larger value is refused. Default 100 MiB; without LFS 35 MiB, since GitHub's blobs end at 40. */
  readonly valueBytesMax?: number | undefined;
  /** A read that says nothing else is answered by what was asked so long ago at most. Default 1,000. */
  readonly freshMs?: number | undefined;
  /** For one request, its turn in the budget included. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  /** Connections at a time. Default 8. */
  readonly connectionsMax?: number | undefined;
  /** Folders, and as much again of files, that are kept in memory. Default 64 MiB. */
  readonly keptBytesMax?: number | undefined;
  /** What the credential may spend. Default: one for all stores of this process that use the same credential. */
  readonly budgets?: GithubBudgets | undefined;
  /** Folder for what was read from the history. Default: the user's cache folder. It may be deleted at any time. */
  readonly cacheFolder?: string | undefined;
  /** Wakes watches when GitHub says that somebody pushed; they look at their interval besides. */
  readonly webhook?: GithubWebhook | undefined;
  readonly onReport?: ((report: LayoutReport) => void) | undefined;
  /**
   * Called for each answer of the API with the time that its `Date` header tells, in Unix ms, a whole second; undefined if it tells
   * none. For counting, and for comparing clocks.
   */
  readonly onAnswer?: ((date: number | undefined) => void) | undefined;
}

/** What GitHub takes for one large file with its cheapest plan. Source: docs.github.com, "About Git Large File Storage". */
const LFS_BYTES_MAX = 2 * 1024 ** 3;
const BATCH_MAX = 1_000;
const BLOB_BYTES_MAX = 35 * 1024 * 1024;
const MIB = 1024 * 1024;
const DEFAULTS = {
  valueBytesMax: 100 * MIB,
  lfsAboveBytes: MIB,
  freshMs: 1_000,
  timeoutMs: 60_000,
  connectionsMax: 8,
  keptBytesMax: 64 * MIB,
};
const NO_OPTIONS: CallOptions = {};

/**
 * Opens `github:owner/repo#branch:prefix`. Writes nothing to a repository that is there.
 * @throws SyncError NOT_FOUND (no repository or branch), UNAUTHORISED, UNAVAILABLE, INVALID, UNSUPPORTED.
 */
export async function github(url: string, options: GithubOptions = {}): Promise<Store> {
  const parsed = parseGithubUrl(url);
  try {
    return await opened(parsed, options);
  } catch (error) {
    const known = asSyncError(error, { store: "github", operation: "open" });
    const { code, what, cure, retryable, retryAfterMs } = known;
    throw new SyncError(code, `${parsed.shown}: ${what}`, {
      store: "github",
      operation: "open",
      retryable,
      ...(cure === undefined ? {} : { cure }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      cause: known,
    });
  }
}

async function opened(url: GithubUrl, options: GithubOptions): Promise<Store> {
  const { runtime = systemRuntime } = options;
  const numbers = numbersOf(options);
  const { rest, graphql } = addressesOf(url, options.api);
  const { owner, repo, prefix } = url;
  const clock = options.clock ?? (await versionClock({ runtime }));
  const wire = http({ runtime, store: "github", ...numbers });
  try {
    const who = credentials(options, process.env, runtime, `${owner}/${repo}`, async (method, path, jwt) => {
      const headers = {
        authorization: `Bearer ${jwt}`,
        accept: "application/vnd.github+json",
        "user-agent": "microsync",
      };
      const answer = await wire.send({ method, url: rest + path, headers }, MIB, {});
      if (answer.status >= 300) throw statusError(answer, "sign in as an app");
      return json(answer) as Record<string, unknown>;
    });
    const budgets = options.budgets ?? sharedBudgets(runtime, rest, who.identity);
    const { timeoutMs } = numbers;
    const { onAnswer } = options;
    const settings = { runtime, http: wire, credentials: who, budgets, rest, graphql, timeoutMs, onAnswer };
    const api = githubApi(settings);
    const found = await repositoryOf(api, url);
    const branchName = url.branch ?? found.defaultBranch;
    const refusesWrites = options.readonly === true ? ASKED : options.readonly === false ? undefined : found.refuses;
    const place = githubPlace({
      runtime,
      api,
      owner,
      repo,
      branch: branchName,
      prefix,
      author: options.author,
      refusesWrites,
      keptBytesMax: numbers.keptBytesMax,
      webhook: options.webhook,
      close: () => wire.close(),
    });
    const large = largeFiles(url, options, numbers, { runtime, branch: branchName, rest, credentials: who });
    const cache = join(options.cacheFolder ?? cacheFolder("github"), fingerprint(`${rest}/${owner}/${repo}`));
    const historyFile = join(cache, `history-${fingerprint(`${branchName}\0${prefix}`)}`);
    const report = options.onReport ?? (() => {});
    const { name = "Sync", email = "sync@localhost" } = options.author ?? {};
    const author = `${name} <${email}>`;
    const branch = new Branch(
      { store: "github", runtime, clock, place, prefix, author, historyFile, report, large },
      await loadHistory(historyFile),
    );
    const { view } = await branch.view(runtime.now());
    if (view.commit !== null) await checkFormat(branch.naming, view.commit);
    else if (options.create !== true) await checkEmpty(api, url, branchName);
    const supports: Supports = {
      keyBytesMax: 512,
      valueBytesMax: numbers.valueBytesMax,
      streamBytesMax: large === undefined ? 0 : LFS_BYTES_MAX,
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
    return branchStore({ runtime, branch, supports, freshMs: numbers.freshMs, report });
  } catch (error) {
    await wire.close();
    throw error;
  }
}

const ASKED = { what: "the store was opened read-only", cure: "open it without readonly" };

function numbersOf(options: GithubOptions): typeof DEFAULTS {
  const numbers = { ...DEFAULTS };
  if (options.lfs === false) numbers.valueBytesMax = BLOB_BYTES_MAX;
  for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const value = options[name] ?? numbers[name];
    const min = /^(?:valueBytesMax|lfsAboveBytes|freshMs)$/.test(name) ? 0 : 1;
    if (!(value >= min)) throw new SyncError("INVALID", `${name} is a number from ${min} on`);
    numbers[name] = value;
  }
  return numbers;
}

/** Where the two interfaces of a host are. @throws SyncError INVALID for an address that a token may not go to. */
function addressesOf({ host }: GithubUrl, api: string | undefined): { rest: string; graphql: string } {
  const usual = host === "github.com" ? "https://api.github.com" : `https://${host}/api/v3`;
  const rest = (api ?? usual).replace(/\/+$/, "");
  checkAddress(rest, "the API", "https://host/api/v3");
  return { rest, graphql: rest.endsWith("/api/v3") ? rest.replace(/\/v3$/, "/graphql") : `${rest}/graphql` };
}

async function repositoryOf(api: Api, { owner, repo }: GithubUrl) {
  const answer = await api.rest({ method: "GET", path: `/repos/${owner}/${repo}` }, NO_OPTIONS);
  if (answer.status !== 200) throw statusError(answer, "open");
  const { default_branch: name, permissions, archived } = json(answer) as Record<string, unknown>;
  const may = (permissions as { push?: boolean } | undefined)?.push;
  let refuses: Place["refusesWrites"];
  if (archived === true) refuses = { what: "the repository is archived", cure: "unarchive it on GitHub" };
  else if (may === false) {
    refuses = {
      what: "the token may not write to the repository",
      cure: "give it the permission Contents: read and write",
    };
  }
  return { defaultBranch: typeof name === "string" && name !== "" ? name : "main", refuses };
}

/** No such branch is only right in a repository that has none. @throws SyncError NOT_FOUND, with those there are. */
async function checkEmpty(api: Api, { owner, repo }: GithubUrl, branch: string): Promise<void> {
  const base = `/repos/${owner}/${repo}`;
  const answer = await api.rest({ method: "GET", path: `${base}/git/ref/heads/${encodeRef(branch)}` }, NO_OPTIONS);
  if (answer.status === 409) return;
  const list = await api.rest({ method: "GET", path: `${base}/branches?per_page=10` }, NO_OPTIONS);
  const names = list.status === 200 ? (json(list) as { name: string }[]).map(({ name }) => name) : [];
  if (names.length === 0) return;
  throw new SyncError("NOT_FOUND", `there is no branch ${branch}`, {
    cure: `it has ${names.join(", ")}; name one of them after #, or open with create: true`,
  });
}
