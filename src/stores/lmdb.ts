import { forCaller } from "../caller.ts";
import type { Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";
import { STORED, checkCall, checkForget, checkRead, checkWrite, closedError, refusal } from "../store.ts";
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
import { formatCursor, parseCursor } from "./cursor.ts";
import type { Place } from "./cursor.ts";
import { applyWrite, copyOf, headOf, settled } from "./lmdb/apply.ts";
import type { Holding } from "./lmdb/apply.ts";
import { openEnvironment } from "./lmdb/environment.ts";
import type { Environment, Tables } from "./lmdb/environment.ts";
import type { Row } from "./lmdb/staged.ts";
import { changesAfter, epochAt, newEpoch, writer } from "./lmdb/log.ts";
import type { Writer } from "./lmdb/log.ts";
import { Large, NONE_KEPT } from "./lmdb/large.ts";
import type { KeptBodies, Pending } from "./lmdb/large.ts";
import { STATE_KEY, initialise } from "./lmdb/initialise.ts";
import { limitsOf } from "./lmdb/options.ts";
import type { Limits, LmdbOptions } from "./lmdb/options.ts";
import { pageOf } from "./lmdb/page.ts";
import { Renewals } from "./lmdb/renewals.ts";
import { isSameState, stateFrom, stateRow, tagOf } from "./lmdb/rows.ts";
import type { State } from "./lmdb/rows.ts";

export type { LmdbOptions } from "./lmdb/options.ts";

const BATCH_MAX = 1000;
const PAGE_ROWS = 128;
const INTERVAL_MS = 1000;
/** How long a renewed asOf may wait for a write that takes it along, and how many may wait. */
const RENEWAL_MS = 5000;
const RENEWALS_WAITING_MAX = 10_000;
const RENEWALS_PER_TRANSACTION = 1000;
/** How many entries over the limit one transaction drops. */
const DROP_ROWS = 64;

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Entries in a folder on this machine's disk, by LMDB. A resolved write survives a power loss. Several processes may
 * use one folder: what was decided is stored only if nobody committed since, else it is decided again; what another
 * process wrote is read at once and told by `watch` when it next looks.
 *
 * @throws SyncError INVALID for an option out of range or a file in the way, NOT_FOUND, UNAUTHORISED for a folder that
 * may not be written, CORRUPT for a database that is damaged or of a later format. Nothing is written then.
 */
export async function lmdb(folder: string, options: LmdbOptions): Promise<Store> {
  const limits = limitsOf(options);
  const { runtime, name = "lmdb" } = options;
  const environment = await openEnvironment(folder, options.create ?? true, name);
  try {
    await initialise(environment, runtime, name);
  } catch (error) {
    await environment.close();
    throw error;
  }
  const large = new Large(folder, runtime, environment, name);
  await large.sweep();
  return new Lmdb(name, runtime, environment, large, limits);
}

class Lmdb implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly runtime: Runtime;
  private readonly environment: Environment;
  private readonly tables: Tables;
  private readonly large: Large;
  private readonly limits: Limits;
  private readonly holding: Holding;
  private readonly renewals = new Renewals();
  private readonly waiting = new Set<() => void>();
  /** Whether this store has named an epoch: it has changed something. */
  private epochNamed = false;
  private writing = 0;
  private readonly idle: (() => void)[] = [];
  private dropping = false;
  private renewing: Timer | undefined = undefined;
  private closing: Promise<void> | undefined = undefined;

  constructor(name: string, runtime: Runtime, environment: Environment, large: Large, limits: Limits) {
    this.name = name;
    this.runtime = runtime;
    this.environment = environment;
    this.tables = environment.tables;
    this.large = large;
    this.limits = limits;
    this.holding = {
      store: name,
      entries: this.tables.entries,
      now: () => runtime.now(),
      asOfIn: (row, keyText, key) => this.renewals.asOfIn(this.tables, row, keyText, key, name),
      isApart: (version, keyText, key) => large.bodyOf(keyText, key, version) !== undefined,
    };
    this.supports = {
      keyBytesMax: 512,
      valueBytesMax: limits.valueBytesMax,
      streamBytesMax: limits.streamBytesMax,
      batchMax: BATCH_MAX,
      conditional: true,
      atomicBatch: true,
      stubs: true,
      watch: "poll",
      expiry: false,
      writers: "many",
      durable: true,
      shared: false,
      asOf: "stored",
      readonly: false,
    };
  }

  async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const { wholeBytesMax = this.limits.valueBytesMax } = options ?? {};
    this.environment.refresh();
    const answers = keys.map((key) => this.answer(key));
    for (const [i, { body }] of answers.entries()) {
      if (body !== undefined && body.size <= wholeBytesMax) answers[i] = await this.inOnePiece(keys[i] ?? "", options);
    }
    return answers;
  }

  private answer(key: string): Answer {
    const bytes = utf8.encode(key);
    const row = this.tables.entries.get(bytes);
    const from = this.name;
    if (row === undefined) return { entry: undefined, asOf: this.runtime.now(), complete: true, stale: false, from };
    const { entry, asOf: stored } = copyOf(key, row, from);
    const asOf = this.renewals.asOfOf(this.tables, key, bytes, entry.version, stored);
    const answer = { entry, asOf, complete: true, stale: false, from };
    const body = entry.state === "stub" ? this.large.bodyOf(key, bytes, entry.version) : undefined;
    return body === undefined ? answer : { ...answer, body };
  }

  private inOnePiece(key: string, options: CallOptions | undefined): Promise<Answer> {
    return this.large.inOnePiece(() => this.answer(key), options);
  }

  async write(writes: readonly Write[], options: CallOptions = {}): Promise<WriteResult[]> {
    this.enter("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    const pending = writes.flatMap((write, at) =>
      results[at] === undefined ? [{ write, key: utf8.encode(write.entry.key), at }] : [],
    );
    if (pending.some(({ write }) => write.body !== undefined)) await this.writeLarge(pending, results, options);
    else if (pending.length > 0) await this.store(pending, results, options, NONE_KEPT);
    return results as WriteResult[];
  }

  private store(
    pending: readonly Pending[],
    results: (WriteResult | undefined)[],
    options: CallOptions,
    kept: KeptBodies,
  ): Promise<void> {
    const commit = this.commit("write", options, (writer) => {
      const applied = pending.map(({ write, key }) =>
        applyWrite(write, key, writer, this.holding, kept.get(write)?.row),
      );
      return () => {
        for (const [i, { write, at }] of pending.entries()) {
          const { result, renewed } = applied[i] as (typeof applied)[number];
          results[at] = result;
          if (renewed) this.renew(write);
        }
      };
    });
    const all = kept.size === 0 ? commit : this.thenTidy(commit, kept);
    return forCaller(all, options, this.runtime, this.name, "write");
  }

  /** Whether its caller still waits or not: files go only when it is known that no row names them. */
  private async thenTidy(commit: Promise<void>, kept: KeptBodies): Promise<void> {
    this.writing++;
    try {
      await commit;
    } finally {
      await this.large.removeUnnamed(kept);
      this.left();
    }
  }

  /** As {@link store}, once the bodies are in files. Closing waits for all of it. */
  private async writeLarge(
    given: readonly Pending[],
    results: (WriteResult | undefined)[],
    options: CallOptions,
  ): Promise<void> {
    this.writing++;
    try {
      const unsettled = this.unsettled(given, results);
      const kept = await this.large.keep(unsettled, results, options);
      const pending = unsettled.filter(({ at }) => results[at] === undefined);
      if (pending.length > 0) await this.store(pending, results, options, kept);
    } finally {
      this.left();
    }
  }

  async forget(items: readonly Forget[], options: CallOptions = {}): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    if (items.length === 0) return;
    const commit = this.commit("forget", options, (writer) => {
      for (const { version, reason } of items) {
        if (reason === "collected" && version > writer.state.watermark) writer.state.watermark = version;
      }
      for (const { key, version } of items) {
        const bytes = utf8.encode(key);
        const row = this.tables.entries.get(bytes);
        if (row !== undefined && headOf(key, row, this.name).head.version === version) writer.remove(bytes, row);
      }
      return () => {};
    });
    await forCaller(commit, options, this.runtime, this.name, "forget");
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const { detail = "keys", after, limit = Infinity, wholeBytesMax = this.limits.valueBytesMax } = options;
    let left = limit;
    let last = after;
    while (left > 0) {
      this.enter("list", options);
      const page = this.page(range, last, Math.min(left, PAGE_ROWS));
      for (const { key, value: row } of page) {
        this.enter("list", options);
        last = text.decode(key);
        left--;
        const tag = tagOf(row);
        if (detail === "keys") yield { kind: "entry", key: last, tag, head: null, value: null };
        else if (detail === "entries") {
          yield { kind: "entry", key: last, tag, head: this.large.headOf(last, key, row), value: null };
        } else {
          const { entry } = copyOf(last, row, this.name);
          const body = entry.state === "stub" ? this.large.bodyOf(last, key, entry.version) : undefined;
          if (body === undefined) yield { kind: "entry", key: last, tag, head: entry, value: entry.value };
          else {
            const value =
              body.size <= wholeBytesMax ? ((await this.inOnePiece(last, options)).entry?.value ?? null) : null;
            yield { kind: "entry", key: last, tag, head: { ...entry, state: "value" }, value };
          }
        }
      }
      if (page.length < Math.min(left + page.length, PAGE_ROWS)) return;
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    this.environment.refresh();
    const begun = this.state().last;
    const { cursor, initial = true } = options;
    let { change, initialKey }: Omit<Place, "epoch"> = { change: begun, initialKey: undefined };
    let telling = cursor === undefined && initial;
    if (cursor !== undefined) {
      const from = parseCursor(cursor);
      if (from === undefined || !this.reaches(from)) {
        yield { kind: "relist", reason: "the cursor is of another history, or older than the removals that are kept" };
        return;
      }
      ({ change, initialKey } = from);
      telling = initialKey !== undefined;
    }
    while (telling) {
      const page = this.page(range, initialKey, PAGE_ROWS);
      for (const { key, value: row } of page) {
        if (!this.goesOn(options)) return;
        initialKey = text.decode(key);
        const head = this.large.headOf(initialKey, key, row);
        yield { kind: "change", key: initialKey, head, cursor: this.cursor(change, initialKey) };
      }
      if (!this.goesOn(options)) return;
      telling = page.length === PAGE_ROWS;
    }
    let told = false;
    while (this.goesOn(options)) {
      this.environment.refresh();
      const { last, floor } = this.state();
      if (change < floor || change > last) {
        yield { kind: "relist", reason: "removals that were not told yet have been trimmed" };
        return;
      }
      const until = told ? last : begun;
      const page = change < until ? changesAfter(this.tables, change, PAGE_ROWS) : [];
      for (const next of page) {
        const key = text.decode(next.key);
        if (key.startsWith(range.prefix)) {
          if (!this.goesOn(options)) return;
          this.environment.refresh();
          yield { kind: "change", key, head: this.headNow(key, next.key), cursor: this.cursor(next.change) };
        }
        ({ change } = next);
      }
      if (page.length > 0) continue;
      if (!told) {
        told = true;
        change = Math.max(change, begun);
        yield { kind: "current", cursor: this.cursor(change) };
      } else {
        change = Math.max(change, until); // those between were superseded
        await this.nextLook(options);
      }
    }
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  // ---- Writing. ----

  /** Without those whose body need not be kept, because nothing of it would be stored; their results are filled in. */
  private unsettled(given: readonly Pending[], results: (WriteResult | undefined)[]): readonly Pending[] {
    this.environment.refresh();
    const touched = new Set<string>();
    return given.filter(({ write, key, at }) => {
      const { entry, if: condition, body } = write;
      if (body !== undefined && condition === undefined && !touched.has(entry.key)) {
        const row = this.tables.entries.get(key);
        const outcome = row === undefined ? undefined : settled(write, key, row, this.holding);
        if (outcome === "renewed") this.renew(write);
        results[at] = outcome === "renewed" ? STORED : outcome;
      }
      touched.add(entry.key);
      return results[at] === undefined;
    });
  }

  /**
   * One transaction: `body` changes entries and gives back what to do when they are on disk. What this process is
   * watching is told then.
   */
  private async commit(operation: string, options: CallOptions, body: (writer: Writer) => () => void): Promise<void> {
    if (this.writing >= this.limits.waitingMax) {
      const cure = "wait for writes to finish, or send larger batches";
      throw new SyncError("OVERLOADED", `${this.writing} writes wait`, { store: this.name, operation, cure });
    }
    this.writing++;
    try {
      const { after, over, changed, dropped } = await this.environment.transaction(() => {
        checkCall(this.runtime, options, this.name, operation); // it may have waited long for its turn
        const state = this.state();
        const before = { ...state };
        let naming = this.epochNamed ? undefined : newEpoch(this.runtime);
        const use = writer(this.tables, state, this.limits.removalsMax, () => {
          const name = naming;
          naming = undefined;
          return name;
        });
        const after = body(use);
        if (state.bytes > this.limits.bytesMax) use.dropOldest(DROP_ROWS);
        const isChanged = !isSameState(before, state);
        if (isChanged) this.tables.about.put(STATE_KEY, stateRow(state));
        // They have no commit of their own but when they are due: what stores nothing costs none.
        const most = isChanged || operation === "renew" ? RENEWALS_PER_TRANSACTION : 0;
        const renewed = this.renewals.write(this.tables, most, (key) => utf8.encode(key));
        const both = () => {
          after();
          renewed();
        };
        const over = state.bytes > this.limits.bytesMax;
        return { after: both, over, changed: state.last > before.last, dropped: use.dropped };
      });
      if (changed) this.epochNamed = true;
      after();
      if (dropped.length > 0) await this.large.remove(dropped);
      if (over) this.dropMore();
      for (const wake of this.waiting) wake();
    } finally {
      this.left();
    }
  }

  private left(): void {
    this.writing--;
    if (this.writing === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  /** Brings the store below its limit, a small transaction at a time, unless that is under way. */
  private dropMore(): void {
    if (this.dropping || this.closing !== undefined) return;
    this.dropping = true;
    const drop = async () => {
      try {
        await this.commit("drop", {}, (use) => {
          use.dropOldest(DROP_ROWS);
          return () => {
            this.dropping = false;
          };
        });
      } catch {
        this.dropping = false; // it shows at the next write, which finds the store above its limit and tries again
      }
    };
    this.runtime.timer(0, () => void drop(), true);
  }

  private renew({ entry: { key, version }, asOf }: Write): void {
    const bytes = utf8.encode(key);
    const row = this.tables.entries.get(bytes);
    if (row === undefined) return;
    const held = headOf(key, row, this.name);
    if (held.head.version !== version) return;
    if (asOf <= this.renewals.asOfOf(this.tables, key, bytes, version, held.asOf)) return;
    this.renewals.add(key, version, asOf);
    const delayMs = this.renewals.size > RENEWALS_WAITING_MAX ? 0 : RENEWAL_MS;
    this.renewing ??= this.runtime.timer(delayMs, () => void this.writeRenewals(), true);
  }

  /** Those that cannot be written wait for the next write: losing one costs a look at the layers below. */
  private async writeRenewals(): Promise<void> {
    this.renewing = undefined;
    if (this.closing !== undefined) return;
    await this.commit("renew", {}, () => () => {}).catch(() => {});
  }

  // ---- Reading. ----

  private state(): State {
    return stateFrom(this.tables.about.get(STATE_KEY), this.name);
  }

  private page(range: Range, after: string | undefined, limit: number): Row[] {
    this.environment.refresh();
    return pageOf(this.tables, range, after, limit);
  }

  private headNow(key: string, bytes: Uint8Array): Head | null {
    const row = this.tables.entries.get(bytes);
    return row === undefined ? null : this.large.headOf(key, bytes, row);
  }

  private reaches({ epoch, change }: Place): boolean {
    const { last, floor } = this.state();
    return change >= floor && change <= last && epochAt(this.tables, change) === epoch;
  }

  private cursor(change: number, initialKey?: string): string {
    return formatCursor({ epoch: epochAt(this.tables, change) ?? "0", change, initialKey });
  }

  /** Resolves when something may have changed: this store wrote, or it is time to look what others did. */
  private nextLook({ intervalMs = INTERVAL_MS, signal, deadline }: WatchOptions): Promise<void> {
    return new Promise((resolve) => {
      const left = deadline === undefined ? Infinity : Math.max(0, deadline - this.runtime.monotonic());
      const wake = () => {
        this.waiting.delete(wake);
        timer.cancel();
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const timer = this.runtime.timer(Math.min(intervalMs, left), wake);
      this.waiting.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }

  private enter(operation: string, options: CallOptions | undefined): void {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  /** False when the store was closed, which ends a watch quietly. @throws SyncError ABORTED or TIMEOUT. */
  private goesOn(options: CallOptions): boolean {
    if (this.closing !== undefined) return false;
    checkCall(this.runtime, options, this.name, "watch");
    return true;
  }

  private async shut(): Promise<void> {
    this.renewing?.cancel();
    for (const wake of this.waiting) wake();
    if (this.renewals.size > 0) await this.commit("renew", {}, () => () => {}).catch(() => {});
    // What a call does after its commit must not meet a closed database.
    while (this.writing > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
    await this.environment.close();
  }
}
