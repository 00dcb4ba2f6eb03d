import { SyncError, asSyncError } from "../error.ts";
import { EVENT, problemOf, wireHead } from "../protocol.ts";
import type { ChangeData } from "../protocol.ts";
import type { Runtime, Timer } from "../runtime.ts";
import type { Change, WatchOptions } from "../store.ts";
import { SAFE, json, problem, streamOf } from "./answering.ts";
import { allowPrefix, allowVerb } from "./grants.ts";
import { wholeNumber } from "./state.ts";
import type { Call, NodeState } from "./state.ts";

const UTF8 = new TextEncoder();
/** A poll waits so long for a change when it does not say, in milliseconds, and at most. */
const WAIT_MS = 20_000;
const WAIT_MS_MAX = 55_000;
const HEARTBEAT_MS_MIN = 20;
const INTERVAL_MS_MIN = 20;
const INTERVAL_MS = 1_000;

/** GET /v1/changes: server-sent events, or one page of JSON that waits for a change. */
export async function changes(call: Call): Promise<Response> {
  const { url, request, state } = call;
  allowVerb(call.grant, "read");
  const prefix = url.searchParams.get("prefix") ?? "";
  allowPrefix(call.grant, prefix);
  if (state.watches >= state.limits.watchesMax) {
    throw new SyncError("OVERLOADED", `there are ${state.watches} feeds already`, { cure: "try again later" });
  }
  const cursor = url.searchParams.get("since") ?? decoded(request.headers.get("last-event-id"));
  const initial = url.searchParams.get("initial");
  const options: WatchOptions = {
    ...(cursor === null ? {} : { cursor }),
    ...(initial === null ? {} : { initial: initial === "1" }),
    intervalMs: Math.max(
      INTERVAL_MS_MIN,
      wholeNumber("interval", url.searchParams.get("interval"), 3_600_000) ?? INTERVAL_MS,
    ),
  };
  const isStream = (request.headers.get("accept") ?? "").includes("text/event-stream");
  return isStream ? events(call, prefix, options) : page(call, prefix, options);
}

/** Cursors may hold what headers may not. */
function decoded(id: string | null): string | null {
  if (id === null) return null;
  try {
    return decodeURIComponent(id);
  } catch {
    return ""; // no cursor of this chain, and answered as one
  }
}

/** The chain's watch, counted, until the reader leaves or the node stops. */
function follow({ state }: Call, prefix: string, options: WatchOptions) {
  const control = new AbortController();
  const stop = () => control.abort();
  state.stopping.add(stop);
  state.watches++;
  let isOpen = true;
  const end = () => {
    if (!isOpen) return;
    isOpen = false;
    state.watches--;
    state.stopping.delete(stop);
    control.abort();
  };
  const told = state.chain.watch({ prefix }, { ...options, signal: control.signal });
  return { iterator: told[Symbol.asyncIterator](), end };
}

// ---- Server-sent events. ----

function events(call: Call, prefix: string, options: WatchOptions): Response {
  const { state, url } = call;
  const asked = wholeNumber("heartbeat", url.searchParams.get("heartbeat"), 3_600_000) ?? state.limits.heartbeatMs;
  const heartbeatMs = Math.max(HEARTBEAT_MS_MIN, Math.min(asked, state.limits.heartbeatMs));
  const headers = { ...SAFE, "content-type": "text/event-stream", "x-accel-buffering": "no" };
  // Begun by who reads it: an answer that nobody reads, as that to HEAD, is no feed that is open.
  let end = () => {};
  const begin = () => {
    const followed = follow(call, prefix, options);
    ({ end } = followed);
    return followed;
  };
  return new Response(
    streamOf(frames(state, begin, heartbeatMs), () => end()),
    { headers },
  );
}

