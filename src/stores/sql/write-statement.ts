import type { Names, Syntax } from "./dialect.ts";

/** Division by zero: a batch whose statement met a race or a collision undoes itself, and is decided in a transaction. */
export const CONTENDED = "22012";

const TYPES = {
  key: "bytea",
  value: "bytea",
  state: "text",
  version: "uuid",
  expires: "int8",
  meta: "jsonb",
  absent: "bool",
  wanted: "uuid",
};
const CONDITION = ["absent", "wanted"];
const COLUMNS = Object.keys(TYPES).filter((column) => !CONDITION.includes(column));
const HELD = COLUMNS.filter((column) => column !== "key");

export interface WriteShape {
  /** For one write: the parameters are plain, not arrays, so that the planner knows that it is one. */
  readonly single?: boolean;
  /** Takes conditions. */
  readonly conditional?: boolean;
  /** Fails where another transaction came between or a version has two contents, so that all or nothing is stored. */
  readonly undoes?: boolean;
}

/**
 * One statement for a batch of different keys: what is there, what the merge rule and the conditions say of it, the
 * upsert, and what stood in the way of the rest. `fits` is decided on the statement's snapshot and again, on the row
 * itself, where the upsert meets one. An absent key is taken only above the watermark of the same snapshot.
 *
 * Parameters: the columns, with conditions also "absent", the version wanted, and now. Rows: n, stored, old, collides,
 * then what the key held: state, version, expires, meta, value. One that undoes itself gives only those that it did not
 * store, and a last one whose n is minus the number of all.
 */
export function writeText(
  names: Names,
  syntax: Syntax,
  { single = false, conditional = false, undoes = true }: WriteShape,
): string {
  const { entries, about } = names;
  const columns = [...COLUMNS, ...(conditional ? CONDITION : [])];
  const parameters = columns.map((column, i) => `$${i + 1}::${TYPES[column as keyof typeof TYPES]}`);
  const incoming = single
    ? `SELECT ${parameters.map((parameter, i) => `${parameter} AS ${columns[i]}`).join(", ")}, 1::int8 AS n`
    : `SELECT * FROM unnest(${parameters.map((parameter) => `${parameter}[]`).join(", ")}) WITH ORDINALITY
         AS u(${columns.join(", ")}, n)`;
  const newer = (other: string) =>
    `(k.version < ${other}.version OR (k.version = ${other}.version AND k.state = 'stub' AND ${other}.state <> 'stub'))`;
  const met = conditional ? `AND ${metBy("i.absent", "i.wanted", "i.version")}` : "";
  const recheck =
    conditional && syntax.readCommitted
      ? `AND ${single ? metBy("$7::bool", "$8::uuid", "excluded.version") : METBYROW}`
      : "";
  return `
    WITH i AS MATERIALIZED (${incoming}),
    d AS MATERIALIZED (
      SELECT i.*, ${HELD.map((column) => `k.${column} AS held_${column}`).join(", ")},
        CASE WHEN k.key IS NULL THEN i.version > a.watermark ${conditional ? "AND i.wanted IS NULL" : ""}
             ELSE ${newer("i")} ${met} END AS fits,
        k.key IS NULL AND i.version <= a.watermark AS old,
        k.version = i.version AND (k.state = 'stub') = (i.state = 'stub') AND NOT (k.state = i.state
          AND k.expires IS NOT DISTINCT FROM i.expires AND k.value IS NOT DISTINCT FROM i.value AND k.meta = i.meta)
          AS collides
      FROM i CROSS JOIN (SELECT watermark FROM ${about} WHERE id = 1) a LEFT JOIN ${entries} k ON k.key = i.key
    ), s AS (
      INSERT INTO ${entries} AS k (${COLUMNS.join(", ")}, tx)
      SELECT ${COLUMNS.join(", ")}, ${syntax.commit} FROM d WHERE fits ${single ? "" : "ORDER BY key"}
      ON CONFLICT (key) DO UPDATE SET ${[...HELD, "tx"].map((column) => `${column} = excluded.${column}`).join(", ")}
      WHERE ${newer("excluded")} ${recheck}
      RETURNING k.key
    )
    ${resultText(conditional, undoes)}`;
}

/**
 * The short way of one write without a condition, which is stored as a rule: where it gives a row, it was. It looks whether
 * the version is above the watermark, and whether nothing as new is in the snapshot, which would cost a transaction and a
 * lock to find out by the upsert. What it does not store, the other statement decides. Parameters: the columns.
 */
export function storeText({ entries, about }: Names, { commit }: Syntax): string {
  const older =
    "k.version < excluded.version OR (k.version = excluded.version AND k.state = 'stub' AND excluded.state <> 'stub')";
  const asNew = "h.version > $4::uuid OR (h.version = $4::uuid AND (h.state <> 'stub' OR $3::text = 'stub'))";
  return `
    INSERT INTO ${entries} AS k (${COLUMNS.join(", ")}, tx)
    SELECT ${COLUMNS.map((column, i) => `$${i + 1}::${TYPES[column as keyof typeof TYPES]}`).join(", ")}, ${commit}
    WHERE $4::uuid > (SELECT watermark FROM ${about} WHERE id = 1)
      AND NOT EXISTS (SELECT 1 FROM ${entries} h WHERE h.key = $1::bytea AND (${asNew}))
    ON CONFLICT (key) DO UPDATE SET ${[...HELD, "tx"].map((column) => `${column} = excluded.${column}`).join(", ")}
    WHERE ${older}
    RETURNING 1`;
}

/** Whether a condition holds for the row `k`; one that already has the version being written counts as met. */
function metBy(absent: string, wanted: string, version: string): string {
  return `((NOT ${absent} AND ${wanted} IS NULL) OR k.version = ${version} OR k.version = ${wanted}
    OR (${absent} AND (k.state = 'deleted' OR k.expires <= $9::int8)))`;
}

/** The same where only the row and what would replace it are at hand; each set is hashed once. */
const METBYROW = `(k.version = excluded.version
  OR excluded.key NOT IN (SELECT key FROM i WHERE absent OR wanted IS NOT NULL)
  OR (excluded.key, k.version) IN (SELECT key, wanted FROM i WHERE wanted IS NOT NULL)
  OR (excluded.key IN (SELECT key FROM i WHERE absent) AND (k.state = 'deleted' OR k.expires <= $9::int8)))`;

function resultText(conditional: boolean, undoes: boolean): string {
  const value = conditional ? "held_value" : "CASE WHEN collides THEN held_value END";
  const shown = `old, collides, held_state, held_version, held_expires, held_meta, ${value}`;
  if (!undoes) return `SELECT n, s.key IS NOT NULL, ${shown} FROM d LEFT JOIN s ON s.key = d.key`;
  return `
    SELECT n, false, ${shown} FROM d WHERE fits IS NOT TRUE
    UNION ALL
    SELECT CASE WHEN fitting > taken OR colliding THEN 1 / (taken - taken) ELSE -decided END,
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (SELECT count(*) AS decided, count(*) FILTER (WHERE fits) AS fitting, coalesce(bool_or(collides), false) AS colliding
          FROM d) a, (SELECT count(*) AS taken FROM s) b`;
}
