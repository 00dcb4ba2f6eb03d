import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { Client } from "pg";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { open, openChain } from "../../src/config/open.ts";
import type { Store } from "../../src/store.ts";
import { sql } from "../../src/stores/sql.ts";
import type { SqlOptions } from "../../src/stores/sql.ts";
import { parseSqlUrl } from "../../src/stores/sql/url.ts";
import { postgresServer } from "../servers/postgres.ts";
import type { PostgresServer } from "../servers/postgres.ts";
import { entry, failure, put, runtime, valueOf } from "./sql/world.ts";

const SECRET = "s3cr3t/@%:";
const work = mkdtempSync(join(tmpdir(), "microsync-sql-"));

/** A certificate authority and a certificate of localhost, and another authority that signed nothing. */
function certificates(): boolean {
  const openssl = (...args: string[]) => spawnSync("openssl", args, { cwd: work, encoding: "utf8" }).status === 0;
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const authority = (name: string) =>
    openssl(
      "req",
      "-x509",
      ...key,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.crt`,
      "-subj",
      `/CN=${name}`,
      "-days",
      "2",
    );
  writeFileSync(join(work, "san"), "subjectAltName=DNS:localhost\n");
  return (
    authority("ours") &&
    authority("theirs") &&
    openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server") &&
    openssl(
      "x509",
      "-req",
      "-in",
      "server.csr",
      "-CA",
      "ours.crt",
      "-CAkey",
      "ours.key",
      "-CAcreateserial",
      "-out",
      "server.crt",
      "-days",
      "2",
      "-extfile",
      "san",
    )
  );
}

const hasTls = certificates();
const started = await postgresServer({
  settings: hasTls ? { ssl: "on", ssl_cert_file: "server.crt", ssl_key_file: "server.key" } : {},
  prepare(folder) {
    // Only the test's own user comes in without a password, and "secure" only with TLS.
    const rules = [
      "host all sync 127.0.0.1/32 trust",
      "hostssl all secure 127.0.0.1/32 trust",
      "host all all 127.0.0.1/32 scram-sha-256",
    ];
    writeFileSync(join(folder, "pg_hba.conf"), `local all all trust\n${rules.join("\n")}\n`);
    if (!hasTls) return;
    for (const name of ["server.crt", "server.key"]) spawnSync("cp", [join(work, name), folder]);
    chmodSync(join(folder, "server.key"), 0o600);
    if (process.getuid?.() === 0)
      spawnSync("chown", ["postgres", join(folder, "server.key"), join(folder, "server.crt")]);
  },
});
const server = started as PostgresServer; // what uses it is skipped where there is none
const stores: Pick<Store, "close">[] = [];
if (started !== undefined) {
  await server.query(`CREATE ROLE app LOGIN PASSWORD '${SECRET}'`);
  await server.query("CREATE ROLE secure LOGIN");
  await server.query("GRANT ALL ON SCHEMA public TO app, secure");
}
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const store of stores.splice(0)) await store.close();
});
afterAll(() => {
  started?.close();
  rmSync(work, { recursive: true });
});

const at = (user: string, host = "127.0.0.1") => `postgres://${user}@${host}:${server.port}/postgres`;
const withPassword = (password: string) => at(`app:${encodeURIComponent(password)}`);

async function opened(url: string, options: Partial<SqlOptions> = {}) {
  const store = await sql(url, { runtime, create: true, table: "app_table", ...options });
  stores.push(store);
  return store;
}

describe.skipIf(started === undefined)("credentials", () => {
  it("come from the URL, the environment or ~/.pgpass", async () => {
    await put(await opened(withPassword(SECRET)), entry("k", 1));
    vi.stubEnv("PGPASSWORD", SECRET);
    vi.stubEnv("PGUSER", "app");
    vi.stubEnv("PGDATABASE", "postgres");
    vi.stubEnv("PGHOST", "127.0.0.1");
    vi.stubEnv("PGPORT", String(server.port));
    expect(await valueOf(await opened("postgres://"), "k")).toBe("x");
    vi.stubEnv("PGPASSWORD", undefined);
    const file = join(work, "pgpass");
    writeFileSync(file, `127.0.0.1:${server.port}:*:app:${SECRET.replaceAll(":", "\\:")}\n`, { mode: 0o600 });
    vi.stubEnv("PGPASSFILE", file);
    expect(await valueOf(await opened(at("app")), "k")).toBe("x");
  });

  it("that are wrong or missing are UNAUTHORISED, not to be tried again, and nowhere in the error", async () => {
    vi.stubEnv("PGPASSFILE", join(work, "none"));
    for (const url of [withPassword("wr0ng-s3cr3t"), at("app"), at("nobody:s3cr3t")]) {
      const error = await failure(() => opened(url));
      expect([error.code, error.retryable]).toEqual(["UNAUTHORISED", false]);
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain("s3cr3t");
    }
  });

  it("are in no name, no error and no URL that is malformed", async () => {
    const store = await opened(withPassword(SECRET));
    expect(store.name).toBe("postgres");
    const bad = [
      `postgres://app:${SECRET}@127.0.0.1:${server.port}/postgres`,
      `postgres://app:s3cr3t@127.0.0.1:port/x`,
      `postgres://app:s3cr3t@127.0.0.1:1/postgres`,
      `postgres://app:s3cr3t%zz@127.0.0.1:1/postgres`,
      `postgres://app@127.0.0.1:1/postgres?password=s3cr3t`,
      `postgres://app:s3cr3t?x@127.0.0.1:1/postgres`,
      `mysql://app:s3cr3t@127.0.0.1:1/postgres`,
    ];
    for (const url of bad) {
      for (const call of [() => sql(url, { runtime }), () => open([url], { clock: false })]) {
        expect(inspect(await failure(call), { depth: 9, showHidden: true })).not.toContain("s3cr3t");
      }
    }
  });

  it("that are revoked while it is open are UNAUTHORISED from then on, and good again after", async () => {
    const store = await opened(withPassword(SECRET));
    await put(store, entry("k", 2));
    await server.query("REVOKE INSERT, UPDATE ON app_table FROM app");
    await server.query("ALTER TABLE app_table OWNER TO sync");
    await server.query("REVOKE ALL ON app_table FROM app; GRANT SELECT ON app_table TO app");
    const denied = await failure(() => put(store, entry("k", 3)));
    expect([denied.code, denied.message]).toEqual([
      "UNAUTHORISED",
      expect.stringContaining("grant it SELECT, INSERT, UPDATE and DELETE"),
    ]);
    expect(await valueOf(store, "k")).toBe("x");
    await server.query("ALTER ROLE app NOLOGIN");
    await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    const codes = new Set<string>();
    for (let i = 0; i < 3; i++) codes.add((await failure(() => store.read(["k"]))).code);
    expect(codes).toContain("UNAUTHORISED");
    await server.query("ALTER ROLE app LOGIN; GRANT ALL ON app_table TO app; ALTER TABLE app_table OWNER TO app");
    await put(store, entry("k", 4));
  });
});

describe.skipIf(started === undefined || !hasTls)("TLS", () => {
  const ca = (name: string) => `sslrootcert=${name}.crt`;
  const secure = (options: string, host = "localhost") =>
    opened(`${at("secure", host)}?${options}`, { folder: work, table: "secure_table" });
  const inUse = () =>
    server.query(
      "SELECT count(*)::int AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'secure'",
    );

  it.each([
    ["require", "sslmode=require", "localhost"],
    ["require with its authority, and another name", "sslmode=require&sslrootcert=ours.crt", "127.0.0.1"],
    ["verify-ca, and another name", "sslmode=verify-ca&sslrootcert=ours.crt", "127.0.0.1"],
    ["verify-full", "sslmode=verify-full&sslrootcert=ours.crt", "localhost"],
  ])("%s", async (_, options, host) => {
    await put(await secure(options, host), entry("k", 1));
    expect(await inUse()).toEqual([{ n: 1 }]);
  });

  it.each([
    ["verify-full and another name", `sslmode=verify-full&${ca("ours")}`, "127.0.0.1", "UNAUTHORISED"],
    ["verify-full and another authority", `sslmode=verify-full&${ca("theirs")}`, "localhost", "UNAUTHORISED"],
    ["verify-ca and another authority", `sslmode=verify-ca&${ca("theirs")}`, "localhost", "UNAUTHORISED"],
    ["require and another authority", `sslmode=require&${ca("theirs")}`, "localhost", "UNAUTHORISED"],
    ["verify-full without the authority", "sslmode=verify-full", "localhost", "UNAUTHORISED"],
    ["no TLS where it is demanded", "sslmode=disable", "localhost", "UNAUTHORISED"],
    ["a file that is not there", `sslmode=verify-full&${ca("none")}`, "localhost", "INVALID"],
    ["prefer, which falls back in silence", "sslmode=prefer", "localhost", "INVALID"],
    ["an authority without a mode", ca("ours"), "localhost", "INVALID"],
  ])("refuses %s", async (_, options, host, code) => {
    const error = await failure(() => secure(options, host));
    expect([error.code, error.retryable, error.cure]).toEqual([code, false, expect.any(String)]);
  });
});

describe.skipIf(started === undefined)("as a layer by its URL", () => {
  it("takes the table and the rest as options", async () => {
    const folder = mkdtempSync(join(work, "chain"));
    const url = `${at("sync")}?table=layered&create=true&connections=2&timeout=5s&notify=false&metaIndex=true&sslmode=disable`;
    const chain = await openChain(["memory:", url], { base: folder });
    stores.push(chain);
    expect(chain.layers.map(({ store }) => [store.name, store.supports.shared])).toEqual([
      ["memory", false],
      ["postgres", true],
    ]);
    const db = await open(["memory:", url], { base: folder });
    stores.push(db);
    await db.set("k", { a: 1 });
    expect(await server.query("SELECT convert_from(value, 'UTF8') AS value FROM layered")).toEqual([
      { value: '{"a":1}' },
    ]);
    await db.update<{ a: number }>("k", (old) => ({ a: (old?.a ?? 0) + 1 }));
    expect(await db.get("k")).toEqual({ a: 2 });
  });

  it("says in the URL's words what is missing", async () => {
    const error = await failure(() => open([`${at("sync")}?table=absent`], { clock: false }));
    expect(error.message).toContain("add ?create=true to the URL");
    expect((await failure(() => open([`${at("sync")}?tabel=x`], { clock: false }))).message).toContain(
      "do you mean table?",
    );
  });

  it("of CockroachDB is refused where PostgreSQL answers", async () => {
    const error = await failure(() => sql(at("sync").replace("postgres:", "cockroach:"), { runtime }));
    expect([error.code, error.message]).toEqual([
      "INVALID",
      expect.stringContaining("the server is PostgreSQL 15, not CockroachDB (write postgres://"),
    ]);
  });

  // Mutation: the sessions of a read-only store may write.
  it("may be read-only, by its sessions too", async () => {
    await put(await opened(at("sync"), { table: "shown" }), entry("k", 1));
    const store = await opened(at("sync"), { table: "shown", readonly: true, create: false });
    const sent = vi.spyOn(Client.prototype, "query");
    await store.read(["k"]);
    expect(sent.mock.calls.map(([text]: readonly unknown[]) => text)).toContainEqual(
      expect.stringContaining("SET default_transaction_read_only = on"),
    );
    sent.mockRestore();
    expect(await valueOf(store, "k")).toBe("x");
    expect((await store.write([{ entry: entry("k", 2), asOf: 0 }]))[0]).toMatchObject({
      status: "failed",
      error: { code: "READONLY" },
    });
  });
});

it.each([
  { connections: 0 },
  { connections: 1001 },
  { waitingMax: -1 },
  { timeoutMs: 0 },
  { valueBytesMax: 0.5 },
  { removalsMax: Number.NaN },
  { idleMs: 0 },
])("option %o: INVALID", async (wrong) => {
  expect((await failure(() => sql("postgres://127.0.0.1:1/x", { runtime, ...wrong }))).code).toBe("INVALID");
});

it("a URL without a host is PGHOST's, and one of a socket names its folder", () => {
  expect(parseSqlUrl("cockroach:///shop", ".").config).toMatchObject({ database: "shop", port: 26257 });
  expect(parseSqlUrl("postgresql://[::1]:5/x", ".").config).toMatchObject({ host: "::1", port: 5 });
  expect(parseSqlUrl("postgres:///x?host=%2Frun%2Fpostgresql", ".").config).toMatchObject({ host: "/run/postgresql" });
});
