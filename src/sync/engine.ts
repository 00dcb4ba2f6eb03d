import type { Chain } from "../chain/chain.ts";
import type { Entry } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import type { VersionClock } from "../version.ts";
import type { Hold } from "./hold.ts";
import type { Lens } from "./lens.ts";
import type { Turns } from "./turns.ts";

/** What all views of one chain share. */
export interface Engine {
  readonly chain: Chain;
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  readonly hold: Hold;
  /** Updates of one key, one after the other. */
  readonly updates: Turns;
  /** Loads of `getOrSet` under way, by lens and full key. */
  readonly loads: Map<Lens, Map<string, Promise<Loaded | undefined>>>;
}

/** What all who wait for a load get: each decodes it by itself unless it can be shared. */
export interface Loaded {
  readonly entry: Entry;
  /** The name of the layer that answered; "" for what was just loaded. */
  readonly from: string;
}
