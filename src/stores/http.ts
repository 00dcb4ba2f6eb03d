import { ending } from "../ending.ts";
import { SyncError } from "../error.ts";
import { nodesOf } from "../protocol.ts";
import type { Hello, Shape } from "../protocol.ts";
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
import { encodeMessage } from "../protocol.ts";
import type { ForgetHead } from "../protocol.ts";
import { readAddress } from "./http/address.ts";
import { NodeClient } from "./http/client.ts";
import type { Call, Transport } from "./http/client.ts";
import { feed } from "./http/feed.ts";
import type { FeedOptions } from "./http/feed.ts";
import { remoteList } from "./http/listing.ts";
import { readAll } from "./http/reading.ts";
import type { ReaderOptions } from "./http/reading.ts";
import { writeAll } from "./http/writing.ts";
import type { WriterOptions } from "./http/writing.ts";
import { http as connections } from "./wire/http.ts";

export type { Transport } from "./http/client.ts";

export interface HttpOptions {
  readonly runtime: Runtime;
  /** Default "http". */
  readonly name?: string | undefined;
  /** What opens the node's door, if the URL does not hold it. Default: none. */
  readonly token?: string | undefined;
  /** The certificates of authorities that are trusted in place of the platform's, in PEM. Default: the platform's. */
  readonly ca?: string | undefined;
  /** How long a call takes at most whose caller names no deadline, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** How long opening waits for the node to say what it can, in milliseconds. Default 2,000. */
  readonly helloMs?: number | undefined;
  /** How many connections there are beside those of feeds. Default 16. */
  readonly connectionsMax?: number | undefined;
  /** How often the node's feed is to say that it is alive, in milliseconds. Default 5,000. */
  readonly heartbeatMs?: number | undefined;
  /** Through which nodes a call comes. Default: none. */
  readonly via?: (() => readonly string[]) | undefined;
  /** What carries the requests. Default: keep-alive connections by undici. */
  readonly transport?: Transport | undefined;
  /** Told what no call can return: that the node is not reached, or can less than was taken for granted. */
  readonly onReport?: ((message: string) => void) | undefined;
}

/** A node's chain as a store. */
export interface HttpStore extends Store {
  /** Resolves when everything written before it is in every layer of the node, and of those below it. */
  flush(options?: CallOptions): Promise<void>;
  /** What the node last said of its layers; undefined before it was reached. */
  below(): Shape | undefined;
}

/** What a node can that was not reached yet. */
const ASSUMED: Supports = {
  keyBytesMax: 512,
  valueBytesMax: 8 * 2 ** 20,
  streamBytesMax: 0,
  batchMax: 10_000,
  conditional: true,
  atomicBatch: false,
  stubs: false,
  watch: "push",
  expiry: false,
  writers: "many",
  durable: true,
  shared: true,
  asOf: "known",
  readonly: false,
};
const BODY_BYTES_MAX = 64 * 2 ** 20;
const BATCH_MAX = 100_000;
/** Of a request's limit, what a value's envelope and the head beside it may take. */
const OVERHEAD_BYTES = 64 * 1024;
/** A node limits each request; a flush that takes longer is asked for again. */
const FLUSH_MS = 20_000;
/** A node that says again and again that there is a loop is asked who it is no more often than this. */
const LEARN_MS = 1_000;
/** A feed that said nothing for so many heartbeats is broken. */
const SILENCE_HEARTBEATS = 2.5;

/**
 * Another node as a store: what it answers with, its chain decides. A node that does not answer while the store is opened
 * is taken to be able to do what nodes usually can.
 *
 * @param url `https://TOKEN@host:port/`, with a path where the node's paths do not begin at the root.
 * @throws SyncError INVALID for a malformed URL or option, UNAUTHORISED when the node refuses the token.
 */
