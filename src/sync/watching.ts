import { isDead } from "../entry.ts";
import type { Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import { randomBelow, sleep } from "../runtime.ts";
import type { Change } from "../store.ts";
import type { Engine } from "./engine.ts";
import { askBodies } from "./reading.ts";
import type { WatchEvent, WatchOptions } from "./types.ts";

/** The longest wait before a watch that never became current begins again, in milliseconds. */
const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 10_000;

/**
 * Changes as people see them: set or delete. After a gap everything is told again, tombstones included, so that no
 * change is missed for good; a listener sees each change at least once.
 */
export async function* watch(engine: Engine, prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent, void> {
  const { signal, intervalMs, onCurrent, onGap } = options;
  const range = { prefix: prefix + (options.prefix ?? "") };
  let initial = options.initial === true;
  let backoffMs = 0;
  for (;;) {
    let gap: string | undefined;
    try {
      for await (const change of engine.chain.watch(range, { signal, intervalMs, initial })) {
        if (change.kind === "relist") {
          gap = change.reason;
          break;
        }
        if (change.kind === "current") {
          backoffMs = 0;
          onCurrent?.();
          continue;
        }
        if (change.kind === "interrupted") continue; // what is missing is told later
        const event = await eventOf(engine, change);
        yield { ...event, key: change.key.slice(prefix.length) };
      }
      if (gap === undefined) return; // the chain was closed
      onGap?.(gap);
      initial = true;
      if (backoffMs > 0) await sleep(engine.runtime, randomBelow(engine.runtime, backoffMs), signal);
      backoffMs = Math.min(BACKOFF_MS_MAX, Math.max(BACKOFF_MS, 2 * backoffMs));
    } catch (error) {
      // The signal ends the iteration as `break` would; any other error is the listener's to know.
      if (signal?.aborted === true) return;
      throw error;
    }
  }
}

async function eventOf(
  engine: Engine,
  { key, head }: Extract<Change, { kind: "change" }>,
): Promise<Pick<WatchEvent, "type" | "version">> {
  if (head === null) return { type: "delete", version: null };
  if (head.state !== "stub") return typeOf(head, engine.runtime.now());
  // A stub says that there is something new, not what.
  try {
    const live = await askBodies(engine, key, undefined);
    return live === undefined
      ? { type: "delete", version: head.version }
      : { type: "set", version: live.entry.version };
  } catch (error) {
    // A layer that cannot be asked now does not end the watch: whoever reads the key is told by the read.
    if (!(error instanceof SyncError) || !error.retryable) throw error;
    return { type: "set", version: head.version };
  }
}

function typeOf(head: Head, now: number): Pick<WatchEvent, "type" | "version"> {
  return { type: isDead(head, now) ? "delete" : "set", version: head.version };
}
