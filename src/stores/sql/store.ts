import type { Entry, Head } from "../../entry.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { checkCall, checkForget, checkRead, checkWrite, closedError, refusal } from "../../store.ts";
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
import type { Version } from "../../version.ts";
import { byteaArray, uuidArray } from "./arrays.ts";
import { Bell } from "./bell.ts";
import { keyBounds } from "./bounds.ts";
import type { Statement } from "./connection.ts";
import type { Dialect, Feed, Names } from "./dialect.ts";
import { Hints } from "./hint.ts";
import type { Pool } from "./pool.ts";
import { entryFrom, headFrom, keyBytes, keyFrom, textAt, versionText } from "./rows.ts";
import type { Row } from "./rows.ts";
import { settle } from "./schema.ts";
import { PAGE_ROWS } from "./statements.ts";
import { watching } from "./watching.ts";
import { retrying, writeAll } from "./write.ts";
import type { Writing } from "./write.ts";

export interface SqlStoreParts {
  readonly name: string;
  readonly supports: Supports;
  readonly runtime: Runtime;
  readonly pool: Pool;
  readonly dialect: Dialect;
  readonly names: Names;
  readonly removalsMax: number;
  readonly timeoutMs: number;
  readonly onRetry: ((state: string) => void) | undefined;
}

const INTERVAL_MS = 1000;
/**
 * How long after a write others are told, in milliseconds. A NOTIFY inside the write's own transaction would make all
 * commits of the database wait for each other's disk.
 */
const TELL_MS = 10;

export class SqlStore implements Store {
  readonly name: string;
  readonly supports: Supports;
  private readonly parts: SqlStoreParts;
  private readonly runtime: Runtime;
  private readonly pool: Pool;
  private readonly writing: Writing;
  private readonly feed: Feed;
  private readonly bell = new Bell();
  private readonly hints: Hints | undefined;
  private telling: Timer | undefined = undefined;
  private closing: Promise<void> | undefined = undefined;

  constructor(parts: SqlStoreParts) {
    const { name, supports, runtime, pool, dialect, timeoutMs, onRetry } = parts;
    this.parts = parts;
    this.name = name;
    this.supports = supports;
    this.runtime = runtime;
    this.pool = pool;
    this.writing = { runtime, statements: dialect.statements, store: name, onRetry };
    this.feed = dialect.feed((call, statement, values) => this.ask("watch", call, statement, values), name);
    const { hints } = dialect;
    if (hints !== undefined) {
      this.hints = new Hints(runtime, async () => {
        const connection = await pool.open(runtime.monotonic() + timeoutMs, hints.options);
        await hints.begin(connection, () => this.bell.ring());
        this.bell.ring(); // for what was committed before it listened
        return connection;
      });
    }
  }

  async read(keys: readonly string[], options: ReadOptions = {}): Promise<Answer[]> {
    this.enter("read", options);
    checkRead(this, keys);
    if (keys.length === 0) return [];
    const { statements, followers } = this.parts.dialect;
    const near = followers !== undefined && mayBeOld(options, followers.ageMs) ? followers : undefined;
    const asOf = this.runtime.now() - (near?.ageMs ?? 0);
    const distinct = [...new Set(keys)];
    const [first = ""] = distinct;
    const one = distinct.length === 1;
    const parameter = one ? keyBytes(first) : byteaArray(distinct.map(keyBytes));
    const { one: oneText, many: manyText } = near ?? statements;
    const rows = await this.ask("read", options, one ? oneText : manyText, [parameter]);
    const entries = new Map<string, Entry>();
    for (const row of rows) {
      const key = keyFrom(row, 0, this.name);
      entries.set(key, entryFrom(key, row, 1, this.name));
    }
    return keys.map((key) => ({ entry: entries.get(key), asOf, complete: true, stale: false, from: this.name }));
  }

  async write(writes: readonly Write[], options: CallOptions = {}): Promise<WriteResult[]> {
    this.enter("write", options);
    checkWrite(this, writes);
    const results = writes.map((write) => refusal(this, write));
    const sent = writes.filter((_, i) => results[i] === undefined);
    if (sent.length === 0) return results as WriteResult[];
    const answers = await this.pool.use("write", options, (on) => writeAll(on, sent, this.writing));
    this.changed();
    const given = answers.values();
    return results.map((result) => result ?? (given.next().value as WriteResult));
  }

