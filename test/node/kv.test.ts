import { describe, expect, it } from "vitest";
import { problemOf, world } from "./world.ts";

describe("PUT and GET", () => {
  it("give back the bytes with their content type, version, expiry and metadata", async () => {
    const { ask, runtime } = await world();
    const expires = String(runtime.now() + 60_000);
    const headers = {
      "content-type": "image/png",
      "sync-expires": expires,
      "sync-meta-title": encodeURIComponent("Grüße, Welt"),
    };
    const bytes = Uint8Array.of(0, 255, 13, 10, 128);
    const put = await ask("/v1/kv/pictures/a%20b.png", { method: "PUT", body: bytes, headers });
    expect(put.status).toBe(200);
    const { version, key } = (await put.json()) as { version: string; key: string };
    expect(key).toBe("pictures/a b.png");
    expect(put.headers.get("etag")).toBe(`"${version}"`);
    const got = await ask("/v1/kv/pictures%2Fa%20b.png");
    expect(got.status).toBe(200);
    expect(new Uint8Array(await got.arrayBuffer())).toEqual(bytes);
    expect(Object.fromEntries(got.headers)).toMatchObject({
      "content-type": "image/png",
      "content-length": "5",
      "x-content-type-options": "nosniff",
      etag: `"${version}"`,
      "sync-version": version,
      "sync-expires": expires,
      "sync-meta-title": "Gr%C3%BC%C3%9Fe%2C%20Welt",
      "accept-ranges": "bytes",
      age: "0",
    });
    const head = await ask("/v1/kv/pictures/a%20b.png", { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "5", ""]);
  });

  it("take keys that no path carries by ?key=", async () => {
    const { ask } = await world();
    for (const key of [".", "..", "a/../b", "/", "a//b", "%2e", "ключ", "?key=x", "a+b c&d"]) {
      const path = `/v1/kv?key=${encodeURIComponent(key)}`;
      expect((await ask(path, { method: "PUT", body: key })).status).toBe(200);
      expect(await (await ask(path)).text()).toBe(key);
    }
  });

  it("answer 404 for what is known to be absent, deleted or expired, and say which", async () => {
    const { ask, put, runtime } = await world();
    const nothing = await ask("/v1/kv/nothing");
    expect([nothing.status, nothing.headers.get("sync-state")]).toEqual([404, "absent"]);
    expect(await problemOf(nothing)).toMatchObject({ status: 404, code: "ABSENT", retryable: false });
    await put("gone", "x");
    const deleted = await ask("/v1/kv/gone", { method: "DELETE" });
    expect(deleted.status).toBe(200);
    const gone = await ask("/v1/kv/gone");
    expect([gone.status, gone.headers.get("sync-state")]).toEqual([404, "deleted"]);
    await put("short", "x", { "sync-ttl": "1" });
    expect((await ask("/v1/kv/short")).status).toBe(200);
    await runtime.advance(1_500);
    const expired = await ask("/v1/kv/short");
    expect([expired.status, expired.headers.get("sync-state")]).toEqual([404, "expired"]);
  });
});
