import type { Chain } from "../chain/chain.ts";
import type { Ending } from "../ending.ts";
import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { VersionClock } from "../version.ts";
import type { Grant } from "./grants.ts";
import type { Counters } from "./metrics.ts";

/** How much one request may ask for. All in bytes, milliseconds or counts. */
export interface NodeLimits {
  /** A larger body of a request is refused, except that of a value that can go as a stream. Default 64 MiB. */
  readonly bodyBytesMax: number;
  /** How many keys, writes or items a batch has at most. Default 10,000. */
  readonly batchMax: number;
  /** How many keys a page of a list or of the feed has at most. Default 10,000. */
  readonly pageMax: number;
  /** How many keys the unstorage mount lists, or clears, at a time: it has no pages. Default 100,000. */
  readonly keysMax: number;
  /** How long a request may take, whatever it asks for. Default 60,000. */
  readonly requestMs: number;
  /** How long a write waits for its acknowledgement level before it is answered with 202. Default 10,000. */
  readonly ackMs: number;
  /** How many feeds may be open. Default 1,000. */
  readonly watchesMax: number;
  /** How often a feed says that it is alive. Default 5,000, at least 20. */
  readonly heartbeatMs: number;
  /** How many nodes a request may come through. Default 8. */
  readonly hopsMax: number;
}

export const LIMITS: NodeLimits = {
  bodyBytesMax: 64 * 2 ** 20,
  batchMax: 10_000,
  pageMax: 10_000,
  keysMax: 100_000,
  requestMs: 60_000,
  ackMs: 10_000,
  watchesMax: 1_000,
  heartbeatMs: 5_000,
  hopsMax: 8,
};

/** What all requests of a node share. */
export interface NodeState {
  readonly name: string;
  readonly chain: Chain;
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  readonly limits: NodeLimits;
  readonly counters: Counters;
  /** Monotonic ms. */
  readonly startedAt: number;
  /** The node stops: feeds end. */
  readonly stopping: Ending;
  readonly isReady: () => boolean;
  /** Feeds that are open. */
  watches: number;
  /** The clear of the unstorage mount. */
  readonly allowClear: boolean;
}

/** One request on its way through the node. */
export interface Call {
  readonly state: NodeState;
  readonly request: Request;
  readonly url: URL;
  readonly grant: Grant;
  /** On `Runtime.monotonic()`. */
  readonly deadline: number;
  /** The same for what goes on for as long as its reader reads: only what the request asks for. */
  readonly patience: { readonly deadline?: number };
  /** Unix ms at which it arrived. */
  readonly receivedAt: number;
}

/** @throws SyncError INVALID. */
export function wholeNumber(name: string, text: string | null, max: number): number | undefined {
  if (text === null) return undefined;
  if (!/^\d{1,15}$/.test(text.trim())) {
    throw new SyncError("INVALID", `${name} is not a whole number`, { cure: `give digits, as in ${name}: 100` });
  }
  return Math.min(Number(text), max);
}
