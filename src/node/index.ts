/** The door `microsync/node`: a node over any store, and a server of Node's for it. */
import { chain } from "../chain/chain.ts";
import type { Chain } from "../chain/chain.ts";
import { layer } from "../chain/layer.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import { systemRuntime } from "../system.ts";
import { versionClock } from "../version.ts";
import { nodeOver } from "./node.ts";
import type { NodeOptions, SyncNode } from "./node.ts";
import { withHops } from "./server/hops.ts";

export { ROUTES } from "./node.ts";
export type { Door, Grant, Hit, NodeLimits, NodeOptions, RequestHead, SyncNode, Verb } from "./node.ts";
export { Refused } from "./grants.ts";
export { listen } from "./server/listen.ts";
export type { ListenOptions, Listening } from "./server/listen.ts";
export { localDoor, readTokens, tokenDoor } from "./server/tokens.ts";
export type { KeptToken } from "./server/tokens.ts";

/**
 * A handler of requests over a chain, or over a store as a chain of one layer.
 * @param options its runtime is that of a store that is no chain; a chain has its own.
 * @throws SyncError INVALID for an option out of range.
 */
export async function node(
  store: Store | Chain,
  options: NodeOptions & { readonly runtime?: Runtime } = {},
): Promise<SyncNode> {
  const { runtime = systemRuntime, ...rest } = options;
  const own = { within: withHops, ...rest };
  if (isChain(store)) return nodeOver(store, own);
  const clock = await versionClock({ runtime });
  return nodeOver(chain([layer(store)], { runtime, clock }), own);
}

function isChain(store: Store | Chain): store is Chain {
  return "layers" in store;
}
