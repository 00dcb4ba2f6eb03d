import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { callOf } from "../../src/stores/s3/call.ts";
import type { Client } from "../../src/stores/s3/client.ts";
import { connect } from "../../src/stores/s3/connect.ts";
import { putStream } from "../../src/stores/s3/multipart.ts";
import { getStream } from "../../src/stores/s3/ranges.ts";
import { s3 } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { proxy } from "../servers/http-proxy.ts";
import type { Proxy } from "../servers/http-proxy.ts";
import { radosgw } from "../servers/radosgw.ts";
import { compiled } from "./compiled.ts";
import { all, failure, gate, held, value, version, write } from "./s3/world.ts";

const run = promisify(execFile);
const runtime = systemRuntime;
const MIB = 1024 * 1024;
const GROWTH_BYTES_MAX = 64 * MIB;
const ceph = await reachable(radosgw);

if ("missing" in ceph) {
  test(`streams on radosgw are not tested: ${ceph.missing}`, (context) => context.skip(ceph.missing));
} else {
  const { server } = ceph;
  const bucket = "streams";
  let between: Proxy;
  let client: Client;
  beforeAll(async () => {
    between = await proxy(server.url);
    const options = { runtime, bucket, endpoint: between.url, credentials: server, attempts: 2 };
    await (await s3({ ...options, create: true })).close();
    ({ client } = await connect(options));
  });
  afterAll(async () => {
    await client.close();
    await between.close();
    await server.stop();
  });

  async function* chunks(bytes: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes; at += 100_000) {
      await Promise.resolve();
      yield new Uint8Array(Math.min(100_000, bytes - at)).fill((at / 100_000) % 251);
    }
  }
  const target = (name: string) =>
    ({ name, headers: {}, over: undefined, conditions: "none", partBytes: 5 * MIB }) as const;
  const call = () => callOf(runtime, "s3", "stream");
  /** What the bucket holds of uploads that were not ended. */
  const orphans = async () => {
    const { body } = await client.send(call(), { method: "GET", name: "", query: { uploads: "" }, takes: [200] });
    return new TextDecoder().decode(body).match(/<UploadId>/g)?.length ?? 0;
  };

  describe("a stream", () => {
    // Mutation: PARTS_AT_ONCE 30, or `getStream` asking for the whole object.
    it("of 200 MiB goes up and down within 64 MiB of memory, whole", async () => {
      const program = compiled("test/stores/s3/stream.child.ts", "s3-stream");
      const { stdout } = await run(process.execPath, [program, server.url, bucket, "200"]);
      const result = JSON.parse(stdout) as { most: number; bytes: number; parts: number; hashes: [string, string] };
      expect(result.bytes).toBe(200 * MIB);
      expect(result.parts).toBeGreaterThan(30);
      expect(result.hashes[0]).toBe(result.hashes[1]);
      expect(result.most).toBeLessThanOrEqual(GROWTH_BYTES_MAX);
    }, 120_000);

    it("can be read from any byte to any other", async () => {
      await putStream(client, call(), target("ranges"), chunks(9 * MIB));
      const whole = Buffer.concat(await all(getStream(client, call(), { name: "ranges" })));
      expect(whole.length).toBe(9 * MIB);
      for (const [start, end] of [
        [0, 1],
        [8 * MIB - 1, 8 * MIB + 1],
        [9 * MIB - 3, Infinity],
        [9 * MIB, Infinity],
      ] as const) {
        const part = Buffer.concat(await all(getStream(client, call(), { name: "ranges" }, { start, end })));
        expect(part.equals(whole.subarray(start, end))).toBe(true);
      }
      expect((await failure(() => all(getStream(client, call(), { name: "nothing" })))).code).toBe("NOT_FOUND");
    });

    it("has another ETag each time, whatever its bytes", async () => {
      const first = await putStream(client, call(), target("etag"), chunks(6 * MIB));
      const second = await putStream(client, call(), target("etag"), chunks(6 * MIB));
      expect(first?.etag).not.toBe(second?.etag);
    });
  });

  describe("an upload that fails leaves nothing behind:", () => {
    async function* failing(bytes: number): AsyncGenerator<Uint8Array> {
      yield* chunks(bytes);
      throw new Error("the source broke");
    }
    // Mutation: `abandon` does nothing; the bucket then lists an upload for each.
    it.each<[string, () => Promise<unknown>]>([
      ["its source breaks", () => putStream(client, call(), target("a"), failing(12 * MIB))],
      [
        "a part is refused",
        () => {
          between.fates(({ path }) => (path.includes("partNumber=2") ? { status: 400 } : "pass"));
          return putStream(client, call(), target("b"), chunks(12 * MIB));
        },
      ],
      [
        "the connection breaks",
        () => {
          between.fates(({ path }) => (path.includes("partNumber=3") ? "reset" : "pass"));
          return putStream(client, call(), target("c"), chunks(18 * MIB));
        },
      ],
      [
        "its end is refused",
        () => {
          between.fates(({ method, path }) =>
            method === "POST" && path.includes("uploadId=") ? { status: 403 } : "pass",
          );
          return putStream(client, call(), target("d"), chunks(12 * MIB));
        },
      ],
      [
        "its end is answered by 200 and an error", // S3 begins to answer before it knows
        () => {
          between.fates(({ method, path }) =>
            method === "POST" && path.includes("uploadId=")
              ? { status: 200, body: "<Error><Code>InternalError</Code></Error>" }
              : "pass",
          );
          return putStream(client, call(), target("g"), chunks(12 * MIB));
        },
      ],
      [
        "its caller gives up",
        () => {
          const control = new AbortController();
          between.fates(({ path }) => {
            if (!path.includes("partNumber=2")) return "pass";
            control.abort();
            return "hang";
          });
          return putStream(
            client,
            callOf(runtime, "s3", "stream", { signal: control.signal }),
            target("e"),
            chunks(12 * MIB),
          );
        },
      ],
    ])("%s", async (_, upload) => {
      await expect(upload()).rejects.toThrow();
      between.fates(() => "pass");
      expect(between.seen.some((line) => line.startsWith("POST") && line.includes("uploads"))).toBe(true);
      expect(await orphans()).toBe(0);
    });

    // Mutation: it is not abandoned where the condition of its end was refused.
    it("its end is refused by its condition", async () => {
      between.fates(({ method, path }) => (method === "POST" && path.includes("uploadId=") ? { status: 412 } : "pass"));
      const over = { ...target("h"), over: { etag: "0".repeat(32) }, conditions: "quoted" } as const;
      expect(await putStream(client, call(), over, chunks(12 * MIB))).toBeUndefined();
      between.fates(() => "pass");
      expect(await orphans()).toBe(0);
    });

    // Mutation: `abandon` before the parts under way have ended: one that lands after it would stay.
    it("a part is still on its way", async () => {
      const onward = gate();
      const arrived = gate();
      between.fates(({ path }) => {
        if (!path.includes("partNumber=1&")) return "pass";
        arrived.open();
        return onward.opened;
      });
      const uploading = putStream(client, call(), target("i"), failing(12 * MIB)).catch((error: unknown) => error);
      await arrived.opened;
      const isAbandoned = () => between.seen.some((line) => line.startsWith("DELETE") && line.includes("/i?"));
      for (let i = 0; i < 20; i++) await orphans(); // time enough for one that does not wait
      expect(isAbandoned()).toBe(false);
      onward.open();
      expect(await uploading).toBeInstanceOf(Error);
      expect([isAbandoned(), await orphans()]).toEqual([true, 0]);
    });

    it("its condition does not hold any more", async () => {
      const stillMet = () => Promise.resolve(false);
      expect(await putStream(client, call(), { ...target("f"), stillMet }, chunks(12 * MIB))).toBeUndefined();
      expect(await orphans()).toBe(0);
    });
  });

  // Mutation: windows of a list cut by their number only: 64 values of 64 MiB would be in memory at once.
  it("a list of values holds some 32 MiB of them at a time", async () => {
    const options = { runtime, bucket, endpoint: between.url, credentials: server, prefix: "listed/" };
    const store = await s3(options);
    const bytes = new Uint8Array(3 * MIB);
    await store.write(Array.from({ length: 12 }, (_, i) => ({ entry: value(`k${i}`, version(i), bytes), asOf: 0 })));
    between.seen.length = 0;
    const list = store.list({ prefix: "" }, { detail: "values" })[Symbol.asyncIterator]();
    expect((await list.next()).done).toBe(false);
    expect(between.seen.filter((line) => /^GET .*\/k\d+$/.test(line))).toHaveLength(10);
    await list.return?.();
    await store.close();
  });

  describe("a large value", () => {
    it("goes up in parts where there are no conditions to keep, and comes down in ranges", async () => {
      const options = { runtime, bucket, endpoint: between.url, credentials: server, conditions: "none" } as const;
      const store = await s3({ ...options, multipartBytes: 5 * MIB });
      const bytes = new Uint8Array(20 * MIB).map((_, i) => (i >> 12) % 251);
      between.seen.length = 0;
      expect(await write(store, value("large", version(1), bytes))).toEqual({ status: "stored" });
      expect(between.seen.filter((line) => line.includes("partNumber=")).length).toBeGreaterThan(1);
      between.seen.length = 0;
      const back = (await held(store, "large"))?.value ?? new Uint8Array(0);
      expect(Buffer.from(back).equals(Buffer.from(bytes))).toBe(true);
      expect(between.seen.filter((line) => line.startsWith("GET")).length).toBeGreaterThan(2);
      await store.close();
    });
  });
}
