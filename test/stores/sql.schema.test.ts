import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { Store } from "../../src/store.ts";
import { sql } from "../../src/stores/sql.ts";
import type { SqlOptions } from "../../src/stores/sql.ts";
import { namesOf } from "../../src/stores/sql/names.ts";
import { postgres } from "../../src/stores/sql/postgres.ts";
import { postgresServer } from "../servers/postgres.ts";
import type { PostgresServer } from "../servers/postgres.ts";
import { Pulled, entry, failure, put, runtime, valueOf, versionAt, write } from "./sql/world.ts";

const started = await postgresServer();
const server = started as PostgresServer; // what uses it is skipped where there is none
afterAll(() => started?.close());
const stores: Store[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

let tables = 0;
async function opened(options: Partial<SqlOptions> = {}) {
  const { table = `s${tables++}` } = options;
  const store = await sql(server.url(), { runtime, create: true, table, ...options });
  stores.push(store);
  return { store, table };
}

const tablesLike = (name: string) =>
  server.query(
    "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables WHERE table_name LIKE $1 ORDER BY 1",
    [`${name}%`],
  );

describe.skipIf(started === undefined)("the tables", () => {
  it("are created on request only, and the error says how", async () => {
    const error = await failure(() => sql(server.url(), { runtime, table: "missing" }));
    expect([error.code, error.message]).toEqual([
      "NOT_FOUND",
      'postgres open: there is no table "missing" (open with create: true, or correct its name)',
    ]);
    expect(await tablesLike("missing")).toEqual([]);
    await opened({ table: "missing" });
    expect((await tablesLike("missing")).length).toBe(3);
  });

  it("stand in the schema that is named", async () => {
    await server.query("CREATE SCHEMA IF NOT EXISTS cache");
    const { store } = await opened({ table: "cache.inner" });
    await put(store, entry("k", 1));
    expect((await tablesLike("inner")).map(({ name }) => name)).toEqual([
      "cache.inner",
      "cache.inner_about",
      "cache.inner_removals",
    ]);
    expect(await valueOf(store, "k")).toBe("x");
    const error = await failure(() => sql(server.url(), { runtime, create: true, table: "nowhere.inner" }));
    expect(error.code).toBe("NOT_FOUND");
  });

  it.each(["", "a b", 'a"b', "a;drop", "A", "a.b.c", "1a", "x".repeat(41)])("are not named %j", async (table) => {
    expect((await failure(() => sql(server.url(), { runtime, table }))).code).toBe("INVALID");
  });

  it("are made once by many who open at once", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => opened({ table: "crowd", metaIndex: true })));
    for (const [i, { store }] of all.entries()) await put(store, entry(`k${i}`, 1));
    expect((await all[0]?.store.read(["k7"]))?.[0]?.entry).toBeDefined();
  });

  it("have a primary key each, and INT8 for every number", async () => {
    const { table } = await opened();
    const keys = await server.query(
      "SELECT table_name FROM information_schema.table_constraints WHERE constraint_type = 'PRIMARY KEY' AND table_name LIKE $1",
      [`${table}%`],
    );
    expect(keys).toHaveLength(3);
    const columns = await server.query(
      "SELECT data_type AS type FROM information_schema.columns WHERE table_name LIKE $1",
      [`${table}%`],
    );
    expect(
      columns.map(({ type }) => type).filter((type) => /int|numeric|serial/.test(String(type)) && type !== "bigint"),
    ).toEqual([]);
  });
});

describe.skipIf(started === undefined)("a schema version", () => {
  const dialect = (table: string) => postgres(namesOf(table), "PostgreSQL 15", { timeoutMs: 1000, notify: false });

  // Mutation: a step left out of the migrations.
  it("that is older is brought forward with its data, once", async () => {
    const table = "older";
    for (const statement of dialect(table).migrations[0] ?? []) await server.query(statement);
    await server.query(
      `INSERT INTO older (key, value, state, version) VALUES ('k', 'kept', 'value', '${versionAt(1)}')`,
    );
    await server.query(`UPDATE older_about SET watermark = '${versionAt(0)}'`);
    const both = await Promise.all([opened({ table, create: false }), opened({ table, create: false })]);
    for (const { store } of both) {
      expect(await valueOf(store, "k")).toBe("kept");
      expect(await store.write([write(entry("collected", 0))])).toEqual([{ status: "too-old" }]);
      const watch = new Pulled(store);
      expect(await watch.start()).toEqual(["k value", "current"]);
      await watch.end();
    }
    expect(await server.query("SELECT schema::int FROM older_about")).toEqual([{ schema: 2 }]);
  });

  it("that is newer than this program is refused, and left as it is", async () => {
    const { table } = await opened();
    await server.query(`UPDATE ${table}_about SET schema = 3`);
    const error = await failure(() => sql(server.url(), { runtime, table, create: true }));
    expect([error.code, error.message]).toEqual([
      "CORRUPT",
      expect.stringContaining("of schema 3, this program knows 2 (update this program)"),
    ]);
    expect(await server.query(`SELECT schema::int FROM ${table}_about`)).toEqual([{ schema: 3 }]);
  });

  it("that is older is refused by one that may not write", async () => {
    for (const statement of dialect("aged").migrations[0] ?? []) await server.query(statement);
    expect((await failure(() => sql(server.url(), { runtime, table: "aged", readonly: true }))).code).toBe("READONLY");
  });
});

