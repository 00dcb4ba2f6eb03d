import type { Chain } from "./chain/chain.ts";
import { defaultCodec } from "./codec.ts";
import type { Codec } from "./codec.ts";
import { hold } from "./sync/hold.ts";
import type { Sync } from "./sync/types.ts";
import { turns } from "./sync/turns.ts";
import { View } from "./sync/view.ts";

export { BatchError } from "./sync/batch-error.ts";
export type * from "./sync/types.ts";

export interface SyncOptions {
  /** Default: JSON where the value goes round exactly, else MessagePack; bytes and texts as themselves. */
  readonly codec?: Codec | undefined;
  /** How many updates of one key may wait for each other in this process; more end with OVERLOADED. Default 10,000. */
  readonly updatesMax?: number | undefined;
}

const UPDATES_MAX = 10_000;

/** Typed values over a chain. It takes the chain over: closing it closes the chain. */
export function syncOver(chain: Chain, options: SyncOptions = {}): Sync {
  const { runtime, clock } = chain;
  const { codec = defaultCodec, updatesMax = UPDATES_MAX } = options;
  const engine = {
    chain,
    runtime,
    clock,
    hold: hold(chain),
    updates: turns(updatesMax),
    loads: new WeakMap(),
    indexes: new Map(),
  };
  // The types of values exist for the compiler alone.
  return new View(engine, { codec, schema: undefined }, "") as unknown as Sync;
}
