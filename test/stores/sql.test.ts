import { afterAll, describe, expect, it, test } from "vitest";
import { conformance } from "microsync/testing";
import { sql } from "microsync/sql";
import { systemRuntime } from "../../src/system.ts";
import { postgresServer } from "../servers/postgres.ts";
import type { PostgresServer } from "../servers/postgres.ts";

const runtime = systemRuntime;
const [server, strict] = await Promise.all([
  postgresServer(),
  postgresServer({ settings: { default_transaction_isolation: "serializable" } }),
]);
afterAll(() => {
  server?.close();
  strict?.close();
});

let tables = 0;
const suite = (name: string, on: PostgresServer | undefined, seed: number, onRetry?: () => void) =>
  conformance({
    name,
    runner: { describe, test, afterAll },
    seed,
    open: async () => {
      const url = on?.url() ?? "";
      const options = { runtime, valueBytesMax: 1024 * 1024, onRetry, table: `t${tables++}` };
      return { store: await sql(url, { ...options, create: true }), runtime, reopen: () => sql(url, options) };
    },
  });

describe.skipIf(server === undefined)("on PostgreSQL", () => {
  suite("sql", server, 1);
});

describe.skipIf(strict === undefined)("on PostgreSQL where transactions are serializable", () => {
  let retries = 0;
  suite("sql", strict, 2, () => retries++);

  // Mutation: the setting left out, and the retry would never have been met.
  it("was made to try transactions again", async () => {
    const [row] = (await strict?.query("SHOW default_transaction_isolation")) ?? [];
    expect(row).toEqual({ default_transaction_isolation: "serializable" });
    expect(retries).toBeGreaterThan(0); // how often is up to the machine
  });
});
