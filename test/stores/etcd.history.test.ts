import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Store } from "../../src/store.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";
import { startProxy } from "../servers/proxy.ts";
import { Watching, entries, entry, failure, keysOf, openAt, put, runtime, versions } from "./etcd/world.ts";

describe.skipIf(etcdMissing !== undefined)("the history of an etcd", () => {
  let cluster: EtcdCluster;
  let where: string;
  let store: Store;
  let count = 0;
  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.close());
  beforeEach(async () => {
    await store?.close();
    where = `${cluster.endpoints}/history/${count++}`;
    store = await openAt(where, { timeoutMs: 3000, attemptMs: 300 });
  });
  afterAll(() => store.close());

  const revision = (): number =>
    Number(/"revision":(\d+)/.exec(cluster.ctl("endpoint", "status", "--write-out=json"))?.[1]);
  const cursorNow = async (): Promise<string> => {
    const watch = new Watching(store);
    await watch.current();
    await watch.end();
    return watch.cursor ?? "";
  };
  const after = async (cursor: string): Promise<Watching> => {
    const watch = new Watching(store, "", { cursor });
    await watch.until((told) => told.some(({ kind }) => kind === "current" || kind === "relist"));
    await watch.end();
    return watch;
  };

  // Mutations: `removals` left out of catch-up.ts; the count compared without the new keys.
  it("tells after a cursor what was written, removed, and removed and written again", async () => {
    const items = entries("", 40);
    await put(store, items);
    const cursor = await cursorNow();
    const gone = items.slice(3, 6);
    await store.forget(gone.map(({ key, version }) => ({ key, version, reason: "ghost" })));
    const back = entry(gone[0]?.key ?? "", "back");
    const fresh = entry("zz", "new");
    await put(store, [back, fresh]);
    const watch = await after(cursor);
    const told = new Map([
      [back.key, back.version as string],
      [gone[1]?.key ?? "", "removed"],
      [gone[2]?.key ?? "", "removed"],
      ["zz", fresh.version],
    ]);
    expect(watch.newest()).toEqual(told);
  });

  it("tells a removal that new keys make up for in number", async () => {
    const [item] = entries("", 1);
    await put(store, item === undefined ? [] : [item]);
    const cursor = await cursorNow();
    await store.forget([{ key: item?.key ?? "", version: item?.version as never, reason: "ghost" }]);
    await put(store, [entry("other")]);
    expect((await after(cursor)).newest().get(item?.key ?? "")).toBe("removed");
  });

  // Mutation: the filter on the last revision in `changedPage`, which would leave a transaction half told.
  it("can go on after every change of a cursor's past, in transactions of many keys", async () => {
    const cursor = await cursorNow();
    const items = Array.from({ length: 12 }, (_, i) => entries(`${i}/`, 100)).flat();
    for (let i = 0; i < items.length; i += 100) await put(store, items.slice(i, i + 100));
    const watch = await after(cursor);
    expect(watch.newest().size).toBe(items.length);
    const changes = watch.told.filter((change) => change.kind === "change");
    for (const at of [0, 98, 99, 100, 511, 512, 700, 1198]) {
      const rest = await after(changes[at]?.cursor ?? "");
      const told = new Set([...changes.slice(0, at + 1).map(({ key }) => key), ...rest.newest().keys()]);
      expect([at, told.size]).toEqual([at, items.length]);
    }
  });

  // Mutation: a cursor that passes a revision with its first change, live.
  it("can go on after every change that it told live of a transaction of many keys", async () => {
    // The first write of all begins an epoch, which a watch hears of by the same stream, before or after its entries.
    await put(store, [entry("before")]);
    const watch = new Watching(store, "t/");
    await watch.current();
    const items = entries("t/", 10);
    await put(store, items);
    await watch.untilAll(items);
    await watch.end();
    const changes = watch.told.filter((change) => change.kind === "change");
    for (const [at, { cursor }] of changes.entries()) {
      const rest = await after(cursor);
      const told = new Set([...changes.slice(0, at + 1).map(({ key }) => key), ...rest.newest().keys()]);
      expect([at, told.size]).toEqual([at, items.length]);
    }
    expect((await after(changes.at(-1)?.cursor ?? "")).newest().size).toBe(0);
  });

  // Mutation: reason "gone" not turned into relist.
  it("answers a cursor older than the last compaction with relist", async () => {
    await put(store, [entry("a")]);
    const cursor = await cursorNow();
    await put(store, [entry("a"), entry("b")]);
    await put(store, [entry("a"), entry("b")]);
    cluster.ctl("compact", String(revision()));
    expect((await after(cursor)).told.map(({ kind }) => kind)).toEqual(["relist"]);
    expect((await after(await cursorNow())).told.map(({ kind }) => kind)).toEqual(["current"]);
  });

  it("follows a cursor through a compaction of what is older", async () => {
    await put(store, [entry("a")]);
    await put(store, [entry("a")]);
    const cursor = await cursorNow();
    cluster.ctl("compact", String(revision()));
    const item = entry("b");
    await put(store, [item]);
    expect([...(await after(cursor)).newest()]).toEqual([["b", item.version]]);
  });

  it("tells a watch relist, live, when what it has not seen was compacted while it was cut off", async () => {
    const proxy = await startProxy(cluster.members[0]?.endpoint ?? "");
    const far = await openAt(`${proxy.endpoint}/${where.slice(where.indexOf("/") + 1)}`, { timeoutMs: 5000 });
    const watch = new Watching(far);
    await watch.current();
    proxy.mode("refuse");
    proxy.cut();
    await put(store, [entry("a")]);
    await put(store, [entry("a"), entry("b")]);
    cluster.ctl("compact", String(revision()));
    proxy.mode("pass");
    expect(await watch.ended).toBeUndefined();
    expect(watch.told.at(-1)?.kind).toBe("relist");
    await far.close();
    await proxy.close();
  });

  // Mutation: epochs compared by the cluster's id alone, which a wiped cluster has again.
  it("answers a cursor from before a wipe with relist, tells a watch so, and works on", async () => {
    await put(store, entries("", 5));
    const watch = new Watching(store);
    await watch.current();
    const { cursor = "" } = watch;
    await cluster.wipe();
    await watch.ended;
    expect(watch.told.at(-1)?.kind).toBe("relist");
    // Past the revision of the cursor, by another program too.
    for (let i = 0; i < 30; i++) cluster.ctl("put", "other", String(i));
    const item = entry("after");
    await put(store, [item]);
    expect(await keysOf(store)).toEqual(["after"]);
    expect((await after(cursor)).told.map(({ kind }) => kind)).toEqual(["relist"]);
    expect((await store.read(["after"]))[0]?.entry?.version).toBe(item.version);
  });

  // Mutation: no name written before the first change of an opened store.
  it("recognises a cluster that was set back to a backup, though it is the same cluster", async () => {
    const own = await startEtcd();
    const url = `${own.endpoints}/backup`;
    const first = await openAt(url);
    await put(first, entries("", 5));
    const backup = own.backup();
    await put(first, [entry("lost")]);
    const watch = new Watching(first);
    await watch.current();
    const { cursor } = watch;
    await watch.end();
    await first.close();
    await own.restore(backup);
    const second = await openAt(url);
    await put(second, [entry("other")]);
    await put(second, [entry("other")]);
    const again = new Watching(second, "", { cursor });
    expect(await again.ended).toBeUndefined();
    expect(again.told.map(({ kind }) => kind)).toEqual(["relist"]);
    await second.close();
    await own.close();
  });

  it("leaves to other tools what docs/stores/etcd.md says", async () => {
    const item = entry("größe/😀", "text");
    await put(store, [item]);
    const prefix = where.slice(where.indexOf("/") + 1);
    const stored = spawnSync("etcdctl", ["--endpoints", cluster.endpoints, "get", "--prefix", prefix, "--keys-only"], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], ETCDCTL_API: "3" },
    });
    expect(stored.stdout.split("\n").filter((line) => line !== "")).toEqual([
      `${prefix}/epoch`,
      `${prefix}/k/größe/😀`,
      `${prefix}/watermark`,
    ]);
    cluster.ctl("put", `${prefix}/k/foreign`, "not an entry");
    const error = await failure(() => store.read(["foreign"]));
    expect([error.code, error.key]).toEqual(["CORRUPT", "foreign"]);
    const healed = entry("foreign");
    await put(store, [healed]);
    expect(await versions(store, ["foreign"])).toEqual([healed.version]);
    cluster.ctl("put", `${prefix}/k/later`, "\u{fffd}");
    const [result] = await store.write([{ entry: entry("later"), asOf: runtime.now(), if: "absent" }]);
    expect(result).toMatchObject({ status: "failed", error: { code: "CORRUPT" } });
  });
});
