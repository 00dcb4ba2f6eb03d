import type { Connection } from "./connection.ts";
import type { Ask, Dialect, Feed, HintSource, Names } from "./dialect.ts";
import { keyBounds } from "./bounds.ts";
import { LOOK_ROWS, lookFrom, nowFrom } from "./feed.ts";
import { keyBytes } from "./rows.ts";
import { statements } from "./statements.ts";

/*
 * Everything that is CockroachDB's own. Not run: no test of this repository reaches a CockroachDB, so nothing in this file
 * counts as shown. Each statement names the page of the documentation (v26.2, cockroachlabs.com/docs/stable) that it was
 * written from. What it shares with PostgreSQL (statements.ts) is tested there.
 */

/**
 * How old a follower read is taken to be, in milliseconds: about 4.8 s by default, and more to spare for other settings and
 * for clocks that differ. Not run. Source: "Follower Reads", https://www.cockroachlabs.com/docs/stable/follower-reads, "follower_read_timestamp()".
 */
const FOLLOWER_AGE_MS = 15_000;

export function cockroach(names: Names, settings: { timeoutMs: number; expiredKeepMs: number }): Dialect {
  const { entries, plain } = names;
  // Not run. Source: "Functions and Operators", https://www.cockroachlabs.com/docs/stable/functions-and-operators, crdb_internal.cluster_id; "OID", https://www.cockroachlabs.com/docs/stable/oid.
  const place = `(SELECT concat_ws('/', crdb_internal.cluster_id()::STRING, '${entries}'::REGCLASS::OID::STRING))`;
  // Rows that the TTL job has not reached yet are still there for queries.
  // Not run. Source: "Batch Delete Expired Data with Row-Level TTL", https://www.cockroachlabs.com/docs/stable/row-level-ttl, "Filter out expired rows".
  const alive = `(expires IS NULL OR expires + ${settings.expiredKeepMs} > (extract(epoch FROM statement_timestamp()) * 1000)::INT8)`;
  const columns = "key, state, version, expires, meta, value";
  // Not run. Source: "AS OF SYSTEM TIME", https://www.cockroachlabs.com/docs/stable/as-of-system-time; "Follower Reads", https://www.cockroachlabs.com/docs/stable/follower-reads.
  const followed = (condition: string) =>
    `SELECT ${columns} FROM ${entries} AS OF SYSTEM TIME follower_read_timestamp() WHERE ${condition} AND ${alive}`;
  return {
    name: "cockroach",
    expiry: true,
    // Source: "BYTES", bytes: values below 1 MB are advised; "Production Checklist": a row far below 16 MiB.
    valueBytesMax: 1024 * 1024,
    valueBytesLimit: 16 * 1024 * 1024,
    // Not run. Source: "SET (session variable)", https://www.cockroachlabs.com/docs/stable/set-vars: each of these. cluster_logical_timestamp needs SERIALIZABLE.
    session: [
      "SET bytea_output = 'hex'",
      `SET statement_timeout = ${settings.timeoutMs}`,
      `SET idle_in_transaction_session_timeout = ${settings.timeoutMs}`,
      "SET default_transaction_isolation = 'serializable'",
    ].join("; "),
    migrations: migrations(names, settings.expiredKeepMs),
    // Not run. Source: "GIN Indexes", https://www.cockroachlabs.com/docs/stable/inverted-indexes.
    metaIndex: [`CREATE INVERTED INDEX IF NOT EXISTS "${plain}_meta" ON ${entries} (meta)`],
    place,
    durable: undefined,
    statements: statements(names, {
      // The transaction's own commit timestamp, which the call fixes.
      // Not run. Source: "Functions and Operators", https://www.cockroachlabs.com/docs/stable/functions-and-operators, cluster_logical_timestamp.
      commit: "cluster_logical_timestamp()",
      readCommitted: false, // a statement under SERIALIZABLE meets only what its snapshot sees
      alive,
    }),
    feed: (ask, store) => feed(names, place, ask, store),
    hints: changefeed(entries),
    followers: {
      ageMs: FOLLOWER_AGE_MS,
      one: { name: `sync_${plain}_one_followed`, text: followed("key = $1::bytea") },
      many: { name: `sync_${plain}_many_followed`, text: followed("key = ANY($1::bytea[])") },
    },
  };
}

/**
 * Both schema versions of PostgreSQL at once, and an empty second, so that the numbers agree. Statements commit one by one
 * here ("Online Schema Changes", online-schema-changes), so each can be repeated, and the row that says it is done comes last.
 */
