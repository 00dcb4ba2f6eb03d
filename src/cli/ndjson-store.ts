import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasCode } from "../config/folders.ts";
import { compareEntries, compareKeys, headOf, isDead } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import { STORED, checkCall, checkForget, checkRead, checkWrite, closedError, refusal } from "../store.ts";
import type {
  Answer,
  CallOptions,
  Forget,
  ListOptions,
  Listed,
  Range,
  Store,
  Supports,
  Write,
  WriteResult,
} from "../store.ts";
import { formatVersion, isLow, isVersion } from "../version.ts";
import type { Version } from "../version.ts";
import type { Io } from "./io.ts";
import { lineOf } from "./ndjson.ts";
import { LINE_BYTES_MAX, itemOf, linesOf } from "../node/lines.ts";
import { input } from "./stdin.ts";

export interface NdjsonOptions {
  readonly io: Io;
  /** A file, or `-`: standard input to read from, standard output to write to. */
  readonly place: string;
  readonly path: string;
  readonly writes: boolean;
}

/** Where the line of an entry is; of a tombstone there is none. */
interface Spot {
  readonly head: Head;
  readonly at: number;
  readonly length: number;
}

const VALUE_BYTES_MAX = LINE_BYTES_MAX / 2;
const BATCH_MAX = 10_000;
const UTF8 = new TextEncoder();

/**
 * The lines of a file as a store, for copying and comparing: its keys are in memory, its lines in a file that is gone
 * afterwards. What was written appears in the target when it is closed, sorted, all of it or nothing.
 *
 * A line without a version has one below every stamp, made of what it says.
 * @throws SyncError INVALID for a line that is none, by its number: what it says is not known then.
 */
