import { cpSync, rmSync } from "node:fs";
import { Client } from "pg";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import type { Store } from "../../src/store.ts";
import { sql } from "../../src/stores/sql.ts";
import type { SqlOptions } from "../../src/stores/sql.ts";
import { Connection } from "../../src/stores/sql/connection.ts";
import { postgresServer } from "../servers/postgres.ts";
import { gate } from "./s3/world.ts";
import { Pulled, entry, put, runtime, until, versionAt } from "./sql/world.ts";

const server = await postgresServer();
afterAll(() => server?.close());
const stores: Store[] = [];
const watches: Pulled[] = [];
const strangers: Client[] = [];
afterEach(async () => {
  for (const watch of watches.splice(0)) await watch.end();
  for (const client of strangers.splice(0)) await client.end().catch(() => undefined);
  for (const store of stores.splice(0)) await store.close();
});

async function opened(options: Partial<SqlOptions> = {}, url?: string) {
  const place = url ?? (await server?.database()) ?? "";
  const store = await sql(place, { runtime, create: true, ...options });
  stores.push(store);
  return { store, url: place };
}

function watched(...args: ConstructorParameters<typeof Pulled>): Pulled {
  const watch = new Pulled(...args);
  watches.push(watch);
  return watch;
}

async function stranger(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: "test" });
  client.on("error", () => undefined);
  await client.connect();
  strangers.push(client);
  return client;
}

const HOUR_MS = 3_600_000;

describe.skipIf(server === undefined)("the order of commits", () => {
  // Mutation: the transactions that a snapshot lists as under way left out of the look.
  it("never misses a transaction that takes its number early and commits late", async () => {
    const { store, url } = await opened();
    const late = await stranger(url);
    await late.query("BEGIN");
    await late.query(`INSERT INTO sync (key, value, state, version) VALUES ('late', 'x', 'value', '${versionAt(1)}')`);
    await put(store, entry("first", 2));
    const live = watched(store);
    expect(await live.start()).toEqual(["first value", "current"]);
    await put(store, entry("second", 3));
    expect(await live.next()).toBe("second value");
    const { cursor } = live; // in the middle of a page
    await put(store, entry("third", 4));
    expect(await live.next()).toBe("third value");
    await late.query("COMMIT");
    expect(await live.next()).toBe("late value");
    expect((await watched(store, { cursor }).start()).sort()).toEqual(["current", "late value", "third value"]);
    expect(await watched(store, { cursor: live.cursor }).start()).toEqual(["current"]);
  });

  it("is not held up by a transaction that stays open", async () => {
    const { store, url } = await opened();
    const open = await stranger(url);
    await open.query("BEGIN");
    await open.query("SELECT pg_current_xact_id()");
    const watch = watched(store);
    expect(await watch.start()).toEqual(["current"]);
    for (const at of [1, 2, 3]) {
      await put(store, entry("k", at));
      expect(await watch.next()).toBe("k value");
    }
    expect(await watched(store, { cursor: watch.cursor }).start()).toEqual(["current"]);
  });

  // Mutations: a look that ends where its last page began, not its first; pages that reach beyond the first one's moment.
  it("misses nothing that commits between two pages of a long look, and tells nothing twice", async () => {
    const { store, url } = await opened();
    const late = await stranger(url);
    await late.query("BEGIN");
    await late.query(`INSERT INTO sync (key, value, state, version) VALUES ('late', 'x', 'value', '${versionAt(1)}')`);
    const watch = watched(store);
    await watch.start();
    const { cursor } = watch;
    await watch.end();
    for (let i = 0; i < 3; i++) await put(store, ...Array.from({ length: 400 }, (_, k) => entry(`k${i}-${k}`, 5)));
    const slow = watched(store, { cursor });
    const told: string[] = [];
    for (let i = 0; i < 300; i++) told.push(await slow.next());
    await late.query("COMMIT"); // its number is below everything told so far
    await put(store, entry("extra", 5));
    while (!["late value", "extra value", "current"].every((what) => told.includes(what))) told.push(await slow.next());
    expect(told).toHaveLength(1203);
    expect(new Set(told).size).toBe(1203);
    expect(await watched(store, { cursor: slow.cursor }).start()).toEqual(["current"]);
  });
});

