import { mkdir, realpath, stat } from "node:fs/promises";
import { compareEntries, compareKeys, isDead } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
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
  Store,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../store.ts";
import { systemRuntime } from "../system.ts";
import type { Version } from "../version.ts";
import { Commits } from "./file/commit.ts";
import type { Staged } from "./file/commit.ts";
import { bodyOf } from "./file/content.ts";
import { inParallel } from "./file/disk.ts";
import { fileFailure, isMissing } from "./file/failures.ts";
import { FolderLock } from "./file/lock.ts";
import { Looks } from "./file/look.ts";
import type { Found } from "./file/look.ts";
import type { SideRecord } from "./file/record.ts";
import { Side } from "./file/side.ts";
import { unlessGivenUp } from "./file/wait.ts";
import { keysUnder } from "./file/walk.ts";
import { Watches } from "./file/watching.ts";
import type { Seen } from "./file/watching.ts";

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
/** How many values of a window are held at once in a list of values. */
const WINDOW_VALUES = 8;
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

/** A write that may change something, and the number of its result. */
interface Pending {
  readonly write: Write;
  readonly at: number;
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
  }

  async read(keys: readonly string[], options: ReadOptions = {}): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const { wholeBytesMax = this.supports.valueBytesMax } = options;
    const asOf = this.runtime.now();
    const answer = async (key: string): Promise<Answer> => {
      this.enter("read", options);
      const found = await this.look(key, Math.min(wholeBytesMax, this.supports.valueBytesMax));
      const { entry, body } = this.given(found);
      const known = { asOf, complete: true, stale: false, from: this.name };
      return body === undefined ? { entry, ...known } : { entry, body, ...known };
    };
    return this.run("read", options, inParallel(keys, AT_ONCE, answer));
  }

  async write(writes: readonly Write[], options: CallOptions = {}): Promise<WriteResult[]> {
    this.enterWriting("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    const work = async () => {
      const pending = await this.pending(writes, results);
      if (pending.length > 0) await this.store(pending, results, options);
      return results as WriteResult[];
    };
    return this.run("write", options, work());
  }

  async forget(items: readonly Forget[], options: CallOptions = {}): Promise<void> {
    this.enterWriting("forget", options);
    checkForget(this, items);
    if (items.length === 0) return;
    const work = async () => {
      await this.side.create(this.runtime.now());
      await this.lock.hold(options, "forget", async () => {
        await this.commits.sweep();
        const collected = items.filter(({ reason }) => reason === "collected").map(({ version }) => version);
        const highest = collected.reduce<Version | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined);
        if (highest !== undefined) await this.side.raiseWatermark(highest);
        const last = new Map(items.map((item) => [item.key, item.version]));
        const looked = await inParallel([...last.keys()], AT_ONCE, (key) => this.looks.look(key));
        const going = looked.filter(({ head }) =>
          items.some(({ key, version }) => head !== undefined && key === head.key && version === head.version),
        );
        await this.commits.forget(
          going,
          going.map(({ head }) => head?.key ?? ""),
        );
      });
      this.watches.wake();
    };
    await this.run("forget", options, work());
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
    if (found.unsettled && !this.supports.readonly && this.unsettled.size < UNSETTLED_MAX) {
      this.unsettled.add(key);
      this.settling ??= this.settle();
    }
    return found;
  }

  /** The bytes of a value, or what stands for them. */
  private given({ head, source, bytes }: Found): Pick<Answer, "entry" | "body"> {
    if (head === undefined) return { entry: undefined };
    if (head.state === "deleted" || source === undefined) return { entry: { ...head, value: null } };
    if (bytes !== undefined) return { entry: { ...head, value: bytes.value } };
    const entry: Entry = { ...head, state: "stub", value: null };
    return { entry, body: bodyOf(source, head.key, this.runtime, this.name) };
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
    const window = wholeBytesMax < 0 ? WINDOW_KEYS : WINDOW_VALUES;
    for (let at = 0; at < keys.length; at += window) {
      check();
      const next = keys.slice(at, at + window);
      for (const found of await work(inParallel(next, AT_ONCE, (key) => this.look(key, wholeBytesMax)))) {
        const { head } = found;
        if (head !== undefined) yield { ...found, head };
      }
    }
  }

  private async *seen(range: Range): AsyncIterable<Seen> {
    for await (const { head, tag } of this.found(range, undefined, -1, "watch", {})) yield { key: head.key, tag, head };
  }

  // ---- Writing. ----

  /** Fills in the results of writes that change nothing, and gives back the others. */
  private async pending(writes: readonly Write[], results: (WriteResult | undefined)[]): Promise<Pending[]> {
    const touched = new Set<string>();
    const pending: Pending[] = [];
    const looked = await inParallel([...writes.entries()], AT_ONCE, async ([at, write]) => {
      return results[at] === undefined && write.if === undefined ? this.lookFor(write) : undefined;
    });
    for (const [at, write] of writes.entries()) {
      if (results[at] !== undefined) continue;
      const { key } = write.entry;
      const found = looked[at];
      const outcome = found === undefined || touched.has(key) ? undefined : this.settled(write, found);
      if (outcome !== undefined) results[at] = outcome;
      else {
        touched.add(key);
        pending.push({ write, at });
      }
    }
    return pending;
  }

  /** What is held of a write's key; its bytes only where they decide. A damaged record is replaced by any plain write. */
  private async lookFor({ entry, if: condition }: Write): Promise<Found | undefined> {
    const head = await this.looks.look(entry.key).catch((error: unknown) => {
      if (condition === undefined && error instanceof SyncError && error.code === "CORRUPT") return undefined;
      throw error;
    });
    const isNeeded = head?.head?.version === entry.version || condition !== undefined;
    return isNeeded ? this.looks.look(entry.key, this.supports.valueBytesMax) : head;
  }

  /** What an unconditional write comes to if nothing has to be stored. */
  private settled({ entry, body }: Write, found: Found): WriteResult | undefined {
    const { head } = found;
    if (head === undefined || head.version < entry.version) return undefined;
    if (head.version > entry.version) return { status: "superseded", by: head.version };
    const held = this.given(found);
    // A version has one value: whether it is in one piece or in many is no difference.
    if (held.body !== undefined || body !== undefined) return head.state === "value" ? STORED : undefined;
    return held.entry !== undefined && compareEntries(entry, held.entry) > 0 ? undefined : STORED;
  }

  private async store(pending: readonly Pending[], results: (WriteResult | undefined)[], options: CallOptions) {
    await this.side.create(this.runtime.now());
    await this.lock.show();
    const staged = new Map<Write, Staged>();
    try {
      await inParallel(pending, AT_ONCE, async ({ write, at }) => {
        if (write.entry.state !== "value" && write.body === undefined) return;
        try {
          staged.set(write, await this.commits.stage(write, options));
        } catch (thrown) {
          const error = asSyncError(thrown);
          const { code } = error;
          if (write.body === undefined || code === "ABORTED" || code === "TIMEOUT") throw error;
          results[at] = failed(error);
        }
      });
      await this.lock.hold(options, "write", () => this.commit(pending, results, staged));
    } catch (error) {
      throw fileFailure(error, { store: this.name, operation: "write" });
    } finally {
      await this.commits.drop(staged.values());
      this.watches.wake();
    }
  }

  private async commit(
    pending: readonly Pending[],
    results: (WriteResult | undefined)[],
    staged: Map<Write, Staged>,
  ): Promise<void> {
    await this.commits.sweep();
    const held = await this.held(pending);
    const watermark = await this.side.watermark();
    const records = new Map<string, { readonly record: SideRecord; readonly write: Write }>();
    for (const { write, at } of pending) {
      if (results[at] !== undefined) continue;
      const { key } = write.entry;
      const before = records.get(key);
      const found = held.get(key);
      const current = before === undefined ? found && this.given(found) : heldBy(before.write);
      const result = await this.decide(write, current, watermark);
      results[at] = result ?? STORED;
      if (result !== undefined) continue;
      const over = before?.record.over ?? found?.source?.file.mark;
      records.set(key, { record: recordOf(write, staged.get(write), over), write });
    }
    for (const { write } of records.values()) staged.delete(write); // the records' from here on
    await this.commits.apply([...records.values()].map(({ record }) => record));
  }

  /** What there is of the keys to be written, once all that somebody did to them is recorded. */
  private async held(pending: readonly Pending[]): Promise<Map<string, Found | undefined>> {
    const all = await inParallel(pending, AT_ONCE, ({ write }) => this.lookFor(write));
    const held = new Map<string, Found | undefined>();
    for (const [i, { write }] of pending.entries()) {
      const { key } = write.entry;
      if (held.get(key)?.bytes === undefined) held.set(key, all[i]); // of two writes one may need the bytes
    }
    for (const { write } of pending) {
      const { key } = write.entry;
      if (held.get(key)?.unsettled !== true) continue;
      await this.commits.settle([key]);
      held.set(key, await this.lookFor(write));
    }
    return held;
  }

  /** The result of a write that stores nothing; undefined when it is to be stored. */
  private async decide(
    { entry, body, if: condition }: Write,
    held: Pick<Answer, "entry" | "body"> | undefined,
    watermark: Version,
  ): Promise<WriteResult | undefined> {
    const current = held?.entry;
    const isMine = current?.version === entry.version;
    if (condition !== undefined && !isMine) {
      const isFree = current === undefined || isDead(current, this.runtime.now());
      const isMet = condition === "absent" ? isFree : current?.version === condition;
      if (!isMet) return { status: "conflict", current };
    }
    if (current === undefined) {
      if (entry.version <= watermark) return TOO_OLD;
    } else if (current.version > entry.version) return { status: "superseded", by: current.version };
    else if (isMine) {
      const isApart = body !== undefined || held?.body !== undefined;
      if (isApart ? current.state !== "deleted" : compareEntries(entry, current) <= 0) return STORED;
    }
    if (entry.state === "deleted") return undefined;
    const refused = await this.commits.refusalOf(entry.key);
    return refused === undefined ? undefined : failed(refused);
  }

  /** Records what somebody did to files, behind the readers who saw it. What fails is found again by the next of them. */
  private async settle(): Promise<void> {
    try {
      if ((await this.side.created()) === undefined) return;
      while (this.unsettled.size > 0 && this.closing === undefined) {
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
    return unlessGivenUp(running, this.runtime, options, this.name, operation);
  }

  private async shut(): Promise<void> {
    this.watches.close();
    while (this.running.size > 0) await Promise.all(this.running);
    await this.settling;
    await this.lock.close();
  }
}

/** What a write of this call that is about to be stored will have made of its key. */
function heldBy({ entry, body }: Write): Pick<Answer, "entry" | "body"> {
  return body === undefined ? { entry } : { entry, body };
}

function recordOf({ entry }: Write, staged: Staged | undefined, over: string | undefined): SideRecord {
  const { key, version, expires, meta } = entry;
  const about = { key, version, expires, meta } as const;
  if (staged === undefined) return { ...about, state: "deleted", sha256: "", mark: "", staged: undefined, over };
  const { sha256, mark, name } = staged;
  return { ...about, state: "value", sha256, mark, staged: name, over: undefined };
}
