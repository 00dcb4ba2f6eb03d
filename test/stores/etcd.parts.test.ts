import { describe, expect, it } from "vitest";
import { definition } from "../../bench/stores/etcd-bare.ts";
import { encodeEnvelope } from "../../src/envelope.ts";
import type { SyncError } from "../../src/error.ts";
import { etcdFailure } from "../../src/stores/etcd/failures.ts";
import { Gate } from "../../src/stores/etcd/gate.ts";
import { stem, stemEnd } from "../../src/stores/etcd/layout.ts";
import { Mailbox } from "../../src/stores/etcd/mailbox.ts";
import { RANGE, TXN, WATCH } from "../../src/stores/etcd/messages.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";
import { entry, failure, openAt } from "./etcd/world.ts";

interface Serializer {
  requestSerialize(value: object): Buffer;
  requestDeserialize(bytes: Buffer): object;
  responseSerialize(value: object): Buffer;
}
const peer = definition["etcdserverpb.KV"] as unknown as Readonly<Record<string, Serializer>>;
const utf8 = (text: string) => new TextEncoder().encode(text);

describe("messages", () => {
  // The other side is protobufjs with etcd's names and numbers. Mutation: any field number in messages.ts.
  it("are written as protobufjs reads them", () => {
    const put = { put: { key: utf8("k"), value: new Uint8Array(70_000).fill(7), lease: 2n ** 62n + 1n } };
    const nested = {
      compare: [{ result: 1, target: 3, key: utf8("k"), value: utf8("v") }],
      success: [{ range: { key: utf8("k"), rangeEnd: utf8("l"), limit: 300, revision: 2 ** 40, keysOnly: true } }],
      failure: [put, { remove: { key: utf8("gone") } }],
    };
    const bytes = TXN.request.encode({ success: [{ txn: nested }, put] });
    const read = peer["Txn"]?.requestDeserialize(bytes);
    expect(read).toMatchObject({
      success: [
        {
          request_txn: {
            compare: [{ result: 1, target: 3, key: Buffer.from("k"), value: Buffer.from("v") }],
            success: [
              {
                request_range: {
                  key: Buffer.from("k"),
                  range_end: Buffer.from("l"),
                  limit: 300,
                  revision: 2 ** 40,
                  keys_only: true,
                },
              },
            ],
            failure: [
              { request_put: { key: Buffer.from("k"), value: Buffer.alloc(70_000, 7) } },
              { request_delete_range: { key: Buffer.from("gone") } },
            ],
          },
        },
        { request_put: {} },
      ],
    });
    // And what protobufjs writes of it is the same, byte for byte.
    expect(
      Buffer.compare(
        peer["Range"]?.requestSerialize({ key: utf8("k"), limit: 7 }) ?? Buffer.alloc(0),
        RANGE.request.encode({ key: utf8("k"), limit: 7 }),
      ),
    ).toBe(0);
  });

  it("are read as protobufjs writes them", () => {
    const kvs = Array.from({ length: 3 }, (_, i) => ({
      key: utf8(`k${i}`),
      mod_revision: 2 ** 33 + i,
      value: utf8("v"),
    }));
    const header = { cluster_id: "18446744073709551615", member_id: 5, revision: 2 ** 52 };
    const bytes = peer["Range"]?.responseSerialize({ header, kvs, more: true, count: 128 }) ?? Buffer.alloc(0);
    expect(RANGE.answer.decode(bytes)).toMatchObject({
      header: { clusterId: 2n ** 64n - 1n, memberId: 5n, revision: 2 ** 52 },
      kvs: kvs.map(({ key, mod_revision: modRevision }) => ({
        key: Buffer.from(key),
        modRevision,
        value: Buffer.from("v"),
      })),
      more: true,
      count: 128,
    });
    expect(RANGE.answer.decode(new Uint8Array(0))).toMatchObject({ kvs: [], more: false, header: undefined });
  });

  it("carry negative numbers, skip unknown fields, and refuse what is cut short", () => {
    // watch_id -1, then an unknown field 15 of each wire type.
    const unknown = [0x78, 1, 0x7a, 1, 0, 0x79, ...Array.from({ length: 8 }, () => 0), 0x7d, 0, 0, 0, 0, 0x20, 1];
    const answer = WATCH.answer.decode(Uint8Array.of(0x10, ...Array.from({ length: 9 }, () => 0xff), 1, ...unknown));
    expect([answer.watchId, answer.canceled]).toEqual([-1, true]);
    const whole =
      peer["Range"]?.responseSerialize({ kvs: [{ key: utf8("key"), value: utf8("value") }] }) ?? Buffer.alloc(0);
    for (let length = 1; length < whole.length; length++) {
      expect(() => RANGE.answer.decode(whole.subarray(0, length))).toThrow(RangeError);
    }
  });
});

describe("the order of stored bytes", () => {
  // What newest-wins in one request rests on. Mutation: a stem without the format's number.
  it("is that of versions, whatever follows the version", () => {
    const nodes = ["0000000000000000", "00000000000000ff", "8000000000000000", "ffffffffffffffff"];
    const versions = [0, 1, 255, 256, 2 ** 40, 1.79e12, 2 ** 48 - 1].flatMap((ms) =>
      [0, 1, 0xff00, 0xffff].flatMap((counter) => nodes.map((node) => formatVersion(ms, counter, node))),
    );
    const forms = (version: (typeof versions)[number]) => {
      const value = { ...entry("k", "value"), version };
      const stub = { ...value, state: "stub" as const, value: null };
      const full = { ...value, expires: 2 ** 53 - 1, meta: { a: "\u{10ffff}" }, value: new Uint8Array(40).fill(255) };
      return [value, stub, full].map((item) => encodeEnvelope(item, { asOf: 2 ** 50 }));
    };
    for (const [i, version] of versions.entries()) {
      for (const other of [versions[i - 1], version, versions[i + 1]]) {
        if (other === undefined) continue;
        for (const bytes of forms(other)) {
          const newer = other >= version;
          expect(Buffer.compare(bytes, stem(version)) > 0).toBe(newer);
          expect(newer && Buffer.compare(bytes, stemEnd(version)) < 0).toBe(other === version);
        }
      }
    }
  });
});

