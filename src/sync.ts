import type { Chain } from "./chain/chain.ts";
import { defaultCodec } from "./codec.ts";
import type { Codec } from "./codec.ts";
import type { Runtime } from "./runtime.ts";
import { hold } from "./sync/hold.ts";
import type { Sync } from "./sync/types.ts";
import { turns } from "./sync/turns.ts";
import { View } from "./sync/view.ts";
import type { VersionClock } from "./version.ts";

export { BatchError } from "./sync/batch-error.ts";
export type * from "./sync/types.ts";

export interface SyncOptions {
  readonly runtime: Runtime;
  /** The clock that the chain was given: one per process. */
  readonly clock: VersionClock;
  /** Default: JSON where the value goes round exactly, else MessagePack; bytes and texts as themselves. */
  readonly codec?: Codec | undefined;
  /** How many updates of one key may wait for each other in this process; more end with OVERLOADED. Default 10,000. */
  readonly updatesMax?: number | undefined;
}

const UPDATES_MAX = 10_000;

/** Typed values over a chain. It takes the chain over: closing it closes the chain. */
export function syncOver(chain: Chain, options: SyncOptions): Sync {
  const { runtime, clock, codec = defaultCodec, updatesMax = UPDATES_MAX } = options;
  const engine = { chain, runtime, clock, hold: hold(chain), updates: turns(updatesMax), loads: new Map() };
  // The types of values exist for the compiler alone.
  return new View(engine, { codec, schema: undefined }, "") as unknown as Sync;
}
