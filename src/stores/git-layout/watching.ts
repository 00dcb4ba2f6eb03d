import { SyncError } from "../../error.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Change, Range, WatchOptions } from "../../store.ts";
import type { Branch } from "./branch.ts";
import { difference } from "./difference.ts";
import { list } from "./listing.ts";
import { within } from "./patience.ts";
import type { View } from "./snapshot.ts";

export interface Watching {
  readonly branch: Branch;
  readonly runtime: Runtime;
  /** Aborted when the store closes. */
  readonly closing: AbortSignal;
  /** Throws when the call should not go on. */
  readonly check: () => void;
}

/**
 * Up to where a watch has told. As text: `COMMIT`; `COMMIT~KEY` while the initial state is told, everything up to that
 * key as of that commit; `COMMIT>NEXT>COUNT` within the difference of two commits, the first so many keys of it.
 * The commit before the first one is `none`.
 */
interface Told {
  readonly commit: string | null;
  readonly initialKey?: string | undefined;
  readonly next?: { readonly commit: string; readonly count: number } | undefined;
}

const CURSOR = /^(none|[0-9a-f]{40,64})(?:~(.+)|>([0-9a-f]{40,64})>([0-9]{1,9}))?$/su;
const INTERVAL_MS = 1_000;
const WINDOW = 512;

/** Looks at the branch at an interval, and at once when this store itself moved it. */
export async function* watch(watching: Watching, range: Range, options: WatchOptions): AsyncIterable<Change> {
  const { branch, runtime, closing, check } = watching;
  const { store } = branch.naming;
  const { cursor, initial = true, intervalMs = INTERVAL_MS } = options;
  if (!(intervalMs > 0)) throw new SyncError("INVALID", "intervalMs is a positive number of milliseconds", { store });
  const start = cursor === undefined ? undefined : parse(cursor);
  if (cursor !== undefined && start === undefined) {
    return yield { kind: "relist", reason: "the cursor is not one of this store" };
  }
  const wake = waker(runtime);
  const stopListening = branch.onOwnCommit(wake.now);
  const stopHearing = branch.place.onPush(wake.soon);
  closing.addEventListener("abort", wake.now, { once: true });
  options.signal?.addEventListener("abort", wake.now, { once: true });
  try {
    let rewrites = branch.rewrites;
    const look = () =>
      within(
        runtime,
        store,
        "watch",
        options,
        branch.view(runtime.now()).then(({ view }) => view),
      );
    let view = await look();
    rewrites = branch.rewrites;
    let told: Told;
    if (start === undefined) {
      told = initial ? { commit: view.commit, initialKey: "" } : { commit: view.commit };
    } else {
      told = start;
      const lost = await lostSince(branch, start, view.commit);
      if (lost !== undefined) return yield { kind: "relist", reason: lost };
    }

    if (told.initialKey !== undefined) {
      const { commit, initialKey } = told;
      // What was told already may have changed since.
      const at = cursorOf(told);
      for await (const change of changesBetween(branch, commit, view, range)) {
        check();
        yield { ...change, cursor: at };
      }
      const after = initialKey === "" ? undefined : initialKey;
      const listing = {
        branch,
        runtime,
        check,
        stop: <T>(work: Promise<T>) => within(runtime, store, "watch", options, work),
      };
      for await (const item of list(listing, range, { detail: "entries", after })) {
        if (item.kind !== "entry") continue;
        yield {
          kind: "change",
          key: item.key,
          head: item.head,
          cursor: cursorOf({ commit: view.commit, initialKey: item.key }),
        };
      }
      told = { commit: view.commit };
    }

    let current = false;
    for (;;) {
      if (told.next !== undefined) {
        yield* tell(branch, told, view, range, check);
        told = { commit: told.next.commit };
      }
      if (view.commit !== null && told.commit !== view.commit) {
        yield* tell(branch, { commit: told.commit, next: { commit: view.commit, count: 0 } }, view, range, check);
        told = { commit: view.commit };
      }
      if (!current) yield { kind: "current", cursor: cursorOf(told) };
      current = true;
      if (branch.shown === told.commit) await wake.after(intervalMs, options.deadline);
      if (closing.aborted) return;
      if (options.signal?.aborted === true) throw aborted(options.signal, store, "watch");
      check();
      view = await look();
      if (branch.rewrites !== rewrites) return yield { kind: "relist", reason: "the branch was rewritten" };
    }
  } catch (error) {
    if (closing.aborted && error instanceof SyncError && error.code === "CLOSED") return;
    throw error;
  } finally {
    stopListening();
    stopHearing();
    wake.cancel();
    closing.removeEventListener("abort", wake.now);
    options.signal?.removeEventListener("abort", wake.now);
  }
}

