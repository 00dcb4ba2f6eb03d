import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Entry } from "../../src/entry.ts";
import { encodeEnvelope } from "../../src/envelope.ts";
import { SyncError } from "../../src/error.ts";
import type { Runtime } from "../../src/runtime.ts";
import { Connection } from "../../src/stores/etcd/connection.ts";
import type { Call } from "../../src/stores/etcd/connection.ts";
import { EtcdError } from "../../src/stores/etcd/failures.ts";
import { History } from "../../src/stores/etcd/history.ts";
import { Layout } from "../../src/stores/etcd/layout.ts";
import { Leases } from "../../src/stores/etcd/leases.ts";
import { limitsOf } from "../../src/stores/etcd/limits.ts";
import { DELETED, NOSPACE, RANGE, TXN } from "../../src/stores/etcd/messages.ts";
import type { WatchEvent, WatchRequest, WatchResponse } from "../../src/stores/etcd/messages.ts";
import type { EtcdReader } from "../../src/stores/etcd/reading.ts";
import { Room } from "../../src/stores/etcd/room.ts";
import { EtcdWatch } from "../../src/stores/etcd/watching.ts";
import { formatCursor } from "../../src/stores/cursor.ts";
import { formatVersion } from "../../src/version.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";
import { entries, entry, failure, openAt, put, rawEtcd, runtime, versions } from "./etcd/world.ts";

/** What only many at once, or bytes that are none of its own, make of etcd's transactions. */
describe.skipIf(etcdMissing !== undefined)("writes to etcd", () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.close());
  const at = (prefix: string) => `${cluster.endpoints}/${prefix}`;
  const patience = { attemptMs: 20_000, timeoutMs: 60_000 };
  const tombstoneOf = (item: Entry): Entry => ({ ...item, state: "deleted", value: null });

  // Mutation: what a write replaces is put without comparing its revision in decide.ts. All look before any has put.
  it("over a tombstone, if absent, are met for one of many", async () => {
    const store = await openAt(at("tombstone"), patience);
    await put(store, [tombstoneOf(entry("k"))]);
    const many = Array.from({ length: 8 }, (_, i) => entry("k", String(i)));
    const results = await Promise.all(
      many.map(async (item) => (await store.write([{ entry: item, asOf: 0, if: "absent" }]))[0]?.status),
    );
    expect(results.filter((status) => status === "stored")).toEqual(["stored"]);
    expect(results.filter((status) => status === "conflict").length).toBe(7);
    const [kept] = await store.read(["k"]);
    expect(kept?.entry).toEqual(many[results.indexOf("stored")]);
    await store.close();
  });

  // Mutations: a condition decided on bytes that nobody can read; a later format taken for damage.
  it("over what is no entry: a condition is not known to hold, and a plain write heals it, but no later format", async () => {
    const store = await openAt(at("bytes"), patience);
    const raw = rawEtcd(cluster.endpoints);
    await put(store, [entry("warm")]);
    const later = encodeEnvelope(entry("later"), {});
    later[3] = (later[3] ?? 0) + 1;
    await raw.put("bytes/k/later", later);
    // As an entry of a high version begins, so that it is met by the first comparison.
    const damaged = encodeEnvelope(entry("damaged", "x".repeat(100)), {});
    damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
    await raw.put("bytes/k/damaged", damaged);
    const failing = async (item: Entry, condition?: "absent") => {
      const [result] = await store.write([{ entry: item, asOf: 0, if: condition }]);
      return result?.status === "failed" ? result.error.code : result?.status;
    };
    expect(await failing(entry("damaged"), "absent")).toBe("CORRUPT");
    expect(await failing(entry("later"), "absent")).toBe("CORRUPT");
    // Older than what may be there, so that it is looked at.
    const old = { ...entry("later"), version: formatVersion(1, 0, "00000000000000aa") };
    expect(await failing(old)).toBe("CORRUPT");
    expect(await failing({ ...old, key: "damaged" })).toBe("stored");
    expect((await store.read(["damaged"]))[0]?.entry?.version).toBe(old.version);
    await raw.close();
    await store.close();
  });

  // Mutation: a transaction is not cut by its bytes in writing.ts.
  it("of many large values are cut into requests that etcd takes", async () => {
    const store = await openAt(at("large"), patience);
    const items = entries("k", 9).map((item) => ({
      ...item,
      value: Buffer.concat(Array.from({ length: 8 }, () => runtime.random(new Uint8Array(60_000)))),
    }));
    await put(store, items);
    const keys = items.map(({ key }) => key);
    expect(await versions(store, keys)).toEqual(items.map(({ version }) => version));
    await store.close();
  });

  // Mutation: a transaction of whose answer nobody knows the size is not halved in writing.ts.
  it("that are answered by more than is taken at once are asked in halves", async () => {
    const store = await openAt(at("answers"), { ...patience, requestBytesMax: 65_536 });
    const older = entries("k", 100);
    const held = entries("k", 100).map((item) => ({ ...item, value: runtime.random(new Uint8Array(40_000)) }));
    await put(store, held);
    const results = await store.write(older.map((item) => ({ entry: item, asOf: 0 })));
    expect(results).toEqual(held.map(({ version }) => ({ status: "superseded", by: version })));
    await store.close();
  });

  // Mutation: 126 keys for a transaction that has one more level, and two reads in it, in writing.ts: etcd refuses it.
  it("below the watermark are as many as etcd takes with one more level", async () => {
    const store = await openAt(at("low"), { ...patience, role: "cache" });
    const old = entries("k", 130);
    const collected = entry("gone");
    await put(store, [collected]);
    await store.forget([{ key: "gone", version: collected.version, reason: "collected" }]);
    for (let time = 0; time < 2; time++) {
      const results = await store.write(old.map((item) => ({ entry: item, asOf: 0 })));
      expect(new Set(results.map(({ status }) => status))).toEqual(new Set(["too-old"]));
    }
    await store.close();
  });

  // Mutation: a renewal without comparing the note in writing.ts. All look before any has renewed.
  it("that renew a copy at once leave the latest date", async () => {
    const store = await openAt(at("dates"), { ...patience, role: "cache" });
    const dates = [9000, 2000, 8000, 3000, 7000, 4000];
    const items = entries("k", 12);
    await store.write(items.map((item) => ({ entry: item, asOf: 1000 })));
    // Which comes last is etcd's choice, a dozen times.
    await Promise.all(items.flatMap((item) => dates.map((asOf) => store.write([{ entry: item, asOf }]))));
    const answers = await store.read(items.map(({ key }) => key));
    expect(answers.map(({ asOf }) => asOf)).toEqual(items.map(() => 9000));
    await store.close();
  });
});

