import { Client, DatabaseError } from "pg";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { compareEntries } from "../../src/entry.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { ListOptions, Store } from "../../src/store.ts";
import { sql } from "../../src/stores/sql.ts";
import type { SqlOptions } from "../../src/stores/sql.ts";
import { retrying } from "../../src/stores/sql/write.ts";
import type { Writing } from "../../src/stores/sql/write.ts";
import { postgresServer } from "../servers/postgres.ts";
import { Pulled, entry, failure, put, runtime, until, valueOf, versionAt, write } from "./sql/world.ts";

const server = await postgresServer();
afterAll(() => server?.close());
const stores: Store[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const store of stores.splice(0)) await store.close();
});

async function opened(options: Partial<SqlOptions> = {}, url?: string) {
  const place = url ?? (await server?.database()) ?? "";
  const store = await sql(place, { runtime, create: true, notify: false, ...options });
  stores.push(store);
  return { store, url: place, database: new URL(place).pathname.slice(1) };
}

/** Another client's session, to stand in the way. */
async function stranger(url: string, isolation = "read committed"): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: "test" });
  await client.connect();
  await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
  return client;
}

/** Resolves when so many sessions of the store wait for a lock. */
const waits = (sessions = 1) =>
  until(
    () => server?.sessions("wait_event_type = 'Lock'") ?? Promise.resolve(0),
    (count) => count >= sessions,
  );

/** The statements sent while `work` runs, by their name or first word. */
async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
  const spy = vi.spyOn(Client.prototype, "query");
  await work();
  const sent = spy.mock.calls.map(([query]: readonly unknown[]) => {
    const { name, text } =
      typeof query === "string" ? { name: undefined, text: query } : (query as { name?: string; text: string });
    return name ?? text.split(" ")[0] ?? "";
  });
  spy.mockRestore();
  return sent;
}

describe.skipIf(server === undefined)("a call", () => {
  it("of 1,000 writes, reads or removals is one statement", async () => {
    const { store } = await opened();
    await store.read(["warm"]);
    const entries = Array.from({ length: 1000 }, (_, i) => entry(`k${i}`, 1));
    expect(await statementsOf(() => put(store, ...entries))).toEqual(["sync_sync_writes"]);
    expect(
      await statementsOf(() =>
        store.write(entries.map((item) => write({ ...item, version: versionAt(2) }, versionAt(1)))),
      ),
    ).toEqual(["sync_sync_writes_if"]);
    expect(await statementsOf(() => store.read(entries.map(({ key }) => key)))).toEqual(["sync_sync_many"]);
    expect(await statementsOf(() => store.read(["k1", "k1"]))).toEqual(["sync_sync_one"]);
    const items = entries.map(({ key }) => ({ key, version: versionAt(2), reason: "ghost" as const }));
    expect(await statementsOf(() => store.forget(items))).toEqual(["SELECT", "sync_sync_forget", "sync_sync_trim"]);
  });

  // Mutations: the first page taken for all, of a list or of what a watch begins with.
  it("to list or to watch gives more than a page holds, in order, from any key and up to any number", async () => {
    const { store } = await opened();
    const keys = Array.from({ length: 1205 }, (_, i) => `k${String(i).padStart(4, "0")}`);
    for (const some of [keys.slice(0, 600), keys.slice(600)]) await put(store, ...some.map((key) => entry(key, 1)));
    const listed = async (options: ListOptions) => {
      const found: string[] = [];
      for await (const item of store.list({ prefix: "k" }, options)) if (item.kind === "entry") found.push(item.key);
      return found;
    };
    for (const detail of ["keys", "entries", "values"] as const) expect(await listed({ detail })).toEqual(keys);
    expect(await listed({ after: "k0003", limit: 1100 })).toEqual(keys.slice(4, 1104));
    const watch = new Pulled(store);
    expect(await watch.start()).toEqual([...keys.map((key) => `${key} value`), "current"]);
    await watch.end();
  });

  it("that writes a key several times is one transaction, each seeing the one before", async () => {
    const { store } = await opened();
    await store.read(["warm"]);
    const [a, b] = [entry("k", 1, "a"), entry("k", 2, "b")];
    let results: unknown;
    const sent = await statementsOf(async () => {
      results = await store.write([
        write(a, "absent"),
        write(b, "absent"),
        write(b, a.version),
        write(entry("other", 1)),
      ]);
    });
    expect(sent).toEqual(["BEGIN", "sync_sync_decide", "sync_sync_decide", "sync_sync_decide", "COMMIT"]);
    expect(results).toEqual([
      { status: "stored" },
      { status: "conflict", current: a },
      { status: "stored" },
      { status: "stored" },
    ]);
  });

  it("too large for one statement is still one transaction", async () => {
    const { store } = await opened();
    await store.read(["warm"]);
    const big = new Uint8Array(12 * 1024 * 1024);
    const sent = await statementsOf(() => put(store, entry("a", 1, big), entry("b", 1, big), entry("c", 1, big)));
    expect(sent).toEqual(["BEGIN", "sync_sync_decide", "sync_sync_decide", "COMMIT"]);
    // A page of values ends where it gets large, and the list goes on.
    const sizes: unknown[] = [];
    for await (const item of store.list({ prefix: "" }, { detail: "values" })) {
      sizes.push(item.kind === "entry" && item.value?.length);
    }
    expect(sizes).toEqual([big.length, big.length, big.length]);
  });

  it("with a value above the limit sends nothing of it, and says which store refused", async () => {
    const { store } = await opened({ valueBytesMax: 10 });
    const sent = await statementsOf(async () => {
      const [result] = await store.write([write(entry("k", 1, "x".repeat(11)))]);
      expect(result).toMatchObject({ status: "failed", error: { code: "TOO_LARGE" } });
      expect(result?.status === "failed" && result.error.message).toMatch(/^postgres write "k": /);
      const many = await failure(() => store.read(Array.from({ length: 1001 }, (_, i) => `${i}`)));
      expect([many.code, many.message]).toEqual(["TOO_LARGE", expect.stringMatching(/^postgres read: /)]);
      const long = await failure(() => store.read(["x".repeat(513)]));
      expect(long.code).toBe("TOO_LARGE");
    });
    expect(sent).toEqual([]);
  });
});

