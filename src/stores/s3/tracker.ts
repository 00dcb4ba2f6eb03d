import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Call } from "./call.ts";
import { items, tagOf } from "./listing.ts";
import type { Item } from "./listing.ts";
import type { Space } from "./space.ts";

/** One key that differs from what was seen before; `item` is undefined when it is gone. */
export interface Seen {
  readonly key: string;
  readonly change: number;
  readonly item: Item | undefined;
}

interface Present {
  readonly item: Item;
  readonly tag: string;
  readonly change: number;
  readonly round: number;
}

const REMOVALS_MAX = 10_000;

/**
 * What the lists of one prefix showed so far. S3 keeps no order of changes, so the store makes one of its own: whatever
 * a look shows anew gets the next number. The order is this process's alone, and its memory is why a range that is
 * watched must not be boundless.
 */
export class Tracker {
  /** Of this memory: a cursor of another one means nothing here. */
  readonly epoch: string;
  readonly prefix: string;
  /** The number of the last change seen. */
  last = 0;
  /** Cursors below this one may have missed removals. */
  floor = 0;
  private readonly space: Space;
  private readonly keysMax: number;
  private readonly present = new Map<string, Present>();
  private readonly removed = new Map<string, number>();
  private round = 0;
  private looking: Promise<void> | undefined;
  private waiting: Promise<void> | undefined;

  constructor(space: Space, prefix: string, keysMax: number, runtime: Runtime) {
    this.space = space;
    this.prefix = prefix;
    this.keysMax = keysMax;
    this.epoch = Array.from(runtime.random(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Lists the range. Who asks while a look is under way shares the next one, which begins after the asking. */
  look(call: Call): Promise<void> {
    if (this.looking === undefined) {
      const looking = this.lookNow(call).finally(() => {
        if (this.looking === looking) this.looking = undefined;
      });
      this.looking = looking;
      return looking;
    }
    this.waiting ??= this.looking.then(
      () => this.next(call),
      () => this.next(call),
    );
    return this.waiting;
  }

  private next(call: Call): Promise<void> {
    this.waiting = undefined;
    return this.look(call);
  }

  private async lookNow(call: Call): Promise<void> {
    const round = ++this.round;
    for await (const page of items(this.space, call, { prefix: this.prefix }, {}, (work) => work)) {
      for (const item of page) {
        const tag = tagOf(item.etag, item.seconds);
        const held = this.present.get(item.key);
        this.removed.delete(item.key);
        const change = held?.tag === tag ? held.change : ++this.last;
        this.present.set(item.key, { item, tag, change, round });
      }
      if (this.present.size > this.keysMax) {
        throw new SyncError("TOO_LARGE", `the range has more than ${this.keysMax} keys, which are kept in memory`, {
          store: this.space.client.name,
          operation: "watch",
          cure: "watch a narrower prefix, or raise watchKeysMax",
        });
      }
    }
    // Only a list that came to its end shows what is gone.
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
  }

  /** What changed after this number, in the order of the numbers. */
  after(change: number): readonly Seen[] {
    if (change >= this.last) return [];
    const seen: Seen[] = [];
    for (const [key, held] of this.present)
      if (held.change > change) seen.push({ key, change: held.change, item: held.item });
    for (const [key, at] of this.removed) if (at > change) seen.push({ key, change: at, item: undefined });
    return seen.sort((a, b) => a.change - b.change);
  }
}