describe.skipIf(etcdMissing !== undefined)("trimming a cache in etcd", () => {
  // Mutation: `remove` of room.ts does not compare the revisions of the notes.
  it("leaves copies that were renewed after they were counted", async () => {
    const cluster = await startEtcd();
    try {
      const store = await openAt(`${cluster.endpoints}/trimmed`, {
        role: "cache",
        attemptMs: 20_000,
        timeoutMs: 60_000,
      });
      const items = entries("k", 8, runtime.random(new Uint8Array(20_000)));
      await store.write(items.map((item) => ({ entry: item, asOf: 1000 })));
      const [renewed, others] = [items.slice(0, 3), items.slice(3)];
      const address = { endpoints: [cluster.endpoints], prefix: "trimmed", user: undefined, tls: undefined };
      const connection = new Connection(address, { runtime, store: "etcd", ...limitsOf({ timeoutMs: 60_000 }) });
      const layout = new Layout("trimmed");
      const history = new History(connection, layout, runtime, "etcd");
      const late = [() => store.write(renewed.map((item) => ({ entry: item, asOf: 2000 })))];
      const meanwhile = {
        async ask(...[method, request, call]: Parameters<History["ask"]>) {
          if (method.path === TXN.path) await late.pop()?.(); // the first removals are about to be sent
          return history.ask(method, request, call);
        },
      } as unknown as History;
      const options = { runtime, store: "etcd", layout, connection, history: meanwhile, maintain: false };
      // Below all there is, so that all is removed.
      const room = new Room({ ...options, bytesMax: 16 });
      room.wrote(16);
      await room.close();
      expect(late).toEqual([]);
      const found = await store.read(items.map(({ key }) => key));
      expect(found.map(({ entry: held }) => held?.version)).toEqual([
        ...renewed.map(({ version }) => version),
        ...others.map(() => undefined),
      ]);
      await connection.close();
      await store.close();
    } finally {
      await cluster.close();
    }
  });
});