  async forget(items: readonly Forget[], options: CallOptions = {}): Promise<void> {
    this.enter("forget", options);
    checkForget(this, items);
    if (items.length === 0) return;
    const { dialect, names, removalsMax } = this.parts;
    const collected = items.filter(({ reason }) => reason === "collected").map(({ version }) => version);
    const watermark = collected.reduce<Version | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined);
    const parameters = [
      byteaArray(items.map(({ key }) => keyBytes(key))),
      uuidArray(items.map(({ version }) => version)),
      watermark === undefined ? null : versionText(watermark),
    ];
    await this.pool.use("forget", options, async (on) => {
      await settle(on, dialect, names, this.runtime);
      const [row] = await retrying(this.writing, () => on.query(dialect.statements.forget, parameters));
      if (row?.[0] !== "0") await retrying(this.writing, () => on.query(dialect.statements.trim, [removalsMax]));
    });
    this.changed();
  }

  async *list(range: Range, options: ListOptions = {}): AsyncIterable<Listed> {
    this.enter("list", options);
    const { detail = "keys", after, limit = Infinity } = options;
    const { keys, heads, values } = this.parts.dialect.statements;
    const statement = { keys, entries: heads, values }[detail];
    let last = after;
    let left = limit;
    while (left > 0) {
      this.enter("list", options);
      const rows = await this.pageOf(statement, "list", range, last, options);
      for (const row of rows.slice(0, left)) {
        this.enter("list", options);
        last = keyFrom(row, 0, this.name);
        left--;
        yield this.listed(last, row, detail);
      }
      // A page of values may be short because it is large; no page is empty before the end.
      if (rows.length === 0 || (detail !== "values" && rows.length < PAGE_ROWS)) return;
    }
  }

  async *watch(range: Range, options: WatchOptions = {}): AsyncIterable<Change> {
    this.enter("watch", options);
    const { intervalMs = INTERVAL_MS } = options;
    this.hints?.enter();
    try {
      yield* watching(range, options, {
        feed: this.feed,
        page: async (pageRange, after, call) => {
          const rows = await this.pageOf(this.parts.dialect.statements.heads, "watch", pageRange, after, call);
          const heads = rows.map((row): Head => headFrom(keyFrom(row, 0, this.name), row, 2, this.name));
          return { heads, last: rows.length < PAGE_ROWS };
        },
        goesOn: () => {
          if (this.closing !== undefined) return false;
          checkCall(this.runtime, options, this.name, "watch");
          return true;
        },
        rings: () => this.bell.rings,
        wait: async (seen) => {
          this.hints?.ensure();
          await this.bell.wait(this.runtime, intervalMs, seen, options, this.name);
        },
      });
    } catch (error) {
      if (this.closing === undefined) throw error; // a watch that was under way ends quietly
    } finally {
      this.hints?.leave();
    }
  }

  /** The server's clock: Unix ms, rounded down. @throws SyncError as `read`. */
  async serverTime(options: CallOptions = {}): Promise<number> {
    this.enter("time", options);
    const text = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)";
    const [row] = await this.ask("time", options, { text }, []);
    return Number(row?.[0]);
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private listed(key: string, row: Row, detail: "keys" | "entries" | "values"): Listed {
    const tag = textAt(row, 1);
    if (detail === "keys") return { kind: "entry", key, tag, head: null, value: null };
    if (detail === "entries") return { kind: "entry", key, tag, head: headFrom(key, row, 2, this.name), value: null };
    const entry = entryFrom(key, row, 2, this.name);
    return { kind: "entry", key, tag, head: entry, value: entry.value };
  }

  private async pageOf(
    statement: Statement,
    operation: string,
    { prefix }: Range,
    after: string | undefined,
    call: CallOptions,
  ): Promise<Row[]> {
    const [low, high] = keyBounds(prefix);
    return this.ask(operation, call, statement, [low, keyBytes(after ?? ""), high]);
  }

  /** One statement that changes nothing, on some connection. */
  private ask(
    operation: string,
    call: CallOptions,
    statement: Statement,
    values: readonly (Buffer | string | null)[],
  ): Promise<Row[]> {
    return this.pool.use(operation, call, (on) => retrying(this.writing, () => on.query(statement, values)));
  }

  /** Own watches look now; those of other processes are told soon, once for all that was written meanwhile. */
  private changed(): void {
    this.bell.ring();
    const tell = this.parts.dialect.hints?.tell;
    if (tell === undefined || this.telling !== undefined) return;
    this.telling = this.runtime.timer(
      TELL_MS,
      () => {
        this.telling = undefined;
        // Nobody waits for it, and whoever misses it looks at an interval.
        this.ask("notify", {}, tell, []).catch(() => undefined);
      },
      true,
    );
  }

  private enter(operation: string, options: CallOptions): void {
    if (this.closing !== undefined) throw closedError(this.name, operation);
    checkCall(this.runtime, options, this.name, operation);
  }

  private async shut(): Promise<void> {
    this.telling?.cancel();
    this.bell.ring();
    await this.pool.close();
    // A watch that its reader has left standing holds a connection that listens.
    await this.hints?.close();
  }
}

function mayBeOld({ maxAgeMs = 0, authority = false, atLeast }: ReadOptions, ageMs: number): boolean {
  return maxAgeMs >= ageMs && !authority && (atLeast === undefined || atLeast.size === 0);
}
