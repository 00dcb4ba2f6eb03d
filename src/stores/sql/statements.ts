import type { Statement } from "./connection.ts";
import type { Names, Statements, Syntax } from "./dialect.ts";
import { storeText, writeText } from "./write-statement.ts";

/** Rows of a page of a list, and at most about so many bytes of values. */
export const PAGE_ROWS = 500;
export const PAGE_BYTES = 8 * 1024 * 1024;

const HEAD = "state, version, expires, meta";
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
    store: named("store", storeText(names, syntax)),
    write: [named("write", writeText(names, syntax, { single: true })), named("writes", writeText(names, syntax, {}))],
    writeIf: [
      named("write_if", writeText(names, syntax, { single: true, conditional: true })),
      named("writes_if", writeText(names, syntax, { conditional: true })),
    ],
    decide: named("decide", writeText(names, syntax, { conditional: true, undoes: false })),
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

/** Keeps the newest so many removals, and says up to where the others went. Parameter: how many. */
function trim({ about, removals }: Names): string {
  return `
    WITH old AS (SELECT key, tx FROM ${removals} ORDER BY tx DESC, key DESC OFFSET $1::int8),
    gone AS (DELETE FROM ${removals} r USING old WHERE r.key = old.key AND r.tx = old.tx RETURNING r.tx),
    last AS (SELECT tx FROM gone ORDER BY tx DESC LIMIT 1)
    UPDATE ${about} SET trimmed = last.tx FROM last WHERE id = 1 AND trimmed < last.tx`;
}