describe("what a cache in etcd remembers", () => {
  const call: Call = { operation: "write", deadline: runtime.monotonic() + 60_000, signal: undefined };

  // Mutation: no bound in `remember` of leases.ts.
  it("are so many leases; the oldest is granted anew", async () => {
    let granted = 0;
    const connection = {
      ownCall: () => call,
      call: () => Promise.resolve({ answer: { id: BigInt(++granted) } }),
    } as unknown as Connection;
    let now = 1.7e12;
    const clock = { ...runtime, now: () => now };
    const leases = new Leases(connection, { runtime: clock, store: "etcd", retentionMs: 0, copyTtlMs: undefined });
    const lease = () => leases.forEntry(entry("k", "x", now + 1000), call);
    const begun = now;
    for (let i = 0; i <= 1024; i++) {
      now = begun + i * 64_000;
      await lease();
    }
    expect(granted).toBe(1025);
    await lease();
    expect(granted).toBe(1025);
    now = begun;
    await lease();
    expect(granted).toBe(1026);
  });

  // Mutation: `admit` of room.ts does not wait for the count.
  it("is counted before more is written, once twice the share is uncounted", async () => {
    let answer = () => {};
    const counted = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const history = {
      async ask() {
        await counted;
        return { answer: { kvs: [], more: false, responses: [] } };
      },
    } as unknown as History;
    const connection = { ownCall: () => call } as unknown as Connection;
    const bytesMax = 160_000;
    const options = { store: "etcd", layout: new Layout("p"), connection, history, bytesMax, maintain: false };
    const room = new Room({ ...options, runtime: { ...runtime, random: (into) => into.fill(0) } });
    await room.admit(call);
    room.wrote(bytesMax / 8);
    let isAdmitted = false;
    const waiting = room.admit(call).then(() => {
      isAdmitted = true;
    });
    await new Promise(setImmediate);
    expect(isAdmitted).toBe(false);
    answer();
    await waiting;
    await room.close();
  });

  // Mutation: `admit` of room.ts goes on when what was counted failed.
  it("is counted anew, and told of, when counting has failed", async () => {
    const broken = new SyncError("UNAVAILABLE", "etcd does not answer", {});
    const history = { ask: () => Promise.reject(broken) } as unknown as History;
    const connection = { ownCall: () => call } as unknown as Connection;
    const bytesMax = 160_000;
    const options = { store: "etcd", layout: new Layout("p"), connection, history, bytesMax, maintain: false };
    const room = new Room({ ...options, runtime: { ...runtime, random: (into) => into.fill(0) } });
    room.wrote(bytesMax / 8);
    await expect(room.admit(call)).rejects.toBe(broken);
    await room.close();
  });
});

// Mutations: a member that is down stops it; no history dropped, no file rewritten, no alarm taken back; once for each.
it("room is made in the members that are there, once for all who were refused before", async () => {
  const call: Call = { operation: "write", deadline: runtime.monotonic() + 60_000, signal: undefined };
  const header = { revision: 7 };
  const history = {
    ask: () => Promise.resolve({ answer: { header, kvs: [], more: false, responses: [] } }),
  } as unknown as History;
  const done: string[] = [];
  const connection = {
    members: 2,
    ownCall: () => call,
    callMember(member: number, { path }: { path: string }) {
      done.push(`${path.split("/").at(-1)} ${member}`);
      return member === 0 ? Promise.reject(new SyncError("UNAVAILABLE", "it is down", {})) : Promise.resolve({});
    },
    call({ path }: { path: string }, request: { revision?: number; action?: number; memberId?: bigint }) {
      const { revision, action, memberId } = request;
      done.push([path.split("/").at(-1), revision ?? action, memberId].join(" ").trim());
      return Promise.resolve({ answer: { alarms: [{ memberId: 5n, alarm: NOSPACE }] } });
    },
  } as unknown as Connection;
  const options = { store: "etcd", layout: new Layout("p"), connection, history, bytesMax: 1e6, maintain: true };
  const room = new Room({ ...options, runtime });
  const sentAt = runtime.monotonic();
  const refusal = new SyncError("UNAVAILABLE", "the quota of etcd's database is used up", {});
  await Promise.all([room.make(call, sentAt, refusal), room.make(call, sentAt, refusal)]);
  await room.make(call, sentAt, refusal);
  expect(done).toEqual(["Compact 7", "Defragment 0", "Defragment 1", "Alarm 0 0", "Alarm 2 5"]);
});

