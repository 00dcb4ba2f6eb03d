import { createHash } from "node:crypto";
import { GITHUB_LIMITS, budget } from "../../budget.ts";
import type { Budget, Limit } from "../../budget.ts";
import type { Runtime } from "../../runtime.ts";

/** What one credential may spend. GitHub counts its two interfaces apart, and creations and pushes together. */
export interface GithubBudgets {
  /** REST requests; creations and pushes of both interfaces. */
  readonly rest: Budget;
  readonly graphql: Budget;
}

export interface GithubBudgetOptions {
  readonly runtime: Runtime;
  /** For messages; never the credential itself. Default "github". */
  readonly name?: string | undefined;
  /** Default: {@link GITHUB_LIMITS}. Names are kept, so that the server's counts still find theirs. */
  readonly rest?: readonly Limit[] | undefined;
  /** Default: {@link GRAPHQL_LIMITS}. */
  readonly graphql?: readonly Limit[] | undefined;
}

/** Of {@link GITHUB_LIMITS}, the one that x-ratelimit-remaining speaks of. */
export const REST_HOURLY = "requests an hour";
export const GRAPHQL_HOURLY = "GraphQL points an hour";

/** Source: docs.github.com, "Rate limits and query limits for the GraphQL API". A query counts 1, a mutation 5. */
export const GRAPHQL_LIMITS: readonly Limit[] = [
  { name: "GraphQL points a minute", max: 2_000, windowMs: 60_000, weights: { read: 1, write: 5 }, readShare: 0.2 },
  { name: GRAPHQL_HOURLY, max: 5_000, windowMs: 3_600_000, weights: { read: 1, write: 1 }, readShare: 0.2 },
];

/** Budgets of one's own, for stores that are to share other limits than GitHub's usual ones. */
export function githubBudgets(options: GithubBudgetOptions): GithubBudgets {
  const { runtime, name = "github", rest = GITHUB_LIMITS, graphql = GRAPHQL_LIMITS } = options;
  return {
    rest: budget({ runtime, name, limits: rest }),
    graphql: budget({ runtime, name: `${name} graphql`, limits: graphql }),
  };
}

/** So many credentials are remembered; their budgets outlive the stores that use them, or reopening would reset them. */
const CREDENTIALS_MAX = 100;
/** By a digest, so that no credential is kept here. */
const SHARED = new WeakMap<Runtime, Map<string, GithubBudgets>>();

/** The budgets of a credential: the same for all stores of this process that use it. */
export function sharedBudgets(runtime: Runtime, api: string, identity: string): GithubBudgets {
  const key = createHash("sha256").update(`${api}\0${identity}`).digest("hex");
  let all = SHARED.get(runtime);
  if (all === undefined) SHARED.set(runtime, (all = new Map()));
  const found = all.get(key) ?? githubBudgets({ runtime });
  all.delete(key);
  all.set(key, found);
  const [oldest] = all.keys();
  if (all.size > CREDENTIALS_MAX && oldest !== undefined) all.delete(oldest);
  return found;
}
