import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openChain } from "../../src/config/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { folderFor } from "../stores/http/folder.ts";
import { overMemory, runtime, serve, serveChain, storeOf } from "../stores/http/world.ts";
import type { Served } from "../stores/http/world.ts";

const BYTES = 6 * 2 ** 20;
let folder: string;
let served: Served;
beforeAll(async () => {
  folder = await folderFor("large");
  const chain = await openChain("lmdb:./store", { base: folder, collectIntervalMs: 0 });
  served = await serveChain(chain, { node: { limits: { bodyBytesMax: 2 ** 20 } } });
});
afterAll(async () => {
  await served.close();
  await rm(folder, { recursive: true });
});

const large = Uint8Array.from({ length: BYTES }, (_, i) => (i * 7919) >> (i % 8));
const sum = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const put = (url: string, body: Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
  fetch(url, { method: "PUT", body, headers });

describe("a value that is larger than a body may be", () => {
  it("goes through as a stream, whole and in parts, with its conditions", async () => {
    const url = `${served.server.url}/v1/kv/film`;
    const type = { "content-type": "video/mp4" };
    const stored = await put(url, large, { ...type, "if-none-match": "*" });
    expect(stored.status).toBe(200);
    expect((await put(url, large, { ...type, "if-none-match": "*" })).status).toBe(412);
    const whole = await fetch(url);
    expect([whole.headers.get("content-type"), whole.headers.get("content-length")]).toEqual([
      "video/mp4",
      String(BYTES),
    ]);
    expect(sum(new Uint8Array(await whole.arrayBuffer()))).toBe(sum(large));
    const part = await fetch(url, { headers: { range: "bytes=3000000-3000099" } });
    expect([part.status, part.headers.get("content-range")]).toEqual([206, `bytes 3000000-3000099/${BYTES}`]);
    expect(new Uint8Array(await part.arrayBuffer())).toEqual(large.slice(3_000_000, 3_000_100));
  });

  it("is read by another node piece by piece, and written so", async () => {
    await put(`${served.server.url}/v1/kv/film`, large);
    const near = await serve([layer(memory({ runtime })), layer(await storeOf(served))]);
    try {
      const url = `${near.server.url}/v1/kv`;
      expect(sum(new Uint8Array(await (await fetch(`${url}/film`)).arrayBuffer()))).toBe(sum(large));
      const part = await fetch(`${url}/film`, { headers: { range: "bytes=-5" } });
      expect(new Uint8Array(await part.arrayBuffer())).toEqual(large.slice(-5));
      const other = large.toReversed();
      expect((await put(`${url}/back`, other)).status).toBe(200);
      const there = await fetch(`${served.server.url}/v1/kv/back`);
      expect(sum(new Uint8Array(await there.arrayBuffer()))).toBe(sum(other));
    } finally {
      await near.close();
    }
  });

  // Mutation: the whole body gathered before its size is looked at.
  it("is refused where the chain takes no streams", async () => {
    const small = await overMemory();
    try {
      const limit = small.chain.supports.valueBytesMax;
      expect((await put(`${small.server.url}/v1/kv/k`, new Uint8Array(limit + 1))).status).toBe(413);
      expect((await put(`${small.server.url}/v1/kv/k`, new Uint8Array(limit))).status).toBe(200);
    } finally {
      await small.close();
    }
  });

  it("and a batch of many large ones comes in several messages", async () => {
    const store = await storeOf(served);
    const keys = Array.from({ length: 40 }, (_, i) => `half/${i}`);
    const value = new Uint8Array(2 ** 19).fill(7);
    for (const key of keys) expect((await put(`${served.server.url}/v1/kv/${key}`, value)).status).toBe(200);
    const answers = await store.read(keys, { wholeBytesMax: 2 ** 20 });
    expect(answers.map(({ entry }) => entry?.value?.length)).toEqual(keys.map(() => value.length));
    await store.close();
  });
});