/** A connection to a server that never answers, whose timers all end at once and say how long they were asked to take. */
async function toSilence() {
  const delays: number[] = [];
  const hasty: Runtime = {
    ...runtime,
    timer(delayMs, fn, background) {
      delays.push(delayMs);
      return runtime.timer(Math.min(delayMs, 1), fn, background);
    },
  };
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => sockets.add(socket.on("error", () => {})));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const address = { endpoints: [`127.0.0.1:${port}`], prefix: "p", user: undefined, tls: undefined };
  const limits = limitsOf({ attemptMs: 1000, timeoutMs: 86_400_000 });
  const connection = new Connection(address, { runtime: hasty, store: "etcd", ...limits });
  const close = async () => {
    await connection.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  };
  return { connection, delays, close };
}

// Mutations: no bound of attempts, no wait between them, waits of one length in connection.ts.
it("a server that never answers is asked eight times, each for twice as long, with waits by chance between", async () => {
  const { connection, delays, close } = await toSilence();
  const error = await failure(() => connection.call(RANGE, { key: Buffer.of(1) }, connection.ownCall("read")));
  expect([error.code, error.retryable]).toEqual(["TIMEOUT", true]);
  const attempts = delays.filter((_, i) => i % 2 === 0);
  const waits = delays.filter((_, i) => i % 2 === 1);
  expect([attempts.length, waits.length]).toEqual([8, 7]);
  for (const [i, ms] of attempts.entries()) expect(Math.abs(ms - 1000 * 2 ** i)).toBeLessThan(1000);
  for (const [i, ms] of waits.entries()) {
    const limitMs = Math.min(1000, 50 * 2 ** i);
    expect(ms).toBeGreaterThanOrEqual(limitMs / 2);
    expect(ms).toBeLessThan(limitMs + 1);
  }
  await close();
});

// Mutation: no timer in `watch` of connection.ts: keepalive asks nothing of a connection that never stood.
it("a stream that is never answered ends, after twice as long each time", async () => {
  const { connection, delays, close } = await toSilence();
  const ended = await new Promise<SyncError>((resolve, reject) => {
    connection.watch(connection.ownCall("watch"), 3, { answer: reject, end: resolve }).catch(reject);
  });
  expect(ended.retryable).toBe(true);
  expect(delays).toEqual([8000]);
  await close();
});

// Mutation: `changes` of watching.ts does not tell it, and the watch fails. No server compacts at that moment when asked.
it("a watch whose past is compacted while it is read is told to list again", async () => {
  const gone = new EtcdError("gone", "UNAVAILABLE", "required revision has been compacted", {});
  const history = {
    onGoneBack: () => () => {},
    epochAt: () => Promise.resolve({ epoch: { name: "ab", since: 1 }, cluster: "c1", revision: 10 }),
    ask: () => Promise.reject(gone),
  } as unknown as History;
  const connection = {} as Connection;
  const reader = {} as EtcdReader;
  const parts = { runtime, store: "etcd", layout: new Layout("p"), connection, history, reader, timeoutMs: 1000 };
  const cursor = formatCursor({ epoch: "c1xabx1", change: 5, initialKey: undefined });
  const call: Call = { operation: "watch", deadline: runtime.monotonic() + 60_000, signal: undefined };
  const told: string[] = [];
  for await (const { kind } of new EtcdWatch(parts, { prefix: "" }, { cursor }, () => call).changes()) told.push(kind);
  expect(told).toEqual(["relist"]);
});