function migrations({ entries, about, removals, plain }: Names, expiredKeepMs: number): string[][] {
  return [
    [
      // Not run. Source: "Batch Delete Expired Data with Row-Level TTL", https://www.cockroachlabs.com/docs/stable/row-level-ttl: a row whose expression is NULL
      // stays; the job runs by ttl_job_cron. "CREATE TABLE", https://www.cockroachlabs.com/docs/stable/create-table; "CHECK", check.
      `CREATE TABLE IF NOT EXISTS ${entries} (
         key BYTES PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 512),
         value BYTES,
         state STRING NOT NULL CHECK (state IN ('value', 'deleted', 'stub')),
         version UUID NOT NULL,
         expires INT8 CHECK (expires >= 0),
         meta JSONB NOT NULL DEFAULT '{}',
         tx DECIMAL NOT NULL DEFAULT cluster_logical_timestamp(),
         CHECK ((state = 'value') = (value IS NOT NULL)))
       WITH (ttl_expiration_expression = 'to_timestamp(((expires + ${expiredKeepMs}) / 1000)::FLOAT8)', ttl_job_cron = '@hourly')`,
      // A time that only rises would make the end of the index a hot spot.
      // Not run. Source: "Hash-sharded Indexes", https://www.cockroachlabs.com/docs/stable/hash-sharded-indexes.
      `CREATE INDEX IF NOT EXISTS "${plain}_tx" ON ${entries} (tx) USING HASH`,
      `CREATE TABLE IF NOT EXISTS ${removals} (key BYTES PRIMARY KEY, tx DECIMAL NOT NULL)`,
      `CREATE INDEX IF NOT EXISTS "${plain}_removals_tx" ON ${removals} (tx) USING HASH`,
      `CREATE TABLE IF NOT EXISTS ${about} (id INT8 PRIMARY KEY CHECK (id = 1), schema INT8 NOT NULL, watermark UUID NOT NULL,
         epoch STRING NOT NULL DEFAULT '', place STRING NOT NULL DEFAULT '', trimmed DECIMAL NOT NULL DEFAULT 0)`,
      // Not run. Source: "INSERT", https://www.cockroachlabs.com/docs/stable/insert, "ON CONFLICT DO NOTHING".
      `INSERT INTO ${about} (id, schema, watermark) VALUES (1, 1, '00000000-0000-0000-0000-000000000000')
       ON CONFLICT (id) DO NOTHING`,
    ],
    [],
  ];
}

const TIMESTAMP = /^\d{1,20}\.\d{10}$/;

/**
 * The order of commits by polling. A position is a timestamp: a statement that reads at one sees everything committed at
 * or below it, and nothing can commit there any more.
 * Not run. Source: "Transaction Layer", https://www.cockroachlabs.com/docs/stable/architecture/transaction-layer, "Timestamp cache"; cluster_logical_timestamp.
 */
function feed(names: Names, place: string, ask: Ask, store: string): Feed {
  const { entries, about, removals, plain } = names;
  const since = `tx > $1::DECIMAL AND (tx, key) > ($4::DECIMAL, $5::bytea) AND key >= $2::bytea AND key < $3::bytea
    AND ($6::STRING IS NULL OR tx <= $6::STRING::DECIMAL)`;
  const now = `SELECT epoch, ${place}, cluster_logical_timestamp()::STRING FROM ${about} WHERE id = 1`;
  const look = `
    SELECT a.epoch, ${place}, a.trimmed > $1::DECIMAL, cluster_logical_timestamp()::STRING, c.*
    FROM ${about} a LEFT JOIN (
      SELECT key, tx, state, version, expires, meta FROM ${entries} WHERE ${since}
      UNION ALL
      SELECT key, tx, NULL, NULL, NULL, NULL FROM ${removals} k WHERE ${since}
        AND NOT EXISTS (SELECT 1 FROM ${entries} e WHERE e.key = k.key)
      ORDER BY tx, key LIMIT ${LOOK_ROWS}) c ON true
    WHERE a.id = 1 ORDER BY c.tx, c.key`;
  return {
    isPosition: (text) => TIMESTAMP.test(text),
    now: async (call) => nowFrom(await ask(call, { name: `sync_${plain}_now`, text: now }, []), store),
    async look({ prefix }, from, to, after, call) {
      const [low, high] = keyBounds(prefix);
      const position = [after?.mark ?? "0", keyBytes(after?.key ?? "")];
      const statement = { name: `sync_${plain}_look`, text: look };
      return lookFrom(await ask(call, statement, [from, low, high, ...position, to ?? null]), to, store);
    },
  };
}

/**
 * A sinkless changefeed on a connection of its own rings when something was committed; what, the look says. It begins
 * after the last resolved timestamp that an earlier one gave, so that a lost connection loses no ring either. Where it is
 * refused (kv.rangefeed.enabled, privileges) the looks go on at their interval.
 * Not run. Source: "Create and Configure Changefeeds", https://www.cockroachlabs.com/docs/stable/create-and-configure-changefeeds, "Create a sinkless changefeed";
 * "CREATE CHANGEFEED", https://www.cockroachlabs.com/docs/stable/create-changefeed, the options; results_buffer_size: "Changefeed Examples", "sinkless".
 */
function changefeed(entries: string): HintSource {
  let resolved: string | undefined;
  return {
    options: "-c results_buffer_size=0",
    tell: undefined,
    async begin(connection: Connection, ring: () => void) {
      const cursor = resolved === undefined ? "" : `, cursor = '${resolved}'`;
      const options = `resolved = '1s', min_checkpoint_frequency = '1s', envelope = 'key_only', no_initial_scan${cursor}`;
      connection.stream(`CREATE CHANGEFEED FOR TABLE ${entries} WITH ${options}`, ({ value }) => {
        const [, timestamp] = /"resolved":\s*"(\d+\.\d+)"/.exec(textOf(value)) ?? [];
        if (timestamp === undefined) ring();
        else resolved = timestamp;
      });
    },
  };
}

/** A column of the changefeed: JSON as bytes, in their hexadecimal form. */
function textOf(value: unknown): string {
  const text = typeof value === "string" ? value : "";
  return text.startsWith("\\x") ? Buffer.from(text.slice(2), "hex").toString() : text;
}
