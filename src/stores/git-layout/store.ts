import { createHash } from "node:crypto";
import { collected, wrongBytes } from "../../body.ts";
import type { Body } from "../../body.ts";
import { NO_META } from "../../entry.ts";
import type { Entry, Head } from "../../entry.ts";
import { SyncError, asSyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { STORED, checkCall, checkForget, checkRead, checkWrite, closedError, failed, refusal } from "../../store.ts";
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
} from "../../store.ts";
import { VERSION_ZERO, isLow } from "../../version.ts";
import type { Version } from "../../version.ts";
import { oneChunk } from "../lfs/files.ts";
import type { Upload } from "../lfs/files.ts";
import { encodePointer, parsePointer, pointerOf } from "../lfs/pointer.ts";
import { counted } from "./branch.ts";
import type { Branch } from "./branch.ts";
import { changes as isChange, decide, needsValue } from "./decide.ts";
import type { Standing } from "./decide.ts";
import { list } from "./listing.ts";
import { within } from "./patience.ts";
import type { KeyChange } from "./plan.ts";
import type { LayoutReport } from "./report.ts";
import { blobId } from "./record.ts";
import type { SideRecord } from "./record.ts";
import { NOTHING } from "./snapshot.ts";
import type { Known, View } from "./snapshot.ts";
import { valuesOf } from "./values.ts";
import { watch } from "./watching.ts";

/** What is held in memory of a stream where large files have no place of their own. */
const GATHERED_BYTES_MAX = 16 * 1024 * 1024;

/** A branch as a Store. */
export interface BranchStoreSettings {
  readonly runtime: Runtime;
  readonly branch: Branch;
  readonly supports: Supports;
  /** A read that asks for nothing else is answered by what was fetched at most so many milliseconds ago. */
  readonly freshMs: number;
  readonly report: (event: LayoutReport) => void;
}

export function branchStore(settings: BranchStoreSettings): Store {
  return new BranchStore(settings);
}