describe.skipIf(server === undefined)("a hint", () => {
  // Mutation: pg_notify left out of the write, or LISTEN out of the watch.
  it("brings a change of another process at once", async () => {
    const { store, url } = await opened();
    const other = await opened({}, url);
    const watch = watched(store, { intervalMs: HOUR_MS });
    await watch.start();
    const next = watch.next();
    await server?.query("SELECT 1");
    await put(other.store, entry("k", 1));
    expect(await next).toBe("k value");
  });

  // Mutation: waiting for the hint without an interval.
  it("that is lost loses nothing", async () => {
    const { store, url } = await opened();
    const silent = await opened({ notify: false }, url);
    const watch = watched(store);
    await watch.start();
    await put(silent.store, entry("k", 1));
    expect(await watch.next()).toBe("k value");
    // The listening session is killed; another comes with a later look, and meanwhile nothing is missed.
    await server?.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    await put(silent.store, entry("l", 1));
    expect(await watch.next()).toBe("l value");
  });

  // Mutation: the ring when listening begins left out of store.ts.
  it("that was given before anybody listened is made up for when listening begins", async () => {
    const { store, url } = await opened();
    const silent = await opened({ notify: false }, url);
    const begin = gate();
    vi.spyOn(Connection.prototype, "execute").mockImplementation(async function (this: Connection, text) {
      if (text.startsWith("LISTEN")) await begin.opened;
      await this.client.query(text);
    });
    const watch = watched(store, { intervalMs: HOUR_MS });
    await watch.start();
    const next = watch.next();
    await put(silent.store, entry("k", 1));
    begin.open();
    expect(await next).toBe("k value");
    vi.restoreAllMocks();
  });

  // Mutation: `ensure` left out of the wait in store.ts.
  it("is listened for again after the session was lost", async () => {
    let laterMs = 0;
    const { store } = await opened({ runtime: { ...runtime, monotonic: () => runtime.monotonic() + laterMs } });
    const sessions = () => server?.sessions("query LIKE 'LISTEN%'") ?? Promise.resolve(0);
    const watch = watched(store);
    await watch.start();
    const next = watch.next();
    await until(sessions, (count) => count === 1);
    await server?.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    await until(sessions, (count) => count === 0);
    laterMs = 5_000;
    await until(sessions, (count) => count === 1);
    await put(store, entry("k", 1));
    expect(await next).toBe("k value");
  });

  it("is listened for by one session, and only while somebody watches", async () => {
    const sessions = () => server?.sessions("query LIKE 'LISTEN%'") ?? Promise.resolve(0);
    const listening = (count: number) => until(sessions, (found) => found === count);
    const { store } = await opened();
    expect(await sessions()).toBe(0);
    const [one, two] = [watched(store), watched(store)];
    await Promise.all([one.start(), two.start()]);
    await listening(1);
    await one.end();
    expect(await sessions()).toBe(1);
    await two.end();
    await listening(0);
    expect((await opened({ notify: false })).store.supports.watch).toBe("poll");
  });
});

