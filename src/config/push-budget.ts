import { createHash } from "node:crypto";
import { GITHUB_LIMITS, budget } from "../budget.ts";
import type { Budget } from "../budget.ts";
import type { Runtime } from "../runtime.ts";

/** Where pushes are limited, and by what. A push is no request of an API, so no other limit counts it. */
const LIMITED = new Map([["github.com", GITHUB_LIMITS.filter(({ weights }) => weights.push !== undefined)]]);
/** So many credentials are remembered. */
const CREDENTIALS_MAX = 100;
/** By a digest, so that no credential is kept here. */
const SHARED = new WeakMap<Runtime, Map<string, Budget>>();

/** What pushes to this remote are paid from, the same for all chains of this process that use the credential. */
export function pushBudget(runtime: Runtime, remote: string): Budget | undefined {
  const [, user = "", host = ""] = /^(?:\w+(?:\+\w+)?:\/\/)?(?:([^@/]*)@)?([\w.-]+)/.exec(remote) ?? [];
  const limits = LIMITED.get(host.toLowerCase());
  if (limits === undefined) return undefined;
  const key = createHash("sha256").update(`${host.toLowerCase()}\0${user}`).digest("hex");
  let all = SHARED.get(runtime);
  if (all === undefined) SHARED.set(runtime, (all = new Map()));
  const found = all.get(key) ?? budget({ runtime, name: `pushes to ${host}`, limits });
  if (all.size < CREDENTIALS_MAX) all.set(key, found);
  return found;
}
