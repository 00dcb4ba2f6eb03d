import { Client, Pool } from "pg";
import type { QueryConfig } from "pg";
import type { Entry } from "../../src/entry.ts";
import { sql } from "../../src/stores/sql.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { startPostgres } from "../../test/servers/postgres.ts";
import type { Subject } from "./harness.ts";

const CONNECTIONS = 10;
/** So that a batch is a small part of its table, as batches are. */
const OTHERS = `INSERT INTO sync (key, value, state, version) SELECT convert_to('others/' || n, 'UTF8'),
  convert_to(repeat('x', 250), 'UTF8'), 'value', gen_random_uuid() FROM generate_series(1, 50000) n`;
const UPSERT = `ON CONFLICT (key) DO UPDATE SET value = excluded.value, state = excluded.state, version = excluded.version,
  expires = excluded.expires, meta = excluded.meta, tx = excluded.tx WHERE bare.version < excluded.version RETURNING key`;
const WRITE = {
  name: "one",
  text: `INSERT INTO bare (key, value, state, version, expires, meta, tx)
    VALUES ($1, $2, $3, $4, $5, $6, pg_current_xact_id()) ${UPSERT}`,
};
const WRITE_MANY = {
  name: "many",
  text: `INSERT INTO bare (key, value, state, version, expires, meta, tx)
    SELECT key, value, state, version, expires, meta, pg_current_xact_id()
    FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::uuid[], $5::int8[], $6::jsonb[])
      AS u(key, value, state, version, expires, meta) ORDER BY key ${UPSERT}`,
};
const READ = { name: "read", text: "SELECT key, state, version, expires, meta, value FROM bare WHERE key = $1" };
const READ_MANY = {
  name: "reads",
  text: "SELECT key, state, version, expires, meta, value FROM bare WHERE key = ANY($1)",
};

export async function sqlSubject(): Promise<Subject> {
  const server = await startPostgres();
  const url = await server.database();
  const store = await sql(url, { runtime, create: true, connections: CONNECTIONS });
  const pool = new Pool({ connectionString: url, max: CONNECTIONS });
  await pool.query("CREATE TABLE bare (LIKE sync INCLUDING ALL)");
  await pool.query(OTHERS);
  await pool.query("INSERT INTO bare SELECT * FROM sync");
  await pool.query("VACUUM ANALYZE");
  const [version] = await server.query("SHOW server_version");
  const statements = countStatements();
  const row = ({ key, state, version, expires, value }: Entry) => [
    Buffer.from(key),
    Buffer.from(value ?? ""),
    state,
    version,
    expires,
    "{}",
  ];
  const expect = ({ rowCount }: { readonly rowCount: number | null }, count: number) => {
    if (rowCount !== count) throw new Error(`${rowCount} of ${count} rows`);
  };
  return {
    store,
    bare: {
      async write(items) {
        const rows = items.map(row);
        const columns = [0, 1, 2, 3, 4, 5].map((i) => rows.map((cells) => cells[i]));
        const [one] = rows;
        const done =
          one !== undefined && rows.length === 1 ? { ...WRITE, values: one } : { ...WRITE_MANY, values: columns };
        expect(await pool.query(done as QueryConfig), items.length);
      },
      async read(names) {
        const bytes = names.map((key) => Buffer.from(key));
        const asked = names.length === 1 ? { ...READ, values: bytes } : { ...READ_MANY, values: [bytes] };
        const { rows } = await pool.query<{ readonly key: Buffer }>(asked as QueryConfig);
        // Rows come in any order.
        const found = new Map(rows.map((one) => [one.key.toString("utf8"), one]));
        if (names.some((name) => !found.has(name))) throw new Error(`${found.size} of ${names.length} rows`);
      },
    },
    bareIs:
      "pg with prepared statements: a table like the store's (50,000 other rows in either), the same compare, rows found by their keys, as many connections",
    versions: `PostgreSQL ${String(version?.["server_version"])}, pg`,
    unit: "statements",
    requests: () => statements.count,
    async close() {
      statements.restore();
      await store.close();
      await pool.end();
      server.close();
    },
  };
}

/** Counts the statements of every client of this process. */
function countStatements() {
  const plain = Object.getOwnPropertyDescriptor(Client.prototype, "query") as PropertyDescriptor & {
    value: () => unknown;
  };
  const statements = { count: 0, restore: () => Object.defineProperty(Client.prototype, "query", plain) };
  Object.defineProperty(Client.prototype, "query", {
    ...plain,
    value(this: Client, ...args: []) {
      statements.count++;
      return Reflect.apply(plain.value, this, args);
    },
  });
  return statements;
}