async function* frames(
  state: NodeState,
  begin: () => ReturnType<typeof follow>,
  heartbeatMs: number,
): AsyncIterable<Uint8Array> {
  const { runtime } = state;
  const { iterator, end } = begin();
  let seq = 0;
  const frame = (event: string, data: Omit<ChangeData, "seq">) => {
    const id = data.cursor === undefined ? "" : `id: ${encodeURIComponent(data.cursor)}\n`;
    return UTF8.encode(`${id}event: ${event}\ndata: ${JSON.stringify({ seq: seq++, ...data })}\n\n`);
  };
  let next = iterator.next();
  next.catch(() => undefined);
  try {
    // At once, so that the reader knows that the feed stands though nothing may happen for long.
    yield frame(EVENT.heartbeat, {});
    for (;;) {
      const heard = await firstOf(runtime, next, heartbeatMs);
      if (heard === "nothing") {
        yield frame(EVENT.heartbeat, {});
        continue;
      }
      if (heard.done === true) return;
      yield frameOf(heard.value, frame, runtime.now());
      if (heard.value.kind === "relist") return;
      next = iterator.next();
      next.catch(() => undefined);
    }
  } catch (error) {
    if (!state.stopping.isOver) yield frame(EVENT.error, { error: problemOf(asSyncError(error)) });
  } finally {
    end();
    iterator.return?.().catch(() => undefined);
  }
}

function frameOf(
  change: Change,
  frame: (event: string, data: Omit<ChangeData, "seq">) => Uint8Array,
  now: number,
): Uint8Array {
  switch (change.kind) {
    case "change":
      return frame(EVENT.change, dataOf(change, now));
    case "current":
      return frame(EVENT.current, { cursor: change.cursor });
    case "interrupted":
      return frame(EVENT.interrupted, { reason: change.reason });
    case "relist":
      return frame(EVENT.relist, { reason: change.reason });
  }
}

function dataOf({ key, head, cursor }: Extract<Change, { kind: "change" }>, now: number) {
  return { key, head: head === null ? null : wireHead(head, now), cursor };
}

/** What comes within so many milliseconds. */
function firstOf<T>(runtime: Runtime, next: Promise<T>, ms: number): Promise<T | "nothing"> {
  let timer: Timer | undefined;
  const silence = new Promise<"nothing">((resolve) => {
    timer = runtime.timer(ms, () => resolve("nothing"), true);
  });
  return Promise.race([next, silence]).finally(() => timer?.cancel());
}

// ---- One page. ----

async function page(call: Call, prefix: string, options: WatchOptions): Promise<Response> {
  const { state, url } = call;
  const { runtime, limits } = state;
  const wait = wholeNumber("wait", url.searchParams.get("wait"), WAIT_MS_MAX / 1000);
  const until = runtime.monotonic() + (wait === undefined ? WAIT_MS : wait * 1000);
  const limit = wholeNumber("limit", url.searchParams.get("limit"), limits.pageMax) ?? 1_000;
  const { iterator, end } = follow(call, prefix, options);
  const told: object[] = [];
  let cursor = options.cursor;
  let upToDate = false;
  try {
    for (;;) {
      // Once everything is told that there is, only the first change is waited for.
      const leftMs = upToDate && told.length > 0 ? 0 : Math.max(0, until - runtime.monotonic());
      const next = iterator.next();
      next.catch(() => undefined);
      const heard = await firstOf(
        runtime,
        next,
        upToDate ? leftMs : Math.max(leftMs, call.deadline - runtime.monotonic()),
      );
      if (heard === "nothing" || heard.done === true) break;
      const { value } = heard;
      if (value.kind === "relist") return gone(value.reason);
      if (value.kind === "interrupted") {
        if (!upToDate) continue;
        upToDate = false;
        break;
      }
      cursor = value.cursor;
      if (value.kind === "current") upToDate = true;
      else told.push(dataOf(value, runtime.now()));
      if (told.length >= limit) break;
    }
  } catch (error) {
    if (!state.stopping.isOver) throw error;
  } finally {
    end();
    iterator.return?.().catch(() => undefined);
  }
  return json({ changes: told, cursor: cursor ?? null, upToDate });
}

function gone(reason: string): Response {
  return problem({
    type: "urn:microsync:must-refetch",
    title: "Changes were missed",
    status: 410,
    detail: `the feed does not go back that far: ${reason}`,
    code: "NOT_FOUND",
    reason: "must-refetch",
    retryable: false,
    cure: "begin again without since",
  });
}
