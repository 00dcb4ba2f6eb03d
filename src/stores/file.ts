import { mkdir, realpath, stat } from "node:fs/promises";
import { forCaller } from "../caller.ts";
import { compareKeys } from "../entry.ts";
import type { Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import { inParallel } from "../in-parallel.ts";
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
import { systemRuntime } from "../system.ts";
import { Commits } from "./file/commit.ts";
import { fileFailure, isMissing } from "./file/failures.ts";
import { FolderLock } from "./file/lock.ts";
import { Looks, givenBy } from "./file/look.ts";
import type { Found } from "./file/look.ts";
import { Side } from "./file/side.ts";
import { keysUnder } from "./file/walk.ts";
import { Watches } from "./file/watching.ts";
import type { Seen } from "./file/watching.ts";
import { Writing } from "./file/writing.ts";

export interface FileOptions {
  /** Default: the platform's. */
  readonly runtime?: Runtime | undefined;
  /** Default "file". */
  readonly name?: string | undefined;
  /** Whether a missing folder is created, with those above it. Default true; false refuses with NOT_FOUND. */
  readonly create?: boolean | undefined;
  /** Nothing is written, neither files nor what is known of them. Default false. */
  readonly readonly?: boolean | undefined;
  /** What is acknowledged survives a power loss. False saves some five waits for the disk per call. Default true. */
  readonly durable?: boolean | undefined;
  /** The largest value taken and given whole, in bytes. Default 64 MiB; larger ones come and go as streams. */
  readonly valueBytesMax?: number | undefined;
  /** How many calls may be under way before more writes are refused with OVERLOADED. Default 10,000. */
  readonly waitingMax?: number | undefined;
}

const BATCH_MAX = 1000;
const WAITING_MAX = 10_000;
const VALUE_BYTES_MAX = 64 * 1024 * 1024;
const AT_ONCE = 16;
const WINDOW_KEYS = 64;
/** In a list of values those above this are brought one at a time. */
const SMALL_BYTES_MAX = 256 * 1024;
/** How many keys wait to be settled at most; the others are found again when they are looked at next. */
const UNSETTLED_MAX = 10_000;

/**
 * Plain files in a folder that people read and edit, with what files cannot say in a hidden folder beside them.
 * docs/stores/file.md says what it promises. Several processes of one machine may use one folder.
 *
 * @throws SyncError INVALID for an option out of range or a file in the way, NOT_FOUND, UNAUTHORISED, CORRUPT for a folder
 * of a later format. Nothing is written then; opening writes nothing but the folder itself.
 */
export async function file(folder: string, options: FileOptions = {}): Promise<Store> {
  const { name = "file", runtime = systemRuntime, create = true } = options;
  const { valueBytesMax = VALUE_BYTES_MAX, waitingMax = WAITING_MAX } = options;
  for (const [option, value] of Object.entries({ valueBytesMax, waitingMax })) {
    if (Number.isSafeInteger(value) && value > 0) continue;
    const cure = "give a whole number above 0";
    throw new SyncError("INVALID", `option ${option} is ${String(value)}`, { store: name, cure });
  }
  const root = await openRoot(folder, create && options.readonly !== true, name);
  const side = new Side(root, name, options.durable ?? true);
  await side.created();
  return new FileStore(root, side, runtime, { valueBytesMax, waitingMax, readonly: options.readonly ?? false });
}

async function openRoot(folder: string, create: boolean, store: string): Promise<string> {
  try {
    if (create) await mkdir(folder, { recursive: true });
    const root = await realpath(folder);
    if ((await stat(root)).isDirectory()) return root;
  } catch (error) {
    if (!isMissing(error) || create) throw fileFailure(error, { store, operation: "open" });
    const cure = "name a folder that is there, or create it";
    throw new SyncError("NOT_FOUND", `there is no folder ${folder}`, { store, operation: "open", cure, cause: error });
  }
  const cure = "name a folder";
  throw new SyncError("INVALID", `${folder} is a file`, { store, operation: "open", cure });
}

interface Limits {
  readonly valueBytesMax: number;
  readonly waitingMax: number;
  readonly readonly: boolean;
}

class FileStore implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly waitingMax: number;
  private readonly root: string;
  private readonly runtime: Runtime;
  private readonly side: Side;
  private readonly lock: FolderLock;
  private readonly looks: Looks;
  private readonly commits: Commits;
  private readonly writing: Writing;
  private readonly watches: Watches;
  private readonly unsettled = new Set<string>();
  private settling: Promise<void> | undefined = undefined;
  private readonly running = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined = undefined;

  constructor(root: string, side: Side, runtime: Runtime, { valueBytesMax, waitingMax, readonly }: Limits) {
    this.waitingMax = waitingMax;
    this.root = root;
    this.side = side;
    this.name = side.store;
    this.runtime = runtime;
    this.lock = new FolderLock(side.path("locks"), runtime, this.name);
    this.looks = new Looks(root, side, runtime);
    this.commits = new Commits(side, this.looks, this.lock, runtime);
    this.watches = new Watches({ store: this.name, runtime, look: (range) => this.seen(range) });
    this.supports = {
      keyBytesMax: 512,
      valueBytesMax,
      streamBytesMax: Number.MAX_SAFE_INTEGER,
      batchMax: BATCH_MAX,
      conditional: !readonly,
      atomicBatch: false,
      stubs: false,
      watch: "poll",
      expiry: false,
      writers: "many",
      durable: side.durable,
      shared: false,
      asOf: "known",
      readonly,
    };
    const { looks, commits, lock } = this;
    const onChange = () => this.watches.wake();
    this.writing = new Writing({ side, looks, commits, lock, runtime, valueBytesMax, onChange });
  }

  async read(keys: readonly string[], options: ReadOptions = {}): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const { wholeBytesMax = this.supports.valueBytesMax } = options;
    const asOf = this.runtime.now();
    const answer = async (key: string): Promise<Answer> => {
      this.enter("read", options);
      const found = await this.look(key, Math.min(wholeBytesMax, this.supports.valueBytesMax));
      const { entry, body } = givenBy(found, this.runtime, this.name);
      const known = { asOf, complete: true, stale: false, from: this.name };
      return body === undefined ? { entry, ...known } : { entry, body, ...known };
    };
    return this.run("read", options, inParallel(keys, AT_ONCE, answer));
  }

  async write(writes: readonly Write[], options: CallOptions = {}): Promise<WriteResult[]> {
    this.enterWriting("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    return this.run("write", options, this.writing.write(writes, results, options));
  }

  async forget(items: readonly Forget[], options: CallOptions = {}): Promise<void> {
    this.enterWriting("forget", options);
    checkForget(this, items);
    if (items.length === 0) return;
    await this.run("forget", options, this.writing.forget(items, options));
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const { detail = "keys", after, limit = Infinity, wholeBytesMax = this.supports.valueBytesMax } = options;
    if (limit <= 0) return;
    const whole = detail === "values" ? Math.min(wholeBytesMax, this.supports.valueBytesMax) : -1;
    let left = limit;
    for await (const { head, tag, bytes } of this.found(range, after, whole, "list", options)) {
      this.enter("list", options);
      const value = bytes?.value ?? null;
      yield { kind: "entry", key: head.key, tag, head: detail === "keys" ? null : head, value };
      if (--left <= 0) return;
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    yield* this.watches.watch(range, options);
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  // ---- Reading. ----

  /** Remembers what is not recorded yet, so that it is. */
  private async look(key: string, wholeBytesMax: number): Promise<Found> {
    const found = await this.looks.look(key, wholeBytesMax);
    if (
      (found.unsettled || found.seenNs !== undefined) &&
      !this.supports.readonly &&
      this.unsettled.size < UNSETTLED_MAX
    ) {
      this.unsettled.add(key);
      this.settling ??= this.settle();
    }
    return found;
  }

  private async *found(
    range: Range,
    after: string | undefined,
    wholeBytesMax: number,
    operation: string,
    options: CallOptions,
  ): AsyncIterable<Found & { readonly head: Head }> {
    const check = () => this.enter(operation, options);
    const work = async <T>(reading: Promise<T>) => this.run(operation, options, reading);
    const all = await work(keysUnder(this.root, this.side, range.prefix, check));
    const keys = [...all].filter((key) => after === undefined || compareKeys(key, after) > 0).sort(compareKeys);
    const small = Math.min(wholeBytesMax, SMALL_BYTES_MAX);
    for (let at = 0; at < keys.length; at += WINDOW_KEYS) {
      check();
      const next = keys.slice(at, at + WINDOW_KEYS);
      for (const found of await work(inParallel(next, AT_ONCE, (key) => this.look(key, small)))) {
        const { head, source } = found;
        if (head === undefined) continue;
        const isLarger = source !== undefined && source.file.size > small && source.file.size <= wholeBytesMax;
        const whole = isLarger ? await work(this.look(head.key, wholeBytesMax)) : found;
        if (whole.head !== undefined) yield { ...whole, head: whole.head };
      }
    }
  }

  private async *seen(range: Range): AsyncIterable<Seen> {
    for await (const { head, tag } of this.found(range, undefined, -1, "watch", {})) yield { key: head.key, tag, head };
  }

  /** Records what somebody did to files, behind the readers who saw it. What fails is found again by the next of them. */
  private async settle(): Promise<void> {
    try {
      if ((await this.side.created()) === undefined) return;
      while (this.unsettled.size > 0) {
        const keys = [...this.unsettled].slice(0, WINDOW_KEYS);
        for (const key of keys) this.unsettled.delete(key);
        await this.lock.hold({}, "read", async () => {
          await this.commits.sweep();
          await this.commits.settle(keys);
        });
      }
    } catch {
      this.unsettled.clear();
    } finally {
      this.settling = undefined;
    }
  }

  // ---- Calls. ----

  private enter(operation: string, options: CallOptions): void {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  /** Every call that writes has files open and waits for the lock. */
  private enterWriting(operation: string, options: CallOptions): void {
    this.enter(operation, options);
    if (this.running.size < this.waitingMax) return;
    const cure = "wait for calls to end, or send larger batches";
    throw new SyncError("OVERLOADED", `${this.running.size} calls wait`, { store: this.name, operation, cure });
  }

  /** The work of a call: closing waits for it, its caller does not longer than it wants to. */
  private async run<T>(operation: string, options: CallOptions, work: Promise<T>): Promise<T> {
    const running = work.catch((error: unknown) => {
      throw fileFailure(error, { store: this.name, operation });
    });
    const quiet = running.catch(() => undefined);
    this.running.add(quiet);
    void quiet.then(() => this.running.delete(quiet));
    return forCaller(running, options, this.runtime, this.name, operation);
  }

  private async shut(): Promise<void> {
    this.watches.close();
    while (this.running.size > 0) await Promise.all(this.running);
    await this.settling;
    await this.lock.close();
  }
}