describe.skipIf(server === undefined)("removals", () => {
  it("are told as gone after a cursor, and no longer when the key has come back", async () => {
    const { store } = await opened();
    await put(store, entry("a", 1), entry("b", 1));
    const watch = watched(store);
    await watch.start();
    const { cursor } = watch;
    await store.forget(["a", "b"].map((key) => ({ key, version: versionAt(1), reason: "ghost" as const })));
    await put(store, entry("b", 2));
    expect(await watched(store, { cursor }).start()).toEqual(["a gone", "b value", "current"]);
  });

  // Mutation: `trimmed` not raised.
  it("are kept up to a number; an older cursor must list again, a newer one need not", async () => {
    const { store, url } = await opened({ removalsMax: 3 });
    const keys = ["a", "b", "c", "d", "e"];
    await put(store, ...keys.map((key) => entry(key, 1)));
    const watch = watched(store);
    await watch.start();
    const { cursor } = watch;
    const cursors: string[] = [];
    for (const key of keys) {
      await store.forget([{ key, version: versionAt(1), reason: "ghost" }]);
      expect(await watch.next()).toBe(`${key} gone`);
      cursors.push(watch.cursor);
    }
    const database = new URL(url).pathname.slice(1);
    expect(await server?.query("SELECT count(*)::int AS n FROM sync_removals", [], database)).toEqual([{ n: 3 }]);
    expect(await watched(store, { cursor }).start()).toEqual(["relist"]);
    expect(await watched(store, { cursor: cursors[2] }).start()).toEqual(["d gone", "e gone", "current"]);
  });
});

describe.skipIf(server === undefined)("another history", () => {
  async function begun(url?: string) {
    const made = await opened({}, url);
    await put(made.store, entry("a", 1), entry("b", 1));
    const watch = watched(made.store);
    await watch.start();
    return { ...made, watch, cursor: watch.cursor };
  }

  it("is a table that was emptied: live and after a cursor", async () => {
    const { store, url, watch, cursor } = await begun();
    await server?.query("TRUNCATE sync", [], new URL(url).pathname.slice(1));
    expect(await watch.next()).toBe("relist");
    expect(await watch.next()).toBe("end");
    expect(await watched(store, { cursor }).start()).toEqual(["relist"]);
    expect(await watched(store).start()).toEqual(["current"]);
  });

  it("is another database, also one that was copied from this one", async () => {
    const { store, url, watch, cursor } = await begun();
    await watch.end();
    await store.close();
    await server?.query(`CREATE DATABASE copied TEMPLATE ${new URL(url).pathname.slice(1)}`);
    const copy = await opened({}, server?.url("copied"));
    expect(await watched(copy.store, { cursor }).start()).toEqual(["relist"]);
    expect((await watched(copy.store).start()).length).toBe(3);
    const another = await begun();
    expect(await watched(another.store, { cursor }).start()).toEqual(["relist"]);
  });
});

// Mutation: the time of the server's start left out of the place.
it.skipIf(server === undefined)("a data folder that was set back to a copy is another history", async () => {
  const own = await postgresServer();
  if (own === undefined) throw new Error("there was one before");
  try {
    const open = async () => (await opened({}, own.url())).store;
    const before = await open();
    await put(before, entry("a", 1));
    await before.close();
    own.stop();
    cpSync(own.folder, `${own.folder}-copy`, { recursive: true, preserveTimestamps: true });
    own.start();

    const store = await open();
    await put(store, entry("lost", 1));
    const watch = watched(store);
    await watch.start();
    const { cursor } = watch;
    await watch.end();
    await store.close();
    own.stop();
    own.restore(`${own.folder}-copy`);
    own.start();

    const after = await open();
    await put(after, entry("new", 1), entry("newer", 1));
    await put(after, entry("newest", 1));
    expect(await watched(after, { cursor }).start()).toEqual(["relist"]);
    expect((await watched(after).start()).sort()).toEqual([
      "a value",
      "current",
      "new value",
      "newer value",
      "newest value",
    ]);
    // Removals are noted and told in the new history too.
    const live = watched(after, { initial: false });
    await live.start();
    await after.forget([{ key: "a", version: versionAt(1), reason: "ghost" }]);
    expect(await live.next()).toBe("a gone");
    await live.end();
    await after.close();
  } finally {
    own.close();
    rmSync(`${own.folder}-copy`, { recursive: true, force: true });
  }
});
