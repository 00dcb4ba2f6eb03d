import type { ClientConfig } from "pg";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { cockroach } from "./cockroach.ts";
import { Connection } from "./connection.ts";
import type { Dialect } from "./dialect.ts";
import { sqlFailure } from "./failures.ts";
import { namesOf } from "./names.ts";
import { Pool } from "./pool.ts";
import { postgres } from "./postgres.ts";
import { textAt } from "./rows.ts";
import { prepare } from "./schema.ts";
import { SqlStore } from "./store.ts";
import { parseSqlUrl } from "./url.ts";
import type { Target } from "./url.ts";

export interface SqlOptions {
  readonly runtime: Runtime;
  /** Default: the system's, "postgres" or "cockroach". */
  readonly name?: string | undefined;
  /** The table of entries, if you like with its schema: `cache.entries`. Two more stand beside it. Default "sync". */
  readonly table?: string | undefined;
  /** Whether missing tables are created. Default false: a mistyped database would become an empty source of truth. */
  readonly create?: boolean | undefined;
  /** Takes no writes: every session is read-only. Default false. */
  readonly readonly?: boolean | undefined;
  /** An index for searches in the metadata, made at opening where it is missing. Default false. */
  readonly metaIndex?: boolean | undefined;
  /** How many connections at most, beside one that listens while somebody watches. Default 10. */
  readonly connections?: number | undefined;
  /** How many calls may wait for a connection; more are refused with OVERLOADED. Default 1,000. */
  readonly waitingMax?: number | undefined;
  /** No call takes longer, in milliseconds, and no statement on the server. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** A connection unused for so long is closed, in milliseconds. Default 60,000. */
  readonly idleMs?: number | undefined;
  /** The largest value taken, in bytes. Default 16 MiB, on CockroachDB 1 MiB. At most 128 MiB, 16 MiB. */
  readonly valueBytesMax?: number | undefined;
  /** How many removals (not tombstones) are kept for watches that resume. Default 10,000. */
  readonly removalsMax?: number | undefined;
  /** PostgreSQL: writes wake watches in other processes soon, by NOTIFY, beside their transaction. Default true. */
  readonly notify?: boolean | undefined;
  /** CockroachDB: how long after its expiry an entry may be removed, in milliseconds. Default 30 days. */
  readonly expiredKeepMs?: number | undefined;
  /** What paths of certificates in the URL are relative to. Default: the working directory. */
  readonly folder?: string | undefined;
  /**
   * Called for each transaction tried again because others were faster, with the SQLSTATE: 40001 (serialisation),
   * 40P01 (deadlock), 22012 (a row changed under a batch, which was then decided in a transaction). For counting.
   */
  readonly onRetry?: ((state: string) => void) | undefined;
}

const BATCH_MAX = 1000;
/** A value is sent back as a text of twice its bytes, and a text of JavaScript has an end. */
const VALUE_BYTES_LIMIT = 128 * 1024 * 1024;
const DAY_MS = 86_400_000;

/**
 * Entries in a table of PostgreSQL (13 or later) or CockroachDB, which other programs can read and search. A resolved
 * write is committed. The server says which of the two it is.
 *
 * @param url `postgres://user@host:5432/database?sslmode=verify-full` or `cockroach://…`. What it leaves out comes from
 * PGHOST, PGUSER, PGPASSWORD, … and ~/.pgpass.
 * @throws SyncError INVALID for the URL or an option, NOT_FOUND without database or tables, UNAUTHORISED, UNAVAILABLE,
 * CORRUPT for tables of a later schema.
 */
