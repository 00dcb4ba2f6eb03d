import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Through which nodes the request came that is being answered, this one last. A chain knows nothing of requests, and the
 * calls that it makes for one are found by where they run.
 */
const hops = new AsyncLocalStorage<readonly string[]>();

export function withHops<T>(via: readonly string[], work: () => Promise<T>): Promise<T> {
  return hops.run(via, work);
}

export function currentHops(): readonly string[] {
  return hops.getStore() ?? [];
}