class BranchStore implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly runtime: Runtime;
  private readonly branch: Branch;
  private readonly freshMs: number;
  private readonly report: BranchStoreSettings["report"];
  private isWithoutLarge = false;
  private readonly closing = new AbortController();
  private readonly callers = new Set<Promise<unknown>>();
  /** What goes on, for callers who may have left. */
  private readonly underWay = new Set<Promise<unknown>>();
  private closed: Promise<void> | undefined;

  constructor({ runtime, branch, supports, freshMs, report }: BranchStoreSettings) {
    this.runtime = runtime;
    this.branch = branch;
    this.name = branch.naming.store;
    this.supports = supports;
    this.freshMs = freshMs;
    this.report = report;
  }

  async read(keys: readonly string[], options: ReadOptions = {}): Promise<Answer[]> {
    this.check("read", options);
    checkRead(this, keys);
    if (keys.length === 0) return [];
    return this.call("read", options, async () => {
      const asked = this.runtime.now();
      const answers = await this.readSince(keys, notBefore(asked, options, this.freshMs), options);
      const { atLeast } = options;
      const behind = keys.some((key, i) => {
        const wanted = atLeast?.get(key);
        return wanted !== undefined && (answers[i]?.entry?.version ?? VERSION_ZERO) < wanted;
      });
      return behind ? this.readSince(keys, asked, options) : answers;
    });
  }

  private async readSince(keys: readonly string[], since: number, options: ReadOptions): Promise<Answer[]> {
    const { view, asOf } = await this.branch.view(since);
    const knowns = await this.branch.look(view, keys);
    const { wholeBytesMax = this.supports.valueBytesMax } = options;
    const held = await valuesOf(this.branch.naming, knowns, options, wholeBytesMax);
    return held.map((each) => {
      const about = { entry: each?.entry, asOf, complete: true, stale: false, from: this.name };
      return each?.body === undefined ? about : { ...about, body: each.body };
    });
  }

  async write(writes: readonly Write[], options: CallOptions = {}): Promise<WriteResult[]> {
    this.check("write", options);
    checkWrite(this, writes);
    const results: (WriteResult | undefined)[] = writes.map((write) => this.refusal(write));
    const open = writes.flatMap((write, i) => (results[i] === undefined ? [{ write, i }] : []));
    if (open.length === 0) return results as WriteResult[];
    return this.call("write", options, async () => {
      const decided = await this.decided(
        open.map(({ write }) => write),
        options,
      );
      for (const [n, { i }] of open.entries()) results[i] = decided[n];
      return results as WriteResult[];
    });
  }

  private refusal(write: Write): WriteResult | undefined {
    const { refusesWrites } = this.branch.place;
    if (refusesWrites === undefined) return refusal(this, write);
    return failed(readonlyError(this.name, refusesWrites, "write", write.entry.key));
  }

  /** Decides writes on the newest view and commits what they change, until both happened on the same commit. */
  private async decided(writes: readonly Write[], options: CallOptions): Promise<WriteResult[]> {
    const { runtime, branch } = this;
    const keys = [...new Set(writes.map(({ entry }) => entry.key))];
    const asked = runtime.now();
    return branch.exclusive(async () => {
      // What is taken, the push decides. What is refused must be refused by the newest state, not by an old mirror's.
      const attempt = (since: number, newest: boolean) =>
        branch.commit(
          since,
          async (view) => {
            checkCall(runtime, options, this.name, "write");
            const { results, changes } = await this.outcome(view, keys, writes, options);
            const sure = newest || results.every((result) => result === STORED);
            if (!sure) return { draft: undefined, result: undefined };
            const draft = { changes, watermark: undefined, subject: subjectOf(changes) };
            // Nothing to change, but only as far as an old mirror knows.
            if (changes.length === 0) return { draft: undefined, result: newest ? results : undefined };
            return { draft, result: results };
          },
          options,
        );
      try {
        const remote = branch.place.remote;
        const first = await attempt(-Infinity, !remote);
        const { result, failures } = first.result === undefined ? await attempt(asked, true) : first;
        if (result === undefined) throw new SyncError("INTERNAL", "a write was left undecided", { store: this.name });
        return result.map((each, i) => {
          const error = failures.get(writes[i]?.entry.key ?? "");
          return error === undefined || each.status !== "stored" ? each : failed(error);
        });
      } catch (error) {
        throw this.failure(error, writes);
      }
    });
  }

  /** A push without an answer: only for conditional writes does it matter whether it happened once. */
  private failure(error: unknown, writes: readonly Write[]): SyncError {
    const known = asSyncError(error, { store: this.name, operation: "write" });
    if (known.code !== "INDETERMINATE" || writes.some((write) => write.if !== undefined)) return known;
    const cure = "try again: the same versions are sent, and count once";
    return new SyncError("UNAVAILABLE", "a push may or may not have arrived", {
      store: this.name,
      operation: "write",
      cure,
      cause: known,
    });
  }

  private async outcome(
    view: View,
    keys: readonly string[],
    writes: readonly Write[],
    options: CallOptions,
  ): Promise<{ results: WriteResult[]; changes: KeyChange[] }> {
    const knowns = new Map<string, Known>();
    for (const [i, known] of (await this.branch.look(view, keys)).entries()) knowns.set(keys[i] ?? "", known);
    const wanted = new Set<string>();
    for (const write of writes) {
      const known = knowns.get(write.entry.key);
      if (known !== undefined && needsValue(write, known.head)) wanted.add(write.entry.key);
    }
    const asked = [...wanted];
    const values = await valuesOf(
      this.branch.naming,
      asked.flatMap((key) => knowns.get(key) ?? []),
      options,
      this.supports.valueBytesMax,
    );
    const valueOf = new Map(asked.map((key, i) => [key, values[i]]));
    const standing = new Map<string, Standing | undefined>();
    for (const [key, { head }] of knowns) {
      const held = valueOf.get(key);
      const value = held?.body === undefined ? held?.entry.value : undefined; // too large to be compared or told
      standing.set(key, head === undefined ? undefined : { head, value });
    }
    const now = this.runtime.now();
    const changed = new Map<string, Write>();
    const results = writes.map((write) => {
      const { entry } = write;
      const result = decide(write, standing.get(entry.key), view.watermark, now);
      if (result === STORED && isChange(write, standing.get(entry.key))) {
        standing.set(entry.key, {
          head: headOfWrite(write),
          value: write.body === undefined ? entry.value : undefined,
        });
        changed.set(entry.key, write);
      }
      return result;
    });
    const contents = await this.placed([...changed.values()], options);
    const { algorithm } = this.branch.naming.repository;
    const changes = contents.map((content) => changeOf(content, knowns.get(content.entry.key), algorithm));
    return { results, changes };
  }

  /** The files of entries; the large values among them are where those point to, before a commit says so. */
  private async placed(writes: readonly Write[], options: CallOptions): Promise<Content[]> {
    const { large } = this.branch.naming;
    if (large === undefined || this.isWithoutLarge) return this.placedInGit(writes, options);
    const above = large.aboveBytes;
    const contents: Content[] = [];
    for (const { entry, body } of writes) {
      contents.push(contentOf({ entry, body: body && (await withSum(body, options)) }, above));
    }
    const uploads = contents.flatMap(({ upload }) => upload ?? []);
    if (uploads.length === 0) return contents;
    try {
      await large.files.upload(uploads, options);
      return contents;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "UNSUPPORTED" || !large.orInGit) throw error;
      this.isWithoutLarge = true;
      this.report({ kind: "no-lfs", error });
      return this.placedInGit(writes, options);
    }
  }

  /** Git takes a file whole, so that a stream is gathered first, if it is not too long for that. */
  private async placedInGit(writes: readonly Write[], options: CallOptions): Promise<Content[]> {
    const contents: Content[] = [];
    for (const { entry, body } of writes) {
      if (body !== undefined && body.size > GATHERED_BYTES_MAX) {
        throw new SyncError("TOO_LARGE", `git without LFS takes a stream of ${GATHERED_BYTES_MAX} bytes at most`, {
          store: this.name,
          operation: "write",
          key: entry.key,
          cure: "name the LFS server by the option lfsUrl",
        });
      }
      const value = body === undefined ? undefined : await collected(body, options);
      if (value !== undefined && (body?.sha256 ?? pointerOf(value).oid) !== pointerOf(value).oid) {
        throw wrongBytes({ store: this.name, key: entry.key });
      }
      contents.push(contentOf({ entry: value === undefined ? entry : { ...entry, state: "value", value } }, Infinity));
    }
    return contents;
  }

  async forget(items: readonly Forget[], options: CallOptions = {}): Promise<void> {
    this.check("forget", options);
    const { refusesWrites } = this.branch.place;
    if (refusesWrites !== undefined && items.length > 0) throw readonlyError(this.name, refusesWrites, "forget");
    checkForget(this, items);
    if (items.length === 0) return;
    const asked = this.runtime.now();
    await this.call("forget", options, () =>
      this.branch.exclusive(() =>
        this.branch.commit(
          asked,
          async (view) => {
            checkCall(this.runtime, options, this.name, "forget");
            return { draft: await this.forgetting(view, items), result: undefined };
          },
          options,
        ),
      ),
    );
  }

  private async forgetting(view: View, items: readonly Forget[]) {
    const knowns = await this.branch.look(
      view,
      items.map(({ key }) => key),
    );
    let watermark: Version = view.watermark;
    const changes = new Map<string, KeyChange>();
    for (const [i, { key, version, reason }] of items.entries()) {
      const known = knowns[i];
      if (reason === "collected" && version > watermark) watermark = version;
      if (known?.head?.version !== version) continue;
      // What history says cannot be removed from history: a record says that it does not count any more.
      const low = known.recorded === undefined && known.head.state === "deleted" && isLow(version);
      const none = { key, state: "none", version, blob: null, expires: null, meta: NO_META } as const;
      changes.set(key, { key, record: low ? none : null, bytes: undefined, known, recordOnly: false });
    }
    const raised = watermark > view.watermark ? watermark : undefined;
    if (changes.size === 0 && raised === undefined) return undefined;
    const subject = `Sync: collect ${counted(changes.size, "key")}`;
    return { changes: [...changes.values()], watermark: raised, subject };
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.check("list", options);
    const stop = this.stopped(options);
    yield* list({ branch: this.branch, runtime: this.runtime, check: () => this.check("list", options), stop }, range, {
      wholeBytesMax: this.supports.valueBytesMax,
      ...options,
    });
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.check("watch", options);
    yield* watch(
      {
        branch: this.branch,
        runtime: this.runtime,
        closing: this.closing.signal,
        check: () => this.check("watch", options),
      },
      range,
      options,
    );
  }

  private stopped(options: CallOptions) {
    return <T>(work: Promise<T>) => within(this.runtime, this.name, "list", options, work);
  }

  close(): Promise<void> {
    this.closed ??= (async () => {
      this.closing.abort();
      await Promise.allSettled(this.callers);
      this.branch.interrupt();
      await Promise.allSettled(this.underWay);
      await this.branch.close();
    })();
    return this.closed;
  }

  private check(operation: string, options: CallOptions): void {
    if (this.closed !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  /** Runs a call, which `close` waits for, and lets its caller go at the signal or the deadline. */
  private call<T>(operation: string, options: CallOptions, work: () => Promise<T>): Promise<T> {
    const running = work().catch((error: unknown) => {
      throw asSyncError(error, { store: this.name, operation });
    });
    const called = within(this.runtime, this.name, operation, options, running);
    for (const [all, one] of [
      [this.underWay, running],
      [this.callers, called],
    ] as const) {
      all.add(one);
      const over = () => all.delete(one);
      one.then(over, over);
    }
    return called;
  }
}

/** The oldest asking that answers a read. */
function notBefore(now: number, { maxAgeMs, authority }: ReadOptions, freshMs: number): number {
  if (authority === true) return now;
  return now - (maxAgeMs ?? freshMs) - 1;
}

function readonlyError(
  store: string,
  why: { readonly what: string; readonly cure: string },
  operation: string,
  key?: string,
): SyncError {
  const where = { store, operation, cure: why.cure };
  return new SyncError("READONLY", why.what, key === undefined ? where : { ...where, key });
}

/** A write on its way into a file. */
interface Placing {
  readonly entry: Entry;
  readonly body?: Summed | undefined;
}

interface Content {
  readonly entry: Entry;
  readonly file: Uint8Array | undefined;
  readonly storage: SideRecord["storage"];
  readonly upload: Upload | undefined;
}

/** A body's head is a value's from here on. */
function headOfWrite({ entry, body }: Write): Head {
  const { key, state, version, expires, meta } = entry;
  return { key, state: body === undefined ? state : "value", version, expires, meta };
}

/** What becomes the file of a value: the value, or a pointer to it when it has more than so many bytes. */
function contentOf({ entry, body }: Placing, aboveBytes: number): Content {
  if (body !== undefined) return contentOfBody(entry, body);
  const { value } = entry;
  if (value === null) return { entry, file: undefined, storage: undefined, upload: undefined };
  if (value.length > aboveBytes) {
    const pointer = pointerOf(value);
    const upload = { ...pointer, content: () => oneChunk(value) };
    return { entry, file: encodePointer(pointer), storage: "lfs", upload };
  }
  return { entry, file: value, storage: parsePointer(value) === undefined ? undefined : "plain", upload: undefined };
}

/** A pointer names the sum of what it points to, so that a body without one is read once more. */
async function withSum(body: Body, options: CallOptions): Promise<Summed> {
  const { sha256 } = body;
  if (sha256 !== undefined) return { ...body, sha256 };
  const hash = createHash("sha256");
  for await (const piece of body.content(undefined, options)) hash.update(piece);
  return { ...body, sha256: hash.digest("hex") };
}

interface Summed extends Body {
  readonly sha256: string;
}

/** Whatever its size, since nobody has its bytes at hand. */
function contentOfBody(entry: Entry, body: Summed): Content {
  const pointer = { oid: body.sha256, size: body.size };
  return { entry, file: encodePointer(pointer), storage: "lfs", upload: { ...pointer, content: () => body.content() } };
}

function changeOf(
  { entry, file, storage }: Content,
  known: Known | undefined,
  algorithm: "sha1" | "sha256",
): KeyChange {
  const { key, version, expires, meta } = entry;
  const state = file === undefined ? "deleted" : "value";
  const blob = file === undefined ? null : blobId(file, algorithm);
  const record = { key, state, version, blob, expires, meta, storage } as const;
  return { key, record, bytes: file, known: known ?? NOTHING, recordOnly: false };
}

function subjectOf(changes: readonly KeyChange[]): string {
  const [first] = changes;
  const deletions = changes.filter(({ record }) => record?.state === "deleted").length;
  if (changes.length === 1 && first !== undefined) {
    const key = first.key.length > 50 ? `${first.key.slice(0, 50).toWellFormed()}…` : first.key;
    return `Sync: ${deletions === 1 ? "delete" : "set"} ${JSON.stringify(key)}`;
  }
  const values = changes.length - deletions;
  const parts = [
    values > 0 ? `set ${counted(values, "key")}` : "",
    deletions > 0 ? `delete ${counted(deletions, "key")}` : "",
  ];
  return `Sync: ${parts.filter((part) => part !== "").join(", ")}`;
}