// Mutation: `durable` said of every server.
it.skipIf(started === undefined)("a store says whether what is committed there outlives a loss of power", async () => {
  const url = await server.database();
  const durable = async () => {
    const store = await sql(url, { runtime, create: true });
    stores.push(store);
    return store.supports.durable;
  };
  expect(await durable()).toBe(true);
  await server.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET synchronous_commit = off`);
  expect(await durable()).toBe(false);
});

describe.skipIf(started === undefined)("what other programs see", () => {
  it("is the key and the value byte for byte, and the rest in plain columns", async () => {
    const { store, table } = await opened();
    await put(
      store,
      entry("users/ä", 1, '{"a":1}', { expires: 1_800_000_000_123, meta: { "content-type": "application/json" } }),
    );
    const rows = await server.query(
      `SELECT convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8')::jsonb AS value, state,
      replace(version::text, '-', '') = $1 AS version, to_timestamp(expires / 1000.0)::text LIKE '2027-01-15%' AS expires, meta FROM ${table}`,
      [versionAt(1).replaceAll("-", "")],
    );
    expect(rows).toEqual([
      {
        key: "users/ä",
        value: { a: 1 },
        state: "value",
        version: true,
        expires: true,
        meta: { "content-type": "application/json" },
      },
    ]);
    // A version as Sync prints it is a uuid that the server reads.
    expect(await server.query(`SELECT 1 AS one FROM ${table} WHERE version = $1`, [versionAt(1)])).toEqual([
      { one: 1 },
    ]);
  });

  it("can be searched by metadata, with an index where it was asked for", async () => {
    const { store, table } = await opened({ metaIndex: true });
    await put(
      store,
      ...Array.from({ length: 50 }, (_, i) =>
        entry(`k${i}`, 1, "x", { meta: { "content-type": i === 7 ? "image/png" : "text/plain" } }),
      ),
    );
    const search = `SELECT convert_from(key, 'UTF8') AS key FROM ${table} WHERE meta @> '{"content-type":"image/png"}'`;
    expect(await server.query(search)).toEqual([{ key: "k7" }]);
    await server.query(`ANALYZE ${table}`);
    const plan = async () => JSON.stringify(await server.query(`/*+ */ EXPLAIN ${search}`));
    await server.query("ALTER ROLE sync SET enable_seqscan = off");
    expect(await plan()).toContain(`${table}_meta`);
    await server.query(`DROP INDEX ${table}_meta`);
    expect(await plan()).not.toContain(`${table}_meta`);
    await server.query("ALTER ROLE sync RESET enable_seqscan");
  });

  it("may hold what only Sync can say: a metadata text with U+0000 comes back", async () => {
    const { store } = await opened();
    const texts = ["\0", "\uffff", "\uffff0\0\uffff1", "\u001b\u0001", "1\0"];
    await put(store, ...texts.map((text, i) => entry(`k${i}`, 1, "x", { meta: { note: text } })));
    const answers = await store.read(texts.map((_, i) => `k${i}`));
    expect(answers.map((answer) => answer.entry?.meta["note"])).toEqual(texts);
    expect(await store.write([write(entry("k2", 1, "x", { meta: { note: texts[2] ?? "" } }))])).toEqual([
      { status: "stored" },
    ]);
  });

  // Mutation: the check that metadata is an object left out of the migrations.
  it("a row of theirs that is none is an error with the cure, never a miss", async () => {
    const { store, table } = await opened();
    await server.query(`INSERT INTO ${table} (key, value, state, version, meta) VALUES ('\\xff'::bytea, 'x', 'value', '${versionAt(1)}', '{}'),
      ('number', 'x', 'value', '${versionAt(1)}', '{"n": 1}')`);
    expect((await failure(() => store.read(["number"]))).code).toBe("CORRUPT");
    await expect(
      server.query(`INSERT INTO ${table} (key, state, version) VALUES ('k', 'value', '${versionAt(1)}')`),
    ).rejects.toThrow("check");
    await expect(server.query(`UPDATE ${table} SET meta = '[]' WHERE key = 'number'`)).rejects.toThrow("check");
  });

  // Mutation: a range that the planner cannot bound, and a prefix would read the table to its end.
  it("a prefix and a page are ranges of the primary key", async () => {
    const { store, table } = await opened();
    await put(store, ...Array.from({ length: 1000 }, (_, i) => entry(`k${i}`, 1)));
    await server.query(`ANALYZE ${table}`);
    const { text } = dialectOf(table).statements.heads;
    const plan = await server.query(
      `EXPLAIN ${text.replaceAll(/\$(\d)::bytea/g, (_, n) => `'${["k1", "", "k2"][Number(n) - 1]}'::bytea`)}`,
    );
    const shown = JSON.stringify(plan);
    expect(shown).toContain("Index");
    expect(shown).toMatch(/Index Cond: [^"]*key >= [^"]*key < /);
    expect(text).not.toMatch(/LIKE/i);
  });
});

const dialectOf = (table: string) => postgres(namesOf(table), "PostgreSQL 15", { timeoutMs: 1000, notify: false });