export async function sql(url: string, options: SqlOptions): Promise<SqlStore> {
  const limits = limitsOf(options);
  const names = namesOf(options.table ?? "sync");
  const target = parseSqlUrl(url, options.folder ?? process.cwd());
  const { runtime, readonly = false } = options;
  const name = options.name ?? target.scheme;
  const { dialect, durable } = await withConnection(target.config, runtime, limits.timeoutMs, name, async (on) => {
    const [row = []] = await on.query({ text: "SELECT version()" });
    const version = textAt(row, 0);
    const dialect = dialectOf(version, target, name, (system) =>
      system === "postgres"
        ? postgres(names, version, { timeoutMs: limits.timeoutMs, notify: options.notify ?? true })
        : cockroach(names, { timeoutMs: limits.timeoutMs, expiredKeepMs: limits.expiredKeepMs }),
    );
    await on.execute(dialect.session);
    await prepare(on, dialect, names, {
      runtime,
      store: name,
      create: options.create ?? false,
      readonly,
      metaIndex: options.metaIndex ?? false,
    });
    const [answer] = dialect.durable === undefined ? [["t"]] : await on.query(dialect.durable);
    return { dialect, durable: answer?.[0] === "t" };
  });
  const valueBytesMax = option(
    "valueBytesMax",
    options.valueBytesMax,
    dialect.valueBytesMax,
    1,
    dialect.valueBytesLimit,
  );
  const pool = new Pool({
    ...limits,
    runtime,
    name,
    config: target.config,
    session: readonly ? `${dialect.session}; SET default_transaction_read_only = on` : dialect.session,
  });
  const supports = {
    keyBytesMax: 512,
    valueBytesMax,
    streamBytesMax: 0,
    batchMax: BATCH_MAX,
    conditional: !readonly,
    atomicBatch: true,
    stubs: true,
    watch: "poll",
    expiry: dialect.expiry,
    writers: "many",
    durable,
    shared: true,
    asOf: "known",
    readonly,
  } as const;
  const { removalsMax, timeoutMs } = limits;
  const { onRetry } = options;
  return new SqlStore({ name, supports, runtime, pool, dialect, names, removalsMax, timeoutMs, onRetry });
}

function limitsOf(options: SqlOptions) {
  return {
    connections: option("connections", options.connections, 10, 1, 1000),
    waitingMax: option("waitingMax", options.waitingMax, 1000, 0, 1_000_000),
    timeoutMs: option("timeoutMs", options.timeoutMs, 30_000, 1, DAY_MS),
    idleMs: option("idleMs", options.idleMs, 60_000, 1, DAY_MS),
    removalsMax: option("removalsMax", options.removalsMax, 10_000, 1, 10_000_000),
    valueBytesMax: option("valueBytesMax", options.valueBytesMax, 1, 1, VALUE_BYTES_LIMIT),
    expiredKeepMs: option("expiredKeepMs", options.expiredKeepMs, 30 * DAY_MS, 0, 10_000 * DAY_MS),
  };
}

function dialectOf(
  version: string,
  { scheme }: Target,
  store: string,
  make: (system: Dialect["name"]) => Dialect,
): Dialect {
  if (version.startsWith("CockroachDB")) return make("cockroach");
  const [, major] = /^PostgreSQL (\d+)/.exec(version) ?? [];
  const what = major === undefined ? "something else" : `PostgreSQL ${major}`;
  if (major === undefined || Number(major) < 13) {
    const cure = "use PostgreSQL 13 or later, or CockroachDB";
    throw new SyncError("UNSUPPORTED", `the server is ${what}`, { store, operation: "open", cure });
  }
  if (scheme === "cockroach") {
    const cure = "write postgres:// if that is what you mean";
    throw new SyncError("INVALID", `the server is ${what}, not CockroachDB`, { store, operation: "open", cure });
  }
  return make("postgres");
}

/** Work on a connection that is closed afterwards, within the time limit. */
async function withConnection<T>(
  config: ClientConfig,
  runtime: Runtime,
  timeoutMs: number,
  store: string,
  work: (on: Connection) => Promise<T>,
): Promise<T> {
  const on = new Connection(config);
  let late = false;
  const timer = runtime.timer(timeoutMs, () => {
    late = true;
    on.destroy();
  });
  try {
    await on.client.connect();
    return await work(on);
  } catch (error) {
    const details = { store, operation: "open" };
    if (late) throw new SyncError("TIMEOUT", `the server did not answer within ${timeoutMs} ms`, details);
    throw sqlFailure(error, details);
  } finally {
    timer.cancel();
    await on.end(runtime);
  }
}

function option(name: string, given: number | undefined, otherwise: number, least: number, most: number): number {
  const value = given ?? otherwise;
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  const cure = `give a whole number from ${least} to ${most}`;
  throw new SyncError("INVALID", `option ${name} is ${String(value)}`, { store: "sql", operation: "open", cure });
}
