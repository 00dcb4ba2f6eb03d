import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createStorage } from "unstorage";
import type { Storage } from "unstorage";
import httpDriver from "unstorage/drivers/http";
import { layer } from "../../src/chain/layer.ts";
import { memory } from "../../src/stores/memory.ts";
import { syncOver } from "../../src/sync.ts";
import { runtime, serve } from "../stores/http/world.ts";
import type { Served } from "../stores/http/world.ts";

let served: Served;
let open: Served;
let storage: Storage;
beforeAll(async () => {
  served = await serve([layer(memory({ runtime }))]);
  open = await serve([layer(memory({ runtime }))], { node: { allowClear: true } });
  storage = storageAt(served);
});
afterAll(async () => {
  await served.close();
  await open.close();
});

function storageAt({ server }: Served): Storage {
  return createStorage({ driver: httpDriver({ base: `${server.url}/unstorage` }) });
}

describe("unstorage's http driver, as it is", () => {
  it("sets and gets values of every kind that it has", async () => {
    for (const [key, value] of [
      ["text", "Grüße"],
      ["users:ada", { name: "Ada", pets: ["cat"] }],
      ["number", 5],
      ["flag", true],
      ["list", [1, 2]],
      ["with space:and%percent", "x"],
    ] as const) {
      await storage.setItem(key, value);
      expect(await storage.getItem(key)).toEqual(value);
      expect(await storage.hasItem(key)).toBe(true);
    }
    expect(await storage.getItem("nothing")).toBeNull();
    expect(await storage.hasItem("nothing")).toBe(false);
  });

  it("sets and gets raw bytes", async () => {
    const bytes = Uint8Array.of(0, 1, 254, 255);
    await storage.setItemRaw("raw", bytes);
    const got = await storage.getItemRaw<ArrayBuffer>("raw");
    expect(new Uint8Array(got ?? new ArrayBuffer(0))).toEqual(bytes);
  });

  it("lists keys, all of them and those of a base", async () => {
    const own = storageAt(await emptied());
    for (const key of ["a", "b:1", "b:2", "b:c:3"]) await own.setItem(key, key);
    expect((await own.getKeys()).toSorted()).toEqual(["a", "b:1", "b:2", "b:c:3"]);
    expect((await own.getKeys("b")).toSorted()).toEqual(["b:1", "b:2", "b:c:3"]);
    await own.removeItem("b:1");
    expect((await own.getKeys("b")).toSorted()).toEqual(["b:2", "b:c:3"]);
    expect(await own.getItem("b:1")).toBeNull();
  });

  it("knows when a value was written, and how long it lives", async () => {
    await storage.setItem("short", "x", { ttl: 60 });
    const { mtime, ttl } = await storage.getMeta("short");
    expect(Math.abs(runtime.now() - Number(mtime))).toBeLessThan(60_000);
    expect(ttl).toBeGreaterThan(50);
    expect(ttl).toBeLessThanOrEqual(60);
    expect((await storage.getMeta("text")).ttl).toBeUndefined();
    // Over before anybody can read it.
    await storage.setItem("gone", "x", { ttl: 0.001 });
    while (await storage.hasItem("gone"));
    expect(await storage.getItem("gone")).toBeNull();
  });

  it("shares its values with those who use Sync", async () => {
    const db = syncOver(served.chain);
    await db.set("shared/object", { from: "sync" });
    expect(await storage.getItem("shared:object")).toEqual({ from: "sync" });
    await storage.setItem("shared:text", "from unstorage");
    expect(await db.get("shared/text")).toBe("from unstorage");
  });

  // Mutation: no bound on what is gathered.
  it("refuses a list of more keys than it may gather, and names a way", async () => {
    const few = await serve([layer(memory({ runtime }))], { node: { limits: { keysMax: 2 } } });
    try {
      const own = storageAt(few);
      for (const key of ["a:1", "a:2"]) await own.setItem(key, "x");
      expect((await own.getKeys()).sort()).toEqual(["a:1", "a:2"]);
      await own.setItem("b", "x");
      const refused = await fetch(`${few.server.url}/unstorage/:`);
      expect(refused.status).toBe(413);
      expect(await refused.json()).toMatchObject({
        code: "TOO_LARGE",
        cure: expect.stringContaining("/v1/kv") as string,
      });
      expect((await fetch(`${few.server.url}/unstorage/a/:`)).status).toBe(200);
    } finally {
      await few.close();
    }
  });

  // Mutation: clear allowed when nothing is said.
  it("clears only where the node allows it", async () => {
    await expect(storage.clear()).rejects.toThrow("403");
    expect(await storage.hasItem("text")).toBe(true);
    const own = storageAt(await emptied());
    for (const key of ["a", "b:1", "b:2"]) await own.setItem(key, key);
    // unstorage sends nothing for a base within a mount; others may.
    expect((await fetch(`${open.server.url}/unstorage/b/:`, { method: "DELETE" })).status).toBe(200);
    expect(await own.getKeys()).toEqual(["a"]);
    await own.clear();
    expect(await own.getKeys()).toEqual([]);
  });
});

async function emptied(): Promise<Served> {
  await storageAt(open).clear();
  return open;
}
