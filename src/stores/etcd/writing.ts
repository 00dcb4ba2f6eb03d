import { encodeEnvelope } from "../../envelope.ts";
import { SyncError, asSyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Runtime } from "../../runtime.ts";
import { failed } from "../../store.ts";
import type { Forget, Write, WriteResult } from "../../store.ts";
import { versionToBytes } from "../../version.ts";
import type { Version } from "../../version.ts";
import { zlibCompression } from "../../zlib.ts";
import type { Call } from "./connection.ts";
import { decide, exactly, opOf, outcomeOf } from "./decide.ts";
import type { Pending } from "./decide.ts";
import { reasonOf } from "./failures.ts";
import type { History } from "./history.ts";
import { noteToBytes } from "./layout.ts";
import type { Layout } from "./layout.ts";
import { NO_LEASE } from "./leases.ts";
import type { Leases } from "./leases.ts";
import { EQUAL, GREATER, LESS, OF_MOD, OF_VALUE, TXN } from "./messages.ts";
import type { Compare, Op, TxnRequest, TxnResponse } from "./messages.ts";
import type { Room } from "./room.ts";

/** Keys in one transaction: etcd takes 128 operations, and what is nested in one counts with those around it. */
export const TXN_KEYS = 126;
/** With one more level for what lies at or below the watermark, and two reads in it. */
const TXN_KEYS_LOW = 124;
/** What a transaction takes beside its keys, in bytes. */
const TXN_BYTES = 2048;
/** What etcd keeps beside the bytes of an entry and its note, roughly. */
const ROW_BYTES = 300;
/** Transactions of one call that are under way at once. */
export const AT_ONCE = 4;
/** How often a write may meet a change by others before it gives up; each time somebody else got on. */
const ROUNDS_MAX = 64;
/** How often a call waits for room to be made, for all its transactions. */
const RELIEFS_MAX = 16;

export interface WriterOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly layout: Layout;
  readonly history: History;
  readonly leases: Leases;
  /** Of a cache. */
  readonly room: Room | undefined;
  readonly requestBytesMax: number;
}

/** Writes and forgets as transactions. */
export class EtcdWriter {
  private readonly options: WriterOptions;

  constructor(options: WriterOptions) {
    this.options = options;
  }

  /**
   * Fills in the results that are open. What was answered stays so when a later request of the call fails: the rest is
   * then "failed".
   * @throws SyncError when nothing was answered.
   */
  async write(writes: readonly Write[], results: (WriteResult | undefined)[], call: Call): Promise<WriteResult[]> {
    const relief = { left: RELIEFS_MAX };
    let open = writes.flatMap((write, at) => (results[at] === undefined ? [this.pendingOf(write, at)] : []));
    const total = open.length;
    let answered = 0;
    try {
      for (let round = 0; open.length > 0; round++) {
        const { turn, rest } = firstOfEach(open);
        // Rounds that only take the next write of a key get on by themselves.
        if (round >= ROUNDS_MAX + total) throw this.contended();
        const left: Pending[] = [];
        await inParallel([...this.chunks(turn)], AT_ONCE, async (chunk) => {
          for (const pending of await this.send(chunk, results, call, relief)) left.push(pending);
        });
        answered += turn.length - left.length;
        open = [...left, ...rest].sort((a, b) => a.at - b.at);
      }
    } catch (thrown) {
      const error = asSyncError(thrown, { store: this.options.store, operation: "write" });
      if (results.every((result) => result === undefined || result.status === "failed") && answered === 0) throw error;
      return results.map((result) => result ?? failed(error));
    }
    return results as WriteResult[];
  }

