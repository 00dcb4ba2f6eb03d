import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { budget } from "../../../src/budget.ts";
import type { Limit } from "../../../src/budget.ts";
import type { Store } from "../../../src/store.ts";
import { github } from "../../../src/stores/github/index.ts";
import type { GithubBudgets, GithubOptions } from "../../../src/stores/github/index.ts";
import { systemRuntime } from "../../../src/system.ts";
import { githubServer } from "../../servers/github.ts";
import type { GithubServer } from "../../servers/github.ts";

/** A server with one repository, and stores of it that are closed with it. */
export interface GithubWorld {
  readonly server: GithubServer;
  readonly folder: string;
  /** The bare repository. */
  readonly bare: string;
  open(url?: string, options?: GithubOptions): Promise<Store>;
  close(): Promise<void>;
}

const HOUR_MS = 3_600_000;
const limit = (name: string): Limit => ({
  name,
  max: 1e7,
  windowMs: HOUR_MS,
  weights: { read: 1, write: 1, create: 1, push: 1 },
});

/** Limits that no test reaches; those that are to be reached bring their own. */
export function ampleBudgets(): GithubBudgets {
  return {
    rest: budget({ runtime: systemRuntime, name: "rest", limits: [limit("requests an hour")] }),
    graphql: budget({ runtime: systemRuntime, name: "graphql", limits: [limit("GraphQL points an hour")] }),
  };
}

export async function githubWorld(): Promise<GithubWorld> {
  const folder = mkdtempSync(join(tmpdir(), "microsync-github-"));
  const server = await githubServer(join(folder, "served"));
  const bare = server.create("octo", "store");
  const opened = new Set<Store>();
  const budgets = ampleBudgets();
  return {
    server,
    folder,
    bare,
    async open(url = "github:octo/store#main", options = {}) {
      const store = await github(url, {
        runtime: systemRuntime,
        api: server.api,
        token: "tok_octo",
        budgets,
        cacheFolder: join(folder, "cache"),
        ...options,
      });
      opened.add(store);
      return store;
    },
    async close() {
      for (const store of opened) await store.close();
      await server.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
