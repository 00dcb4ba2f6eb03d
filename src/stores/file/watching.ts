import { SyncError } from "../../error.ts";
import type { Head } from "../../entry.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { checkCall } from "../../store.ts";
import type { Change, Range, WatchOptions } from "../../store.ts";
import { formatCursor, parseCursor } from "../cursor.ts";

/** A key as a look at the whole range shows it. */
export interface Seen {
  readonly key: string;
  readonly tag: string;
  readonly head: Head;
}

interface Present {
  readonly tag: string;
  readonly head: Head;
  readonly change: number;
  readonly round: number;
}

const INTERVAL_MS = 1000;
/** A look at a large folder takes its time: so many times that time passes before the next one. */
const PAUSE_SHARE = 2;
const REMOVALS_MAX = 10_000;

/**
 * What the looks at one range showed so far. A folder keeps no order of changes, so the watch makes one of its own: what a
 * look shows anew gets the next number. The order is this store's alone, and its memory.
 */
class Tracker {
  readonly epoch: string;
  last = 0;
  /** Cursors below this one may have missed removals. */
  floor = 0;
  users = 0;
  lookMs = 0;
  readonly present = new Map<string, Present>();
  readonly removed = new Map<string, number>();
  private round = 0;
  private looking: Promise<void> | undefined;
  private waiting: Promise<void> | undefined;
  private readonly look: () => AsyncIterable<Seen>;
  private readonly runtime: Runtime;

  constructor(look: () => AsyncIterable<Seen>, runtime: Runtime) {
    this.look = look;
    this.runtime = runtime;
    this.epoch = Buffer.from(runtime.random(new Uint8Array(8))).toString("hex");
  }

  /** Who asks while a look is under way shares the next one, which begins after the asking. */
  update(): Promise<void> {
    if (this.looking === undefined) {
      const looking = this.once().finally(() => {
        if (this.looking === looking) this.looking = undefined;
      });
      this.looking = looking;
      return looking;
    }
    this.waiting ??= this.afterThis(this.looking);
    return this.waiting;
  }

  private async afterThis(looking: Promise<void>): Promise<void> {
    await looking.catch(() => undefined); // who asked for that one is told
    this.waiting = undefined;
    return this.update();
  }

  private async once(): Promise<void> {
    const round = ++this.round;
    const begun = this.runtime.monotonic();
    for await (const { key, tag, head } of this.look()) {
      const held = this.present.get(key);
      this.removed.delete(key);
      this.present.set(key, { tag, head, change: held?.tag === tag ? held.change : ++this.last, round });
    }
    // Only a look that came to its end shows what is gone.
    for (const [key, held] of this.present) {
      if (held.round === round) continue;
      this.present.delete(key);
      this.removed.set(key, ++this.last);
    }
    for (const [key, change] of this.removed) {
      if (this.removed.size <= REMOVALS_MAX) break;
      this.removed.delete(key);
      this.floor = Math.max(this.floor, change);
    }
    this.lookMs = this.runtime.monotonic() - begun;
  }

  /** What changed after this number, in the order of the numbers; removals only after another one. */
  after(change: number, goneAfter: number) {
    if (change >= this.last) return [];
    const told: { readonly change: number; readonly key: string; readonly head: Head | null }[] = [];
    for (const [key, { change: at, head }] of this.present) if (at > change) told.push({ change: at, key, head });
    for (const [key, at] of this.removed) {
      if (at > Math.max(change, goneAfter)) told.push({ change: at, key, head: null });
    }
    return told.sort((a, b) => a.change - b.change);
  }
}

export interface WatchesOptions {
  readonly store: string;
  readonly runtime: Runtime;
  readonly look: (range: Range) => AsyncIterable<Seen>;
}

/** How many ranges nobody watches any more are remembered, for watches that resume. */
const IDLE_MAX = 16;

/** The watches of one store. */
export class Watches {
  private readonly options: WatchesOptions;
  private readonly trackers = new Map<string, Tracker>();
  private readonly sleepers = new Set<() => void>();
  private isClosing = false;

  constructor(options: WatchesOptions) {
    this.options = options;
  }

  /** This store changed something: watches look at once. */
  wake(): void {
    for (const wake of this.sleepers) wake();
  }

  close(): void {
    this.isClosing = true;
    this.wake();
  }

  async *watch({ prefix }: Range, options: WatchOptions): AsyncGenerator<Change> {
    const { cursor, initial = true, intervalMs = INTERVAL_MS } = options;
    const { store, runtime } = this.options;
    if (!(intervalMs > 0)) {
      throw new SyncError("INVALID", "intervalMs is a positive number of milliseconds", { store, operation: "watch" });
    }
    const tracker = this.trackers.get(prefix) ?? new Tracker(() => this.options.look({ prefix }), runtime);
    this.trackers.set(prefix, tracker);
    tracker.users++;
    try {
      const from = cursor === undefined ? undefined : parseCursor(cursor);
      if (cursor !== undefined && (from?.epoch !== tracker.epoch || from.change > tracker.last)) {
        yield { kind: "relist", reason: "the cursor is not of this store's memory of the folder" };
        return;
      }
      await tracker.update();
      let told = from?.change ?? (initial ? 0 : tracker.last);
      // Who begins anew knows of nothing that could be gone.
      const goneAfter = from === undefined ? tracker.last : 0;
      const at = () => formatCursor({ epoch: tracker.epoch, change: told, initialKey: undefined });
      for (let isCurrent = false; this.goesOn(options);) {
        if (Math.max(told, goneAfter) < tracker.floor) {
          yield { kind: "relist", reason: "removals that were not told yet are forgotten" };
          return;
        }
        for (const { change, key, head } of tracker.after(told, goneAfter)) {
          if (!this.goesOn(options)) return;
          told = change;
          yield { kind: "change", key, head, cursor: at() };
        }
        told = Math.max(told, tracker.last);
        if (!isCurrent) yield { kind: "current", cursor: at() };
        isCurrent = true;
        await this.sleep(Math.max(intervalMs, PAUSE_SHARE * tracker.lookMs), options);
        if (!this.goesOn(options)) return;
        await tracker.update();
      }
    } finally {
      this.leave(prefix, tracker);
    }
  }

  /** False when the store was closed, which ends a watch quietly. @throws SyncError ABORTED or TIMEOUT. */
  private goesOn(options: WatchOptions): boolean {
    if (this.isClosing) return false;
    checkCall(this.options.runtime, options, this.options.store, "watch");
    return true;
  }

  /** Until this store changes something, it is time to look, or the call ends. */
  private sleep(ms: number, { signal, deadline }: WatchOptions): Promise<void> {
    const { runtime } = this.options;
    return new Promise((resolve) => {
      const left = deadline === undefined ? Infinity : Math.max(0, deadline - runtime.monotonic());
      let timer: Timer | undefined;
      const wake = () => {
        this.sleepers.delete(wake);
        timer?.cancel();
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      timer = runtime.timer(Math.min(ms, left), wake);
      this.sleepers.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
      if (this.isClosing || signal?.aborted === true) wake();
    });
  }

  private leave(prefix: string, tracker: Tracker): void {
    tracker.users--;
    this.trackers.delete(prefix);
    this.trackers.set(prefix, tracker); // the latest last
    const idle = [...this.trackers].filter(([, { users }]) => users === 0);
    for (const [name] of idle.slice(0, Math.max(0, idle.length - IDLE_MAX))) this.trackers.delete(name);
  }
}