  async forget(items: readonly Forget[], call: Call): Promise<void> {
    const { layout, history, room } = this.options;
    const collected = items.filter(({ reason }) => reason === "collected").map(({ version }) => version);
    const bound = collected.toSorted().at(-1);
    const raise = bound === undefined ? [] : [this.raise(bound)];
    if (raise.length > 0) await history.beNamed(call);
    const seen = new Set<string>();
    const once = items.filter(({ key, version }) => !seen.has(`${version}${key}`) && seen.add(`${version}${key}`));
    const chunks: Forget[][] = [];
    for (const item of once) {
      // A transaction names each key once.
      const fits = chunks.find((chunk) => chunk.length < TXN_KEYS_LOW && !chunk.some(({ key }) => key === item.key));
      if (fits === undefined) chunks.push([item]);
      else fits.push(item);
    }
    // In order, so that the watermark is raised before anything goes.
    for (const chunk of chunks) {
      const removals = chunk.map(({ key, version }): Op => {
        const stored = layout.entry(key);
        const note: Op[] = room === undefined ? [] : [{ remove: { key: layout.note(key) } }];
        return { txn: { compare: exactly(stored, version), success: [{ remove: { key: stored } }, ...note] } };
      });
      await history.ask(TXN, { success: [...raise, ...removals] }, call);
    }
  }

  /** Sets the watermark unless it is higher; where there is none, the comparison fails too. */
  private raise(version: Version): Op {
    const key = this.options.layout.watermark;
    const value = versionToBytes(version);
    const higher: Compare = { result: GREATER, target: OF_VALUE, key, value };
    return { txn: { compare: [higher], success: [], failure: [{ put: { key, value } }] } };
  }

  private pendingOf(write: Write, at: number): Pending {
    const { layout, room, history } = this.options;
    const { key, version } = write.entry;
    const stored = layout.entry(key);
    const looks: Op[] = [{ range: { key: stored } }];
    if (room !== undefined) looks.push({ range: { key: layout.note(key) } });
    const asOf = room === undefined ? undefined : write.asOf;
    const value = encodeEnvelope(write.entry, { asOf, compression: zlibCompression });
    const puts: Op[] = [{ put: { key: stored, value } }];
    const bytes = value.length + 2 * stored.length + ROW_BYTES;
    if (room !== undefined) puts.push(this.noteOf(write, bytes));
    const low = history.watermark !== undefined && version <= history.watermark.version;
    const size = value.length + 4 * stored.length + 2 * stored.length * looks.length + 256;
    return { at, write, key: stored, puts, bytes: size, looks, replaces: undefined, low, lost: false };
  }

  private noteOf({ entry, asOf }: Write, bytes: number): Op {
    const { layout } = this.options;
    return { put: { key: layout.note(entry.key), value: noteToBytes({ version: entry.version, asOf, bytes }) } };
  }

  private *chunks(pending: readonly Pending[]): Iterable<Pending[]> {
    const bytesMax = this.options.requestBytesMax - TXN_BYTES;
    let chunk: Pending[] = [];
    let bytes = 0;
    let hasLow = false;
    for (const item of pending) {
      const keysMax = hasLow || item.low ? TXN_KEYS_LOW : TXN_KEYS;
      if (chunk.length > 0 && (chunk.length >= keysMax || bytes + item.bytes > bytesMax)) {
        yield chunk;
        chunk = [];
        bytes = 0;
        hasLow = false;
      }
      chunk.push(item);
      bytes += item.bytes;
      hasLow ||= item.low;
    }
    if (chunk.length > 0) yield chunk;
  }

