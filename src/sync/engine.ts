import type { Chain } from "../chain/chain.ts";
import type { Entry } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import type { SlotIndex } from "../slot.ts";
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
  /** What memory holds below a prefix, by the rest of the key; see {@link indexOf}. */
  readonly indexes: Map<string, SlotIndex>;
  /** Updates of one key, one after the other. */
  readonly updates: Turns;
  /** Loads of `getOrSet` under way, by lens and full key. */
  readonly loads: WeakMap<Lens, Map<string, Promise<Loaded | undefined>>>;
}

/** What all who wait for a load get: each decodes it by itself unless it can be shared. */
export interface Loaded {
  readonly entry: Entry;
  /** The name of the layer that answered; "" for what was just loaded. */
  readonly from: string;
}

/** Namespaces beyond this many have no index: their hits put the whole key together. */
const INDEXES_MAX = 1_000;

/** The index that all namespaces of this prefix share; undefined for the root, and for one too many. */
export function indexOf({ indexes }: Engine, prefix: string): SlotIndex | undefined {
  if (prefix === "") return undefined;
  let index = indexes.get(prefix);
  if (index === undefined && indexes.size < INDEXES_MAX) indexes.set(prefix, (index = new Map()));
  return index;
}
