import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bucketEnd } from "../../src/stores/etcd/leases.ts";
import { cutOf } from "../../src/stores/etcd/room.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";
import { Watching, entries, entry, failure, keysOf, openAt, put, rawEtcd, runtime, versions } from "./etcd/world.ts";

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

interface StoredKey {
  readonly key: string;
  readonly lease?: string;
}

/** What etcdctl shows of the keys below a prefix. Leases lose their last digits to JSON's numbers unless kept as text. */
function stored(cluster: EtcdCluster, prefix: string): Map<string, string> {
  const text = cluster.ctl("get", "--prefix", prefix, "--write-out=json");
  const { kvs = [] } = JSON.parse(text.replaceAll(/"lease":(\d+)/g, '"lease":"$1"')) as { kvs?: StoredKey[] };
  return new Map(kvs.map(({ key, lease }) => [Buffer.from(key, "base64").toString(), lease ?? "0"]));
}

function ttlOf(cluster: EtcdCluster, lease: string): number {
  const hex = BigInt(lease).toString(16);
  return Number(/remaining\((\d+)s\)/.exec(cluster.ctl("lease", "timetolive", hex))?.[1]);
}

const noise = (bytes: number) => runtime.random(new Uint8Array(Math.min(bytes, 65_536)));

describe("buckets of time", () => {
  // Mutation: Math.floor for Math.ceil, which ends leases early.
  it("end at or after what is due, at most an eighth and a bucket later, and are few", () => {
    const now = 1_790_000_000_000;
    const ends = new Set<number>();
    for (let left = 1000; left < 400 * DAY_MS; left *= 1.01) {
      const end = (bucketEnd(now + left, now) ?? 0) * 1000;
      expect(end).toBeGreaterThanOrEqual(now + left);
      expect(end).toBeLessThanOrEqual(now + Math.max(left, 64_000) * 1.126 + 64_000);
      ends.add(end);
    }
    expect(ends.size).toBeLessThan(250);
    expect(bucketEnd(Number.MAX_SAFE_INTEGER, now)).toBeUndefined();
  });

  it("cut the oldest copies first, as many as are too much", () => {
    const sample = Array.from({ length: 100 }, (_, i) => ({ revision: 1000 - i, bytes: 10 }));
    expect(cutOf(sample, 1000, 250)).toBe(925);
    expect(cutOf(sample, 100_000, 25_000)).toBe(925); // the sample stands for a hundred times as many
    expect(cutOf(sample, 1000, 1000)).toBe(1000);
  });
});

