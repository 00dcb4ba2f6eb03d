import { afterAll, describe, test } from "vitest";
import { conformance } from "microsync/testing";
import { sql } from "microsync/sql";
import { systemRuntime } from "../../src/system.ts";
import { postgresServer } from "../servers/postgres.ts";

const runtime = systemRuntime;
const server = await postgresServer();
afterAll(() => server?.close());

describe.skipIf(server === undefined)("on PostgreSQL", () => {
  conformance({
    name: "sql",
    runner: { describe, test, afterAll },
    open: async () => {
      const url = (await server?.database()) ?? "";
      const options = { runtime, valueBytesMax: 1024 * 1024 };
      return { store: await sql(url, { ...options, create: true }), runtime, reopen: () => sql(url, options) };
    },
  });
});