describe.skipIf(server === undefined)("where another transaction comes between", () => {
  // Mutation: the second check of the condition, on the row itself, left out of the statement.
  it("a condition is decided on what is there then", async () => {
    const { store, url } = await opened();
    await put(store, entry("k", 1, "first"));
    const other = await stranger(url);
    await other.query(`UPDATE sync SET version = '${versionAt(2)}', value = 'second' WHERE key = 'k'`);
    const writing = store.write([write(entry("k", 5, "third"), versionAt(1))]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    expect(await writing).toMatchObject([{ status: "conflict", current: { version: versionAt(2) } }]);
    expect(await valueOf(store, "k")).toBe("second");
  });

  // Mutation: the second check of conditions, on the row itself, left out of the statement for many.
  it("each condition of a batch is decided on what is there then", async () => {
    const { store, url } = await opened();
    const tombstone = entry("dead", 1, "", { state: "deleted", value: null });
    await put(store, entry("k", 1, "first"), tombstone, entry("l", 1, "first"), entry("plain", 1, "first"));
    const other = await stranger(url);
    await other.query(`UPDATE sync SET version = '${versionAt(2)}', value = 'second', state = 'value'
      WHERE key IN ('k', 'dead')`);
    const writing = store.write([
      write(entry("k", 5, "third"), versionAt(1)),
      write(entry("dead", 5, "third"), "absent"),
      write(entry("l", 5, "third"), versionAt(1)),
      write(entry("plain", 5, "third")),
    ]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    const conflict = { status: "conflict", current: { version: versionAt(2) } };
    expect(await writing).toMatchObject([conflict, conflict, { status: "stored" }, { status: "stored" }]);
    const values: (string | undefined)[] = [];
    for (const key of ["k", "dead", "l", "plain"]) values.push(await valueOf(store, key));
    expect(values).toEqual(["second", "second", "third", "third"]);
  });

  it("an older write is told what has overtaken it", async () => {
    const { store, url } = await opened();
    const other = await stranger(url);
    await other.query(
      `INSERT INTO sync (key, value, state, version) VALUES ('k', 'newer', 'value', '${versionAt(9)}')`,
    );
    let seen = 0;
    const writing = store.write([write(entry("k", 5, "older")), write(entry("other", 5))]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    const results = await writing;
    expect(results).toEqual([{ status: "superseded", by: versionAt(9) }, { status: "stored" }]);
    for (const answer of await store.read(["k", "other"])) if (answer.entry !== undefined) seen++;
    expect(seen).toBe(2);
  });

  // Mutation: newest-wins left out of the upsert of the short way of one write.
  it("an older write by itself is told so too, and does not replace it", async () => {
    const { store, url } = await opened();
    const other = await stranger(url);
    await other.query(
      `INSERT INTO sync (key, value, state, version) VALUES ('k', 'newer', 'value', '${versionAt(9)}')`,
    );
    const writing = store.write([write(entry("k", 5, "older"))]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    expect(await writing).toEqual([{ status: "superseded", by: versionAt(9) }]);
    expect(await valueOf(store, "k")).toBe("newer");
  });

  // Mutation: the guard (division by zero) left out: "other" would be there while "k" is not yet decided.
  it("no part of the batch is visible before all of it", async () => {
    const { store, url } = await opened();
    const other = await stranger(url);
    await other.query(`INSERT INTO sync (key, value, state, version) VALUES ('k', 'x', 'value', '${versionAt(9)}')`);
    const sent = await statementsOf(async () => {
      const writing = store.write([write(entry("k", 5)), write(entry("other", 5))]);
      await waits();
      await other.query("COMMIT");
      await writing;
    });
    await other.end();
    expect(sent.filter((name) => /sync_(?:writes|decide)|BEGIN|COMMIT/.test(name)).slice(-4)).toEqual([
      "COMMIT",
      "BEGIN",
      "sync_sync_decide",
      "COMMIT",
    ]);
  });

  it("an old write does not come back behind a collection that it overlaps", async () => {
    const { store, url } = await opened();
    const tombstone = entry("k", 5, "", { state: "deleted", value: null });
    await put(store, tombstone);
    const other = await stranger(url);
    await other.query("DELETE FROM sync WHERE key = 'k'");
    await other.query(`UPDATE sync_about SET watermark = '${versionAt(5)}'`);
    const older = store.write([write(entry("k", 3, "old"))]);
    const newer = store.write([write(entry("k", 7, "new"), tombstone.version)]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    expect((await older)[0]?.status).toBe("superseded");
    expect((await newer)[0]?.status).toBe("stored");
    expect(await valueOf(store, "k")).toBe("new");
    expect(await store.write([write(entry("absent", 3))])).toEqual([{ status: "too-old" }]);
  });

  it("a serialisation failure is tried again with the same result", async () => {
    const states: string[] = [];
    const place = await server?.database();
    await server?.query(
      `ALTER DATABASE ${new URL(place ?? "").pathname.slice(1)} SET default_transaction_isolation = serializable`,
    );
    const { store, url } = await opened({ onRetry: (state) => states.push(state) }, place);
    await put(store, entry("k", 1, "first"));
    const other = await stranger(url, "serializable");
    await other.query(`UPDATE sync SET version = '${versionAt(2)}', value = 'second' WHERE key = 'k'`);
    const writing = store.write([write(entry("k", 3, "third"))]);
    await waits();
    await other.query("COMMIT");
    await other.end();
    expect(await writing).toEqual([{ status: "stored" }]);
    expect(states).toEqual(["40001"]);
    expect(await valueOf(store, "k")).toBe("third");
  });

  // Mutation: `ORDER BY key` left out of the upsert.
  it("batches in opposite orders do not stop each other", async () => {
    const states: string[] = [];
    const { store, url } = await opened({ onRetry: (state) => states.push(state) });
    const keys = Array.from({ length: 301 }, (_, i) => `k${String(i).padStart(3, "0")}`);
    const batch = keys.map((key) => write(entry(key, 1)));
    // Somebody holds the key in the middle until both are on their way: in their own orders each would hold a half.
    const other = await stranger(url);
    await other.query(`INSERT INTO sync (key, value, state, version) VALUES ('k150', 'x', 'value', '${versionAt(1)}')`);
    const calls = [batch, batch.toReversed()].map((writes) => store.write(writes));
    await waits(2);
    await other.query("ROLLBACK");
    await other.end();
    for (const results of await Promise.all(calls)) expect(new Set(results)).toEqual(new Set([{ status: "stored" }]));
    expect(states.filter((state) => state === "40P01")).toEqual([]);
  });
});

// Mutations: no bound; no wait; one wait for all. No server fails forty times in a row when it is asked to.
it("a transaction that others are always faster than is given up after bounded waits by chance", async () => {
  const waits: number[] = [];
  const hasty: Runtime = {
    ...runtime,
    timer(delayMs, fn, background) {
      waits.push(delayMs);
      return runtime.timer(0, fn, background);
    },
  };
  let tries = 0;
  const slower = Object.assign(new DatabaseError("could not serialize access", 0, "error"), { code: "40001" });
  const use = { runtime: hasty, store: "postgres", onRetry: undefined } as unknown as Writing;
  const error = await failure(() =>
    retrying(use, () => {
      tries++;
      return Promise.reject(slower);
    }),
  );
  expect([error.code, error.retryable, tries, waits.length]).toEqual(["UNAVAILABLE", true, 40, 39]);
  for (const [i, waitMs] of waits.entries()) expect(waitMs).toBeLessThan(Math.min(250, 4 * 2 ** (i + 1)));
  expect(new Set(waits).size).toBeGreaterThan(10);
});

// Mutations: deadlocks, or serialisation failures, left out of `isContention`; whatever failed is tried again.
it.each([
  ["40001", 2],
  ["40P01", 2],
  ["23514", 1],
])("a transaction that fails with %s is tried %i times", async (code, times) => {
  let tries = 0;
  const states: string[] = [];
  const failed = Object.assign(new DatabaseError("as the test wants", 0, "error"), { code });
  const use = { runtime, store: "postgres", onRetry: (state: string) => states.push(state) } as unknown as Writing;
  const work = () => (tries++ === 0 ? Promise.reject(failed) : Promise.resolve("done"));
  const told: unknown = await retrying(use, work).catch((error: unknown) => error);
  expect([tries, told]).toEqual([times, times === 2 ? "done" : failed]);
  expect(states).toEqual(times === 2 ? [code] : []);
});

describe.skipIf(server === undefined)("one version with two contents", () => {
  // Mutation: the version being written does not count as met in the statement.
  it("that is a stub becomes the value, whatever the condition was that it was written on", async () => {
    const { store } = await opened();
    const stub = (key: string) => entry(key, 3, "", { state: "stub", value: null });
    await put(store, stub("a"), stub("b"), stub("c"));
    expect(await store.write([write(entry("a", 3, "v"), "absent")])).toEqual([{ status: "stored" }]);
    const both = [write(entry("b", 3, "v"), "absent"), write(entry("c", 3, "v"), versionAt(1))];
    expect(await store.write(both)).toEqual([{ status: "stored" }, { status: "stored" }]);
    for (const key of ["a", "b", "c"]) expect(await valueOf(store, key)).toBe("v");
  });

  it("keeps the one that the merge rule prefers, in a batch too, and counts the rest as stored", async () => {
    const { store } = await opened();
    const contents = [
      entry("k", 1, "b"),
      entry("k", 1, "a"),
      entry("k", 1, "b", { meta: { x: "2" } }),
      entry("k", 1, "b", { meta: { x: "\u{1F600}" } }),
      entry("k", 1, "b", { meta: { x: "\uE000" } }),
      entry("k", 1, "b", { expires: 2e12 }),
      entry("k", 1, "", { state: "deleted", value: null }),
    ];
    const best = contents.reduce((a, b) => (compareEntries(a, b) > 0 ? a : b));
    for (const order of [contents, contents.toReversed()]) {
      const key = `k${stores.length}${order === contents ? "up" : "down"}`;
      for (const item of order) {
        const results = await store.write([write({ ...item, key }), write(entry(`${key} beside`, 1))]);
        expect(results).toEqual([{ status: "stored" }, { status: "stored" }]);
      }
      expect((await store.read([key]))[0]?.entry).toEqual({ ...best, key });
    }
  });
});
