import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeEach, describe, expect, it, test } from "vitest";
import { open } from "microsync";
import type { Runtime } from "../../src/runtime.ts";
import type { ListOptions } from "../../src/store.ts";
import { s3 } from "../../src/stores/s3.ts";
import type { S3Options } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { makeCertificates } from "../servers/certificates.ts";
import { radosgw } from "../servers/radosgw.ts";
import { all, failure, held, text, tombstone, value, version, write } from "./s3/world.ts";

const runtime = systemRuntime;
const ceph = await reachable(radosgw);

if ("missing" in ceph) {
  test(`s3 on radosgw is not tested: ${ceph.missing}`, (context) => context.skip(ceph.missing));
} else {
  const { server } = ceph;
  afterAll(() => server.stop());
  let options: S3Options;
  let buckets = 0;
  beforeEach(() => {
    const bucket = `store-${buckets++}`;
    options = { runtime, bucket, endpoint: server.url, credentials: server, create: true };
  });

  describe("requests", () => {
    // Mutation: `guess` returns undefined (a HEAD for every write); `facts.matching` returns undefined.
    it("are one for each new key, one for each key this store knows, and none for a head it knows", async () => {
      const store = await s3(options);
      const cost = async (work: () => Promise<unknown>) => {
        const before = store.requests;
        await work();
        return store.requests - before;
      };
      const entries = (at: number) =>
        Array.from({ length: 100 }, (_, i) => value(`k${i}`, version(at + i), `${at} ${i}`));
      const put = (at: number) => store.write(entries(at).map((entry) => ({ entry, asOf: 0 })));
      expect(await cost(() => put(0))).toBe(101); // and the watermark, once for a call that creates
      expect(await cost(() => put(1000))).toBe(100);
      expect(await cost(() => all(store.list({ prefix: "" }, { detail: "entries" })))).toBe(1);
      const other = await s3(options);
      const before = other.requests;
      await all(other.list({ prefix: "" }, { detail: "entries" }));
      expect(other.requests - before).toBe(101);
      await write(store, value("k7", version(5000), "new"));
      const again = other.requests;
      await all(other.list({ prefix: "" }, { detail: "entries" }));
      expect(other.requests - again).toBe(2); // the list, and the one that changed
      expect(await cost(() => store.read(["k1", "k2"]))).toBe(2);
      await Promise.all([store.close(), other.close()]);
    });

    // Mutations: `intervalMs = this.intervalMs` with a default of 1,000; a timer where there is no interval.
    it("are none of a watch that was given no interval, which tells this store's own changes", async () => {
      const delays: number[] = [];
      const timer: Runtime["timer"] = (delayMs, fn, background) => {
        delays.push(delayMs);
        return runtime.timer(delayMs, fn, background);
      };
      const store = await s3({ ...options, runtime: { ...runtime, timer } });
      const control = new AbortController();
      const watch = store.watch({ prefix: "" }, { signal: control.signal })[Symbol.asyncIterator]();
      expect((await watch.next()).value).toMatchObject({ kind: "current" });
      const next = watch.next();
      await write(store, value("k", version(1), "x"));
      expect((await next).value).toMatchObject({ kind: "change", key: "k" });
      const before = store.requests;
      delays.length = 0;
      const waiting = watch.next();
      for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
      // Nothing is under way, and nothing will wake it but a change or the end.
      expect([store.requests, delays]).toEqual([before, []]);
      control.abort();
      await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
      await store.close();
    });
  });

  // Mutations: the first page taken for all; the next one asked for without its token, which is the first again.
  it("lists more than S3 shows at once, in order, from any key and up to any number", { timeout: 60_000 }, async () => {
    const store = await s3(options);
    const keys = Array.from({ length: 1005 }, (_, i) => `k${String(i).padStart(4, "0")}`);
    const entries = keys.map((key, i) => tombstone(key, version(i)));
    for (const some of [entries.slice(0, 600), entries.slice(600)]) {
      await store.write(some.map((entry) => ({ entry, asOf: 0 })));
    }
    const listed = async (more: ListOptions) => {
      const before = store.requests;
      const items = await all(store.list({ prefix: "k" }, more));
      return [items.map((item) => (item.kind === "entry" ? item.key : item.kind)), store.requests - before];
    };
    expect(await listed({})).toEqual([keys, 2]);
    expect(await listed({ after: "k0002" })).toEqual([keys.slice(3), 2]);
    expect(await listed({ limit: 1002 })).toEqual([keys.slice(0, 1002), 2]);
    expect(await listed({ limit: 3, after: "k0999" })).toEqual([keys.slice(1000, 1003), 1]);
    await store.close();
  });

  describe("what other tools see and do", () => {
    it("get the value by a presigned URL, also where it was there before", async () => {
      const store = await s3(options);
      const meta = { "content-type": "text/plain; charset=utf-8" };
      for (const at of [1, 2, 3]) {
        await write(store, value("a/ü b.txt", version(at), "hello", meta));
        const answer = await fetch(await store.presign("a/ü b.txt", { expiresMs: 60_000 }));
        expect([answer.status, await answer.text()]).toEqual([200, "hello"]);
        expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
        expect(answer.headers.get("x-amz-meta-sync-version")).toBe(version(at));
      }
      const strange = (await store.presign("a/ü b.txt", { expiresMs: 60_000 })).replace("Expires=60", "Expires=6000");
      expect((await fetch(strange)).status).toBe(403);
      expect((await failure(() => store.presign("k", { expiresMs: 8 * 86_400_000 }))).code).toBe("INVALID");
      await store.close();
      // By a clock that is two minutes late: the first URL has ended by now.
      const late = await s3({ ...options, runtime: { ...runtime, now: () => runtime.now() - 120_000 } });
      const statuses = [60_000, 600_000].map(async (expiresMs) => {
        return (await fetch(await late.presign("a/ü b.txt", { expiresMs }))).status;
      });
      expect(await Promise.all(statuses)).toEqual([403, 200]);
      await late.close();
    });

    it("is CORRUPT when the body is not what the headers say, and replaced by the next write", async () => {
      const store = await s3(options);
      await write(store, value("k", version(1), "right"));
      const put = await store.presign("k", { expiresMs: 60_000, method: "PUT" });
      const headers = { "x-amz-meta-sync-version": version(1), "x-amz-meta-sync-sha256": "0".repeat(64) };
      expect((await fetch(put, { method: "PUT", body: "wrong", headers })).status).toBe(200);
      expect(await failure(() => held(store, "k"))).toMatchObject({ code: "CORRUPT", key: "k" });
      expect(await write(store, value("k", version(1), "right"))).toEqual({ status: "stored" });
      expect(text(await held(store, "k"))).toBe("right");
      const nonsense = { "x-amz-meta-sync-version": "nonsense" };
      expect((await fetch(put, { method: "PUT", body: "wrong", headers: nonsense })).status).toBe(200);
      expect(await failure(() => held(store, "k"))).toMatchObject({ code: "CORRUPT" });
      expect(await write(store, value("k", version(2), "x"), "absent")).toMatchObject({ error: { code: "CORRUPT" } });
      expect(await write(store, value("k", version(2), "again"))).toEqual({ status: "stored" });
      expect(text(await held(store, "k"))).toBe("again");
      await store.close();
    });

    // Mutation: fetchEntry brings what is larger than asked for.
    it("is given piece by piece when it is larger than a value may be", async () => {
      const store = await s3({ ...options, valueBytesMax: 1000 });
      const put = await store.presign("big", { expiresMs: 60_000, method: "PUT" });
      await fetch(put, { method: "PUT", body: "x".repeat(1001) });
      const [answer] = await store.read(["big"]);
      expect([answer?.entry?.state, answer?.body?.size, answer?.body?.sha256]).toEqual(["stub", 1001, undefined]);
      const part = await all(answer?.body?.content({ start: 999 }) ?? (async function* () {})());
      expect(Buffer.concat(part).toString()).toBe("xx");
      await store.close();
    });

    // Mutation: the limit is looked at when the object is there.
    it("is refused as a write before anything is sent, and the message names the store", async () => {
      const store = await s3({ ...options, valueBytesMax: 1000 });
      const before = store.requests;
      const result = await write(store, value("big", version(1), "x".repeat(1001)));
      expect(result).toMatchObject({ status: "failed", error: { code: "TOO_LARGE", store: "s3", key: "big" } });
      expect(store.requests).toBe(before);
      await store.close();
    });
  });

  describe("opening", () => {
    it("finds out how Ceph takes conditions and leaves nothing of it behind", async () => {
      const store = await s3(options);
      expect(store.supports).toMatchObject({ conditional: true, writers: "many", shared: true, durable: true });
      const bare = await s3({ ...options, prefix: ".!other/", readonly: true });
      expect(await all(bare.list({ prefix: "" }))).toEqual([]);
      await Promise.all([store.close(), bare.close()]);
    });

    it("read-only refuses to write and needs no right to", async () => {
      await (await s3(options)).close();
      const store = await s3({ ...options, create: false, readonly: true });
      expect(await write(store, value("k", version(1), "x"))).toMatchObject({ error: { code: "READONLY" } });
      await store.close();
    });

    it.each([
      { concurrency: 0 },
      { concurrency: 1000 },
      { valueBytesMax: -1 },
      { multipartBytes: 1024 },
      { watchIntervalMs: 0 },
      { prefix: "a//b" },
      { timeoutMs: 0.5 },
    ])("refuses %j", async (wrong) => {
      expect((await failure(() => s3({ ...options, ...wrong }))).code).toBe("INVALID");
    });

    it("by a URL gives a chain on the bucket, and shows no credentials", async () => {
      const { accessKeyId, secretAccessKey } = server;
      const query = `endpoint=${server.url}&create=true`;
      const url = `s3://${accessKeyId}:${secretAccessKey}@${options.bucket}/data/?${query}`;
      const db = await open(["memory:", url], { clock: false });
      await db.set("users/1", { name: "Ada" });
      await db.close();
      const store = await s3({ ...options, prefix: "data/" });
      expect(text(await held(store, "users/1"))).toBe('{"name":"Ada"}');
      await store.close();
      const error = await failure(() =>
        open([`s3://AKX:SKXSECRET@${options.bucket}/?endpoint=${server.url}`], { clock: false }),
      );
      expect(error.code).toBe("UNAUTHORISED");
      expect(error.message).toContain("s3://…@");
      expect(error.message).not.toMatch(/SKXSECRET|AKX/);
    });
  });

  describe("TLS", () => {
    const secure = (more: Partial<S3Options>) => s3({ ...options, endpoint: server.secureUrl, attempts: 1, ...more });

    // Mutation: `ca` not given to the connections, or their check of certificates off.
    it("takes the certificate of an authority that is named, and no other", async () => {
      const ca = readFileSync(server.ca, "utf8");
      const store = await secure({ ca });
      await write(store, value("k", version(1), "secret on the way"));
      expect(text(await held(store, "k"))).toBe("secret on the way");
      await store.close();
      const other = makeCertificates(mkdtempSync(join(tmpdir(), "microsync-s3-other-")));
      for (const wrong of [undefined, readFileSync(other.ca, "utf8")]) {
        const refused = await failure(() => secure({ ca: wrong }));
        expect(refused).toMatchObject({ code: "UNAUTHORISED", retryable: false, store: "s3" });
        expect(refused.message).toMatch(/certificate is not trusted.*option ca/);
      }
      rmSync(dirname(other.ca), { recursive: true });
    });

    it("takes the authority's file from the URL", async () => {
      const { accessKeyId, secretAccessKey } = server;
      const query = `endpoint=${server.secureUrl}&ca=${encodeURIComponent(server.ca)}&create=true`;
      const db = await open([`s3://${accessKeyId}:${secretAccessKey}@${options.bucket}/tls/?${query}`], {
        clock: false,
      });
      await db.set("k", "v");
      expect(await db.get("k")).toBe("v");
      await db.close();
    });
  });

  it("tells a watched range with too many keys", async () => {
    const store = await s3({ ...options, watchKeysMax: 2 });
    for (const key of ["a", "b", "c"]) await write(store, tombstone(key, version(1)));
    const error = await failure(() => all(store.watch({ prefix: "" })));
    expect(error).toMatchObject({ code: "TOO_LARGE" });
    await store.close();
  });
}
