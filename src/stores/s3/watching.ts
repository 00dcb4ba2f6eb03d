import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import type { Change, Range, WatchOptions } from "../../store.ts";
import { formatCursor, parseCursor } from "../cursor.ts";
import type { Call } from "./call.ts";
import { foundAt, tagOf } from "./listing.ts";
import type { Space } from "./space.ts";
import { Tracker } from "./tracker.ts";
import type { Seen } from "./tracker.ts";

/** How many changes are asked about at once. */
const WINDOW = 64;
/** How many ranges nobody watches any more are remembered, for watches that resume. */
const IDLE_TRACKERS_MAX = 16;

/** The watches of one store. */
export class Watches {
  private readonly space: Space;
  private readonly runtime: Runtime;
  private readonly keysMax: number;
  private readonly intervalMs: number | undefined;
  private readonly trackers = new Map<string, { readonly tracker: Tracker; users: number }>();
  private readonly sleepers = new Set<() => void>();
  private closing = false;

  /** @param intervalMs For watches that name none; undefined: those ask for changes only when this store makes one. */
  constructor(space: Space, runtime: Runtime, keysMax: number, intervalMs: number | undefined) {
    this.space = space;
    this.runtime = runtime;
    this.keysMax = keysMax;
    this.intervalMs = intervalMs;
  }

  /** This store changed something: watches look at once. */
  wake(): void {
    for (const wake of this.sleepers) wake();
  }

  close(): void {
    this.closing = true;
    this.wake();
  }

  async *watch(
    call: Call,
    { prefix }: Range,
    options: WatchOptions,
    during: <T>(work: Promise<T>) => Promise<T>,
  ): AsyncGenerator<Change> {
    const { cursor, initial = true, intervalMs = this.intervalMs } = options;
    if (intervalMs !== undefined && !(intervalMs > 0)) {
      const { name: store } = this.space.client;
      throw new SyncError("INVALID", "intervalMs is a positive number of milliseconds", { store, operation: "watch" });
    }
    const use = this.use(prefix);
    const { tracker } = use;
    try {
      const from = cursor === undefined ? undefined : parseCursor(cursor);
      const known = from?.epoch === tracker.epoch && from.change <= tracker.last && from.initialKey === undefined;
      if (cursor !== undefined && !known) {
        yield { kind: "relist", reason: "the cursor is not of this store's memory of the bucket" };
        return;
      }
      await during(tracker.look(call));
      let told = from?.change ?? (initial ? 0 : tracker.last);
      // Who begins anew knows of nothing that could be gone.
      const goneAfter = from === undefined ? tracker.last : 0;
      const ahead = new Map<string, string>();
      let current = false;
      while (!this.closing) {
        call.check();
        if (Math.max(told, goneAfter) < tracker.floor) {
          yield { kind: "relist", reason: "removals that were not told yet are forgotten" };
          return;
        }
        for (const change of await this.next(call, tracker, { told, goneAfter }, ahead, during)) {
          if (this.closing) return;
          call.check();
          told = change.change;
          if (change.told !== undefined) yield { ...change.told, cursor: cursorAt(tracker, told) };
        }
        if (told < tracker.last) continue;
        if (!current) yield { kind: "current", cursor: cursorAt(tracker, told) };
        current = true;
        await this.sleep(call, intervalMs);
        if (this.closing) return;
        call.check();
        await during(tracker.look(call));
      }
    } finally {
      this.leave(prefix);
    }
  }

  /** The next changes, with what is there of each now. What was told ahead of its change is not told again. */
  private async next(
    call: Call,
    tracker: Tracker,
    { told, goneAfter }: { readonly told: number; readonly goneAfter: number },
    ahead: Map<string, string>,
    during: <T>(work: Promise<T>) => Promise<T>,
  ) {
    const window = tracker.after(told).slice(0, WINDOW);
    const work = inParallel(window, WINDOW, async (seen) => ({
      change: seen.change,
      told: seen.item === undefined && seen.change <= goneAfter ? undefined : await this.tell(call, seen, ahead),
    }));
    const next = await during(work);
    // Numbers whose keys have changed again since are nobody's.
    return window.length === 0 && told < tracker.last ? [{ change: tracker.last, told: undefined }] : next;
  }

  private async tell(call: Call, { key, item }: Seen, ahead: Map<string, string>) {
    if (item === undefined) {
      ahead.delete(key);
      return { kind: "change", key, head: null } as const;
    }
    const tag = tagOf(item.etag, item.seconds);
    const before = ahead.get(key);
    ahead.delete(key);
    if (before === tag) return undefined;
    const found = await this.space.slots.run(() => foundAt(this.space, call, item));
    if (found === undefined) return undefined; // gone again: the next look shows it
    const now = tagOf(found.etag, found.seconds ?? item.seconds);
    if (now !== tag) ahead.set(key, now);
    return { kind: "change", key, head: found.head } as const;
  }

  /** Until this store changes something, it is time to look, or the call ends. */
  private sleep(call: Call, intervalMs: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      let release = () => {};
      let timer: Timer | undefined;
      const wake = () => {
        timer?.cancel();
        release();
        this.sleepers.delete(wake);
        resolve();
      };
      timer = intervalMs === undefined ? undefined : this.runtime.timer(intervalMs, wake);
      this.sleepers.add(wake);
      release = call.onStop(wake);
      if (this.closing) wake();
    });
  }

  private use(prefix: string): { readonly tracker: Tracker } {
    const held = this.trackers.get(prefix);
    const use = held ?? { tracker: new Tracker(this.space, prefix, this.keysMax, this.runtime), users: 0 };
    use.users++;
    this.trackers.set(prefix, use);
    return use;
  }

  private leave(prefix: string): void {
    const use = this.trackers.get(prefix);
    if (use === undefined) return;
    use.users--;
    this.trackers.delete(prefix);
    this.trackers.set(prefix, use); // the latest last
    const idle = [...this.trackers].filter(([, { users }]) => users === 0);
    for (const [name] of idle.slice(0, Math.max(0, idle.length - IDLE_TRACKERS_MAX))) this.trackers.delete(name);
  }
}

function cursorAt({ epoch }: Tracker, change: number): string {
  return formatCursor({ epoch, change, initialKey: undefined });
}
