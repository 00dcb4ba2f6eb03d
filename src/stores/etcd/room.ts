import { forCaller } from "../../caller.ts";
import { SyncError } from "../../error.ts";
import { randomBelow } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import type { Call, Connection } from "./connection.ts";
import { reasonOf } from "./failures.ts";
import type { History } from "./history.ts";
import { noteFromBytes } from "./layout.ts";
import type { Layout } from "./layout.ts";
import {
  ALARM,
  ALARM_DEACTIVATE,
  ALARM_GET,
  COMPACT,
  DEFRAGMENT,
  EQUAL,
  NOSPACE,
  OF_MOD,
  RANGE,
  TXN,
} from "./messages.ts";
import type { KeyValue, Op } from "./messages.ts";

export interface RoomOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly layout: Layout;
  readonly connection: Connection;
  readonly history: History;
  readonly bytesMax: number;
  readonly maintain: boolean;
}

/** After writes of this share of the limit the copies are counted; with twice as much uncounted, writes wait for it. */
const COUNT_SHARE = 1 / 16;
const WAIT_SHARE = 1 / 8;
/** Trimming goes below the limit by this share, so that it is not done at every count. */
const TRIM_SHARE = 1 / 8;
const PAGE_ROWS = 1000;
/** Two removals and their nesting count for each key. */
const REMOVALS = 124;
/** Copies of which age and size are kept to find where to cut. */
const SAMPLE_MAX = 4096;
/** Rewriting a member's file takes seconds for each gigabyte. */
const DEFRAGMENT_MS = 120_000;

interface Seen {
  readonly revision: number;
  readonly bytes: number;
}

/**
 * The room that a cache takes in etcd, which never forgets by itself: when its quota is used up it takes no more writes,
 * from anybody. Whoever wrote a share of the limit counts what is there by its notes and removes what was written or
 * renewed longest ago; then drops the history before the last count. Several processes may do it at once.
 */
export class Room {
  private readonly options: RoomOptions;
  /** Written since the last count. It begins by chance, so that many short processes count as often as a long one. */
  private uncounted: number;
  private counting: Promise<void> | undefined = undefined;
  private relieving: Promise<void> | undefined = undefined;
  /** When room was last made, on the monotonic clock. */
  private relievedAt = -Infinity;

  constructor(options: RoomOptions) {
    this.options = options;
    this.uncounted = randomBelow(options.runtime, Math.floor(options.bytesMax * COUNT_SHARE));
  }

  /** Before a write. @throws what stands in the way of trimming, once that is overdue. */
  async admit(call: Call): Promise<void> {
    const { runtime, store, bytesMax } = this.options;
    const overdue = () => this.uncounted >= bytesMax * WAIT_SHARE;
    if (!overdue()) return;
    // What failed for others, or long ago, is tried again before it is told.
    const counted = this.counting?.catch(() => undefined);
    if (counted !== undefined) await forCaller(counted, call, runtime, store, call.operation);
    if (overdue()) await forCaller(this.count(), call, runtime, store, call.operation);
  }

  /** After a write of so many bytes. */
  wrote(bytes: number): void {
    this.uncounted += bytes;
    if (this.uncounted < this.options.bytesMax * COUNT_SHARE) return;
    // A failure is told to the writes that have to wait for the count.
    this.count().catch(() => undefined);
  }

  /**
   * The quota is used up: half of the copies go, then the history, then the files are rewritten and the alarm is taken
   * back.
   * @param sentAt when the refused request was sent; if room was made since, it is only sent again.
   * @throws `refusal` when this store may not do that.
   */
  async make(call: Call, sentAt: number, refusal: unknown): Promise<void> {
    const { runtime, store, maintain } = this.options;
    if (sentAt < this.relievedAt) return;
    if (!maintain) throw refusal;
    this.relieving ??= this.relieve().finally(() => {
      this.relieving = undefined;
    });
    await forCaller(this.relieving, call, runtime, store, call.operation);
  }

  /** Waits for what is under way; its failure has been told or is nobody's any more. */
  async close(): Promise<void> {
    await Promise.allSettled([this.counting, this.relieving]);
  }

  private count(): Promise<void> {
    const before = this.uncounted;
    this.counting ??= this.trim(this.options.bytesMax)
      .then(async () => {
        this.uncounted = Math.max(0, this.uncounted - before);
        if (this.options.maintain) await this.forgetHistory();
      })
      .finally(() => {
        this.counting = undefined;
      });
    return this.counting;
  }

