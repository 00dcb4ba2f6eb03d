import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Through which nodes the request came that is being answered, this one last. A chain knows nothing of requests, and the
 * calls that it makes for one are found by where they run.
 */
const hops = new AsyncLocalStorage<readonly string[]>();

/** Before anybody asked they are not kept: on Node 20 to keep them costs every callback of the process. */
let isAsked = false;

export function withHops<T>(via: readonly string[], work: () => Promise<T>): Promise<T> {
  return isAsked ? hops.run(via, work) : work();
}

/** For a store that asks other nodes: what tells the hops of the request that is being answered, of those that begin now. */
export function askForHops(): () => readonly string[] {
  isAsked = true;
  return () => hops.getStore() ?? [];
}
