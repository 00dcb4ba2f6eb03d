import { chain } from "../chain/chain.ts";
import type { Chain } from "../chain/chain.ts";
import { layer } from "../chain/layer.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import { memory as memoryStore } from "../stores/memory.ts";
import type { MemoryOptions, MemoryStore } from "../stores/memory.ts";
import { syncOver } from "../sync.ts";
import type { Sync, SyncOptions } from "../sync.ts";
import { systemRuntime } from "../system.ts";
import { retry as retryStore } from "../wrappers/retry.ts";
import type { RetryOptions } from "../wrappers/retry.ts";
import { versionClock } from "../version.ts";
import type { VersionClock } from "../version.ts";

/** A store in this process. */
export function memory(options: Partial<MemoryOptions> = {}): MemoryStore {
  return memoryStore({ runtime: systemRuntime, ...options });
}

/** The store, tried again where that may help. */
export function retry(store: Store, options: Partial<RetryOptions> = {}): Store {
  return retryStore(store, { runtime: systemRuntime, ...options });
}

export interface SyncStoreOptions extends SyncOptions {
  /** Of a store that is no chain: where time comes from. Default: the platform. A chain has its own. */
  readonly runtime?: Runtime | undefined;
  /** Of a store that is no chain: what stamps writes. Default: a new one. A chain has its own. */
  readonly clock?: VersionClock | undefined;
}

/** Typed values over a store or a chain that one has; it is closed with the Sync. */
export async function sync(store: Store | Chain, options: SyncStoreOptions = {}): Promise<Sync> {
  if (isChain(store)) return syncOver(store, options);
  const { runtime = systemRuntime } = options;
  const clock = options.clock ?? (await versionClock({ runtime }));
  return syncOver(chain([layer(store)], { runtime, clock }), options);
}

function isChain(store: Store | Chain): store is Chain {
  return "layers" in store;
}
