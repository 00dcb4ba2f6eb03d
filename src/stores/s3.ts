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
import type { Conditions } from "./s3/bucket.ts";
import { page } from "./s3/bucket.ts";
import { callOf } from "./s3/call.ts";
import type { Call } from "./s3/call.ts";
import type { Client } from "./s3/client.ts";
import { connect, numberOption } from "./s3/connect.ts";
import type { ConnectOptions } from "./s3/connect.ts";
import { Facts } from "./s3/facts.ts";
import { list } from "./s3/listing.ts";
import { PARTS_MAX, PART_BYTES_MIN } from "./s3/multipart.ts";
import { checkPrefix, keyBytesMaxFor } from "./s3/names.ts";
import { probe } from "./s3/probe.ts";
import type { Abilities } from "./s3/probe.ts";
import { forgetAll } from "./s3/removing.ts";
import { Slots, Turns } from "./s3/slots.ts";
import { fetchEntry, objectName } from "./s3/space.ts";
import type { Space } from "./s3/space.ts";
import { Watches } from "./s3/watching.ts";
import { Watermark } from "./s3/watermark.ts";
import { writeAll } from "./s3/writing.ts";

export type { ConnectOptions } from "./s3/connect.ts";
export type { Credentials } from "./s3/credentials.ts";

export interface S3Options extends ConnectOptions {
  /** Before the name of every object, such as `data/`. Default: none. */
  readonly prefix?: string | undefined;
  /** Whether a bucket that is not there is created. Default false. */
  readonly create?: boolean | undefined;
  /** Takes no writes; the credentials need no right to write. Default false. */
  readonly readonly?: boolean | undefined;
  /** How the endpoint takes conditions. Default: found out when the store is opened, in four to nine requests. */
  readonly conditions?: Conditions | undefined;
  /** The largest value taken and given, in bytes. Default 64 MiB, at most 5 GiB: values are held in memory. */
  readonly valueBytesMax?: number | undefined;
  /** From this size on values are read in ranges, and written in parts where that is safe. Default 16 MiB. */
  readonly multipartBytes?: number | undefined;
  /** Of how many objects what was last seen is remembered. Default 10,000. */
  readonly factsMax?: number | undefined;
  /** How often watches that name no interval list the bucket, in milliseconds. Default: never, see docs/stores/s3.md. */
  readonly watchIntervalMs?: number | undefined;
  /** How many keys a watched range may have. Default 100,000. */
  readonly watchKeysMax?: number | undefined;
}

export interface S3Store extends Store {
  /** A URL by which anybody who has it may get the key's object, or put one, until it expires: at most 7 days. */
  presign(key: string, options: PresignOptions): Promise<string>;
  /** How many requests were sent so far, repetitions too. */
  readonly requests: number;
}

export interface PresignOptions {
  readonly expiresMs: number;
  /** Default "GET". What is put so is another tool's object: docs/stores/s3.md. */
  readonly method?: "GET" | "PUT" | undefined;
}

const VALUE_BYTES_MAX = 64 * 1024 * 1024;
/** What S3 takes in one PUT. */
const OBJECT_BYTES_MAX = 5 * 1024 ** 3;
const MULTIPART_BYTES = 16 * 1024 * 1024;
const PART_BYTES = 8 * 1024 * 1024;
const BATCH_MAX = 1000;
const FACTS_MAX = 10_000;
const WATCH_KEYS_MAX = 100_000;
const PRESIGN_MS_MAX = 7 * 86_400_000;

/**
 * Entries as objects of an S3 bucket: AWS, DigitalOcean Spaces, Cloudflare R2, Ceph. The value is the object's body.
 *
 * @throws SyncError INVALID for an option out of range, NOT_FOUND for a bucket that is not there, UNAUTHORISED for
 * credentials that are missing or refused, UNAVAILABLE.
 */
export async function s3(options: S3Options): Promise<S3Store> {
  const { runtime, prefix = "", readonly = false } = options;
  checkPrefix(prefix);
  const limits = {
    valueBytesMax: numberOption("valueBytesMax", options.valueBytesMax, VALUE_BYTES_MAX, 0, OBJECT_BYTES_MAX),
    multipartBytes: numberOption(
      "multipartBytes",
      options.multipartBytes,
      MULTIPART_BYTES,
      PART_BYTES_MIN,
      OBJECT_BYTES_MAX,
    ),
    partBytes: PART_BYTES,
  };
  const factsMax = numberOption("factsMax", options.factsMax, FACTS_MAX, 0, 10_000_000);
  const watchKeysMax = numberOption("watchKeysMax", options.watchKeysMax, WATCH_KEYS_MAX, 1, 10_000_000);
  const { watchIntervalMs } = options;
  if (watchIntervalMs !== undefined) numberOption("watchIntervalMs", watchIntervalMs, 0, 1, 2 ** 31 - 1);
  const { client, concurrency } = await connect(options);
  const call = callOf(runtime, client.name, "open");
  try {
    const abilities = await open(client, call, options, prefix);
    const space: Space = {
      client,
      runtime,
      prefix,
      abilities,
      watermark: new Watermark(client, prefix, abilities.put),
      facts: new Facts(runtime, factsMax),
      slots: new Slots(concurrency),
      turns: new Turns(),
      expects: { nothing: true },
      limits: { ...limits, concurrency },
    };
    await space.watermark.look(call);
    return new S3(space, readonly, new Watches(space, runtime, watchKeysMax, watchIntervalMs));
  } catch (error) {
    await client.close();
    throw error;
  } finally {
    call.end();
  }
}