describe.skipIf(etcdMissing !== undefined)("etcd that forgets", () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.close());

  // Mutations: leases without the retention; one lease for each key.
  it("shares leases between entries that expire at about the same time, never too short ones", async () => {
    const retentionMs = 2 * DAY_MS;
    const store = await openAt(`${cluster.endpoints}/leases`, { retentionMs });
    const now = runtime.now();
    const expiring = Array.from({ length: 50 }, (_, i) => entry(`e${i}`, "x", now + 3_600_000 + i * 1000));
    const late = entry("late", "x", now + 200 * DAY_MS);
    await put(store, [...expiring, late, entry("for ever"), entry("too late", "x", Number.MAX_SAFE_INTEGER)]);
    const keys = stored(cluster, "leases/k/");
    expect([keys.get("leases/k/for ever"), keys.get("leases/k/too late")]).toEqual(["0", "0"]);
    const leases = new Set(expiring.map(({ key }) => keys.get(`leases/k/${key}`) ?? ""));
    expect(leases.size).toBeLessThanOrEqual(2);
    for (const [lease, due] of [
      ...[...leases].map((l) => [l, 3_649_000] as const),
      [keys.get("leases/k/late"), 200 * DAY_MS] as const,
    ]) {
      const ttlMs = ttlOf(cluster, lease ?? "") * 1000;
      expect(ttlMs).toBeGreaterThanOrEqual(due - 49_000 + retentionMs - 20_000);
      expect(ttlMs).toBeLessThanOrEqual((due + retentionMs) * 1.13 + 128_000);
    }
    // A newer entry that does not expire leaves the lease.
    await put(store, [entry("e0")]);
    expect(stored(cluster, "leases/k/e0").get("leases/k/e0")).toBe("0");
    await store.close();
  });

  // Mutation: reason "lease" not handled in writing.ts.
  it("tells what a lease took along, and gets a new one when the old one is gone", async () => {
    const store = await openAt(`${cluster.endpoints}/lost`, { retentionMs: 0 });
    const expires = runtime.now() + 5_000_000;
    await put(store, [entry("a", "x", expires)]);
    const watch = new Watching(store);
    await watch.current();
    const lease = stored(cluster, "lost/k/a").get("lost/k/a") ?? "";
    cluster.ctl("lease", "revoke", BigInt(lease).toString(16));
    await watch.until(() => watch.newest().get("a") === "removed");
    await put(store, [entry("b", "x", expires)]);
    const next = stored(cluster, "lost/k/b").get("lost/k/b");
    expect(next).not.toBe("0");
    expect(next).not.toBe(lease);
    await watch.end();
    await store.close();
  });

  it("gives every copy of a cache a lease, no longer than copyTtlMs and its bucket", async () => {
    const store = await openAt(`${cluster.endpoints}/copies`, { role: "cache", copyTtlMs: 600_000 });
    await put(store, [entry("a"), entry("b", "x", runtime.now() + 400 * DAY_MS)]);
    const keys = [...stored(cluster, "copies/k/"), ...stored(cluster, "copies/a/")];
    expect(keys.length).toBe(4);
    for (const [, lease] of keys) {
      expect(ttlOf(cluster, lease)).toBeGreaterThanOrEqual(590);
      expect(ttlOf(cluster, lease)).toBeLessThanOrEqual(800);
    }
    await store.close();
  });

  // Mutation: `exactly` left out of the renewal; ignoreLease left out.
  it("renews a copy's date in its note, without writing the copy again and without a longer lease", async () => {
    const store = await openAt(`${cluster.endpoints}/dates`, { role: "cache", copyTtlMs: 600_000 });
    const item = entry("k", noise(60_000));
    await store.write([{ entry: item, asOf: 1000 }]);
    const before = cluster.ctl("get", "dates/k/k", "--write-out=fields").match(/"ModRevision" : \d+/)?.[0];
    const lease = stored(cluster, "dates/a/k").get("dates/a/k");
    expect(await store.write([{ entry: item, asOf: 5000 }])).toEqual([{ status: "stored" }]);
    expect((await store.read(["k"]))[0]?.asOf).toBe(5000);
    expect(cluster.ctl("get", "dates/k/k", "--write-out=fields").match(/"ModRevision" : \d+/)?.[0]).toBe(before);
    expect(stored(cluster, "dates/a/k").get("dates/a/k")).toBe(lease);
    await store.close();
  });

  // Mutation: `trim` that returns at once.
  it("keeps a cache below its limit, by what was written or renewed longest ago", async () => {
    const bytesMax = 2 * MIB;
    const store = await openAt(`${cluster.endpoints}/limit`, { role: "cache", bytesMax });
    const items = Array.from({ length: 600 }, (_, i) => entry(`k${i}`, noise(16 * 1024)));
    for (let i = 0; i < items.length; i += 20) await put(store, items.slice(i, i + 20));
    await store.close(); // waits for the count under way
    const again = await openAt(`${cluster.endpoints}/limit`, { role: "cache", bytesMax });
    const kept = await versions(
      again,
      items.map(({ key }) => key),
    );
    const bytes = kept.filter((version) => version !== undefined).length * 16 * 1024;
    expect(bytes).toBeLessThanOrEqual(bytesMax * 1.25);
    expect(bytes).toBeGreaterThan(bytesMax / 2);
    // The newest are all there, the oldest all gone.
    expect(kept.slice(-40)).toEqual(items.slice(-40).map(({ version }) => version));
    expect(kept.slice(0, 400).every((version) => version === undefined)).toBe(true);
    expect(stored(cluster, "limit/a/").size).toBe(stored(cluster, "limit/k/").size);
    await again.close();
  });
});

