import { asSyncError } from "../error.ts";
import type { SyncError } from "../error.ts";
import { isExpired } from "../entry.ts";
import type { Head } from "../entry.ts";
import type { CallOptions, Forget } from "../store.ts";
import { checkCall } from "../store.ts";
import { isLow, versionMs } from "../version.ts";
import type { Version } from "../version.ts";
import type { LayerCalls } from "./call.ts";
import { forgetEverywhere } from "./forget.ts";
import { routeOf } from "./state.ts";
import type { ChainState } from "./state.ts";
import { HEADS_ONLY } from "./stream.ts";

export interface CollectOptions extends CallOptions {
  /** Counts only, removes nothing. Default false. */
  readonly dryRun?: boolean | undefined;
}

/** What a collection came to. */
export interface Collected {
  /** Tombstones and expired entries that were removed for good (with `dryRun`: that would be). */
  readonly removed: number;
  /** Those that are old enough, but which some store has in an older state or this node's journal still carries. */
  readonly kept: number;
  /** What kept a part of the keys from being looked at; undefined when nothing did. */
  readonly error: SyncError | undefined;
}

/** How many keys are looked at in one call of each store. */
const BATCH_MAX = 500;

/**
 * Removes tombstones and expired entries for good: those that ended longer ago than the retention and that no store has
 * in an older state. Each store raises its collection watermark first, and the deepest goes first, so that nothing below
 * can bring back what is gone above. What is written later with an older version is refused as too old.
 *
 * Over a read-only store nothing is collected: it would uncover what lies there. Several nodes may collect at a time.
 */
export async function collect(
  state: ChainState,
  retentionMs: number,
  options: CollectOptions = {},
): Promise<Collected> {
  const endedBefore = state.runtime.now() - retentionMs;
  let [removed, kept] = [0, 0];
  let error: SyncError | undefined;
  const take = async (heads: readonly Head[], index: number) => {
    const judged = await judge(state, heads, index);
    const items = judged.filter(({ isProven }) => isProven).map(({ head }) => forgetOf(head));
    if (options.dryRun !== true && items.length > 0) await forgetEverywhere(state, items);
    // What several stores have is counted with the first of them.
    for (const { isProven, isFirst } of judged)
      if (isFirst) [removed, kept] = isProven ? [removed + 1, kept] : [removed, kept + 1];
  };
  for (const [index, calls] of state.calls.entries()) {
    if (calls.layer.role !== "store" || calls.layer.readonly) continue;
    try {
      let batch: Head[] = [];
      for await (const head of ended(state, calls, endedBefore)) {
        checkCall(state.runtime, options, state.name, "collect");
        batch.push(head);
        if (batch.length < BATCH_MAX) continue;
        await take(batch, index);
        batch = [];
      }
      if (batch.length > 0) await take(batch, index);
    } catch (thrown) {
      error = asSyncError(thrown, { store: calls.layer.name, operation: "collect" });
      if (error.code === "ABORTED" || (error.code === "TIMEOUT" && options.deadline !== undefined)) throw error;
    }
  }
  return { removed, kept, error };
}

/** What one store has of keys that have had no value for long enough. */
async function* ended(state: ChainState, { layer, iterate }: LayerCalls, endedBefore: number): AsyncIterable<Head> {
  const listed = iterate("list", (call) => layer.store.list({ prefix: "" }, { ...call, detail: "entries" }));
  for await (const item of listed) {
    // A layer that could not be listed is asked again next time.
    if (item.kind === "partial" || item.head === null || !isEnded(item.head, endedBefore)) continue;
    const stores = routeOf(state, item.key).filter((index) => state.layers[index]?.role === "store");
    if (stores.every((index) => state.layers[index]?.readonly === false)) yield item.head;
  }
}

function isEnded(head: Head, endedBefore: number): boolean {
  // What was derived from a history comes from there again.
  if (isLow(head.version)) return false;
  if (head.state === "deleted") return versionMs(head.version) <= endedBefore;
  return isExpired(head, endedBefore);
}

/**
 * What of these may go by what each store has. A node above has collected by what this chain answers its readers, which
 * is the newest that one of them has.
 * @throws SyncError when a store does not answer.
 */
export async function proven(state: ChainState, items: readonly Forget[]): Promise<readonly Forget[]> {
  const collected = items.filter(({ reason }) => reason === "collected");
  const judged = await judge(state, collected, -1);
  const kept = new Set(collected.filter((_, i) => judged[i]?.isProven !== true));
  return items.filter((item) => !kept.has(item));
}

interface Judged<H> {
  readonly head: H;
  /** Every store has exactly this version, or nothing, and this node's journal carries nothing of the key. */
  readonly isProven: boolean;
  /** No store above the one that was listed has it. */
  readonly isFirst: boolean;
}

type Key = Pick<Head, "key" | "version">;

async function judge<H extends Key>(
  state: ChainState,
  heads: readonly H[],
  listed: number,
): Promise<readonly Judged<H>[]> {
  const held = await Promise.all(
    state.calls.map(({ layer }, index) => versionsIn(state, layer.role === "store" ? index : -1, heads)),
  );
  return heads.map((head, i) => {
    const versions = held.map((ofStore) => ofStore[i]);
    const isOlder = versions.some((version) => version !== undefined && version !== head.version);
    const isPending = state.behind?.journal.newest(head.key) !== undefined;
    return { head, isProven: !isOlder && !isPending, isFirst: versions.indexOf(head.version) === listed };
  });
}

async function versionsIn(
  state: ChainState,
  index: number,
  heads: readonly Key[],
): Promise<readonly (Version | undefined)[]> {
  const calls = state.calls[index];
  if (calls === undefined) return [];
  const { layer, call } = calls;
  const { batchMax } = layer.store.supports;
  const versions: (Version | undefined)[] = [];
  for (let at = 0; at < heads.length; at += batchMax) {
    const keys = heads.slice(at, at + batchMax).map(({ key }) => key);
    const answers = await call("read", (options) => layer.store.read(keys, { ...options, ...HEADS_ONLY }), keys.length);
    versions.push(...answers.map(({ entry }) => entry?.version));
  }
  return versions;
}

function forgetOf({ key, version }: Head): Forget {
  return { key, version, reason: "collected" };
}
