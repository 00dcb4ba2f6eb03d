import { NO_META, compareEntries, compareKeys, isDead, isExpired } from "../entry.ts";
import type { Entry, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import type { Removal, RemovalReason, Slot, SlotStore } from "../slot.ts";
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
import { HITS_MAX, S3FifoQueue } from "./memory/s3fifo.ts";
import { MemorySlot, costOf } from "./memory/slot.ts";

export interface MemoryOptions {
  readonly runtime: Runtime;
  /** Default "memory". */
  readonly name?: string | undefined;
  /**
   * How much heap the entries and what is decoded of them may take, in bytes, overhead included. Default 64 MiB, at
   * least 64 KiB.
   */
  readonly bytesMax?: number | undefined;
  /** Default: only `bytesMax` limits. */
  readonly entriesMax?: number | undefined;
  /** The largest value taken, in bytes. Default and most: an eighth of `bytesMax`, so that one value cannot empty the store. */
  readonly valueBytesMax?: number | undefined;
  /** How many changes a watch may lag behind before it must list again. Default 4,096. Their keys are beside `bytesMax`. */
  readonly changesMax?: number | undefined;
  /**
   * How long an expired entry is kept after its expiry, or after it was stored, in milliseconds, so that a reader is
   * still told "expired" and not "unknown". When room is needed it goes first. Default 60,000.
   */
  readonly expiredKeepMs?: number | undefined;
  /**
   * Told of every entry that leaves, after the call that removed it took effect. What it throws is thrown again from
   * a timer, so that it reaches the process and does not make a finished write look failed.
   */
  readonly onRemoval?: ((removal: Removal) => void) | undefined;
}

export interface MemoryStats {
  readonly entries: number;
  /** What they take of `bytesMax`, decoded values included. */
  readonly bytes: number;
  readonly decodedBytes: number;
  readonly bytesMax: number;
  /** Keys that a look or read found, in whatever state, and did not find. */
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  readonly expirations: number;
}

export interface MemoryStore extends SlotStore {
  stats(): MemoryStats;
}

const BYTES_MAX = 64 * 1024 * 1024;
const BYTES_MAX_LEAST = 64 * 1024;
const BATCH_MAX = 10_000;
const CHANGES_MAX = 4096;
const EXPIRED_KEEP_MS = 60_000;
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
  /** The metadata stored last: entries of one kind share theirs. */
  private meta: Meta = NO_META;
  private readonly removals: Removal[] = [];
  private sweeping: Timer | undefined = undefined;
  /** When the sweep's timer fires, in Unix ms; Infinity when there is none. */
  private sweepingAt = Infinity;
  private closed = false;

  constructor(options: MemoryOptions) {
    const bytesMax = option("bytesMax", options.bytesMax, BYTES_MAX, BYTES_MAX_LEAST);
    const valueBytesMax = Math.floor(bytesMax / 8);
    this.name = options.name ?? "memory";
    this.runtime = options.runtime;
    this.bytesMax = bytesMax;
    this.entriesMax = option("entriesMax", options.entriesMax, Infinity, 1);
    this.expiredKeepMs = option("expiredKeepMs", options.expiredKeepMs, EXPIRED_KEEP_MS, 0);
    this.changes = new ChangeLog(option("changesMax", options.changesMax, CHANGES_MAX, 1));
    this.onRemoval = options.onRemoval;
    this.epoch = Array.from(options.runtime.random(new Uint8Array(8)), (byte) => byte.toString(36)).join("");
    this.supports = {
      keyBytesMax: 512,
      valueBytesMax: Math.min(option("valueBytesMax", options.valueBytesMax, valueBytesMax, 0), valueBytesMax),
      streamBytesMax: 0,
      batchMax: BATCH_MAX,
      conditional: true,
      atomicBatch: true,
      stubs: true,
      watch: "push",
      expiry: true,
      writers: "many",
      durable: false,
      shared: false,
      asOf: "stored",
      readonly: false,
    };
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

  keep(slot: Slot, decoded: unknown, bytes: number): void {
    const held = this.slots.get(slot.entry.key);
    if (held === undefined || held !== slot) return;
    if (!(bytes >= 0)) throw new SyncError("INVALID", "keep needs a number of bytes", { store: this.name });
    const added = bytes - held.decodedBytes;
    // Like a value: one decoded value may not empty the store.
    if (bytes > this.bytesMax / 4) return;
    this.makeRoom(added, held);
    held.decoded = decoded;
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
    checkWrite(this, writes);
    const results: WriteResult[] = [];
    for (const write of writes) results.push(refusal(this, write) ?? this.apply(write));
    this.tell();
    return results;
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    for (const { version, reason } of items) {
      if (reason === "collected" && version > this.watermark) this.watermark = version;
    }
    for (const { key, version } of items) {
      const slot = this.slots.get(key);
      if (slot !== undefined && slot.entry.version === version) this.remove(slot, "forgotten");
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
      const { entry } = slot;
      const head = detail === "keys" ? null : entry;
      yield { kind: "entry", key, tag: this.tag(slot), head, value: detail === "values" ? entry.value : null };
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
        yield { kind: "change", key, head: slot.entry, cursor: formatCursor(place) };
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
        const head = this.slots.get(key)?.entry ?? null;
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

  private apply({ entry, asOf, if: condition }: Write): WriteResult {
    const held = this.slots.get(entry.key);
    if (condition !== undefined && !this.isMet(entry, condition, held)) {
      return { status: "conflict", current: held?.entry };
    }
    if (held === undefined) {
      if (entry.version <= this.watermark) return TOO_OLD;
      return this.put(undefined, entry, asOf);
    }
    if (compareEntries(entry, held.entry) > 0) return this.put(held, entry, asOf);
    if (held.entry.version > entry.version) return { status: "superseded", by: held.entry.version };
    if (asOf > held.asOf) this.renew(held, asOf);
    return STORED;
  }

  private isMet({ version }: Entry, condition: "absent" | Version, held: MemorySlot | undefined): boolean {
    if (held?.entry.version === version) return true;
    if (condition === "absent") return held === undefined || isDead(held.entry, this.runtime.now());
    return held?.entry.version === condition;
  }

  /** Stores an entry that is newer than the one held. */
  private put(held: MemorySlot | undefined, given: Entry, asOf: number): WriteResult {
    const key = held === undefined ? own(given.key) : held.entry.key;
    const { state, value, version, expires } = given;
    const bytesOwn = value === null ? null : new Uint8Array(value); // its own memory, never a piece of a larger buffer
    const entry: Entry = { key, state, value: bytesOwn, version, expires, meta: this.ownMeta(given.meta) };
    const bytes = costOf(entry);
    if (bytes > this.bytesMax / 2) {
      const cure = "raise bytesMax";
      return failed(
        new SyncError("TOO_LARGE", "the entry is too large for this store", { store: this.name, key, cure }),
      );
    }
    // Copies of one version share the latest asOf; of two versions each has its own.
    const at = held !== undefined && held.entry.version === version ? Math.max(asOf, held.asOf) : asOf;
    const sweepAt = expires === null ? Infinity : Math.max(expires, this.runtime.coarseNow()) + this.expiredKeepMs;
    this.makeRoom(bytes - (held === undefined ? 0 : held.bytes + held.decodedBytes), held);
    const slot = new MemorySlot(entry, at, bytes, this.changes.record(key), sweepAt);
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
    const slot = new MemorySlot(held.entry, asOf, held.bytes, held.change, held.sweepAt);
    slot.decoded = held.decoded;
    slot.decodedBytes = held.decodedBytes;
    this.queue.replace(held, slot);
    if (held.heapIndex >= 0) {
      this.expiring.remove(held);
      this.expiring.add(slot);
    }
    this.slots.set(held.entry.key, slot);
  }

  private makeRoom(added: number, spared: MemorySlot | undefined): void {
    const entriesMax = spared === undefined ? this.entriesMax - 1 : this.entriesMax;
    while (this.bytes + added > this.bytesMax || this.slots.size > entriesMax) {
      const expired = this.expiring.first;
      const gone = expired !== undefined && expired !== spared && isExpired(expired.entry, this.runtime.coarseNow());
      const slot = gone ? expired : this.queue.victim(spared);
      if (slot === undefined) return;
      this.remove(slot, gone ? "expired" : "evicted");
    }
  }

  private remove(slot: MemorySlot, reason: RemovalReason): void {
    const { key } = slot.entry;
    this.slots.delete(key);
    this.queue.remove(slot);
    this.drop(slot, reason);
    this.changes.record(key);
  }

  /** Takes a slot that is no longer reachable out of the accounts, and tells who wants to know. */
  private drop(slot: MemorySlot, reason: RemovalReason): void {
    this.expiring.remove(slot);
    this.bytes -= slot.bytes + slot.decodedBytes;
    this.decodedBytes -= slot.decodedBytes;
    if (reason === "evicted") this.evictions++;
    else if (reason === "expired") this.expirations++;
    if (this.onRemoval === undefined) return;
    const { key, version, state } = slot.entry;
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
    const now = this.runtime.coarseNow();
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

  private ownMeta(meta: Meta): Meta {
    if (!sameMeta(meta, this.meta)) this.meta = Object.freeze({ ...meta });
    return this.meta;
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

/** The text in memory of its own: a key cut out of a large text (a list, a file) would keep all of that alive. */
function own(key: string): string {
  return JSON.parse(JSON.stringify(key)) as string;
}

function sameMeta(a: Meta, b: Meta): boolean {
  if (a === b) return true;
  let names = 0;
  for (const name in a) {
    if (a[name] !== b[name]) return false;
    names++;
  }
  for (const _ in b) names--;
  return names === 0;
}

function option(name: string, given: number | undefined, otherwise: number, least: number): number {
  const value = given ?? otherwise;
  if (typeof value === "number" && value >= least && (Number.isSafeInteger(value) || value === Infinity)) return value;
  const cure = `give a whole number of ${least} or more`;
  throw new SyncError("INVALID", `option ${name} is ${String(value)}`, { store: "memory", cure });
}