async function open(client: Client, call: Call, options: S3Options, prefix: string): Promise<Abilities> {
  const { runtime, create = false, readonly = false, conditions } = options;
  if (create && !readonly) await client.send(call, { method: "PUT", name: "", takes: [200, 409] });
  // Whether the bucket is there and may be read, before anything is written.
  await page(client, call, prefix, {}, 1);
  if (readonly) return { put: "none", remove: false };
  if (conditions !== undefined) return { put: conditions, remove: false };
  return probe(client, call, runtime, prefix);
}

class S3 implements S3Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly space: Space;
  private readonly runtime: Runtime;
  private readonly watches: Watches;
  private readonly running = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined;

  constructor(space: Space, readonly: boolean, watches: Watches) {
    this.name = space.client.name;
    this.space = space;
    this.runtime = space.runtime;
    this.watches = watches;
    const able = space.abilities.put !== "none";
    this.supports = {
      keyBytesMax: keyBytesMaxFor(space.prefix),
      valueBytesMax: space.limits.valueBytesMax,
      streamBytesMax: able ? OBJECT_BYTES_MAX : PARTS_MAX * space.limits.partBytes,
      batchMax: BATCH_MAX,
      conditional: able && !readonly,
      atomicBatch: false,
      stubs: true,
      watch: "poll",
      expiry: false,
      writers: able || readonly ? "many" : "one",
      durable: true,
      shared: true,
      asOf: "known",
      readonly,
    };
  }

  get requests(): number {
    return this.space.client.requests;
  }

  async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    return this.within("read", options, async (call) => {
      const asOf = this.runtime.now();
      const asking = keys.map((key) => {
        const name = objectName(this.space, key);
        return this.space.slots.run(() => {
          call.check();
          return fetchEntry(this.space, call, key, name, options?.wholeBytesMax);
        });
      });
      const found = await settled(asking);
      return found.map((got) => {
        const answer = { entry: got?.entry, asOf, complete: true, stale: false, from: this.name };
        return got?.body === undefined ? answer : { ...answer, body: got.body };
      });
    });
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    this.enter("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    const pending = writes.flatMap((write, at) => (results[at] === undefined ? [{ write, at }] : []));
    await this.within("write", options, (call) => writeAll(this.space, call, pending, results));
    if (pending.length > 0) this.watches.wake();
    return results as WriteResult[];
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    await this.within("forget", options, (call) => forgetAll(this.space, call, items));
    this.watches.wake();
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const call = this.call("list", options);
    try {
      yield* list(this.space, call, range, options, (work) => this.during(work));
    } finally {
      call.end();
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    const call = callOf(this.runtime, this.name, "watch", options);
    try {
      yield* this.watches.watch(call, range, options, (work) => this.during(work));
    } finally {
      call.end();
    }
  }

  async presign(key: string, { expiresMs, method = "GET" }: PresignOptions): Promise<string> {
    this.enter("presign", undefined);
    checkRead(this, [key]);
    numberOption("expiresMs", expiresMs, 0, 1000, PRESIGN_MS_MAX);
    return this.space.client.presigned(method, objectName(this.space, key), expiresMs);
  }

  close(): Promise<void> {
    if (this.closing === undefined) {
      this.closing = this.shut();
      this.watches.close();
    }
    return this.closing;
  }

  private async shut(): Promise<void> {
    while (this.running.size > 0) await Promise.allSettled(this.running);
    await this.space.client.close();
  }

  private async within<T>(
    operation: string,
    options: CallOptions | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    const call = callOf(this.runtime, this.name, operation, options);
    try {
      return await this.during(work(call));
    } finally {
      call.end();
    }
  }

  /** Closing waits for it. */
  private async during<T>(work: Promise<T>): Promise<T> {
    this.running.add(work);
    try {
      return await work;
    } finally {
      this.running.delete(work);
    }
  }

  /** A call that also ends when the store is closed. */
  private call(operation: string, options: CallOptions): Call {
    const call = callOf(this.runtime, this.name, operation, options);
    return {
      ...call,
      check: () => {
        if (this.closing !== undefined) throw closedError(this.name, operation);
        call.check();
      },
    };
  }

  private enter(operation: string, options: CallOptions | undefined): void {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }
}

/** All of them, or the first failure when all have ended: nothing goes on behind a call that has failed. */
async function settled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(promises);
  return outcomes.map((outcome) => {
    if (outcome.status === "fulfilled") return outcome.value;
    throw outcome.reason instanceof SyncError
      ? outcome.reason
      : new SyncError("INTERNAL", "a read failed", { cause: outcome.reason });
  });
}
