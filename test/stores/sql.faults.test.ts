import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { Store } from "../../src/store.ts";
import { sql } from "../../src/stores/sql.ts";
import type { SqlOptions } from "../../src/stores/sql.ts";
import { namesOf } from "../../src/stores/sql/names.ts";
import { postgres } from "../../src/stores/sql/postgres.ts";
import { retry } from "../../src/wrappers/retry.ts";
import { postgresServer } from "../servers/postgres.ts";
import type { PostgresServer } from "../servers/postgres.ts";
import { startProxy } from "../servers/proxy.ts";
import type { Proxy } from "../servers/proxy.ts";
import { Pulled, entry, failure, put, runtime, until, valueOf, versionAt, write } from "./sql/world.ts";

const started = await postgresServer();
const server = started as PostgresServer; // what uses it is skipped where there is none
afterAll(() => started?.close());
const stores: Store[] = [];
const proxies: Proxy[] = [];
const strangers: Client[] = [];
afterEach(async () => {
  for (const each of proxies.splice(0)) await each.close();
  for (const client of strangers.splice(0)) await client.end().catch(() => undefined);
  for (const store of stores.splice(0)) await store.close();
});

let tables = 0;
async function opened(options: Partial<SqlOptions> = {}, url = server.url()) {
  const table = `f${tables++}`;
  const store = await sql(url, { runtime, create: true, table, ...options });
  stores.push(store);
  return { store, table };
}

/** A store that reaches its server through a proxy. */
async function throughProxy(options: Partial<SqlOptions> = {}) {
  const way = await startProxy(server.port);
  proxies.push(way);
  return { way, ...(await opened(options, server.url().replace(`:${server.port}/`, `:${way.port}/`))) };
}

const within = async <T>(ms: number, call: Promise<T>): Promise<T> => {
  const began = runtime.monotonic();
  const result = await call;
  expect(runtime.monotonic() - began).toBeLessThan(ms);
  return result;
};
const inMs = (ms: number) => ({ deadline: runtime.monotonic() + ms });

describe.skipIf(started === undefined)("the network", () => {
  it("resets in the middle of a batch: nothing of it is stored, and the next call works", async () => {
    const { store, way } = await throughProxy();
    await put(store, entry("before", 1));
    const batch = Array.from({ length: 300 }, (_, i) => entry(`k${i}`, 1, "x".repeat(200)));
    void way.cutAfter(20_000);
    const error = await failure(() => store.write(batch.map((item) => write(item))));
    expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
    const keys: string[] = [];
    for await (const item of store.list({ prefix: "" })) if (item.kind === "entry") keys.push(item.key);
    expect(keys).toEqual(["before"]);
    await put(store, ...batch);
  });

  it("loses the answer after the effect: the call fails, the write is there, and the same again is stored", async () => {
    const { store, way } = await throughProxy();
    await put(store, entry("k", 1, "one"));
    way.mode("lose answers");
    const lost = failure(() => store.write([write(entry("k", 2, "two"), versionAt(1))], inMs(30_000)));
    await way.answered();
    way.cut();
    way.mode("pass");
    expect((await lost).code).toBe("UNAVAILABLE");
    expect(await valueOf(store, "k")).toBe("two");
    expect(await store.write([write(entry("k", 2, "two"), versionAt(1))])).toEqual([{ status: "stored" }]);
  });

  it("hangs: every verb ends at its deadline, with or without one of the caller's, and works again after", async () => {
    const { store, way } = await throughProxy({ timeoutMs: 4000 });
    await put(store, entry("k", 1));
    const drain = async (items: AsyncIterable<unknown>) => {
      for await (const item of items) expect(item).toBeDefined();
    };
    const verbs: ((options: { deadline?: number }) => Promise<unknown>)[] = [
      (options) => store.read(["k"], options),
      (options) => store.write([write(entry("l", 1))], options),
      (options) => store.forget([{ key: "k", version: versionAt(9), reason: "ghost" }], options),
      (options) => drain(store.list({ prefix: "" }, options)),
      (options) => drain(store.watch({ prefix: "" }, options)),
    ];
    way.mode("hang");
    for (const [options, ms] of [[() => inMs(300), 3900] as const, [() => ({}), 20_000] as const]) {
      const calls = verbs.map((verb) =>
        within(
          ms,
          failure(() => verb(options())),
        ),
      );
      expect((await Promise.all(calls)).map(({ code }) => code)).toEqual(verbs.map(() => "TIMEOUT"));
    }
    way.cut();
    way.mode("pass");
    expect(await valueOf(store, "k")).toBe("x");
    expect(
      await until(
        () => server.sessions("state = 'active'"),
        (count) => count === 0,
      ),
    ).toBe(0);
  });

  it("hangs while it is opened: TIMEOUT, and no session is left", async () => {
    const way = await startProxy(server.port);
    proxies.push(way);
    way.mode("hang");
    const url = server.url().replace(`:${server.port}/`, `:${way.port}/`);
    const error = await within(
      10_000,
      failure(() => sql(url, { runtime, timeoutMs: 200 })),
    );
    expect([error.code, error.operation]).toEqual(["TIMEOUT", "open"]);
    expect(way.open).toBe(0);
  });

  it("breaks under a watch: the watch fails, and goes on after its cursor without a gap", async () => {
    const { store, way, table } = await throughProxy();
    const direct = await opened({ table });
    await put(store, entry("a", 1));
    const told: string[] = [];
    const insisting = new Pulled(retry(store, { runtime, baseMs: 1 }));
    expect(await insisting.start()).toEqual(["a value", "current"]);
    for (let at = 2; at < 6; at++) {
      way.cut();
      await put(direct.store, entry("a", at), entry(`b${at}`, at));
      told.push(await insisting.next(), await insisting.next());
    }
    await insisting.end();
    expect(told).toEqual([2, 3, 4, 5].flatMap((at) => ["a value", `b${at} value`]));
  });
});