/** The changes from `told.commit` to `told.next`, after the first so many. The heads are those of the view. */
async function* tell(branch: Branch, told: Told, view: View, range: Range, check: () => void): AsyncIterable<Change> {
  const { commit, next } = told;
  if (next === undefined) return;
  let count = 0;
  for await (const change of changesBetween(branch, commit, view, range, next.commit)) {
    count++;
    if (count <= next.count) continue;
    check();
    yield { ...change, cursor: cursorOf({ commit, next: { commit: next.commit, count } }) };
  }
}

async function* changesBetween(
  branch: Branch,
  from: string | null,
  view: View,
  { prefix }: Range,
  to: string | null = view.commit,
): AsyncIterable<Omit<Extract<Change, { kind: "change" }>, "cursor">> {
  if (to === null || from === to) return;
  const different = await difference(branch.naming, from, to);
  const inRange = different.filter(({ key }) => key.startsWith(prefix));
  for (let at = 0; at < inRange.length; at += WINDOW) {
    const window = inRange.slice(at, at + WINDOW);
    const knowns = await branch.look(
      view,
      window.map(({ key }) => key),
    );
    for (const [i, { key, record }] of window.entries()) {
      const known = knowns[i];
      // A file that only moved, to make room for a folder of its name.
      if (!record && known?.recorded !== undefined && !view.pending.has(key)) continue;
      yield { kind: "change", key, head: known?.head ?? null };
    }
  }
}

function cursorOf({ commit, initialKey, next }: Told): string {
  const at = commit ?? "none";
  if (initialKey !== undefined) return initialKey === "" ? at : `${at}~${initialKey}`;
  return next === undefined ? at : `${at}>${next.commit}>${next.count}`;
}

/** Undefined for a text that no watch of this store can have given. */
function parse(cursor: string): Told | undefined {
  const match = CURSOR.exec(cursor);
  if (match === null) return undefined;
  const [, at = "none", initialKey, next, count] = match;
  const commit = at === "none" ? null : at;
  if (next !== undefined) return { commit, next: { commit: next, count: Number(count) } };
  return { commit, initialKey };
}

/** Why nothing can be told after this cursor; undefined when it can. */
async function lostSince({ naming }: Branch, { commit, next }: Told, head: string | null): Promise<string | undefined> {
  for (const told of [commit, next?.commit ?? null]) {
    if (told === null || told === head) continue;
    if (head === null) return "the branch is empty now";
    if (!(await naming.repository.isAncestor(told, head)))
      return "the branch was rewritten: the commit of the cursor is not part of it any more";
  }
  return undefined;
}

/** Waits for an interval, and less when called. */
function waker(runtime: Runtime) {
  let timer: Timer | undefined;
  let go: (() => void) | undefined;
  let isDue = false;
  const now = () => {
    timer?.cancel();
    timer = undefined;
    go?.();
    go = undefined;
  };
  return {
    now,
    /** As now; when nothing waits, the next waiting is over at once. */
    soon: () => {
      isDue = go === undefined;
      now();
    },
    cancel: now,
    after: (delayMs: number, deadline: number | undefined) =>
      new Promise<void>((resolve) => {
        if (isDue) {
          isDue = false;
          return resolve();
        }
        go = resolve;
        const left = deadline === undefined ? delayMs : Math.max(0, Math.min(delayMs, deadline - runtime.monotonic()));
        timer = runtime.timer(left, now, true);
      }),
  };
}