  /** One transaction. @returns what is still open. */
  private async send(
    chunk: readonly Pending[],
    results: (WriteResult | undefined)[],
    call: Call,
    relief: { left: number },
  ): Promise<readonly Pending[]> {
    const { runtime, store, history, leases, room } = this.options;
    let answer: TxnResponse;
    await room?.admit(call);
    const sentAt = runtime.monotonic();
    try {
      await history.beNamed(call);
      for (const pending of chunk) await this.lend(pending, call);
      const reply = await history.ask(TXN, this.transaction(chunk), call);
      ({ answer } = reply);
      if (reply.repeated) for (const pending of chunk) pending.lost = true;
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === "lease") {
        leases.forget();
        return chunk;
      }
      if (reason === "space" && room !== undefined && relief.left-- > 0) {
        await room.make(call, sentAt, error);
        return chunk;
      }
      if (reason === "answer" && chunk.length > 1) {
        for (const pending of chunk) pending.lost = true;
        const half = chunk.length >> 1;
        const first = await this.send(chunk.slice(0, half), results, call, relief);
        return [...first, ...(await this.send(chunk.slice(half), results, call, relief))];
      }
      throw error;
    }
    if (!answer.succeeded) return this.underWatermark(chunk, answer);
    const now = runtime.now();
    const open: Pending[] = [];
    const renewals: Op[] = [];
    let put = 0;
    for (const [i, pending] of chunk.entries()) {
      const outcome = outcomeOf(pending, answer.responses[i]);
      const decision = decide(pending, outcome, now, store);
      if (outcome.kind === "put") put += pending.bytes;
      if (decision.kind === "done") {
        results[pending.at] = decision.result;
        if (decision.renew && room !== undefined) renewals.push(...this.renewal(pending));
      } else {
        const { replaces, asOf = 0 } = decision;
        // Copies of one version share the latest date; of two versions each has its own.
        const later =
          room === undefined || asOf <= pending.write.asOf
            ? pending
            : this.pendingOf({ ...pending.write, asOf }, pending.at);
        open.push({ ...later, replaces, lost: pending.lost });
      }
    }
    for (let i = 0; i < renewals.length; i += TXN_KEYS_LOW) {
      await history.ask(TXN, { success: renewals.slice(i, i + TXN_KEYS_LOW) }, call);
    }
    room?.wrote(put);
    return open;
  }

  /** A later date of a copy, noted if the copy is still the one that was seen and no later date was noted meanwhile. */
  private renewal({ write, key, puts }: Pending): Op[] {
    const { key: note, value } = puts[1]?.put ?? {};
    if (note === undefined || value === undefined) return [];
    const compare = [...exactly(key, write.entry.version), { result: LESS, target: OF_VALUE, key: note, value }];
    return [{ txn: { compare, success: [{ put: { key: note, value, ignoreLease: true } }] } }];
  }

  private transaction(chunk: readonly Pending[]): TxnRequest {
    const { layout, history } = this.options;
    const key = layout.watermark;
    const lowest = chunk.reduce((least, { write }) => (write.entry.version < least ? write.entry.version : least), "z");
    const { watermark } = history;
    const under: Compare = chunk.some(({ low }) => low)
      ? { result: EQUAL, target: OF_MOD, key, modRevision: watermark?.revision ?? 0 }
      : { result: LESS, target: OF_VALUE, key, value: versionToBytes(lowest as Version) };
    // Etcd counts the puts of a transaction against its quota but not those nested in it, and so would take these even
    // with the quota used up, until the disk is full. One that is not nested makes it judge them; see docs/stores/etcd.md.
    const counted = { put: { key: layout.quota } };
    return { compare: [under], success: chunk.map(opOf), failure: [{ range: { key } }, counted] };
  }

  /** The watermark is not below everything in the chunk, or not the one that was known, or missing. */
  private underWatermark(chunk: readonly Pending[], answer: TxnResponse): readonly Pending[] {
    const { history } = this.options;
    const kv = answer.responses[0]?.range?.kvs[0];
    if (kv === undefined) {
      history.forgetName();
      for (const pending of chunk) pending.low = false;
      return chunk;
    }
    history.noteWatermark(kv);
    for (const pending of chunk) pending.low = pending.write.entry.version <= (history.watermark?.version ?? "");
    return chunk;
  }

  /** Puts the lease of the entry's bucket into what will be put. */
  private async lend(pending: Pending, call: Call): Promise<void> {
    const lease = (await this.options.leases.forEntry(pending.write.entry, call)) ?? NO_LEASE;
    if (lease === (pending.puts[0]?.put?.lease ?? NO_LEASE)) return;
    pending.puts = pending.puts.map(({ put }) => ({ put: { ...put, lease } }));
  }

  private contended(): SyncError {
    const cure = "try again, or write these keys from fewer places";
    return new SyncError("UNAVAILABLE", "others changed the same keys all the while", {
      store: this.options.store,
      operation: "write",
      cure,
    });
  }
}

/** The first open write of each key: those behind it take effect after it. */
function firstOfEach(open: readonly Pending[]): { turn: Pending[]; rest: Pending[] } {
  const seen = new Set<string>();
  const turn: Pending[] = [];
  const rest: Pending[] = [];
  for (const pending of open) {
    const { key } = pending.write.entry;
    (seen.has(key) ? rest : turn).push(pending);
    seen.add(key);
  }
  return { turn, rest };
}