export async function http(url: string, options: HttpOptions): Promise<HttpStore> {
  const { runtime, helloMs = 2_000, timeoutMs = 30_000, connectionsMax = 16, heartbeatMs = 5_000 } = options;
  for (const [name, value] of Object.entries({ helloMs, timeoutMs, connectionsMax, heartbeatMs })) {
    if (!(value > 0))
      throw new SyncError("INVALID", `option ${name} is a number above 0`, { store: options.name ?? "http" });
  }
  const store = options.name ?? "http";
  const address = readAddress(url, options.token);
  const silenceMs = heartbeatMs * SILENCE_HEARTBEATS + 1_000;
  const { via = () => [], transport = connections, ca } = options;
  let opened: NodeStore | undefined;
  const onAnswer = (isLoop: boolean) => opened?.answered(isLoop);
  const carried = { connectionsMax, ca, silenceMs, via, transport };
  const client = new NodeClient({ runtime, store, address, timeoutMs, ...carried, onAnswer });
  let hello: Hello | undefined;
  try {
    hello = await client.hello({ operation: "open", deadline: runtime.monotonic() + helloMs });
  } catch (error) {
    if (!(error instanceof SyncError) || error.code === "UNAUTHORISED" || error.code === "INVALID") {
      await client.close();
      throw error;
    }
    options.onReport?.(
      `the node was not reached, and is taken to be able to do what nodes usually can: ${error.message}`,
    );
  }
  opened = new NodeStore(client, { ...options, store, timeoutMs, heartbeatMs }, hello);
  return opened;
}

/** What the store can: what the node's chain can, as far as it fits into requests, and as far as it can be believed. */
function supportsOf(hello: Hello | undefined): { readonly supports: Supports; readonly requestBytesMax: number } {
  if (hello === undefined) return { supports: ASSUMED, requestBytesMax: BODY_BYTES_MAX - OVERHEAD_BYTES };
  const told = hello.supports;
  const bodyBytesMax = Math.min(limit(hello.limits.bodyBytesMax, 1, BODY_BYTES_MAX), BODY_BYTES_MAX);
  const requestBytesMax = Math.max(Math.ceil(bodyBytesMax / 2), bodyBytesMax - OVERHEAD_BYTES);
  const flag = (name: "conditional" | "expiry" | "durable" | "readonly") => {
    return typeof told[name] === "boolean" ? told[name] : ASSUMED[name];
  };
  const isReadonly = flag("readonly");
  const supports: Supports = {
    // Its answers are dated by the asking, and it is another machine's, whatever its layers are.
    ...ASSUMED,
    keyBytesMax: Math.min(limit(told.keyBytesMax, 1, ASSUMED.keyBytesMax), ASSUMED.keyBytesMax),
    valueBytesMax: Math.min(limit(told.valueBytesMax, 1, ASSUMED.valueBytesMax), requestBytesMax),
    streamBytesMax: limit(told.streamBytesMax, 0, 0),
    batchMax: Math.min(limit(told.batchMax, 1, ASSUMED.batchMax), BATCH_MAX),
    conditional: flag("conditional") && !isReadonly,
    expiry: flag("expiry"),
    durable: flag("durable"),
    writers: told.writers === "one" ? "one" : "many",
    readonly: isReadonly,
  };
  return { supports, requestBytesMax };
}

/** A limit as it is told, null for none; what is none is what is taken for granted. */
function limit(told: unknown, least: number, assumed: number): number {
  if (told === null) return Infinity;
  return Number.isSafeInteger(told) && Number(told) >= least ? Number(told) : assumed;
}

class NodeStore implements HttpStore {
  readonly name: string;
  readonly supports: Supports;
  private readonly runtime: Runtime;
  private readonly client: NodeClient;
  private readonly timeoutMs: number;
  private readonly reader: ReaderOptions;
  private readonly writer: WriterOptions;
  private readonly feeds: FeedOptions;
  private readonly report: (message: string) => void;
  private readonly ending = ending();
  private shape: Shape | undefined;
  private learnedAt = Number.NEGATIVE_INFINITY;
  private closing: Promise<void> | undefined = undefined;

  constructor(
    client: NodeClient,
    options: HttpOptions & { readonly store: string; readonly timeoutMs: number; readonly heartbeatMs: number },
    hello: Hello | undefined,
  ) {
    const { store, runtime, timeoutMs, heartbeatMs, onReport = () => undefined } = options;
    const { supports, requestBytesMax } = supportsOf(hello);
    this.name = store;
    this.supports = supports;
    this.runtime = runtime;
    this.client = client;
    this.timeoutMs = timeoutMs;
    this.report = onReport;
    this.shape = hello?.shape;
    const now = () => runtime.now();
    this.reader = { client, store, now, patient: (operation, call) => this.patient(operation, call) };
    this.writer = { client, store, now, requestBytesMax };
    const closing = this.ending;
    this.feeds = { runtime, store, client, heartbeatMs, timeoutMs, closing, onConnected: () => void this.learn() };
  }

