import { join } from "node:path";
import { jsonCodec, layer, open, systemRuntime } from "microsync";
import type { ChainSpec, LayerSpec, OpenOptions, Sync } from "microsync";
import { github, githubBudgets } from "microsync/github";
import { BRANCH, OWNER, REPOSITORY, TOKEN } from "./servers.ts";
import type { Servers } from "./servers.ts";

/** The chains of the tour. All of them are of one node, whose clock is kept in the folder. */
export interface Chains {
  /** What the deepest layer is called. */
  readonly truth: string;
  /** memory → etcd → PostgreSQL → git. With a journal, a write is acknowledged when it is on this disk. */
  whole(withJournal: boolean): Promise<Sync>;
  /** What is beside it: memory → S3, with a journal of its own. */
  beside(): Promise<Sync>;
  /** One store and nothing else, to see what it holds. */
  alone(layer: "postgres" | "git" | "s3"): Promise<Sync>;
}

/** Below this etcd and S3 keep what is the tour's. */
export const PREFIX = "tour";
/** A copy stays fresh for an hour here, since the watches tell of every change at once. */
const FRESH = "ttl=1h";
/** A server that came back is asked again at once, so that the tour shows its own speed and not that of patience. */
const QUICK = "breakerPause=500ms";
const SYNC_INTERVAL_MS = 100;
/** After a failure there is nobody left to send to. */
const DRAIN_MS = 2_000;
const GIT_DEADLINE_MS = 120_000;
const BUCKET = "tour";

export function chains(folder: string, { etcd, postgres, s3, git }: Servers): Chains {
  const memory = `memory:?bytesMax=512mb&${FRESH}`;
  const near = `etcd://${etcd.cluster.endpoints}/${PREFIX}?role=cache&bytesMax=1gb&deadline=10s&${FRESH}&${QUICK}`;
  // It is to be seen how reads fill it; `bootstrap` would do that behind them.
  const table = `${postgres.url}?create=true&bootstrap=false&deadline=60s&${FRESH}&${QUICK}`;
  const { accessKeyId, secretAccessKey, url } = s3.gateway;
  const keys = `accessKeyId=${accessKeyId}&secretAccessKey=${secretAccessKey}`;
  const bucket = `s3://${BUCKET}/${PREFIX}/?endpoint=${url}&create=true&deadline=120s&${keys}&${QUICK}`;
  const cache = join(folder, "mirror");

  const remote = async (): Promise<string | LayerSpec> => {
    if (git.api === undefined) {
      const options = `deadline=2m&watchInterval=200ms&${QUICK}&cacheFolder=${encodeURIComponent(cache)}`;
      return `git:${git.remote}#${BRANCH}?${options}`;
    }
    const store = await github(`github:${OWNER}/${REPOSITORY}#${BRANCH}`, {
      runtime: systemRuntime,
      api: git.api,
      token: TOKEN,
      cacheFolder: cache,
      // GitHub's limits are not those of the stand-in: by them this would take an hour.
      budgets: githubBudgets({ runtime: systemRuntime, rest: [], graphql: [] }),
    });
    return layer(store, { role: "store", deadlineMs: GIT_DEADLINE_MS, breakerMs: 500, watchIntervalMs: 200 });
  };
  const openIn = (spec: ChainSpec, options: OpenOptions = {}) =>
    // Indented, so that the files in git are pleasant to read.
    open(spec, { base: folder, clock: "clock", codec: jsonCodec({ indent: 2 }), drainMs: DRAIN_MS, ...options });
  const behind = { syncIntervalMs: SYNC_INTERVAL_MS };
  return {
    truth: git.api === undefined ? "git" : "github",
    whole: async (withJournal) =>
      openIn([memory, near, table, await remote()], withJournal ? { journal: "journal", ...behind } : {}),
    beside: () => openIn([memory, bucket], { journal: "journal-s3", clock: "clock-s3", ...behind }),
    alone: async (which) => openIn([which === "postgres" ? table : which === "s3" ? bucket : await remote()]),
  };
}