describe.skipIf(etcdMissing !== undefined)("etcd with a small quota", () => {
  const QUOTA = 12 * MIB;
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await startEtcd({ args: [`--quota-backend-bytes=${QUOTA}`] });
  });
  afterAll(() => cluster.close());

  /** Another program uses the quota up, by overwriting a few keys. */
  const fill = async (prefix: string) => {
    const own = rawEtcd(cluster.endpoints);
    try {
      for (let i = 0; i < 1000; i++) await own.put(`${prefix}/${i % 8}`, noise(60_000));
    } catch (error) {
      if (String(error).includes("quota")) return;
      throw error;
    } finally {
      await own.close();
    }
    throw new Error("the quota was not reached");
  };
  const makeRoom = () => {
    const revision = /"revision":(\d+)/.exec(cluster.ctl("endpoint", "status", "--write-out=json"))?.[1] ?? "";
    cluster.ctl("compact", revision);
    cluster.ctl("defrag");
    cluster.ctl("alarm", "disarm");
  };

  // Mutation: `forgetHistory` left out: the quota is met, and the file has to be rewritten.
  it("a cache writes many times the quota through it, and never meets it", async () => {
    const store = await openAt(`${cluster.endpoints}/flood`, { role: "cache", bytesMax: 2 * MIB });
    for (let round = 0; round < 40; round++) {
      const items = Array.from({ length: 60 }, (_, i) => entry(`${(round * 37 + i) % 200}`, noise(16 * 1024)));
      await put(store, items);
    }
    expect(cluster.ctl("alarm", "list")).toBe("");
    const defragmented = "etcd_disk_backend_defrag_duration_seconds_count";
    expect(await cluster.members[0]?.metric(defragmented)).toBe(0);
    await store.close();
  });

  // Mutation: any of trim, compact, defragment and disarm left out of `relieve`.
  it("a cache makes room when others have used the quota up", async () => {
    const store = await openAt(`${cluster.endpoints}/flood`, { role: "cache", bytesMax: 2 * MIB });
    await put(store, entries("before", 100, noise(4096)));
    await fill("other");
    expect(cluster.ctl("alarm", "list")).toContain("NOSPACE");
    const items = entries("after", 20, noise(4096));
    await put(store, items);
    expect(
      await versions(
        store,
        items.map(({ key }) => key),
      ),
    ).toEqual(items.map(({ version }) => version));
    expect(cluster.ctl("alarm", "list")).toBe("");
    const size = /"dbSize":(\d+)/.exec(cluster.ctl("endpoint", "status", "--write-out=json"))?.[1];
    expect(Number(size)).toBeLessThan(QUOTA / 2);
    await store.close();
  });

  // Mutation: `trim` left out of `relieve`: history and holes alone make no room for what is all copies.
  it("a cache whose own limit is above the quota makes room among its copies", async () => {
    const store = await openAt(`${cluster.endpoints}/above`, { role: "cache", bytesMax: 64 * MIB });
    const items = Array.from({ length: 28 * 60 }, (_, i) => entry(`k${i}`, noise(16 * 1024)));
    for (let i = 0; i < items.length; i += 60) await put(store, items.slice(i, i + 60));
    const last = items.slice(-60);
    const kept = await versions(
      store,
      last.map(({ key }) => key),
    );
    expect(kept).toEqual(last.map(({ version }) => version));
    expect(cluster.ctl("alarm", "list")).toBe("");
    expect((await keysOf(store)).length).toBeLessThan(items.length);
    cluster.ctl("del", "--prefix", "above/");
    makeRoom();
    await store.close();
  });

  it("a cache that may not maintain the cluster says what to do", async () => {
    const store = await openAt(`${cluster.endpoints}/guest`, { role: "cache", bytesMax: 2 * MIB, maintain: false });
    await fill("other");
    const error = await failure(() => store.write([{ entry: entry("k"), asOf: 0 }]));
    expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
    expect(error.cure).toContain("alarm disarm");
    expect(await keysOf(store)).toEqual([]);
    await store.close();
    makeRoom();
  });

  // Mutation: reason "space" taken for one that is tried again.
  it("a store of record refuses, keeps what it has, takes removals, and goes on when there is room", async () => {
    const store = await openAt(`${cluster.endpoints}/record`);
    const items = entries("", 50);
    await put(store, items);
    await fill("other");
    const error = await failure(() => store.write([{ entry: entry("k"), asOf: 0 }]));
    expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
    expect(error.message).toContain("quota");
    expect(
      await versions(
        store,
        items.map(({ key }) => key),
      ),
    ).toEqual(items.map(({ version }) => version));
    await store.forget([{ key: items[0]?.key ?? "", version: items[0]?.version as never, reason: "ghost" }]);
    expect(await keysOf(store)).toHaveLength(49);
    makeRoom();
    await put(store, [entry("k")]);
    await store.close();
  });
});
