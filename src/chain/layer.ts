import type { Budget } from "../budget.ts";
import { SyncError } from "../error.ts";
import type { Store } from "../store.ts";

/** A `cache` may forget anything at any time; a `store` keeps everything. */
export type Role = "cache" | "store";

export interface LayerOptions {
  /** For messages, acknowledgement levels and statistics. Default: the store's name. Unique within a chain. */
  readonly name?: string;
  /** Default: "store" for the last layer of a chain, else "cache". */
  readonly role?: Role;
  /** How long a copy counts as fresh after its asOf, in milliseconds. Default 60,000. */
  readonly ttlMs?: number;
  /** Up to which share of `ttlMs` each copy's freshness is shortened, so that copies do not end together. Default 0.1. */
  readonly jitter?: number;
  /**
   * How long after its freshness an old copy may still be answered, marked stale, while the layers below do not
   * answer, in milliseconds. Default 300,000.
   */
  readonly graceMs?: number;
  /** Answer an old copy within its grace at once, marked stale, and refresh it meanwhile. Default false. */
  readonly staleWhileRefresh?: boolean;
  /** The largest value this layer is given; a larger one leaves a stub. Default: the store's own limits. */
  readonly valueBytesMax?: number;
  /** What a write does to this layer: put the entry there, or a stub of it. Default "update". */
  readonly onWrite?: "update" | "invalidate";
  /** The layer is for keys with one of these prefixes only. Default: all keys. */
  readonly prefixes?: readonly string[];
  /** Nothing is written to this layer. Default: the store's own `supports.readonly`. */
  readonly readonly?: boolean;
  /** Carry changes that others make in this layer to the layers above it. Default: true for a shared `store`. */
  readonly watch?: boolean;
  /**
   * For a `store` above others: give it everything that the layers below hold, at opening and after each gap in their
   * watches, so that the authority knows of what others changed there meanwhile. Once it has all that, lists ask it and
   * not the layers below. Costs one listing of them at opening, in the background. Default: true for a store that takes
   * writes of all keys and has only watched stores below it.
   */
  readonly bootstrap?: boolean;
  /** How often a layer that has to be polled is looked at for changes, in milliseconds. Default 1,000. */
  readonly watchIntervalMs?: number;
  /**
   * How long one call of this layer may take, in milliseconds, for each 1,000 entries of it begun. Default 2,000 for
   * caches, 10,000 for stores.
   */
  readonly deadlineMs?: number;
  /** Failures in a row after which the layer is skipped for a while. Default 5. */
  readonly breakerFailures?: number;
  /**
   * Of a layer that is written behind: how long writes have to pause before they are sent, in milliseconds, so that a
   * burst becomes one batch. Default: by the layer's place, see the chain's `syncIntervalMs`.
   */
  readonly flushIntervalMs?: number;
  /** How long an entry waits at most before it is sent, though writes go on, in milliseconds. Default 5 intervals. */
  readonly flushDelayMsMax?: number;
  /** How many entries are sent in one batch at most. Default 10,000, or what the store takes. */
  readonly flushEntriesMax?: number;
  /** How many bytes of values are sent in one batch at most; a larger value goes alone. Default 16 MiB. */
  readonly flushBytesMax?: number;
  /** What each batch is paid from, one push and one write. Default: no budget. */
  readonly budget?: Budget | undefined;
  /** How long an open circuit breaker skips the layer before it lets one call try, in milliseconds. Default 5,000. */
  readonly breakerMs?: number;
}

/** A store in its place in a chain: every option decided. */
export interface Layer extends Required<Omit<LayerOptions, Undecided>>, Pick<LayerOptions, Undecided> {
  readonly store: Store;
  /** The largest value this layer is given piece by piece; 0: none. */
  readonly streamBytesMax: number;
}

/** Intervals go by what else is in the chain; a budget is there or not. */
type Undecided = "budget" | "flushIntervalMs" | "flushDelayMsMax";

/** A store with its options, before its place in the chain is known. */
export interface LayerSpec {
  readonly store: Store;
  readonly options: LayerOptions;
}

/** Longer timers fire at once on common platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** @throws SyncError INVALID for one that is given and not from 0 to `max`. */
export function checkNumbers(
  store: string,
  numbers: Readonly<Record<string, number | undefined>>,
  max = Number.POSITIVE_INFINITY,
): void {
  for (const [name, value] of Object.entries(numbers)) {
    if (value === undefined || (typeof value === "number" && value >= 0 && value <= max)) continue;
    const range = max === Number.POSITIVE_INFINITY ? "of 0 or more" : `from 0 to ${max}`;
    throw new SyncError("INVALID", `option ${name} is a number ${range}`, { store });
  }
}

/** @throws SyncError INVALID for an option out of range. */
export function layer(store: Store, options: LayerOptions = {}): LayerSpec {
  const { ttlMs, jitter, graceMs, valueBytesMax, deadlineMs, breakerFailures, breakerMs, prefixes } = options;
  const { watchIntervalMs, role, onWrite, flushIntervalMs, flushDelayMsMax, flushEntriesMax, flushBytesMax } = options;
  checkNumbers(store.name, {
    ttlMs,
    graceMs,
    valueBytesMax,
    breakerFailures,
    breakerMs,
    flushEntriesMax,
    flushBytesMax,
  });
  const timers = { watchIntervalMs, flushIntervalMs, flushDelayMsMax };
  checkNumbers(store.name, { deadlineMs: deadlineMs === Infinity ? undefined : deadlineMs, ...timers }, TIMER_MS_MAX);
  if (role !== undefined && role !== "cache" && role !== "store") {
    throw new SyncError("INVALID", "layer option role is cache or store", { store: store.name });
  }
  if (onWrite !== undefined && onWrite !== "update" && onWrite !== "invalidate") {
    throw new SyncError("INVALID", "layer option onWrite is update or invalidate", { store: store.name });
  }
  if (jitter !== undefined && !(jitter >= 0 && jitter < 1)) {
    throw new SyncError("INVALID", "layer option jitter is a share from 0 up to but not 1", { store: store.name });
  }
  if (prefixes !== undefined && prefixes.length === 0) {
    throw new SyncError("INVALID", "layer option prefixes is empty: the layer would hold nothing", {
      store: store.name,
      cure: "leave it out for all keys",
    });
  }
  return { store, options };
}

/** Whether a layer with these prefixes holds a key. None means all keys. */
export function isFor(prefixes: readonly string[], key: string): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => key.startsWith(prefix));
}