  /** Removes the oldest copies if all together are above a size. `share`: down to this share of what there is, too. */
  private async trim(bytesMax: number, share = 1): Promise<void> {
    const sample: Seen[] = [];
    let total = 0;
    let copies = 0;
    for await (const { revision, bytes } of this.notes()) {
      total += bytes;
      copies++;
      // A uniform sample of all (Vitter's algorithm R).
      if (sample.length < SAMPLE_MAX) sample.push({ revision, bytes });
      else {
        const place = randomBelow(this.options.runtime, copies);
        if (place < SAMPLE_MAX) sample[place] = { revision, bytes };
      }
    }
    const excess = total - Math.min(bytesMax, total * share);
    if (excess <= 0) return;
    const cut = cutOf(sample, total, Math.min(total, excess + bytesMax * TRIM_SHARE));
    let batch: KeyValue[] = [];
    for await (const { kv } of this.notes(cut)) {
      batch.push(kv);
      if (batch.length < REMOVALS) continue;
      await this.remove(batch);
      batch = [];
    }
    if (batch.length > 0) await this.remove(batch);
  }

  /** Copies with their notes, unless they were renewed or written meanwhile. */
  private async remove(notes: readonly KeyValue[]): Promise<void> {
    const { layout, history, connection } = this.options;
    const success = notes.flatMap(({ key, modRevision }): Op[] => {
      const copy = layout.keyOfNote(key);
      if (copy === undefined) return [];
      const compare = [{ result: EQUAL, target: OF_MOD, key, modRevision }];
      return [{ txn: { compare, success: [{ remove: { key: layout.entry(copy) } }, { remove: { key } }] } }];
    });
    await history.ask(TXN, { success }, connection.ownCall("trim"));
  }

  private async *notes(maxModRevision = 0): AsyncIterable<Seen & { readonly kv: KeyValue }> {
    const { layout, history, connection } = this.options;
    let span = layout.notes;
    for (;;) {
      const request = { ...span, limit: PAGE_ROWS, maxModRevision };
      const { answer } = await history.ask(RANGE, request, connection.ownCall("trim"));
      for (const kv of answer.kvs) {
        yield { kv, revision: kv.modRevision, bytes: noteFromBytes(kv.value)?.bytes ?? kv.value.length };
      }
      const last = answer.kvs.at(-1);
      if (!answer.more || last === undefined) return;
      span = { key: Buffer.concat([last.key, Uint8Array.of(0)]), rangeEnd: span.rangeEnd };
    }
  }

  /** Drops what was overwritten or removed before the last count by anybody, and remembers this one. */
  private async forgetHistory(): Promise<void> {
    const { layout, history, connection } = this.options;
    const call = connection.ownCall("trim");
    const key = layout.counted;
    const request = { success: [{ range: { key } }, { put: { key, value: new TextEncoder().encode("counted") } }] };
    try {
      const { answer } = await history.ask(TXN, request, call);
      const last = answer.responses[0]?.range?.kvs[0];
      if (last !== undefined) await this.compact(last.modRevision, call);
    } catch (error) {
      if (reasonOf(error) !== "space") throw error; // the write that comes next meets that too, and makes room
    }
  }

  private async compact(revision: number, call: Call): Promise<void> {
    try {
      await this.options.connection.call(COMPACT, { revision, physical: true }, call);
    } catch (error) {
      if (reasonOf(error) !== "gone") throw error; // somebody else was faster
    }
  }

  private async relieve(): Promise<void> {
    const { runtime, layout, history, connection, bytesMax } = this.options;
    await this.trim(bytesMax, 1 / 2);
    const { answer } = await history.ask(RANGE, { key: layout.counted }, connection.ownCall("make room"));
    await this.compact(answer.header?.revision ?? 0, connection.ownCall("make room"));

    for (let member = 0; member < connection.members; member++) {
      try {
        await connection.callMember(member, DEFRAGMENT, {}, connection.ownCall("make room", DEFRAGMENT_MS));
      } catch (error) {
        // A member that is down is not full; the alarm comes back if it is.
        if (!(error instanceof SyncError) || !error.retryable) throw error;
      }
    }
    const call = connection.ownCall("make room");

    const all = { memberId: 0n, alarm: NOSPACE };
    const raised = await connection.call(ALARM, { action: ALARM_GET, ...all }, call);
    for (const { memberId, alarm } of raised.answer.alarms) {
      if (alarm === NOSPACE) await connection.call(ALARM, { action: ALARM_DEACTIVATE, memberId, alarm }, call);
    }
    this.relievedAt = runtime.monotonic();
  }
}

/** The revision up to which copies have to go, so that about `excess` bytes of `total` do. */
export function cutOf(sample: readonly Seen[], total: number, excess: number): number {
  const sampled = sample.reduce((sum, { bytes }) => sum + bytes, 0);
  let left = (excess / total) * sampled;
  let cut = 0;
  for (const { revision, bytes } of sample.toSorted((a, b) => a.revision - b.revision)) {
    if (left <= 0) break;
    left -= bytes;
    cut = revision;
  }
  return cut;
}