export async function ndjsonStore(options: NdjsonOptions): Promise<Store> {
  const folder = await mkdtemp(join(tmpdir(), "microsync-lines-"));
  try {
    const spool = await open(join(folder, "lines"), "wx+", 0o600);
    const store = new NdjsonStore(options, folder, spool);
    try {
      await store.load();
      return store;
    } catch (error) {
      await spool.close();
      throw error;
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

class NdjsonStore implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly options: NdjsonOptions;
  private readonly folder: string;
  private readonly spool: FileHandle;
  private readonly spots = new Map<string, Spot>();
  private end = 0;
  private isChanged = false;
  private tail: Promise<unknown> = Promise.resolve();
  private closing: Promise<void> | undefined = undefined;

  constructor(options: NdjsonOptions, folder: string, spool: FileHandle) {
    this.options = options;
    this.folder = folder;
    this.spool = spool;
    this.name = options.place;
    this.supports = {
      keyBytesMax: 512,
      valueBytesMax: VALUE_BYTES_MAX,
      streamBytesMax: 0,
      batchMax: BATCH_MAX,
      conditional: options.writes,
      atomicBatch: true,
      stubs: false,
      watch: "poll",
      expiry: false,
      writers: "one",
      durable: false,
      shared: false,
      asOf: "known",
      readonly: !options.writes,
    };
  }

  async load(): Promise<void> {
    const { io, place, path, writes } = this.options;
    if (place === "-" && writes) return; // what is to be written there is all there is
    const chunks: AsyncIterable<Uint8Array> = place === "-" ? input(io) : createReadStream(path);
    try {
      for await (const { number, bytes } of linesOf(chunks)) {
        if (bytes === undefined) throw new SyncError("TOO_LARGE", `line ${number} is above ${LINE_BYTES_MAX} bytes`);
        await this.take(number, bytes);
      }
    } catch (error) {
      if (writes && hasCode(error, "ENOENT")) return;
      if (error instanceof SyncError) throw error;
      const missing = hasCode(error, "ENOENT", "ENOTDIR");
      const cure = missing ? "name a file of lines, or - for standard input" : "make it readable";
      const code = missing ? "NOT_FOUND" : "UNAVAILABLE";
      throw new SyncError(code, `${place} cannot be read`, { cure, retryable: false, cause: error });
    }
  }

  private async take(number: number, line: Uint8Array): Promise<void> {
    try {
      const entry = entryOf(line);
      const held = this.spots.get(entry.key);
      // Of two lines of a key without versions the later one counts.
      const isNewer = held === undefined || held.head.version <= entry.version || isLow(held.head.version);
      if (isNewer) await this.keep(entry, line);
    } catch (cause) {
      if (!(cause instanceof SyncError) || cause.code !== "INVALID") throw cause;
      const { what, cure } = cause;
      throw new SyncError("INVALID", `${this.name}: line ${number}: ${what}`, {
        cause,
        ...(cure === undefined ? {} : { cure }),
      });
    }
  }

  private async keep(entry: Entry, line: Uint8Array): Promise<void> {
    const head = headOf(entry);
    await this.spool.write(line, 0, line.length, this.end);
    this.spots.set(head.key, { head, at: this.end, length: line.length });
    this.end += line.length;
  }

  async read(keys: readonly string[], options?: CallOptions): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    const known = { asOf: this.options.io.runtime.now(), complete: true, stale: false, from: this.name };
    const answers: Answer[] = [];
    for (const key of keys) answers.push({ entry: await this.entry(key), ...known });
    return answers;
  }

  private async entry(key: string): Promise<Entry | undefined> {
    const spot = this.spots.get(key);
    if (spot === undefined) return undefined;
    const { head, at, length } = spot;
    if (head.state !== "value") return { ...head, value: null };
    const line = new Uint8Array(length);
    await this.spool.read(line, 0, length, at);
    return { ...head, value: itemOf(line).raw.bytes };
  }

  async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    this.enter("write", options);
    checkWrite(this, writes);
    const work = this.tail.then(async () => {
      const results: WriteResult[] = [];
      for (const write of writes) results.push(refusal(this, write) ?? (await this.apply(write)));
      return results;
    });
    this.tail = work.catch(() => undefined);
    return work;
  }

  private async apply({ entry, if: condition }: Write): Promise<WriteResult> {
    const held = await this.entry(entry.key);
    if (condition !== undefined && held?.version !== entry.version) {
      const isFree = held === undefined || isDead(held, this.options.io.runtime.now());
      if (!(condition === "absent" ? isFree : held?.version === condition))
        return { status: "conflict", current: held };
    }
    if (held !== undefined && held.version > entry.version) return { status: "superseded", by: held.version };
    if (held !== undefined && compareEntries(entry, held) <= 0) return STORED;
    this.isChanged = true;
    if (entry.value === null) this.spots.set(entry.key, { head: headOf(entry), at: 0, length: 0 });
    else {
      const { key, version, expires, meta, value } = entry;
      const line = lineOf({ key, value: { bytes: value, type: meta["content-type"] }, version, expires, meta });
      await this.keep(entry, UTF8.encode(line.trimEnd()));
    }
    return STORED;
  }

  async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    for (const { key, version } of items) {
      if (this.spots.get(key)?.head.version === version) this.isChanged = this.spots.delete(key);
    }
  }

  async *list({ prefix }: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    const { detail = "keys", after, limit = Infinity } = options;
    let left = limit;
    for (const key of this.keys()) {
      this.enter("list", options);
      if (!key.startsWith(prefix) || (after !== undefined && compareKeys(key, after) <= 0)) continue;
      if (left-- <= 0) return;
      const head = this.spots.get(key)?.head;
      if (head === undefined) continue;
      const value = detail === "values" ? ((await this.entry(key))?.value ?? null) : null;
      yield { kind: "entry", key, tag: head.version, head: detail === "keys" ? null : head, value };
    }
  }

  watch(): AsyncIterable<never> {
    const error = new SyncError("UNSUPPORTED", "lines are not watched", { store: this.name, operation: "watch" });
    return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private keys(): string[] {
    return [...this.spots.keys()].sort(compareKeys);
  }

  private async shut(): Promise<void> {
    try {
      await this.tail;
      if (this.options.writes && (this.isChanged || this.options.place === "-")) await this.publish();
    } finally {
      await this.spool.close();
      await rm(this.folder, { recursive: true, force: true });
    }
  }

  private async publish(): Promise<void> {
    const { io, place, path } = this.options;
    if (place === "-") {
      for await (const line of this.lines()) await io.stdout.write(line);
      return;
    }
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      const file = await open(temporary, "wx");
      try {
        for await (const line of this.lines()) await file.appendFile(line);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (cause) {
      await rm(temporary, { force: true });
      const cure = "name a file in a folder that can be written";
      throw new SyncError("UNAVAILABLE", `${place} cannot be written`, { cure, retryable: false, cause });
    }
  }

  private async *lines(): AsyncIterable<Uint8Array> {
    for (const key of this.keys()) {
      const { head, at, length } = this.spots.get(key) as Spot;
      if (head.state !== "value") continue;
      const line = new Uint8Array(length + 1);
      await this.spool.read(line, 0, length, at);
      line[length] = 0x0a;
      yield line;
    }
  }

  private enter(operation: string, options: CallOptions | undefined): void {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.options.io.runtime, options, this.name, operation);
  }
}

function entryOf(line: Uint8Array): Entry {
  const { key, raw, expires, meta } = itemOf(line);
  const all = raw.type === undefined ? meta : { ...meta, "content-type": raw.type };
  return { key, state: "value", value: raw.bytes, version: versionOf(line), expires, meta: all };
}

function versionOf(line: Uint8Array): Version {
  const { version } = JSON.parse(new TextDecoder().decode(line)) as { readonly version?: unknown };
  if (version === undefined) return formatVersion(1, 0, createHash("sha256").update(line).digest("hex").slice(0, 16));
  if (typeof version === "string" && isVersion(version)) return version;
  throw new SyncError("INVALID", "the field version is none", { cure: "leave it out, or give one that Sync gave" });
}
