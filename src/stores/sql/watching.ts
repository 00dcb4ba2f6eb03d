import type { Head } from "../../entry.ts";
import type { CallOptions, Change, Range, WatchOptions } from "../../store.ts";
import { formatCursor, parseCursor } from "./cursor.ts";
import type { Feed, Spot } from "./dialect.ts";

export interface Watching {
  readonly feed: Feed;
  /** Heads after a key, a page of them; fewer than a full page only at the end. */
  readonly page: (
    range: Range,
    after: string | undefined,
    call: CallOptions,
  ) => Promise<{ heads: Head[]; last: boolean }>;
  /** False when the store is being closed. @throws SyncError when the caller has given up. */
  readonly goesOn: () => boolean;
  /** How often something was said to have changed. */
  readonly rings: () => number;
  /** Resolves when it is time to look again. @param seen `rings` before the last look. */
  readonly wait: (seen: number) => Promise<void>;
}

const LOST = "the cursor is of another history: the server was restarted or restored, or this is another database";

/** What was stored after a cursor, then what is stored from now on, by looking at the order of commits. */
export async function* watching(range: Range, options: WatchOptions, use: Watching): AsyncIterable<Change> {
  const { feed, goesOn } = use;
  const call: CallOptions = { signal: options.signal, deadline: options.deadline };
  const began = await feed.now(call);
  const { epoch } = began;
  let from = began.at;
  let to: string | undefined;
  let spot: Spot | undefined;
  let initialKey: string | undefined;
  let initial = options.cursor === undefined && options.initial !== false;
  if (options.cursor !== undefined) {
    const cursor = parseCursor(options.cursor, (text) => feed.isPosition(text));
    if (cursor === undefined || cursor.epoch !== epoch) return yield { kind: "relist", reason: LOST };
    ({ from } = cursor);
    if (cursor.kind === "initial") [initial, initialKey] = [true, cursor.key];
    if (cursor.kind === "page") ({ to, spot } = cursor);
  }

  while (initial) {
    if (!goesOn()) return;
    const { heads, last } = await use.page(range, initialKey, call);
    for (const head of heads) {
      if (!goesOn()) return;
      initialKey = head.key;
      yield {
        kind: "change",
        key: head.key,
        head,
        cursor: formatCursor({ kind: "initial", epoch, from, key: head.key }),
      };
    }
    initial = !last;
  }

  // The rest of an old cursor's page reaches only as far as that page did: not yet to the moment this watch began.
  let isOld = to !== undefined;
  let told = false;
  while (goesOn()) {
    const seen = use.rings();
    const page = await feed.look(range, from, to, spot, call);
    if (page.epoch !== epoch) return yield { kind: "relist", reason: LOST };
    if (page.missed) return yield { kind: "relist", reason: "removals that were not told yet have been trimmed" };
    for (const { head, spot: at } of page.changes) {
      if (!goesOn()) return;
      const cursor = formatCursor({ kind: "page", epoch, from, to: page.to, spot: at });
      yield { kind: "change", key: at.key, head, cursor };
    }
    if (page.full) {
      ({ to } = page);
      spot = page.changes.at(-1)?.spot;
      continue;
    }
    from = page.to;
    to = undefined;
    spot = undefined;
    if (isOld) {
      isOld = false;
      continue;
    }
    if (!told) {
      told = true;
      yield { kind: "current", cursor: formatCursor({ kind: "told", epoch, from }) };
      if (!goesOn()) return;
    }
    await use.wait(seen);
  }
}