  async read(keys: readonly string[], options: ReadOptions = {}): Promise<Answer[]> {
    const call = this.enter("read", options);
    checkRead(this, keys);
    return keys.length === 0 ? [] : readAll(this.reader, keys, options, call);
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    const call = this.enter("write", options);
    checkWrite(this, writes);
    return writeAll(
      this.writer,
      writes,
      writes.map((write) => refusal(this, write)),
      call,
    );
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    const call = this.enter("forget", options);
    checkForget(this, items);
    if (items.length === 0) return;
    const body = encodeMessage({ op: "forget", items } satisfies ForgetHead);
    for await (const answer of this.client.messages({ method: "POST", path: "batch", body, repeatable: true }, call))
      void answer;
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    const call = this.patient("list", options);
    for await (const item of remoteList(this.client, this.name, range, options, call)) {
      this.enter("list", options);
      yield item;
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    for await (const change of feed(this.feeds, range, options)) {
      if (this.closing !== undefined) return;
      checkCall(this.runtime, options, this.name, "watch");
      yield change;
    }
  }

  async flush(options?: CallOptions): Promise<void> {
    for (;;) {
      const { deadline = Infinity } = options ?? {};
      this.enter("flush", options);
      const part = Math.min(deadline, this.runtime.monotonic() + Math.min(FLUSH_MS, this.timeoutMs));
      try {
        await this.client.small(
          { method: "POST", path: "flush", repeatable: true },
          { ...options, operation: "flush", deadline: part },
        );
        return;
      } catch (error) {
        // The node says when something stands in the way; otherwise it only takes long.
        if (!(error instanceof SyncError) || error.code !== "TIMEOUT" || this.runtime.monotonic() >= deadline)
          throw error;
      }
    }
  }

  /** It is asked who it is: where that is not known yet, and at a loop, so that this side can name it too. */
  answered(isLoop: boolean): void {
    if (this.shape !== undefined && !isLoop) return;
    if (this.runtime.monotonic() - this.learnedAt >= LEARN_MS) void this.learn();
  }

  below(): Shape | undefined {
    return this.shape;
  }

  close(): Promise<void> {
    this.ending.end();
    this.closing ??= this.client.close();
    return this.closing;
  }

  /** Asks the node once more who it is: after it was not reached, and whenever it may have been started anew. */
  private async learn(): Promise<void> {
    this.learnedAt = this.runtime.monotonic();
    try {
      const hello = await this.client.hello(this.callOf("status", undefined));
      const { supports } = supportsOf(hello);
      const before = this.shape;
      this.shape = hello.shape;
      const lacks = (["conditional", "durable"] as const).filter((name) => this.supports[name] && !supports[name]);
      if (before === undefined && (lacks.length > 0 || supports.readonly)) {
        const what = supports.readonly ? "takes no writes" : `is not ${lacks.join(" or ")}`;
        this.report(`the node ${nodesOf(hello.shape)[0]} ${what}, which was taken for granted: open the store again`);
      }
    } catch (error) {
      if (this.closing === undefined)
        this.report(`the node did not say who it is: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** @throws SyncError CLOSED, ABORTED or TIMEOUT when the call should not begin or go on. */
  private enter(operation: string, options: CallOptions | undefined): Call {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
    return this.callOf(operation, options);
  }

  /** For what goes on for as long as something comes. */
  private patient(operation: string, options: CallOptions | undefined): Call {
    return { ...this.enter(operation, options), deadline: options?.deadline ?? Infinity };
  }

  private callOf(operation: string, options: CallOptions | undefined): Call {
    const deadline = Math.min(options?.deadline ?? Infinity, this.runtime.monotonic() + this.timeoutMs);
    return { operation, deadline, signal: options?.signal };
  }
}
