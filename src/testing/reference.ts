import { boundsOf, collected, wrongBytes } from "../body.ts";
import type { Body, ByteRange } from "../body.ts";
import { compareKeys, isDead, merge } from "../entry.ts";
import type { Copy, Entry, Head } from "../entry.ts";
import { randomBelow } from "../runtime.ts";
import type { Runtime, Timer } from "../runtime.ts";
import {
  STORED,
  TOO_OLD,
  aborted,
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
  Store,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../store.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import { SyncError, asSyncError } from "../error.ts";
import { sha256 } from "./sha256.ts";

/** What a reference store holds. Given to another one, it is the disk that outlives the first: a reopened store. */
export interface ReferenceState {
  readonly copies: Map<string, Copy>;
  /** The place of every key's last change in the order of commits, removed keys included. */
  readonly changes: Map<string, number>;
  commits: number;
  watermark: Version;
  /** Another state, another epoch: a cursor of the one means nothing to the other. */
  epoch: string;
}

export function referenceState(): ReferenceState {
  return { copies: new Map(), changes: new Map(), commits: 0, watermark: VERSION_ZERO, epoch: "" };
}

export interface ReferenceOptions {
  readonly runtime: Runtime;
  /** Default "reference". */
  readonly name?: string | undefined;
  /** What to lack or to limit; the rest is everything, without limits. */
  readonly supports?: Partial<Supports> | undefined;
  readonly state?: ReferenceState | undefined;
}

const EVERYTHING: Supports = {
  keyBytesMax: 512,
  valueBytesMax: Infinity,
  streamBytesMax: Infinity,
  batchMax: Infinity,
  conditional: true,
  atomicBatch: true,
  stubs: true,
  watch: "push",
  expiry: false,
  writers: "many",
  durable: false,
  shared: false,
  asOf: "stored",
  readonly: false,
};
const INTERVAL_MS = 1_000;
/** How much of a body is given at a time: little, so that a small test sees several pieces. */
const PIECE_BYTES = 1024;

/**
 * The contract in its plainest form: a map and a count of commits, nothing evicted, nothing clever. The suite is
 * developed on it, tests use it as an oracle and as a fake. Its methods are small so that a test can break one.
 */
export function referenceStore(options: ReferenceOptions): ReferenceStore {
  return new ReferenceStore(options);
}

export class ReferenceStore implements Store {
  readonly name: string;
  readonly supports: Supports;
  protected readonly runtime: Runtime;
  protected readonly state: ReferenceState;
  protected closed = false;
  /** Watches that wait for the next commit. */
  private readonly waiting = new Set<{ readonly heedsCommits: boolean; readonly wake: () => void }>();

  constructor({ runtime, name = "reference", supports, state = referenceState() }: ReferenceOptions) {
    this.name = name;
    this.supports = { ...EVERYTHING, ...supports };
    this.runtime = runtime;
    this.state = state;
    if (state.epoch === "") state.epoch = newEpoch(runtime);
  }

  async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const { wholeBytesMax = this.supports.valueBytesMax } = options ?? {};
    return keys.map((key) => this.answer(key, wholeBytesMax));
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    this.enter("write", options);
    checkWrite(this, writes);
    // Bodies first: the writes of a call take effect together.
    const ready: (Write | WriteResult)[] = [];
    for (const write of writes)
      ready.push(refusal(this, write) ?? (write.body ? await this.gathered(write, options) : write));
    return ready.map((each) => ("status" in each ? each : this.apply(each)));
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    for (const item of items) this.remove(item);
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const { detail = "keys", after, limit = Infinity, wholeBytesMax = this.supports.valueBytesMax } = options;
    let left = limit;
    for (const key of this.keys(range)) {
      if (left <= 0) return;
      if (after !== undefined && !this.isAfter(key, after)) continue;
      this.enter("list", options);
      const copy = this.state.copies.get(key);
      if (copy === undefined) continue;
      left--;
      const head = detail === "keys" ? null : headOf(copy.entry);
      const value = detail === "values" ? this.listedValue(copy.entry, wholeBytesMax) : null;
      yield { kind: "entry", key, tag: this.tag(copy), head, value };
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    const begun = this.state.commits;
    const { cursor, initial = true } = options;
    const from = cursor === undefined ? (initial ? 0 : begun) : this.place(cursor);
    if (from === undefined) {
      yield { kind: "relist", reason: "the cursor is not one of this store" };
      return;
    }
    let place = from;
    let current = false;
    do {
      for (const [key, at] of this.changesAfter(place, range)) {
        this.expect("watch", options);
        const copy = this.state.copies.get(key);
        place = at;
        // A first look at everything there is has no need of keys that are not.
        if (copy === undefined && cursor === undefined && !current) continue;
        yield { kind: "change", key, head: copy === undefined ? null : headOf(copy.entry), cursor: this.cursor(at) };
      }
      if (!current) yield { kind: "current", cursor: this.cursor(Math.max(place, begun)) };
      current = true;
    } while (await this.more(place, range, options));
  }

  async close(): Promise<void> {
    this.closed = true;
    this.wake();
  }

  // ---- The decisions, one method each. ----

  protected enter(operation: string, options: CallOptions | undefined): void {
    if (this.closed) throw closedError(this.name, operation);
    this.expect(operation, options);
  }

  protected expect(operation: string, options: CallOptions | undefined): void {
    checkCall(this.runtime, options, this.name, operation);
    if (this.supports.expiry) this.sweep();
  }

  private async gathered(write: Write, options: CallOptions | undefined): Promise<Write | WriteResult> {
    try {
      return await this.whole(write, options);
    } catch (error) {
      return failed(asSyncError(error, { store: this.name, operation: "write", key: write.entry.key }));
    }
  }

  /** The write with its body's bytes as its entry's value. */
  protected async whole(write: Write, options: CallOptions | undefined): Promise<Write> {
    const { body, entry, asOf, if: condition } = write;
    if (body === undefined) return write;
    return { entry: { ...entry, state: "value", value: await this.takeBody(body, options) }, asOf, if: condition };
  }

  protected async takeBody(body: Body, options: CallOptions | undefined): Promise<Uint8Array> {
    const bytes = await collected(body, options);
    const sum = sha256();
    sum.update(bytes);
    if (body.sha256 !== undefined && sum.digest() !== body.sha256) throw wrongBytes({ store: this.name });
    return bytes;
  }

  protected listedValue(entry: Entry, wholeBytesMax: number): Uint8Array | null {
    const isLarger = (entry.value?.length ?? 0) > wholeBytesMax && this.supports.streamBytesMax > 0;
    return isLarger ? null : this.give(entry).value;
  }

  /** The bytes of a version, piece by piece; the version may have gone since it was told. */
  protected bodyOf({ key, version }: Entry, value: Uint8Array): Body {
    const content = (range?: ByteRange) => {
      const { from, to } = boundsOf(range, value.length);
      return this.pieces(key, version, from, to);
    };
    return { size: value.length, sha256: undefined, content };
  }

  protected async *pieces(key: string, version: Version, from: number, to: number): AsyncIterable<Uint8Array> {
    for (let at = from; at < to; at += PIECE_BYTES) {
      const { entry } = this.state.copies.get(key) ?? {};
      if (entry?.version !== version || entry.value === null) {
        throw new SyncError("NOT_FOUND", "the version is gone", { store: this.name, operation: "read", key });
      }
      yield entry.value.slice(at, Math.min(to, at + PIECE_BYTES));
    }
  }

  protected answer(key: string, wholeBytesMax = Infinity): Answer {
    const copy = this.state.copies.get(key);
    const asOf = copy === undefined || this.supports.asOf === "known" ? this.runtime.now() : copy.asOf;
    const about = { asOf, complete: true, stale: false, from: this.name };
    const value = copy?.entry.value ?? null;
    if (copy === undefined || value === null || this.supports.streamBytesMax === 0 || value.length <= wholeBytesMax) {
      return { entry: copy && this.give(copy.entry), ...about };
    }
    const entry: Entry = { ...this.give({ ...copy.entry, value: null }), state: "stub" };
    return { entry, body: this.bodyOf(copy.entry, value), ...about };
  }

  protected apply(write: Write): WriteResult {
    const { entry, asOf } = write;
    const held = this.state.copies.get(entry.key);
    if (!this.met(write, held)) return { status: "conflict", current: held && this.give(held.entry) };
    if (held === undefined && entry.version <= this.state.watermark) return TOO_OLD;
    const copy = { entry: this.take(entry), asOf };
    const next = held === undefined ? copy : this.merge(held, copy);
    this.state.copies.set(entry.key, next);
    if (next.entry !== held?.entry) this.commit(entry.key);
    return next.entry.version > entry.version ? { status: "superseded", by: next.entry.version } : STORED;
  }

  protected merge(held: Copy, copy: Copy): Copy {
    return merge(held, copy);
  }

  protected met({ entry, if: condition }: Write, held: Copy | undefined): boolean {
    if (condition === undefined || held?.entry.version === entry.version) return true;
    if (condition === "absent") return held === undefined || isDead(held.entry, this.runtime.now());
    return held?.entry.version === condition;
  }

  protected remove({ key, version, reason }: Forget): void {
    if (reason === "collected" && version > this.state.watermark) this.state.watermark = version;
    if (this.state.copies.get(key)?.entry.version !== version) return;
    this.state.copies.delete(key);
    this.commit(key);
  }

  /** Removes what expired: no call may rely on an expired entry being there. */
  protected sweep(): void {
    for (const [key, { entry }] of this.state.copies) {
      if (entry.expires !== null && entry.expires <= this.runtime.now()) {
        this.state.copies.delete(key);
        this.commit(key);
      }
    }
  }

  protected commit(key: string): void {
    this.state.changes.set(key, ++this.state.commits);
    this.wake();
  }

  /** The store's own copy of what it was given. */
  protected take(entry: Entry): Entry {
    return copyEntry(entry);
  }

  protected give(entry: Entry): Entry {
    return copyEntry(entry);
  }

  protected keys({ prefix }: Range): string[] {
    const keys = [...this.state.copies.keys()].filter((key) => key.startsWith(prefix));
    return keys.sort((a, b) => this.compare(a, b));
  }

  protected compare(a: string, b: string): number {
    return compareKeys(a, b);
  }

  protected isAfter(key: string, after: string): boolean {
    return this.compare(key, after) > 0;
  }

  protected tag({ entry }: Copy): string {
    return `${this.state.epoch}.${this.state.changes.get(entry.key)}`;
  }

  protected cursor(place: number): string {
    return `${this.state.epoch}.${place}`;
  }

  protected place(cursor: string): number | undefined {
    const [epoch, place] = cursor.split(".");
    const number = Number(place);
    return epoch === this.state.epoch && Number.isSafeInteger(number) && number <= this.state.commits
      ? number
      : undefined;
  }

  protected changesAfter(place: number, { prefix }: Range): [string, number][] {
    const later = [...this.state.changes].filter(([key, at]) => at > place && key.startsWith(prefix));
    return later.sort(([, a], [, b]) => a - b);
  }

  /** Waits until there are changes after `place`; false when the store was closed. */
  private async more(place: number, range: Range, options: WatchOptions): Promise<boolean> {
    const polls = this.supports.watch === "poll";
    for (;;) {
      this.expect("watch", options);
      if (this.closed) return false;
      if (!polls && this.changesAfter(place, range).length > 0) return true;
      await this.pause(options, polls ? (options.intervalMs ?? INTERVAL_MS) : undefined);
      if (polls && !this.closed && this.changesAfter(place, range).length > 0) return true;
    }
  }

  /** Waits for the next commit, or for the interval if there is one; in any case for no longer than until `close`. */
  private pause({ signal, deadline }: WatchOptions, intervalMs: number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const timers: Timer[] = [];
      const end = (settle: () => void) => {
        this.waiting.delete(waiter);
        for (const timer of timers) timer.cancel();
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onAbort = () => end(() => reject(aborted(signal as AbortSignal, this.name, "watch")));
      const onDeadline = () => end(() => reject(new SyncError("TIMEOUT", "the deadline passed", { store: this.name })));
      const waiter = { heedsCommits: intervalMs === undefined, wake: () => end(resolve) };
      this.waiting.add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (intervalMs !== undefined) timers.push(this.runtime.timer(intervalMs, waiter.wake));
      if (deadline !== undefined) timers.push(this.runtime.timer(deadline - this.runtime.monotonic(), onDeadline));
    });
  }

  private wake(): void {
    // A waiter takes itself out of the set, which iteration allows.
    for (const waiter of this.waiting) if (waiter.heedsCommits || this.closed) waiter.wake();
  }
}

function newEpoch(runtime: Runtime): string {
  return Array.from({ length: 4 }, () => randomBelow(runtime, 2 ** 32).toString(36)).join("");
}

function headOf({ key, state, version, expires, meta }: Entry): Head {
  return { key, state, version, expires, meta: { ...meta } };
}

function copyEntry(entry: Entry): Entry {
  return { ...headOf(entry), value: entry.value && entry.value.slice() };
}
