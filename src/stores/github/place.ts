import { SyncError } from "../../error.ts";
import type { Place, Seen } from "../git-layout/place.ts";
import { README, README_PATH } from "../git-layout/record.ts";
import { inRepository } from "../git-layout/names.ts";
import type { NewCommit } from "../git-layout/repository.ts";
import type { Runtime } from "../../runtime.ts";
import type { CallOptions } from "../../store.ts";
import { json } from "./api.ts";
import type { Api } from "./api.ts";
import { asking } from "./asking.ts";
import { byMutation } from "./by-mutation.ts";
import { byRest, encodeRef, isText } from "./by-rest.ts";
import { githubCommits, trailersOf } from "./commits.ts";
import { messageOf, statusError } from "./failures.ts";
import { githubObjects } from "./objects.ts";
import { pace } from "./pace.ts";
import { githubPaths } from "./paths.ts";
import { githubPieces } from "./pieces.ts";
import { foresee, learnFolders, parcelOf } from "./publish.ts";
import type { Made, Parcel } from "./publish.ts";
import { githubRepository } from "./repository.ts";
import type { GithubWebhook } from "./webhook.ts";

export interface GithubPlaceSettings {
  readonly runtime: Runtime;
  readonly api: Api;
  readonly owner: string;
  readonly repo: string;
  readonly branch: string;
  readonly prefix: string;
  readonly author: { readonly name: string; readonly email: string } | undefined;
  readonly refusesWrites: Place["refusesWrites"];
  readonly keptBytesMax: number;
  readonly webhook: GithubWebhook | undefined;
  readonly close: () => Promise<void>;
}

/** Entries of one request that makes a folder, or of one mutation. */
const ENTRIES = { min: 10, start: 50, max: 400 };
/** GitHub takes about 40 MB; base64 adds a third. */
const MUTATION_BYTES_MAX = 16 * 1024 * 1024;
const MUTATION_ENTRIES = 400;
/** More than this is split between requests anyhow, unless a request for each value would be the price. */
const MUTATION_ENTRIES_MAX = 2_000;
/** GitHub may show a branch as it was before one's own commit for so long. */
const LAG_MS = 15_000;
const NO_OPTIONS: CallOptions = {};

/** A branch on GitHub. Its head is asked for with a tag, which costs nothing of the hourly limit while it stays. */
export function githubPlace(settings: GithubPlaceSettings): Place {
  const { runtime, api, owner, repo, branch, prefix, author, refusesWrites, keptBytesMax, webhook } = settings;
  const base = `/repos/${owner}/${repo}`;
  const pieces = githubPieces(api, owner, repo);
  const objects = githubObjects({ api, pieces, owner, repo, keptBytesMax });
  const commits = githubCommits(api, owner, repo);
  const entries = pace(ENTRIES.min, ENTRIES.start, ENTRIES.max);
  let last: { readonly etag: string; readonly commit: string } | undefined;
  let hasMutation = true;
  /** Heads that commits of our own came after, and until when GitHub may still name them. */
  const passed = new Map<string, number>();
  let own: string | undefined;

  const reference = async (): Promise<string | null> => {
    const path = `${base}/git/ref/heads/${encodeRef(branch)}`;
    const answer = await api.rest({ method: "GET", path, etag: last?.etag }, NO_OPTIONS);
    if (answer.status === 304 && last !== undefined) return last.commit;
    last = undefined;
    if (answer.status === 404 || (answer.status === 409 && /empty/i.test(messageOf(answer)))) return null;
    if (answer.status !== 200) throw statusError(answer, "read");
    const { object } = json(answer) as { object: { sha: string } };
    const etag = answer.headers["etag"];
    if (etag !== undefined) last = { etag, commit: object.sha };
    return object.sha;
  };

  const head = async (): Promise<string | null> => {
    const commit = await reference();
    if (commit !== null && own !== undefined && (passed.get(commit) ?? 0) > runtime.now()) return own;
    return commit;
  };
  const asked = asking(runtime, head);

  const settingsOfWays = { api, commits, owner, repo, branch };
  const mutation = byMutation({ ...settingsOfWays, runtime, objects, head: reference });
  const rest = byRest({ ...settingsOfWays, author, head: reference, entries });

  const wayFor = ({ commit, deletes, files }: Parcel) => {
    if (!hasMutation || commit.parent === null) return rest;
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const count = deletes.length + files.length;
    if (bytes > MUTATION_BYTES_MAX) return rest;
    const isAllText = files.every((file) => file.bytes === undefined || isText(file.bytes));
    return count <= (isAllText ? MUTATION_ENTRIES : MUTATION_ENTRIES_MAX) ? mutation : rest;
  };

  const send = async (parcel: Parcel, options: CallOptions): Promise<Made | undefined> => {
    const way = wayFor(parcel);
    try {
      return await way(parcel, options);
    } catch (error) {
      const isWithout = way === mutation && error instanceof SyncError && error.code === "UNSUPPORTED";
      if (!isWithout) throw error;
      hasMutation = false;
      return rest(parcel, options);
    }
  };

  /** GitHub takes no commit by its data interface into a repository without any: its first one is a file by itself. */
  const seed = async ({ message }: NewCommit, options: CallOptions): Promise<void> => {
    const path = inRepository(prefix, README_PATH);
    const content = Buffer.from(README).toString("base64");
    const body = { message: message.replace(/^[^\n]*/, "Sync: begin"), content, branch };
    const url = `${base}/contents/${path.split("/").map(encodeURIComponent).join("/")}`;
    const call = { method: "PUT", path: url, body, cost: { write: 1, create: 1, push: 1 } } as const;
    const answer = await api.rest(call, options);
    // 409 and 422: somebody else was faster, which is as good.
    if (answer.status === 404) throw statusError(answer, "write");
  };

  const isEmpty = async (): Promise<boolean> => {
    const answer = await api.rest({ method: "GET", path: `${base}/git/ref/heads/${encodeRef(branch)}` }, NO_OPTIONS);
    return answer.status === 409;
  };

  return {
    repository: githubRepository(objects, githubPaths(objects, pieces), commits),
    branch,
    refusesWrites,
    remote: true,
    head: (notBefore): Promise<Seen> => asked.since(notBefore),
    async publish(made, options) {
      if (made.parent === null && (await isEmpty())) {
        await seed(made, options);
        return undefined; // there is a commit now, whoever made it: on top of that
      }
      const asOf = runtime.now();
      const parcel = await parcelOf(objects, commits, made);
      const [done, isForeseen] = await Promise.all([send(parcel, options), foresee(objects, parcel)]);
      if (done === undefined) {
        passed.clear();
        return undefined;
      }
      const now = runtime.now();
      for (const [id, until] of passed) if (until <= now) passed.delete(id);
      if (made.parent !== null) passed.set(made.parent, now + LAG_MS);
      own = done.id;
      asked.know({ commit: done.id, asOf });
      commits.learn({ id: done.id, parent: made.parent, tree: done.tree, trailers: trailersOf(made.message) });
      if (!isForeseen) await learnFolders(objects, parcel);
      return done.id;
    },
    onPush: (listener) => webhook?.subscribe(`${owner}/${repo}`, branch, listener) ?? (() => {}),
    tidy: () => Promise.resolve(undefined), // GitHub packs by itself
    interrupt: () => void settings.close(),
    async close() {
      await asked.settle();
      await settings.close();
    },
  };
}
