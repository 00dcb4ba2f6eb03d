import type { Statement } from "./connection.ts";
import type { Names, Statements } from "./dialect.ts";

/** Where the systems' SQL differs inside statements that they otherwise share. */
export interface Syntax {
  /** What the column `tx` is set to: the order of commits. */
  readonly commit: string;
  /** A statement may meet rows that are newer than its snapshot: conditions are then decided on the row itself. */
  readonly readCommitted: boolean;
  /** Which rows are there for readers; expired ones that wait for their removal are not. */
  readonly alive: string;
}

/** Rows of a page of a list, and at most about so many bytes of values. */
export const PAGE_ROWS = 500;
export const PAGE_BYTES = 8 * 1024 * 1024;

const HEAD = "state, version, expires, meta";
const COLUMNS = "key, value, state, version, expires, meta";

/** Division by zero: a batch whose statement met a race or a collision undoes itself, and is decided in a transaction. */
export const CONTENDED = "22012";

export function statements(names: Names, syntax: Syntax): Statements {
  const { entries, about, removals, plain } = names;
  const { commit, alive } = syntax;
  const mark = "k.tx::text"; // differs whenever a row was stored anew
  const named = (name: string, text: string): Statement => ({ name: `sync_${plain}_${name}`, text });
  const page = (columns: string) =>
    `SELECT key, ${mark}, ${columns} FROM ${entries} k
     WHERE key >= $1::bytea AND key > $2::bytea AND key < $3::bytea AND ${alive} ORDER BY key LIMIT ${PAGE_ROWS}`;
  return {
    one: named("one", `SELECT key, ${HEAD}, value FROM ${entries} k WHERE key = $1::bytea AND ${alive}`),
    many: named("many", `SELECT key, ${HEAD}, value FROM ${entries} k WHERE key = ANY($1::bytea[]) AND ${alive}`),
    write: named("write", write(names, syntax, false)),
    writeIf: named("write_if", write(names, syntax, true)),
    overwrite: named(
      "overwrite",
      `UPDATE ${entries} SET value = $2::bytea, state = $3::text, expires = $4::int8, meta = $5::jsonb, tx = ${commit}
       WHERE key = $1::bytea AND version = $6::uuid AND state = $7::text AND expires IS NOT DISTINCT FROM $8::int8
         AND value IS NOT DISTINCT FROM $9::bytea AND meta = $10::jsonb
       RETURNING 1`,
    ),
    forget: named(
      "forget",
      `WITH i AS (SELECT * FROM unnest($1::bytea[], $2::uuid[]) AS u(key, version)),
       raised AS (UPDATE ${about} SET watermark = $3::uuid WHERE id = 1 AND watermark < $3::uuid RETURNING id),
       gone AS (DELETE FROM ${entries} k USING i WHERE k.key = i.key AND k.version = i.version RETURNING k.key),
       logged AS (
         INSERT INTO ${removals} (key, tx) SELECT key, ${commit} FROM gone
         ON CONFLICT (key) DO UPDATE SET tx = excluded.tx RETURNING key)
       SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM raised)`,
    ),
    trim: named("trim", trim(names)),
    keys: named("keys", page("NULL")),
    heads: named("heads", page(HEAD)),
    // The first row comes whatever its size, so that every page gets on.
    values: named(
      "values",
      `SELECT key, mark, ${HEAD}, value FROM (
         SELECT *, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY key) - coalesce(octet_length(value), 0) AS before
         FROM (SELECT key, ${mark} AS mark, ${HEAD}, value FROM ${entries} k
               WHERE key >= $1::bytea AND key > $2::bytea AND key < $3::bytea AND ${alive}
               ORDER BY key LIMIT ${PAGE_ROWS}) AS page) AS sized
       WHERE before <= ${PAGE_BYTES} ORDER BY key`,
    ),
  };
}

