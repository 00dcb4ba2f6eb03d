/**
 * What the SQL store costs next to bare `pg` that does the same compare, in one run on one server:
 * `npx tsc -p bench && node build/bench/bench/sql.js postgres://user@host/database`. The figures in docs/stores/sql.md
 * come from here. Leaves its tables (bench, bare) behind.
 */
import { Client, Pool } from "pg";
import { NO_META } from "../src/entry.ts";
import type { Entry } from "../src/entry.ts";
import { sql } from "../src/stores/sql.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";

const [url] = process.argv.slice(2);
if (url === undefined) throw new Error("name the database: postgres://user@host/database");

/** Keys in all; a share of them is used by each of many short rounds, so that a busy machine hurts both sides alike. */
const KEYS = 2000;
const ROUNDS = 41;
const value = new Uint8Array(256).map((_, i) => i * 7);
const keys = Array.from({ length: KEYS }, (_, i) => `users/${i}/profile`);
let ms = 1.7e12;
const entries = (): Entry[] => {
  ms++;
  return keys.map((key) => {
    return { key, state: "value", value, version: formatVersion(ms, 0, "0".repeat(16)), expires: null, meta: NO_META };
  });
};

const store = await sql(url, { runtime: systemRuntime, create: true, table: "bench" });
const pool = new Pool({ connectionString: url, max: 10 });
// The same columns and the same index of changes; what the store adds is what is measured.
await pool.query("DROP TABLE IF EXISTS bare");
await pool.query(`CREATE TABLE bare (key bytea PRIMARY KEY, value bytea, state text NOT NULL, version uuid NOT NULL,
  expires int8, meta jsonb NOT NULL, tx xid8 NOT NULL DEFAULT pg_current_xact_id())`);
await pool.query("CREATE INDEX bare_tx ON bare (tx)");

const UPSERT = `ON CONFLICT (key) DO UPDATE SET value = excluded.value, state = excluded.state, version = excluded.version,
  expires = excluded.expires, meta = excluded.meta, tx = excluded.tx WHERE bare.version < excluded.version RETURNING key`;
const bare = {
  one: {
    name: "one",
    text: `INSERT INTO bare (key, value, state, version, expires, meta, tx) VALUES ($1, $2, $3, $4, $5, $6, pg_current_xact_id()) ${UPSERT}`,
  },
  many: {
    name: "many",
    text: `INSERT INTO bare (key, value, state, version, expires, meta, tx)
      SELECT key, value, state, version, expires, meta, pg_current_xact_id()
      FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::uuid[], $5::int8[], $6::jsonb[]) AS u(key, value, state, version, expires, meta)
      ORDER BY key ${UPSERT}`,
  },
  read: { name: "read", text: "SELECT state, version, expires, meta, value FROM bare WHERE key = $1" },
  readMany: { name: "reads", text: "SELECT key, state, version, expires, meta, value FROM bare WHERE key = ANY($1)" },
};
const row = ({ key, state, version, expires }: Entry) => [
  Buffer.from(key),
  Buffer.from(value),
  state,
  version,
  expires,
  "{}",
];
const columns = (items: readonly Entry[]) => [0, 1, 2, 3, 4, 5].map((i) => items.map((item) => row(item)[i]));

type Work = (items: readonly Entry[]) => Promise<unknown>;
const writeStore: Work = (items) => store.write(items.map((entry) => ({ entry, asOf: 0 })));
const writeBare: Work = (items) => pool.query({ ...bare.many, values: columns(items) });
const writeBareOne: Work = ([item]) => pool.query({ ...bare.one, values: row(item as Entry) });
const readStore: Work = (items) => store.read(items.map(({ key }) => key));
const readBare: Work = (items) => pool.query({ ...bare.readMany, values: [items.map(({ key }) => Buffer.from(key))] });
const readBareOne: Work = ([item]) => pool.query({ ...bare.read, values: [Buffer.from((item as Entry).key)] });

/** Microseconds a key: `size` keys a call, `wide` calls at once, `count` keys in all. */
async function cost(work: Work, size: number, wide: number, count: number): Promise<number> {
  const items = entries().slice(0, count);
  const calls: (readonly Entry[])[] = [];
  for (let i = 0; i < items.length; i += size) calls.push(items.slice(i, i + size));
  const began = performance.now();
  const next = calls.values();
  const lane = async () => {
    for (const call of next) await work(call);
  };
  await Promise.all(Array.from({ length: wide }, lane));
  return ((performance.now() - began) * 1000) / items.length;
}

const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

/** Medians of many pairs of short rounds, each pair one after the other. */
async function compare(name: string, ours: Work, theirs: Work, size: number, wide: number): Promise<void> {
  const count = size === 1 ? 100 * Math.min(wide, 2) : size;
  const [mine, bares, ratios]: [number[], number[], number[]] = [[], [], []];
  for (let round = -3; round < ROUNDS; round++) {
    const oursFirst = round % 2 === 0;
    const first = await cost(oursFirst ? ours : theirs, size, wide, count);
    const second = await cost(oursFirst ? theirs : ours, size, wide, count);
    if (round < 0) continue; // warming up
    const [mineUs, baresUs] = oursFirst ? [first, second] : [second, first];
    mine.push(mineUs);
    bares.push(baresUs);
    ratios.push(mineUs / baresUs);
  }
  const [a, b] = [median(mine), median(bares)];
  const perSecond = (us: number) => `${(1e6 / us).toFixed(0).padStart(7)} /s`;
  const more = `${((median(ratios) - 1) * 100).toFixed(0).padStart(4)} % more`;
  console.log(`${name.padEnd(28)} ${perSecond(a)}   bare ${perSecond(b)}   ${more}`);
}

let statements = 0;
const plain = Object.getOwnPropertyDescriptor(Client.prototype, "query") as PropertyDescriptor & {
  value: () => unknown;
};
Object.defineProperty(Client.prototype, "query", {
  ...plain,
  value(this: Client, ...args: []) {
    statements++;
    return Reflect.apply(plain.value, this, args);
  },
});
const quiet = await sql(url, { runtime: systemRuntime, table: "bench", notify: false });
await quiet.write(
  entries()
    .map((entry) => ({ entry, asOf: 0 }))
    .slice(0, 1000),
);
const count = async (name: string, work: () => Promise<unknown>) => {
  statements = 0;
  await work();
  console.log(`${name.padEnd(32)} ${String(statements).padStart(8)} statements`);
};
const some = entries().slice(0, 1000);
await count("write 1,000 keys", () => quiet.write(some.map((entry) => ({ entry, asOf: 0 }))));
await count("read 1,000 keys", () => quiet.read(some.map(({ key }) => key)));
await count("list 1,000 keys", async () => {
  for await (const item of quiet.list({ prefix: "" })) if (item.kind !== "entry") throw new Error("partial");
});
await quiet.close();
Object.defineProperty(Client.prototype, "query", plain);

await compare("write, 1 a call", writeStore, writeBareOne, 1, 1);
await compare("write, 1 a call, 10 at once", writeStore, writeBareOne, 1, 10);
await compare("write, 1,000 a call", writeStore, writeBare, 1000, 1);
await compare("read, 1 a call", readStore, readBareOne, 1, 1);
await compare("read, 1 a call, 10 at once", readStore, readBareOne, 1, 10);
await compare("read, 1,000 a call", readStore, readBare, 1000, 1);
await store.close();
await pool.end();