describe.skipIf(started === undefined)("a lock that somebody holds", () => {
  async function locked(options: Partial<SqlOptions> = {}) {
    const made = await opened(options);
    await put(made.store, entry("k", 1));
    const other = new Client({ connectionString: server.url(), application_name: "test" });
    await other.connect();
    strangers.push(other);
    await other.query(`BEGIN; UPDATE ${made.table} SET state = state`);
    return { ...made, other };
  }
  const waiting = () => server.sessions("wait_event_type = 'Lock'");

  // Mutation: client_connection_check_interval left out of the session.
  it("ends a write at its deadline, on the server too", async () => {
    const { store, other } = await locked();
    const error = await within(
      10_000,
      failure(() => store.write([write(entry("k", 2))], inMs(200))),
    );
    expect(error.code).toBe("TIMEOUT");
    expect(await until(waiting, (count) => count === 0)).toBe(0);
    await other.query("COMMIT");
    expect((await store.read(["k"]))[0]?.entry?.version).toBe(versionAt(1));
  });

  it("lets an aborted caller go at once, and no other", async () => {
    const { store, other } = await locked();
    const control = new AbortController();
    const call = failure(() => store.write([write(entry("k", 2))], { signal: control.signal }));
    await until(waiting, (count) => count === 1);
    control.abort();
    expect((await call).code).toBe("ABORTED");
    expect(await valueOf(store, "k")).toBe("x");
    await other.query("COMMIT");
    await store.close(); // waits for what was sent
    expect(await server.sessions("query LIKE '%write%' AND state = 'active'")).toBe(0);
  });

  // Mutation: the bound of the pool, or that of its queue.
  it("keeps the connections and those who wait for one bounded, and leaks none", async () => {
    const before = await server.sessions();
    const { store, other } = await locked({ connections: 3, waitingMax: 4, timeoutMs: 20_000 });
    const calls = Array.from({ length: 8 }, (_, i) =>
      store.write([write(entry("k", 2 + i))]).catch((error: unknown) => error),
    );
    await until(waiting, (count) => count === 3);
    expect((await server.sessions()) - before).toBe(3);
    const refused = (await Promise.race(calls)) as { code: string; message: string };
    expect([refused.code, refused.message]).toEqual([
      "OVERLOADED",
      expect.stringContaining("3 connections are busy and 4 calls wait"),
    ]);
    const late = await within(
      10_000,
      failure(() => store.read(["k"], inMs(50))),
    );
    expect(late.code).toBe("OVERLOADED");
    await other.query("COMMIT");
    const statuses = (await Promise.all(calls)).filter(Array.isArray);
    expect(statuses).toHaveLength(7);
    expect((await server.sessions()) - before).toBe(3);
    await store.close();
    expect(
      await until(
        () => server.sessions(),
        (count) => count === before,
      ),
    ).toBe(before);
  });

  // Mutation: the end of the idle time only forgets the connection.
  it("a connection that nobody used for a while is closed", async () => {
    const before = await server.sessions();
    const { store } = await opened({ idleMs: 20 });
    await Promise.all([store.read(["k"]), store.read(["l"])]);
    const left = await until(
      () => server.sessions(),
      (count) => count === before,
    );
    expect(left).toBe(before);
    expect(await valueOf(store, "k")).toBeUndefined();
  });

  it("a call that waits for a connection ends at its deadline too", async () => {
    const { store, other } = await locked({ connections: 1 });
    const first = store.write([write(entry("k", 2))]);
    await until(waiting, (count) => count === 1);
    const error = await within(
      10_000,
      failure(() => store.read(["k"], inMs(50))),
    );
    expect(error.code).toBe("TIMEOUT");
    await other.query("COMMIT");
    expect(await first).toEqual([{ status: "stored" }]);
  });
});

