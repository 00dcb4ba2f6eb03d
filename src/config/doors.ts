import { chain } from "../chain/chain.ts";
import type { Chain } from "../chain/chain.ts";
import { layer } from "../chain/layer.ts";
import { SyncError } from "../error.ts";
import type { Store } from "../store.ts";
import { memory as memoryStore } from "../stores/memory.ts";
import type { MemoryOptions, MemoryStore } from "../stores/memory.ts";
import { syncOver } from "../sync.ts";
import type { Sync, SyncOptions } from "../sync.ts";
import { systemRuntime } from "../system.ts";
import { versionClock } from "../version.ts";

/** A store in this process. */
export function memory(options: Partial<MemoryOptions> = {}): MemoryStore {
  return memoryStore({ runtime: systemRuntime, ...options });
}

/**
 * Typed values over a store or a chain that one has; it is closed with the Sync.
 * @param options of a chain: the clock that it was made with. @throws SyncError INVALID without it.
 */
export async function sync(store: Store | Chain, options: Partial<SyncOptions> = {}): Promise<Sync> {
  const { runtime = systemRuntime } = options;
  if (isChain(store)) {
    const { clock } = options;
    if (clock === undefined) {
      throw new SyncError("INVALID", "the clock of the chain is not given", {
        store: store.name,
        cure: "give sync the clock that chain was given: versions come from one clock in a process",
      });
    }
    return syncOver(store, { ...options, runtime, clock });
  }
  const clock = options.clock ?? (await versionClock({ runtime }));
  return syncOver(chain([layer(store)], { runtime, clock }), { ...options, runtime, clock });
}

function isChain(store: Store | Chain): store is Chain {
  return "layers" in store;
}
