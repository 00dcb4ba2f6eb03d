import type { Connection } from "./connection.ts";
import type { Ask, Dialect, Feed, Names } from "./dialect.ts";
import { keyBounds } from "./bounds.ts";
import { LOOK_ROWS, lookFrom, nowFrom } from "./feed.ts";
import { keyBytes } from "./rows.ts";
import { statements } from "./statements.ts";

/**
 * PostgreSQL 13 and later. Every row carries the transaction that stored it. A position of a watch is a snapshot
 * (`xmin:xmax:xip`, as the server writes it): everything that it sees has been told. What was committed since are the
 * rows of transactions at or above its xmax, and of those that it lists as still under way: one that took its number
 * early and commits late is never missed, and one that is open for hours holds nobody up.
 * Source: PostgreSQL documentation, "Transaction ID and Snapshot Information Functions".
 */
export function postgres(names: Names, version: string, settings: { timeoutMs: number; notify: boolean }): Dialect {
  const { entries, plain } = names;
  const channel = `sync_${plain}`;
  const tell = { text: `SELECT pg_notify('${channel}', '')` };
  const listen = async (connection: Connection, ring: () => void) => {
    connection.onNotification = ring;
    await connection.execute(`LISTEN "${channel}"`);
  };
  const place = `(SELECT concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), oid, pg_relation_filenode('${entries}'))
    FROM pg_database WHERE datname = current_database())`;
  return {
    name: "postgres",
    expiry: false,
    valueBytesMax: 16 * 1024 * 1024,
    valueBytesLimit: 128 * 1024 * 1024,
    session: sessionOf(version, settings.timeoutMs),
    migrations: migrations(names),
    metaIndex: [`CREATE INDEX IF NOT EXISTS "${plain}_meta" ON ${entries} USING gin (meta jsonb_path_ops)`],
    place,
    durable: { text: "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'" },
    statements: statements(names, {
      commit: "pg_current_xact_id()",
      readCommitted: true,
      alive: "true",
    }),
    feed: (ask, store) => feed(names, place, ask, store),
    hints: settings.notify ? { options: undefined, begin: listen, tell } : undefined,
    followers: undefined,
  };
}

function sessionOf(version: string, timeoutMs: number): string {
  const settings = [
    "SET bytea_output = 'hex'",
    // A statement is planned once for each session: planning the upsert costs more than running it.
    "SET plan_cache_mode = force_generic_plan",
    `SET statement_timeout = ${timeoutMs}`,
    `SET idle_in_transaction_session_timeout = ${timeoutMs}`,
  ];
  // A statement whose caller has gone would otherwise wait for its lock to the end. Since 14, and not on every system.
  const [, major = "0"] = /^PostgreSQL (\d+)/.exec(version) ?? [];
  if (Number(major) >= 14 && version.includes("linux")) settings.push("SET client_connection_check_interval = 1000");
  return settings.join("; ");
}

/** The statements of each schema version. A version that was ever released is never changed, only followed by another. */
function migrations({ entries, about, removals, plain }: Names): string[][] {
  return [
    [
      `CREATE TABLE ${entries} (
         key bytea PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 512),
         value bytea,
         state text NOT NULL CHECK (state IN ('value', 'deleted', 'stub')),
         version uuid NOT NULL,
         expires int8 CHECK (expires >= 0),
         meta jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(meta) = 'object'),
         CHECK ((state = 'value') = (value IS NOT NULL)))`,
      `CREATE TABLE ${about} (id int8 PRIMARY KEY CHECK (id = 1), schema int8 NOT NULL, watermark uuid NOT NULL)`,
      `INSERT INTO ${about} (id, schema, watermark) VALUES (1, 1, '00000000-0000-0000-0000-000000000000')`,
    ],
    [
      `ALTER TABLE ${entries} ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()`,
      `CREATE INDEX "${plain}_tx" ON ${entries} (tx)`,
      `CREATE TABLE ${removals} (key bytea PRIMARY KEY, tx xid8 NOT NULL)`,
      `CREATE INDEX "${plain}_removals_tx" ON ${removals} (tx)`,
      `ALTER TABLE ${about} ADD COLUMN epoch text NOT NULL DEFAULT '', ADD COLUMN place text NOT NULL DEFAULT '',
         ADD COLUMN trimmed xid8 NOT NULL DEFAULT '0'`,
    ],
  ];
}

const SNAPSHOT = /^(\d{1,20}):(\d{1,20}):((?:\d{1,20}(?:,\d{1,20})*)?)$/;

function feed(names: Names, place: string, ask: Ask, store: string): Feed {
  const now = { name: `sync_${names.plain}_now`, text: nowText(names, place) };
  const look = { name: `sync_${names.plain}_look`, text: lookText(names, place) };
  return {
    isPosition: (text) => SNAPSHOT.test(text),

    now: async (call) => nowFrom(await ask(call, now, []), store),

    async look({ prefix }, from, to, after, call) {
      const [, xmin = "", xmax = "", xip = ""] = SNAPSHOT.exec(from) ?? [];
      const [low, high] = keyBounds(prefix);
      const position = [after?.mark ?? "0", keyBytes(after?.key ?? "")];
      return lookFrom(await ask(call, look, [xmin, xmax, `{${xip}}`, low, high, ...position, to ?? null]), to, store);
    },
  };
}

function nowText({ about }: Names, place: string): string {
  return `SELECT epoch, ${place}, pg_current_snapshot()::text FROM ${about} WHERE id = 1`;
}

/**
 * What `from` (1 xmin, 2 xmax, 3 xip) does not see, in the order of transactions: those that it lists all come before
 * the later ones. 4 and 5 bound the keys, 6 and 7 are the place in an earlier page, 8 is the snapshot of its first page:
 * what was stored since then waits for the next look, so that no page skips what commits between two of them.
 */
function lookText({ entries, about, removals }: Names, place: string): string {
  const branch = (table: string, columns: string, since: string, filter = "") => `
    (SELECT key, tx, ${columns} FROM ${table} k
     WHERE ${since} AND (tx, key) > ($6::xid8, $7::bytea) AND key >= $4::bytea AND key < $5::bytea
       AND ($8::text IS NULL OR pg_visible_in_snapshot(tx, $8::text::pg_snapshot)) ${filter}
     ORDER BY tx, key LIMIT ${LOOK_ROWS})`;
  const gone = "NULL::text, NULL::uuid, NULL::int8, NULL::jsonb";
  const absent = `AND NOT EXISTS (SELECT 1 FROM ${entries} e WHERE e.key = k.key)`;
  const branches = ["tx = ANY($3::xid8[])", "tx >= $2::xid8"].flatMap((since) => [
    branch(entries, "state, version, expires, meta", since),
    branch(removals, gone, since, absent),
  ]);
  return `
    SELECT a.epoch, ${place}, a.trimmed >= $1::xid8, pg_current_snapshot()::text, c.*
    FROM ${about} a LEFT JOIN (${branches.join(" UNION ALL ")} ORDER BY tx, key LIMIT ${LOOK_ROWS}) c ON true
    WHERE a.id = 1 ORDER BY c.tx, c.key`;
}