// Mutation: the epoch is watched from the revision at which it was read: what is past is told late, or never.
it("a store that names itself while a watch begins is no other history, when the stream breaks at once", async () => {
  const layout = new Layout("p");
  const call: Call = { operation: "watch", deadline: runtime.monotonic() + 60_000, signal: undefined };
  const server = { revision: 5, epoch: { name: "0", since: 0 } };
  const history = {
    onGoneBack: () => () => {},
    epochAt: () => Promise.resolve({ ...server, cluster: "c1" }),
  } as unknown as History;
  const event = (type: number, key: Uint8Array, value = ""): WatchEvent => {
    const kv = { key, modRevision: ++server.revision, value: Buffer.from(value) };
    return { type, kv: { ...kv, createRevision: 0, version: 0, lease: 0n } };
  };
  let streams = 0;
  const connection = {
    watch(_: Call, __: number, on: Parameters<Connection["watch"]>[2]) {
      const breaks = ++streams === 1;
      let epochWatch: number | undefined;
      const ask = ({ create: { key, startRevision = 0, watchId = 0 } = {} }: WatchRequest) => {
        on.answer(toldBy(watchId, { created: true }));
        if (Buffer.compare(key ?? layout.epoch, layout.epoch) === 0) {
          if (startRevision === 0) epochWatch = watchId;
          return;
        }
        if (breaks) {
          const named = event(0, layout.epoch, "ab");
          server.epoch = { name: "ab", since: server.revision };
          if (epochWatch !== undefined) on.answer(toldBy(epochWatch, { events: [named] }));
        }
        on.answer(toldBy(watchId, { events: [event(DELETED, layout.entry(`k${streams}`))] }));
        if (breaks) on.end(new SyncError("UNAVAILABLE", "the stream ended", {}));
      };
      return Promise.resolve({ ask, cancel: () => {}, pause: () => {}, resume: () => {} });
    },
  } as unknown as Connection;
  const parts = { runtime, store: "etcd", layout, connection, history, reader: {} as EtcdReader, timeoutMs: 1000 };
  const told: string[] = [];
  for await (const one of new EtcdWatch(parts, { prefix: "" }, { initial: false }, () => call).changes()) {
    told.push(one.kind === "change" ? one.key : one.kind);
    if (told.length === 3) break;
  }
  expect(told).toEqual(["current", "k1", "k2"]);
});

// Mutation: what comes of a stream that is not listened to any more counts, in watching.ts: two streams come of one.
it("a stream that breaks while what it needs is read is opened again once", async () => {
  const unavailable = new SyncError("UNAVAILABLE", "etcd does not answer", {});
  const call: Call = { operation: "watch", deadline: runtime.monotonic() + 60_000, signal: undefined };
  let reads = 0;
  let streams = 0;
  let waits = 0;
  const epoch = { epoch: { name: "0", since: 0 }, cluster: "c1", revision: 5 };
  const history = {
    onGoneBack: () => () => {},
    epochAt: () => (++reads === 2 ? Promise.reject(unavailable) : Promise.resolve(epoch)),
  } as unknown as History;
  const counting: Runtime = {
    ...runtime,
    timer(delayMs, fn, background) {
      waits++;
      return runtime.timer(delayMs, fn, background);
    },
  };
  const done = new AbortController();
  const connection = {
    watch(_: Call, __: number, on: Parameters<Connection["watch"]>[2]) {
      const breaks = ++streams === 1;
      const ask = ({ create: { watchId = 0 } = {} }: WatchRequest) => {
        on.answer(toldBy(watchId, { created: true }));
        if (breaks) on.end(unavailable);
        else if (reads === 3) done.abort();
      };
      return Promise.resolve({ ask, cancel: () => {}, pause: () => {}, resume: () => {} });
    },
  } as unknown as Connection;
  const parts = { runtime: counting, store: "etcd", layout: new Layout("p"), connection, history };
  const watch = new EtcdWatch(
    { ...parts, reader: {} as EtcdReader, timeoutMs: 1000 },
    { prefix: "" },
    { initial: false, signal: done.signal },
    () => call,
  );
  const told = async () => {
    for await (const change of watch.changes()) expect(change.kind).toBe("current");
  };
  expect((await failure(told)).code).toBe("ABORTED");
  expect({ streams, waits }).toEqual({ streams: 2, waits: 1 });
});

function toldBy(watchId: number, part: Partial<WatchResponse>): WatchResponse {
  const nothing = { header: undefined, created: false, canceled: false, compactRevision: 0, cancelReason: "" };
  return { ...nothing, watchId, events: [], ...part };
}