/**
 * One statement for a batch of different keys: what is there, what the merge rule and the conditions say of it, the
 * upsert, and what stood in the way of the rest. `fits` is decided on the statement's snapshot and again, on the row
 * itself, where the upsert meets one. An absent key is taken only above the watermark of the same snapshot.
 *
 * Parameters: 1 to 6 the columns, 7 whether a race or collision fails the statement, and with conditions 8 "absent",
 * 9 the version wanted, 10 now.
 */
function write({ entries, about }: Names, { commit, readCommitted }: Syntax, conditional: boolean): string {
  const met = `((NOT i.absent AND i.wanted IS NULL) OR k.version = i.version OR k.version = i.wanted
    OR (i.absent AND (k.state = 'deleted' OR k.expires <= $10::int8)))`;
  const metByRow = `(k.version = excluded.version
    OR excluded.key NOT IN (SELECT key FROM i WHERE absent OR wanted IS NOT NULL)
    OR (excluded.key, k.version) IN (SELECT key, wanted FROM i WHERE wanted IS NOT NULL)
    OR (excluded.key IN (SELECT key FROM i WHERE absent) AND (k.state = 'deleted' OR k.expires <= $10::int8)))`;
  const newer = (incoming: string) =>
    `(k.version < ${incoming}.version OR (k.version = ${incoming}.version AND k.state = 'stub' AND ${incoming}.state <> 'stub'))`;
  const held = ["state", "version", "expires", "meta", "value"];
  return `
    WITH i AS MATERIALIZED (
      SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::uuid[], $5::int8[], $6::jsonb[]
        ${conditional ? ", $8::bool[], $9::uuid[]" : ""}) WITH ORDINALITY
        AS u(${COLUMNS}${conditional ? ", absent, wanted" : ""}, n)
    ), d AS MATERIALIZED (
      SELECT i.*, ${held.map((column) => `k.${column} AS held_${column}`).join(", ")},
        CASE WHEN k.key IS NULL THEN i.version > a.watermark ${conditional ? "AND i.wanted IS NULL" : ""}
             ELSE ${newer("i")} ${conditional ? `AND ${met}` : ""} END AS fits,
        k.key IS NULL AND i.version <= a.watermark AS old,
        k.version = i.version AND (k.state = 'stub') = (i.state = 'stub') AND NOT (k.state = i.state
          AND k.expires IS NOT DISTINCT FROM i.expires AND k.value IS NOT DISTINCT FROM i.value AND k.meta = i.meta)
          AS collides
      FROM i CROSS JOIN (SELECT watermark FROM ${about} WHERE id = 1) a LEFT JOIN ${entries} k ON k.key = i.key
    ), s AS (
      INSERT INTO ${entries} AS k (${COLUMNS}, tx) SELECT ${COLUMNS}, ${commit} FROM d WHERE fits ORDER BY key
      ON CONFLICT (key) DO UPDATE SET
        ${[...held, "tx"].map((column) => `${column} = excluded.${column}`).join(", ")}
      WHERE ${newer("excluded")} ${conditional && readCommitted ? `AND ${metByRow}` : ""}
      RETURNING k.key
    )
    SELECT d.n, s.key IS NOT NULL, d.old, d.collides, d.held_state, d.held_version, d.held_expires, d.held_meta,
      CASE WHEN s.key IS NULL AND ${conditional ? "true" : "d.collides"} THEN d.held_value END,
      CASE WHEN $7::bool AND (d.collides OR (d.fits AND s.key IS NULL)) THEN 1 / (d.n - d.n) END
    FROM d LEFT JOIN s ON s.key = d.key`;
}

/** Keeps the newest so many removals, and says up to where the others went. Parameter: how many. */
function trim({ about, removals }: Names): string {
  return `
    WITH old AS (SELECT key, tx FROM ${removals} ORDER BY tx DESC, key DESC OFFSET $1::int8),
    gone AS (DELETE FROM ${removals} r USING old WHERE r.key = old.key AND r.tx = old.tx RETURNING r.tx),
    last AS (SELECT tx FROM gone ORDER BY tx DESC LIMIT 1)
    UPDATE ${about} SET trimmed = last.tx FROM last WHERE id = 1 AND trimmed < last.tx`;
}
