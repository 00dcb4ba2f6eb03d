import { smallText } from "../codec/utf8.ts";
import { NO_META, compareEntries, compareKeys, headOf, isDead, isExpired } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { bytesGot, ownBytes, ownText } from "../slot.ts";
import type { Removal, RemovalReason, Shared, Slot } from "../slot.ts";
import {
  STORED,
  TOO_OLD,
  checkCall,
  checkForget,
  checkRead,
  checkWrite,
  closedError,
  failed,
  refusal,
} from "../store.ts";
import type {
  Answer,
  CallOptions,
  Change,
  Forget,
  ListOptions,
  Listed,
  Range,
  ReadOptions,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../store.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import { formatCursor, parseCursor } from "./cursor.ts";
import { ChangeLog } from "./memory/changes.ts";
import { ExpiryHeap } from "./memory/expiry.ts";
import { limitsOf } from "./memory/options.ts";
import type { MemoryOptions, MemoryStats, MemoryStore } from "./memory/options.ts";
import { HITS_MAX, S3FifoQueue } from "./memory/s3fifo.ts";
import { SharedMeta } from "./memory/shared-meta.ts";
import { MemorySlot, costOf } from "./memory/slot.ts";

export type { MemoryOptions, MemoryStats, MemoryStore } from "./memory/options.ts";

/** How many entries one write sweeps for each that it adds, and one timer in all. */
const SWEEP_PER_WRITE = 2;
const SWEEP_PER_TIMER = 1024;
const SWEEP_INTERVAL_MS = 1_000;
/** Longer timers fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Entries in this process. Every entry counts by what it takes of the heap; above the limit expired entries go first,
 * then what S3-FIFO names. A value is copied in, so that nothing of the caller's is kept.
 *
 * Costs: look and write O(1), with an expiry O(log n); list sorts the keys that it is asked for at each call.
 * @throws SyncError INVALID for an option out of range.
 */
export function memory(options: MemoryOptions): MemoryStore {
  return new Memory(options);
}

class Memory implements MemoryStore {
  readonly name: string;
  readonly supports: Supports;
  private readonly runtime: Runtime;
  private readonly bytesMax: number;
  private readonly entriesMax: number;
  private readonly expiredKeepMs: number;
  private readonly onRemoval: ((removal: Removal) => void) | undefined;
  private readonly epoch: string;
  private readonly slots = new Map<string, MemorySlot>();
  private readonly queue = new S3FifoQueue();
  private readonly expiring = new ExpiryHeap();
  private readonly changes: ChangeLog;
  private watermark: Version = VERSION_ZERO;
  private bytes = 0;
  private decodedBytes = 0;
  private hits = 0;
  private misses = 0;
  private evictions = 0;
  private expirations = 0;
  /** The metadata stored last. */
  private sharedMeta = new SharedMeta(NO_META);
  private readonly removals: Removal[] = [];
  private sweeping: Timer | undefined = undefined;
  /** When the sweep's timer fires, in Unix ms; Infinity when there is none. */
  private sweepingAt = Infinity;
  private closed = false;

  constructor(options: MemoryOptions) {
    const { bytesMax, entriesMax, changesMax, expiredKeepMs, supports } = limitsOf(options);
    this.name = options.name ?? "memory";
    this.runtime = options.runtime;
    this.bytesMax = bytesMax;
    this.entriesMax = entriesMax;
    this.expiredKeepMs = expiredKeepMs;
    this.changes = new ChangeLog(changesMax);
    this.onRemoval = options.onRemoval;
    this.epoch = Array.from(options.runtime.random(new Uint8Array(8)), (byte) => byte.toString(36)).join("");
    this.supports = supports;
  }

  look(key: string): Slot | undefined {
    const slot = this.slots.get(key);
    if (slot === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    if (slot.hits < HITS_MAX) slot.hits++;
    return slot;
  }

  held(key: string): Slot | undefined {
    return this.slots.get(key);
  }

  hit(slot: Slot): void {
    const held = slot as MemorySlot;
    this.hits++;
    if (held.hits < HITS_MAX) held.hits++;
  }

  keep(slot: Slot, decoded: unknown, bytes: number, shared?: Shared): void {
    const held = this.slots.get(slot.key);
    if (held === undefined || held !== slot) return;
    if (!(bytes >= 0)) throw new SyncError("INVALID", "keep needs a number of bytes", { store: this.name });
    const added = bytes - held.decodedBytes;
    // Like a value: one decoded value may not empty the store.
    if (bytes > this.bytesMax / 4) return;
    this.makeRoom(added, held);
    held.decoded = decoded;
    held.lens = shared?.lens;
    held.shared = shared?.value;
    held.decodedBytes = bytes;
    this.decodedBytes += added;
    this.bytes += added;
    this.queue.weigh(held, added);
    this.tell();
  }

  async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const now = this.runtime.now();
    return keys.map((key) => {
      const slot = this.look(key);
      const asOf = slot === undefined ? now : slot.asOf;
      return { entry: slot?.entry, asOf, complete: true, stale: false, from: this.name };
    });
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    this.enter("write", options);
    return this.take(writes, ownBytes);
  }

  writeNow(writes: readonly Write[]): WriteResult[] {
    this.enter("write", undefined);
    return this.take(writes, bytesGot);
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    for (const { version, reason } of items) {
      if (reason === "collected" && version > this.watermark) this.watermark = version;
    }
    for (const { key, version } of items) {
      const slot = this.slots.get(key);
      if (slot !== undefined && slot.version === version) this.remove(slot, "forgotten");
    }
    this.tell();
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const { detail = "keys", after, limit = Infinity } = options;
    let left = limit;
    for (const key of this.keysAfter(range, after)) {
      if (left <= 0) return;
      this.enter("list", options);
      const slot = this.slots.get(key);
      if (slot === undefined) continue; // it left meanwhile
      left--;
      const head = detail === "keys" ? null : headOf(slot);
      yield { kind: "entry", key, tag: this.tag(slot), head, value: detail === "values" ? slot.value : null };
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    const { changes, epoch } = this;
    const { cursor, initial = true } = options;
    changes.open();
    const begun = changes.last;
    let place = { epoch, change: begun, initialKey: undefined as string | undefined };
    let telling = cursor === undefined && initial;
    if (cursor !== undefined) {
      const from = parseCursor(cursor);
      if (from === undefined || from.epoch !== epoch || !changes.reaches(from.change)) {
        yield { kind: "relist", reason: "the cursor is of another store, or older than the changes that are kept" };
        return;
      }
      place = { ...from };
      telling = from.initialKey !== undefined;
    }
    if (telling) {
      for (const key of this.keysAfter(range, place.initialKey)) {
        if (this.closed) return;
        this.enter("watch", options);
        const slot = this.slots.get(key);
        if (slot === undefined) continue;
        place.initialKey = key;
        yield { kind: "change", key, head: headOf(slot), cursor: formatCursor(place) };
      }
      place.initialKey = undefined;
    }
    let told = false;
    for (;;) {
      if (this.closed) return;
      this.enter("watch", options);
      if (!changes.reaches(place.change)) {
        yield { kind: "relist", reason: "the reader was slower than the changes" };
        return;
      }
      if (!told && place.change >= begun) {
        told = true;
        yield { kind: "current", cursor: formatCursor(place) };
      } else if (place.change === changes.last) {
        await changes.next(this.runtime, this.name, options);
      } else {
        const key = changes.keyOf(++place.change);
        if (!key.startsWith(range.prefix)) continue;
        const slot = this.slots.get(key);
        const head = slot === undefined ? null : headOf(slot);
        yield { kind: "change", key, head, cursor: formatCursor(place) };
      }
    }
  }

  stats(): MemoryStats {
    const { bytes, decodedBytes, bytesMax, hits, misses, evictions, expirations } = this;
    return { entries: this.slots.size, bytes, decodedBytes, bytesMax, hits, misses, evictions, expirations };
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.sweeping?.cancel();
    for (const slot of this.slots.values()) slot.retire();
    this.slots.clear();
    this.queue.clear();
    this.expiring.clear();
    this.bytes = this.decodedBytes = 0;
    this.changes.clear();
  }

  private enter(operation: string, options: CallOptions | undefined): void {
    if (this.closed) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  private take(writes: readonly Write[], owned: (bytes: Uint8Array) => Uint8Array): WriteResult[] {
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write) ?? this.apply(write, owned));
    this.tell();
    return results;
  }

  private apply({ entry, asOf, if: condition }: Write, owned: (bytes: Uint8Array) => Uint8Array): WriteResult {
    const held = this.slots.get(entry.key);
    if (condition !== undefined && !this.isMet(entry, condition, held)) {
      return { status: "conflict", current: held?.entry };
    }
    if (held === undefined) {
      if (entry.version <= this.watermark) return TOO_OLD;
      return this.put(undefined, entry, asOf, owned);
    }
    if (held.version > entry.version) return { status: "superseded", by: held.version };
    const isNewer = held.version < entry.version || compareEntries(entry, held.entry) > 0;
    if (isNewer) return this.put(held, entry, asOf, owned);
    if (asOf > held.asOf) this.renew(held, asOf);
    return STORED;
  }

  private isMet({ version }: Entry, condition: "absent" | Version, held: MemorySlot | undefined): boolean {
    if (held?.version === version) return true;
    if (condition === "absent") return held === undefined || isDead(held, this.runtime.now());
    return held?.version === condition;
  }

  /** Stores an entry that is newer than the one held. */
  private put(
    held: MemorySlot | undefined,
    given: Entry,
    asOf: number,
    owned: (bytes: Uint8Array) => Uint8Array,
  ): WriteResult {
    const key = held === undefined ? ownText(given.key) : held.key;
    const { state, value, version, expires } = given;
    if (!this.sharedMeta.is(given.meta)) this.sharedMeta = new SharedMeta(given.meta);
    const { sharedMeta } = this;
    const content = value === null ? null : ((sharedMeta.isText ? smallText(value) : undefined) ?? owned(value));
    const size = value === null ? 0 : value.length;
    const bytes = costOf(key, content, size);
    if (bytes + sharedMeta.bytes > this.bytesMax / 2) {
      const cure = "raise bytesMax";
      return failed(
        new SyncError("TOO_LARGE", "the entry is too large for this store", { store: this.name, key, cure }),
      );
    }
    // Copies of one version share the latest asOf; of two versions each has its own.
    const at = held !== undefined && held.version === version ? Math.max(asOf, held.asOf) : asOf;
    const sweepAt = expires === null ? 0 : Math.max(expires, this.runtime.coarse.now()) + this.expiredKeepMs;
    if (sharedMeta.entries++ === 0) this.bytes += sharedMeta.bytes;
    this.makeRoom(bytes - (held === undefined ? 0 : held.bytes + held.decodedBytes), held);
    const change = this.changes.record(key);
    const head = { key, state, version, expires };
    const slot = new MemorySlot(head, sharedMeta, content, size, at, bytes, change, sweepAt);
    if (held === undefined) this.queue.add(slot);
    else {
      this.queue.replace(held, slot);
      this.drop(held, "replaced");
      if (slot.hits < HITS_MAX) slot.hits++;
    }
    this.slots.set(key, slot);
    this.bytes += bytes;
    if (expires !== null) this.expiring.add(slot);
    this.sweep(SWEEP_PER_WRITE);
    return STORED;
  }

  /** The same copy, known to be the newest at a later time. */
  private renew(held: MemorySlot, asOf: number): void {
    const slot = held.renewed(asOf);
    held.retire();
    this.queue.replace(held, slot);
    if (held.heapIndex >= 0) {
      this.expiring.remove(held);
      this.expiring.add(slot);
    }
    this.slots.set(held.key, slot);
  }

  private makeRoom(added: number, spared: MemorySlot | undefined): void {
    const entriesMax = spared === undefined ? this.entriesMax - 1 : this.entriesMax;
    while (this.bytes + added > this.bytesMax || this.slots.size > entriesMax) {
      const expired = this.expiring.first;
      const gone = expired !== undefined && expired !== spared && isExpired(expired, this.runtime.coarse.now());
      const slot = gone ? expired : this.queue.victim(spared);
      if (slot === undefined) return;
      this.remove(slot, gone ? "expired" : "evicted");
    }
  }

  private remove(slot: MemorySlot, reason: RemovalReason): void {
    const { key } = slot;
    this.slots.delete(key);
    this.queue.remove(slot);
    this.drop(slot, reason);
    this.changes.record(key);
  }

  /** Takes a slot that is no longer reachable out of the accounts, and tells who wants to know. */
  private drop(slot: MemorySlot, reason: RemovalReason): void {
    slot.retire();
    this.expiring.remove(slot);
    this.bytes -= slot.bytes + slot.decodedBytes;
    if (--slot.sharedMeta.entries === 0) this.bytes -= slot.sharedMeta.bytes;
    this.decodedBytes -= slot.decodedBytes;
    if (reason === "evicted") this.evictions++;
    else if (reason === "expired") this.expirations++;
    if (this.onRemoval === undefined) return;
    const { key, version, state } = slot;
    this.removals.push({ key, version, state, reason });
  }

  /** Tells what left, now that the store is in order again. */
  private tell(): void {
    if (this.removals.length === 0) return;
    for (const removal of this.removals.splice(0)) {
      try {
        this.onRemoval?.(removal);
      } catch (error) {
        this.runtime.timer(0, () => {
          throw error;
        });
      }
    }
  }

  /** Removes at most `count` entries whose time to be swept has come, and sees to it that somebody does it again. */
  private sweep(count: number): void {
    const first = this.expiring.first;
    if (first === undefined) return;
    const now = this.runtime.coarse.now();
    for (let slot: MemorySlot | undefined = first; slot !== undefined && count > 0; count--) {
      if (slot.sweepAt > now) break;
      this.remove(slot, "expired");
      slot = this.expiring.first;
    }
    this.armSweep(now);
  }

  private armSweep(now: number): void {
    const first = this.expiring.first;
    if (first === undefined || first.sweepAt >= this.sweepingAt - SWEEP_INTERVAL_MS) return;
    this.sweeping?.cancel();
    const delayMs = Math.min(Math.max(first.sweepAt - now, SWEEP_INTERVAL_MS), TIMER_MS_MAX);
    this.sweepingAt = now + delayMs;
    const run = () => {
      this.sweepingAt = Infinity;
      this.sweep(SWEEP_PER_TIMER);
      this.tell();
    };
    this.sweeping = this.runtime.timer(delayMs, run, true);
  }

  private keysAfter({ prefix }: Range, after: string | undefined): string[] {
    const keys: string[] = [];
    let plain = true;
    for (const key of this.slots.keys()) {
      if (!key.startsWith(prefix) || (after !== undefined && compareKeys(key, after) <= 0)) continue;
      keys.push(key);
      plain &&= !HIGH_UNIT.test(key);
    }
    // Below U+D800 the order of UTF-16 units is that of UTF-8, and the engine's own comparison several times faster.
    return plain ? keys.sort() : keys.sort(compareKeys);
  }

  private tag({ change }: MemorySlot): string {
    return `${this.epoch}.${change}`;
  }
}

const HIGH_UNIT = /[\ud800-\uffff]/;
