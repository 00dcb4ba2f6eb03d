import { checkKey } from "../../entry.ts";
import type { Ending } from "../../ending.ts";
import { SyncError, asSyncError } from "../../error.ts";
import { EVENT, errorOf, headFrom } from "../../protocol.ts";
import type { ChangeData } from "../../protocol.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Change, Range, WatchOptions } from "../../store.ts";
import type { NodeClient } from "./client.ts";
import { eventsOf } from "./events.ts";
import { understood } from "./understood.ts";

export interface FeedOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly client: NodeClient;
  readonly heartbeatMs: number;
  /** A watch that could not go on for so long fails, in milliseconds. */
  readonly timeoutMs: number;
  /** The store is closed. */
  readonly closing: Ending;
  /** A connection to the feed stands: the node may be another than before. */
  readonly onConnected: () => void;
}

const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 2_000;

/**
 * One watch over the node's feed. A connection that breaks off or falls silent is told as an interruption and made again,
 * and the feed goes on after the last change that was told; an event that is missing in the middle of it means that
 * changes were missed.
 */
export async function* feed(options: FeedOptions, range: Range, watch: WatchOptions): AsyncIterable<Change> {
  const { runtime, store, closing } = options;
  const { signal, deadline } = watch;
  const control = new AbortController();
  const stop = () => control.abort();
  closing.add(stop);
  signal?.addEventListener("abort", stop, { once: true });
  let isLate = false;
  const end = () => {
    isLate = true;
    stop();
  };
  const timer = deadline === undefined ? undefined : runtime.timer(Math.max(0, deadline - runtime.monotonic()), end);
  try {
    yield* following(options, range, watch, control.signal);
  } catch (error) {
    if (closing.isOver) return;
    if (signal?.aborted === true) throw aborted(signal, store, "watch");
    if (isLate) throw new SyncError("TIMEOUT", "the deadline passed", { store, operation: "watch" });
    throw error;
  } finally {
    timer?.cancel();
    closing.delete(stop);
    signal?.removeEventListener("abort", stop);
    control.abort();
  }
}

async function* following(
  options: FeedOptions,
  range: Range,
  watch: WatchOptions,
  signal: AbortSignal,
): AsyncIterable<Change> {
  const { runtime, store, timeoutMs } = options;
  let { cursor } = watch;
  let isInterrupted = false;
  let failures = 0;
  let brokenAt: number | undefined;
  for (;;) {
    let broken: SyncError;
    try {
      for await (const change of connection(options, range, { ...watch, cursor }, signal)) {
        failures = 0;
        brokenAt = undefined;
        if (change === "alive") continue;
        if (change.kind === "relist") return yield change;
        if (change.kind === "interrupted") isInterrupted = true;
        else ({ cursor } = change);
        if (change.kind === "current") isInterrupted = false;
        yield change;
      }
      broken = new SyncError("UNAVAILABLE", "the node ended the feed", { store, operation: "watch" });
    } catch (error) {
      if (signal.aborted) throw error;
      broken = asSyncError(error, { store, operation: "watch" });
      if (!broken.retryable) throw broken;
    }
    if (!isInterrupted) yield { kind: "interrupted", reason: broken.what };
    isInterrupted = true;
    brokenAt ??= runtime.monotonic();
    if (runtime.monotonic() - brokenAt >= timeoutMs) throw broken;
    const backoffMs = Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MS_MAX);
    await sleep(runtime, 1 + randomBelow(runtime, backoffMs), signal);
  }
}

/** What one connection tells, until it ends. @throws SyncError when it breaks off or falls silent. */
async function* connection(
  { client, store, heartbeatMs, onConnected }: FeedOptions,
  { prefix }: Range,
  { cursor, initial, intervalMs }: WatchOptions,
  signal: AbortSignal,
): AsyncIterable<Change | "alive"> {
  const query = new URLSearchParams({ prefix, heartbeat: String(heartbeatMs) });
  if (cursor !== undefined) query.set("since", cursor);
  else if (initial !== undefined) query.set("initial", initial ? "1" : "0");
  if (intervalMs !== undefined) query.set("interval", String(Math.round(intervalMs)));
  const answer = await client.feed(`changes?${query.toString()}`, { signal });
  let expected = 0;
  for await (const { event, data } of eventsOf(answer.body)) {
    const told = parsed(data);
    if (told === undefined) throw new SyncError("UNAVAILABLE", "an event of the feed cannot be read", { store });
    if (told.seq !== expected) {
      yield { kind: "relist", reason: `event ${expected} of the feed is missing` };
      return;
    }
    if (expected++ === 0) onConnected();
    if (event === EVENT.error) throw errorOf(told.error, { store, operation: "watch" });
    const change = understood({ store, operation: "watch" }, () => changeOf(event, told));
    yield change;
    if (change !== "alive" && change.kind === "relist") return;
  }
}

function parsed(data: string): ChangeData | undefined {
  try {
    const value = JSON.parse(data) as unknown;
    return typeof value === "object" && value !== null && "seq" in value ? (value as ChangeData) : undefined;
  } catch {
    return undefined;
  }
}

/** Throws for an event that is malformed. */
function changeOf(event: string, { key, head, cursor, reason }: ChangeData): Change | "alive" {
  switch (event) {
    case EVENT.change: {
      if (typeof key !== "string" || typeof cursor !== "string" || head === undefined) break;
      checkKey(key);
      return { kind: "change", key, head: head === null ? null : headFrom(key, head), cursor };
    }
    case EVENT.current:
      if (typeof cursor !== "string") break;
      return { kind: "current", cursor };
    case EVENT.interrupted:
      return { kind: "interrupted", reason: typeof reason === "string" ? reason : "the node is not told of changes" };
    case EVENT.relist:
      return { kind: "relist", reason: typeof reason === "string" ? reason : "changes were missed" };
    default:
      return "alive";
  }
  throw new SyncError("INVALID", "the event is not complete");
}
