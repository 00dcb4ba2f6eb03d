import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import type { Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { Store } from "../../src/store.ts";
import { memory } from "../../src/stores/memory.ts";
import { versionClock } from "../../src/version.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";
import { startProxy } from "../servers/proxy.ts";
import type { Proxy } from "../servers/proxy.ts";
import { Watching, entries, entry, failure, keysOf, openAt, put, runtime, versions, within } from "./etcd/world.ts";

/** Quick to notice that nothing comes, so that the tests are quick; the server is told to allow it. */
const QUICK = { attemptMs: 150, keepAliveMs: 150, keepAliveTimeoutMs: 150, timeoutMs: 2000 };

describe.skipIf(etcdMissing !== undefined)("etcd when things go wrong", () => {
  let cluster: EtcdCluster;
  let proxy: Proxy;
  let direct: Store;
  let store: Store;
  let count = 0;
  const server = () => cluster.members[0] as EtcdCluster["members"][number];
  beforeAll(async () => {
    cluster = await startEtcd({ args: ["--grpc-keepalive-min-time=50ms"] });
  });
  afterAll(() => cluster.close());
  beforeEach(async () => {
    proxy = await startProxy(server().endpoint);
    const prefix = `faults/${count++}`;
    direct = await openAt(`${server().endpoint}/${prefix}`, QUICK);
    store = await openAt(`${proxy.endpoint}/${prefix}`, QUICK);
  });
  afterEach(async () => {
    proxy.mode("pass");
    proxy.cut();
    await Promise.all([store.close(), direct.close()]);
    await proxy.close();
  });

  /** The effect of a write has been seen, and its answer is lost. */
  const loseTheAnswerOf = async (write: () => Promise<unknown>, key: string, meanwhile?: () => Promise<unknown>) => {
    await put(store, [entry("opens the connection")]);
    const watch = new Watching(direct);
    await watch.current();
    proxy.mode("lose answers");
    const writing = write();
    await watch.until((told) => told.some((change) => change.kind === "change" && change.key === key));
    await meanwhile?.();
    proxy.mode("pass");
    proxy.cut();
    await watch.end();
    return writing;
  };

  // Mutation: no second attempt in connection.ts.
  it("stores a write once whose answer was lost, and says so", async () => {
    const item = entry("k");
    const results = await loseTheAnswerOf(() => store.write([{ entry: item, asOf: 0 }]), "k");
    expect(results).toEqual([{ status: "stored" }]);
    expect(await versions(direct, ["k"])).toEqual([item.version]);
  });

  it("takes a conditional write whose answer was lost as met", async () => {
    const item = entry("k");
    const results = await loseTheAnswerOf(() => store.write([{ entry: item, asOf: 0, if: "absent" }]), "k");
    expect(results).toEqual([{ status: "stored" }]);
  });

  // Mutation: `lost` never set in writing.ts, which would call it a conflict although it happened.
  it("says INDETERMINATE of a conditional write whose answer was lost and which another one followed", async () => {
    const item = entry("k");
    const results = await loseTheAnswerOf(
      () => store.write([{ entry: item, asOf: 0, if: "absent" }]),
      "k",
      () => put(direct, [entry("k", "by another")]),
    );
    expect(results).toMatchObject([{ status: "failed", error: { code: "INDETERMINATE", key: "k" } }]);
  });

  // Mutation: the results of a failed transaction reported as stored.
  it("loses nothing that it acknowledged when the connection is reset in the middle of a batch", async () => {
    await put(store, [entry("opens the connection")]);
    for (const bytes of [1, 9000, 20_000, 70_000, 130_000]) {
      const items = entries(`${bytes}/`, 600, "v".repeat(100));
      void proxy.cutAfter(bytes);
      const results = await store.write(items.map((item) => ({ entry: item, asOf: 0 })));
      expect(results.every(({ status }) => status === "stored")).toBe(true);
      const keys = items.map(({ key }) => key);
      expect(await versions(direct, keys)).toEqual(items.map(({ version }) => version));
    }
    expect(proxy.made).toBeGreaterThan(5);
  });

  it("reports each write of a batch by itself when only some transactions were answered", async () => {
    await put(store, [entry("opens the connection")]);
    const items = entries("", 1000, "v".repeat(2000));
    const control = new AbortController();
    const watch = new Watching(direct);
    await watch.current();
    const writing = store.write(
      items.map((item) => ({ entry: item, asOf: 0 })),
      { signal: control.signal },
    );
    await watch.until((told) => told.length > 2);
    control.abort();
    const results = await writing.catch(() => items.map(() => ({ status: "failed" })));
    await watch.end();
    const found = await versions(
      direct,
      items.map(({ key }) => key),
    );
    const acknowledged = items.filter((_, i) => results[i]?.status === "stored");
    for (const item of acknowledged) expect(found[items.indexOf(item)]).toBe(item.version);
  });

  const verbs: readonly (readonly [string, (store: Store, options: { deadline: number }) => Promise<unknown>])[] = [
    ["read", (store, options) => store.read(["k"], options)],
    ["write", (store, options) => store.write([{ entry: entry("k"), asOf: 0 }], options)],
    ["forget", (store, options) => store.forget([{ key: "k", version: entry("k").version, reason: "ghost" }], options)],
    ["list", (store, options) => drain(store.list({ prefix: "" }, options))],
    ["watch", (store, options) => drain(store.watch({ prefix: "" }, options))],
  ];

  const drain = async (items: AsyncIterable<unknown>) => {
    for await (const item of items) void item;
  };

  // Mutation: the timer of an attempt in connection.ts.
  it.each(["hang", "lose answers"] as const)(
    "ends every call by its deadline when the network does: %s",
    async (mode) => {
      await put(store, [entry("k")]);
      proxy.mode(mode);
      for (const [verb, call] of verbs) {
        const started = runtime.monotonic();
        const error = await failure(() => call(store, within(400)));
        expect([verb, error.code]).toEqual([verb, "TIMEOUT"]);
        expect(runtime.monotonic() - started).toBeLessThan(400 + 500);
      }
    },
  );

  it("ends every call by its deadline when the server is frozen, without a deadline by its own", async () => {
    await put(store, [entry("k")]);
    server().freeze();
    try {
      for (const [verb, call] of verbs) {
        const error = await failure(() => call(direct, within(300)));
        expect([verb, error.code]).toEqual([verb, "TIMEOUT"]);
      }
      const own = await openAt(server().endpoint, { ...QUICK, timeoutMs: 500 });
      expect((await failure(() => own.read(["k"]))).code).toBe("TIMEOUT");
      await own.close();
    } finally {
      server().thaw();
    }
    expect(await versions(direct, ["k"])).toHaveLength(1);
  });

  // Mutation: failures of etcd that do not count as trouble.
  it("opens the breaker of a chain's layer when the server is frozen, and is asked again afterwards", async () => {
    const reports: Report[] = [];
    const clock = await versionClock({ runtime });
    const layers = [
      layer(memory({ runtime }), { deadlineMs: 100 }),
      layer(direct, { deadlineMs: 200, breakerFailures: 3, breakerMs: 300 }),
    ];
    const federation = chain(layers, { runtime, clock, onReport: (report) => reports.push(report) });
    server().freeze();
    try {
      for (const key of ["a", "b", "c"]) await failure(() => federation.read([key]));
      expect(federation.status().layers[1]?.breaker).toBe("open");
      const started = runtime.monotonic();
      await failure(() => federation.read(["d"]));
      expect(runtime.monotonic() - started).toBeLessThan(200);
    } finally {
      server().thaw();
    }
    while (federation.status().layers[1]?.breaker !== "closed") await federation.read(["e"]).catch(() => undefined);
    expect(reports.filter(({ kind }) => kind === "breaker").map(({ message }) => message)).toContain(
      "the layer answers again",
    );
    await federation.close();
    direct = await openAt(server().endpoint);
  });

  // Mutation: keepalive left out of connection.ts; the watch then waits for ever.
  it("notices a frozen server while it only watches, and misses nothing when it goes on from its cursor", async () => {
    await put(direct, [entry("before")]);
    const watch = new Watching(store);
    await watch.current();
    server().freeze();
    let error;
    try {
      error = await watch.ended;
    } finally {
      server().thaw();
    }
    expect(error?.retryable).toBe(true);
    const after = entry("after");
    await put(direct, [after]);
    const again = new Watching(store, "", { cursor: watch.cursor });
    await again.current();
    expect([...again.newest()]).toEqual([["after", after.version]]);
    await again.end();
  });

  // Mutation: `startRevision: this.told` + 2 in watching.ts.
  it("loses no change of a watch whose connection is cut again and again", async () => {
    const watch = new Watching(store);
    await watch.current();
    const items: ReturnType<typeof entry>[] = [];
    for (let round = 0; round < 6; round++) {
      const batch = entries(`${round}/`, 50);
      items.push(...batch);
      await put(direct, batch.slice(0, 25));
      proxy.cut();
      await put(direct, batch.slice(25));
      if (round % 2 === 0) await watch.untilAll(items);
    }
    await direct.forget([{ key: "0/00000", version: items[0]?.version as never, reason: "ghost" }]);
    await watch.until(() => watch.newest().get("0/00000") === "removed");
    await watch.untilAll(items.slice(1));
    const revisions = watch.told.flatMap((change) => (change.kind === "change" ? [change.key] : []));
    expect(revisions.length).toBe(items.length + 1); // and each was told once
    await watch.end();
  });

  it("goes on after the server was killed and started again, with everything it acknowledged", async () => {
    const watch = new Watching(store);
    await watch.current();
    const acknowledged: ReturnType<typeof entry>[] = [];
    const phase = { writing: true };
    const writer = (async () => {
      for (let i = 0; phase.writing; i++) {
        const item = entry(`k${i}`);
        const [result] = await store.write([{ entry: item, asOf: 0 }]).catch(() => []);
        if (result?.status === "stored") acknowledged.push(item);
      }
    })();
    await watch.until((told) => told.length > 50);
    await server().kill();
    await server().restart();
    const before = acknowledged.length;
    await watch.until((told) => told.length > before + 50);
    phase.writing = false;
    await writer;
    await watch.untilAll(acknowledged);
    expect(
      await versions(
        direct,
        acknowledged.map(({ key }) => key),
      ),
    ).toEqual(acknowledged.map((item) => item.version));
    await watch.end();
  });

  // Mutation: a client per call, or clients that are not closed.
  it("keeps one connection whatever happens, and none when it is closed", async () => {
    const own = await openAt(`${proxy.endpoint}/faults/connections`, QUICK);
    const watches = Array.from({ length: 10 }, (_, i) => new Watching(own, `${i}`));
    await Promise.all(watches.map((watch) => watch.current()));
    await Promise.all(entries("", 200).map((item) => put(own, [item])));
    expect(proxy.open).toBe(1);
    for (let round = 0; round < 5; round++) {
      proxy.cut();
      await put(own, [entry("k", String(round))]);
      await Promise.all(entries("", 50).map((item) => own.read([item.key])));
      expect(proxy.open).toBe(1);
    }
    await own.close();
    expect(await Promise.all(watches.map((watch) => watch.ended))).toEqual(watches.map(() => undefined));
    await proxy.idle();
    expect(proxy.open).toBe(0);
  });

  it("fails with UNAVAILABLE, and the cure, where nobody listens, and works once somebody does", async () => {
    proxy.mode("refuse");
    const error = await failure(() => store.read(["k"]));
    expect(error.code).toBe("UNAVAILABLE");
    expect(error.retryable).toBe(true);
    proxy.mode("pass");
    // The client waits for up to a second between two attempts to connect, and says meanwhile that it has not yet.
    const item = entry("k");
    for (let stored = false; !stored;) {
      const [result] = await store.write([{ entry: item, asOf: 0 }]).catch((again: unknown) => {
        expect(again).toMatchObject({ code: "UNAVAILABLE", retryable: true });
        return [];
      });
      stored = result?.status === "stored";
    }
    expect(await keysOf(store)).toEqual(["k"]);
  });

  // Mutation: the check of `waitingMax` in gate.ts.
  it("bounds what is under way and what waits", async () => {
    const small = await openAt(`${proxy.endpoint}/faults/bounded`, { ...QUICK, inFlightMax: 2, waitingMax: 3 });
    await put(small, [entry("k")]);
    proxy.mode("hang");
    const calls = Array.from({ length: 6 }, () => failure(() => small.read(["k"], within(300))));
    const codes = (await Promise.all(calls)).map(({ code }) => code);
    expect(codes.filter((code) => code === "OVERLOADED")).toHaveLength(1);
    expect(codes.filter((code) => code === "TIMEOUT")).toHaveLength(5);
    await small.close();
  });
});