// Mutations: statement_timeout, or that of idle transactions, left out of the session.
it.skipIf(started === undefined)("a session whose client is silent is ended by the server itself", async () => {
  // A server that does not look whether its client is there.
  const { session } = postgres(namesOf("s"), "PostgreSQL 13.0", { timeoutMs: 200, notify: false });
  const client = new Client({ connectionString: server.url(), application_name: "test" });
  client.on("error", () => undefined);
  strangers.push(client);
  await client.connect();
  await client.query(session);
  await expect(client.query("SELECT pg_sleep(3600)")).rejects.toMatchObject({ code: "57014" });
  const ended = new Promise<void>((resolve) => client.once("end", resolve));
  await client.query("BEGIN");
  await ended;
});

it.skipIf(started === undefined)(
  "a server that crashes under load loses nothing it acknowledged, and the store goes on",
  async () => {
    const own = (await postgresServer()) as PostgresServer;
    try {
      const { store } = await opened({}, own.url());
      const watch = new Pulled(store);
      await watch.start();
      const acknowledged: string[] = [];
      const failed: string[] = [];
      let enough: () => void = () => undefined;
      const underWay = new Promise<void>((resolve) => {
        enough = resolve;
      });
      const writer = async (name: string) => {
        for (let i = 0; ; i++) {
          const key = `${name}-${i}`;
          try {
            await put(store, entry(key, 1));
            if (acknowledged.push(key) === 40) enough();
          } catch (error) {
            failed.push((error as { code: string }).code);
            return;
          }
        }
      };
      const writers = Promise.all(["a", "b", "c", "d"].map(writer));
      await underWay;
      own.stop("immediate");
      await writers;
      expect(failed).toEqual(["UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE"]);
      const down = await failure(() => store.read(["a-1"]));
      expect([down.code, down.retryable]).toEqual(["UNAVAILABLE", true]);
      own.start();
      for (let at = 0; at < acknowledged.length; at += 1000) {
        const keys = acknowledged.slice(at, at + 1000);
        expect((await store.read(keys)).filter((answer) => answer.entry === undefined)).toEqual([]);
      }
      expect(acknowledged.length).toBeGreaterThan(39);
      // Its numbers of transactions may not be those from before: who watches is told to list again.
      expect(await watch.next()).toBe("relist");
      const again = new Pulled(store);
      expect(
        acknowledged.filter(
          (
            (told) => (key: string) =>
              !told.has(`${key} value`)
          )(new Set(await again.start())),
        ),
      ).toEqual([]);
      await again.end();
    } finally {
      for (const store of stores.splice(0)) await store.close();
      own.close();
    }
  },
);

const canMount = process.getuid?.() === 0 && spawnSync("mount", ["--version"]).status === 0;
it.skipIf(started === undefined || !canMount)(
  "a full disk refuses writes with the cure; reads go on, and writes once there is room",
  async (context) => {
    const folder = mkdtempSync(join(tmpdir(), "microsync-full-"));
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]).status !== 0) {
      rmSync(folder, { recursive: true });
      return context.skip("a file system cannot be mounted here");
    }
    try {
      chmodSync(folder, 0o700);
      spawnSync("chown", ["postgres", folder]);
      await server.query(`CREATE TABLESPACE small LOCATION '${folder}'`);
      await server.query("CREATE DATABASE small TABLESPACE small");
      const { store } = await opened({ table: "sync" }, server.url("small"));
      let seed = 1;
      const value = new Uint8Array(512 * 1024).map(
        () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 16,
      );
      const kept: string[] = [];
      const full = await failure(async () => {
        for (let i = 0; i < 200; i++) {
          await put(store, entry(`k${i}`, 1, value));
          kept.push(`k${i}`);
        }
      });
      expect([full.code, full.retryable, full.message]).toEqual([
        "UNAVAILABLE",
        true,
        expect.stringContaining("disk is full"),
      ]);
      expect(kept.length).toBeGreaterThan(2);
      const answers = await store.read(kept);
      expect(answers.map((answer) => answer.entry?.value?.length)).toEqual(kept.map(() => value.length));
      spawnSync("mount", ["-o", "remount,size=200m", folder]);
      await put(store, entry("after", 1, value));
      await store.close();
      await server.query("DROP DATABASE small WITH (FORCE)");
      await server.query("DROP TABLESPACE small");
    } finally {
      spawnSync("umount", ["-l", folder]);
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
