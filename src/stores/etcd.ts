import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { checkCall, checkForget, checkRead, checkWrite, closedError, refusal } from "../store.ts";
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
import { readAddress } from "./etcd/address.ts";
import type { AddressOptions, EtcdAddress } from "./etcd/address.ts";
import { Connection } from "./etcd/connection.ts";
import type { Call } from "./etcd/connection.ts";
import { History } from "./etcd/history.ts";
import { Layout } from "./etcd/layout.ts";
import { Leases } from "./etcd/leases.ts";
import { limitsOf } from "./etcd/limits.ts";
import type { EtcdLimits, Limits } from "./etcd/limits.ts";
import { EtcdReader } from "./etcd/reading.ts";
import { Room } from "./etcd/room.ts";
import { EtcdWatch } from "./etcd/watching.ts";
import { EtcdWriter } from "./etcd/writing.ts";

export type { AddressOptions, Credentials } from "./etcd/address.ts";
export type { EtcdLimits } from "./etcd/limits.ts";

export interface EtcdOptions extends AddressOptions, EtcdLimits {
  readonly runtime: Runtime;
  /** Default "etcd". */
  readonly name?: string | undefined;
}

/** What etcd allows a request by default: `--max-request-bytes`. Of it, what keys, metadata and frames may take. */
const OVERHEAD_BYTES = 8 * 1024;
/** Keys, writes or items of one call; sent as transactions of at most 126. */
const BATCH_MAX = 1000;

/**
 * Entries in an etcd cluster, version 3.4 or later. A resolved write is on the disks of a majority of its members.
 * Nothing is sent before the first call.
 *
 * @param url `etcd://user:password@host:port,host:port/prefix`, or `etcds://…` for TLS.
 * @throws SyncError INVALID for a malformed URL or an option out of range, NOT_FOUND or UNAVAILABLE for a certificate
 * that cannot be read.
 */
export async function etcd(url: string, options: EtcdOptions): Promise<Store> {
  const limits = limitsOf(options);
  return new Etcd(await readAddress(url, options), options.name ?? "etcd", options.runtime, limits);
}

class Etcd implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly runtime: Runtime;
  private readonly timeoutMs: number;
  private readonly connection: Connection;
  private readonly reader: EtcdReader;
  private readonly writer: EtcdWriter;
  private readonly watched: ConstructorParameters<typeof EtcdWatch>[0];
  private readonly watches = new Set<EtcdWatch>();
  private readonly room: Room | undefined;
  private closing: Promise<void> | undefined = undefined;

  constructor(address: EtcdAddress, name: string, runtime: Runtime, limits: Limits) {
    this.name = name;
    this.runtime = runtime;
    this.timeoutMs = limits.timeoutMs;
    const layout = new Layout(address.prefix);
    const store = name;
    const connection = new Connection(address, { runtime, store, ...limits });
    const history = new History(connection, layout, runtime, store);
    const { cache, requestBytesMax } = limits;
    const leases = new Leases(connection, {
      runtime,
      store,
      retentionMs: limits.retentionMs,
      copyTtlMs: cache?.copyTtlMs,
    });
    this.room = cache && new Room({ runtime, store, layout, connection, history, ...cache });
    this.connection = connection;
    this.reader = new EtcdReader({ runtime, store, layout, history, noted: cache !== undefined });
    this.writer = new EtcdWriter({ runtime, store, layout, history, leases, room: this.room, requestBytesMax });
    this.watched = { runtime, store, layout, connection, history, reader: this.reader, timeoutMs: limits.timeoutMs };
    this.supports = {
      keyBytesMax: 512,
      valueBytesMax: requestBytesMax - OVERHEAD_BYTES,
      streamBytesMax: 0,
      batchMax: BATCH_MAX,
      conditional: true,
      atomicBatch: false,
      stubs: true,
      watch: "push",
      expiry: true,
      writers: "many",
      durable: true,
      shared: true,
      asOf: cache === undefined ? "known" : "stored",
      readonly: false,
    };
  }

  async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    const call = this.enter("read", options);
    checkRead(this, keys);
    return this.within(call, () => this.reader.read(keys, call));
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    const call = this.enter("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    return this.within(call, () => this.writer.write(writes, results, call));
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    const call = this.enter("forget", options);
    checkForget(this, items);
    if (items.length > 0) await this.within(call, () => this.writer.forget(items, call));
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    for await (const item of this.reader.list(range, options, () => this.enter("list", options))) {
      this.enter("list", options);
      yield item;
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    const watch = new EtcdWatch(this.watched, range, options, () => this.callOf("watch", options));
    this.watches.add(watch);
    try {
      for await (const change of watch.changes()) {
        if (this.closing !== undefined) return;
        checkCall(this.runtime, options, this.name, "watch");
        yield change;
      }
    } catch (error) {
      // A watch that was under way ends quietly.
      if (this.closing !== undefined && error instanceof SyncError && error.code === "CLOSED") return;
      throw error;
    } finally {
      this.watches.delete(watch);
    }
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    for (const watch of this.watches) watch.stop();
    await this.room?.close();
    await this.connection.close();
  }

  /** @throws SyncError CLOSED, ABORTED or TIMEOUT when the call should not begin or go on. */
  private enter(operation: string, options: CallOptions | undefined): Call {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
    return this.callOf(operation, options);
  }

  /** No request is without a deadline, whether the caller names one or not. */
  private callOf(operation: string, options: CallOptions | undefined): Call {
    const deadline = Math.min(options?.deadline ?? Infinity, this.runtime.monotonic() + this.timeoutMs);
    return { operation, deadline, signal: options?.signal };
  }

  private async within<T>(call: Call, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof SyncError && error.code === "CLOSED") throw closedError(this.name, call.operation);
      throw error;
    }
  }
}