describe("limits and failures", () => {
  it.each([
    [{ attemptMs: 0 }, "attemptMs"],
    [{ timeoutMs: 1.5 }, "timeoutMs"],
    [{ inFlightMax: 0 }, "inFlightMax"],
    [{ requestBytesMax: 1000 }, "requestBytesMax"],
    [{ role: "cache", bytesMax: 1 }, "bytesMax"],
    [{ role: "cache", copyTtlMs: 5 }, "copyTtlMs"],
    [{ bytesMax: 1_000_000 }, "no limit"],
    [{ role: "both" as never }, "role"],
  ] as const)("refuse %j", async (options, why) => {
    const error = await failure(() => openAt("etcd://h", options));
    expect([error.code, error.message]).toEqual(["INVALID", expect.stringContaining(why)]);
  });

  // Mutation: the check of sizes left to the server, which is asked over the wire then: there is none here.
  it("are enforced before anything is sent, and name the store", async () => {
    const store = await openAt("etcd://127.0.0.1:1");
    const { valueBytesMax, batchMax } = store.supports;
    expect([valueBytesMax, batchMax]).toEqual([1.5 * 1024 * 1024 - 8192, 1000]);
    const large = entry("k", new Uint8Array(valueBytesMax + 1));
    const [result] = await store.write([{ entry: large, asOf: 0 }]);
    expect(result).toMatchObject({ status: "failed", error: { code: "TOO_LARGE", store: "etcd" } });
    const many = Array.from({ length: batchMax + 1 }, (_, i) => `k${i}`);
    expect((await failure(() => store.read(many))).message).toMatch(/^etcd read: 1001 in one call, the limit is 1000/);
    await store.close();
  });

  it.each([
    [14, "etcdserver: leader changed", "UNAVAILABLE", "again"],
    [14, "No connection established. Last error: connect ECONNREFUSED", "UNAVAILABLE", "unreachable"],
    [8, "etcdserver: mvcc: database space exceeded", "UNAVAILABLE", "space"],
    [8, "Received message larger than max (99 vs 9)", "TOO_LARGE", "answer"],
    [8, "etcdserver: too many requests", "OVERLOADED", "again"],
    [3, "etcdserver: request is too large", "TOO_LARGE", "final"],
    [3, "etcdserver: too many operations in txn request", "TOO_LARGE", "final"],
    [3, "etcdserver: authentication failed, invalid user ID or password", "UNAUTHORISED", "final"],
    [3, "etcdserver: revision of auth store is old", "UNAUTHORISED", "token"],
    [7, "etcdserver: permission denied", "UNAUTHORISED", "final"],
    [16, "etcdserver: invalid auth token", "UNAUTHORISED", "token"],
    [5, "etcdserver: requested lease not found", "UNAVAILABLE", "lease"],
    [11, "etcdserver: mvcc: required revision has been compacted", "UNAVAILABLE", "gone"],
    [12, "unknown service", "UNSUPPORTED", "final"],
    [15, "etcdserver: corrupt cluster", "CORRUPT", "final"],
    [2, "anything", "UNAVAILABLE", "again"],
  ])("status %i %s is %s, %s", (status, text, code, reason) => {
    const error = etcdFailure(status, text, { store: "etcd", operation: "read" });
    expect([error.code, error.reason]).toEqual([code, reason]);
    expect(error.message).toMatch(/^etcd read: .*\(.*\)$/);
  });
});

describe("waiting", () => {
  it("is first come first served, ends by deadline and signal, and is refused when it is closed", async () => {
    const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
    const runtime = simulatedRuntime({ seed: 1, drain });
    const gate = new Gate({ runtime, store: "etcd", inFlightMax: 1, waitingMax: 10 });
    const control = new AbortController();
    const call = (deadline: number, signal?: AbortSignal) => ({ operation: "read", deadline, signal });
    expect(gate.enter(call(1000))).toBeUndefined();
    const order: string[] = [];
    const told = (name: string, entered: Promise<void> | undefined) =>
      entered?.then(
        () => order.push(name),
        (error: SyncError) => order.push(`${name} ${error.code}`),
      );
    const waiting = [
      told("first", gate.enter(call(1000))),
      told("late", gate.enter(call(100))),
      told("given up", gate.enter(call(1000, control.signal))),
      told("second", gate.enter(call(1000))),
    ];
    control.abort();
    await runtime.advance(100);
    gate.leave();
    await runtime.settle();
    expect(order).toEqual(["given up ABORTED", "late TIMEOUT", "first"]);
    const closed = gate.close();
    gate.leave();
    await Promise.all([...waiting, closed]);
    expect(order.at(-1)).toBe("second CLOSED");
  });

  // Mutation: the pause in mailbox.ts, without which a slow reader's events pile up.
  it("pauses a stream whose reader is slow, and lets it go on", async () => {
    const flow: string[] = [];
    const box = new Mailbox<number>(4, { pause: () => flow.push("pause"), resume: () => flow.push("resume") });
    for (let i = 0; i < 5; i++) box.put(i);
    expect(flow).toEqual(["pause"]);
    for (let i = 0; i < 5; i++) expect(await box.take()).toBe(i);
    expect(flow).toEqual(["pause", "resume"]);
    const next = box.take();
    box.put(9);
    expect(await next).toBe(9);
  });
});
