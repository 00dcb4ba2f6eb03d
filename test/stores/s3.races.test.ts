import { afterAll, afterEach, beforeEach, describe, expect, it, test } from "vitest";
import type { Entry } from "../../src/entry.ts";
import { isLow } from "../../src/version.ts";
import { s3 } from "../../src/stores/s3.ts";
import type { S3Options, S3Store } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { proxy } from "../servers/http-proxy.ts";
import type { Proxy } from "../servers/http-proxy.ts";
import { radosgw } from "../servers/radosgw.ts";
import { gate, held, text, tombstone, value, version, write } from "./s3/world.ts";

const runtime = systemRuntime;
const ceph = await reachable(radosgw);

if ("missing" in ceph) {
  test(`races on radosgw are not tested: ${ceph.missing}`, (context) => context.skip(ceph.missing));
} else {
  const { server } = ceph;
  afterAll(() => server.stop());
  let buckets = 0;
  let between: Proxy;
  /** The slow store goes through a proxy that can hold its requests; the quick one does not. */
  let slow: S3Store;
  let quick: S3Store;
  let options: S3Options;
  beforeEach(async () => {
    between = await proxy(server.url);
    options = {
      runtime,
      bucket: `races-${buckets++}`,
      endpoint: server.url,
      credentials: server,
      create: true,
    };
    quick = await s3(options);
    slow = await s3({ ...options, endpoint: between.url });
  });
  afterEach(async () => {
    between.fates(() => "pass");
    await Promise.all([slow.close(), quick.close()]);
    await between.close();
  });

  /** Holds the slow store's next request of this method to the key, lets something happen, and lets it go on. */
  async function meanwhile(method: string, key: string, call: () => Promise<unknown>, happens: () => Promise<unknown>) {
    const arrived = gate();
    const onward = gate();
    let once = true;
    between.fates((passing) => {
      if (!once || passing.method !== method || !passing.path.endsWith(`/${key}`)) return "pass";
      once = false;
      arrived.open();
      return onward.opened;
    });
    const calling = call();
    await arrived.opened;
    await happens();
    onward.open();
    return calling;
  }

  describe("a slow writer that saw bytes which are there again under a newer version", () => {
    const [v1, v2, v3, v4] = [version(1), version(2), version(3), version(4)];

    // Mutation: `formFor` always "plain". The ETag is the one that the slow writer saw, and the newest entry is lost.
    it("does not overwrite the same bytes written again", async () => {
      await write(slow, value("k", v1, "same"));
      const late = () => write(slow, value("k", v2, "older"));
      const result = await meanwhile("PUT", "k", late, () => write(quick, value("k", v3, "same")));
      expect(result).toEqual({ status: "superseded", by: v3 });
      expect(text(await held(quick, "k"))).toBe("same");
      expect((await held(quick, "k"))?.version).toBe(v3);
    });

    // Mutation: `pastAfter` forgets what went before (`return []`).
    it("does not overwrite them when other bytes were there in between", async () => {
      await write(slow, value("k", v1, "same"));
      const late = () => write(slow, value("k", v2, "older"));
      const result = await meanwhile("PUT", "k", late, async () => {
        await write(quick, value("k", v3, "other"));
        await write(quick, value("k", v4, "same"));
      });
      expect(result).toEqual({ status: "superseded", by: v4 });
      expect((await held(quick, "k"))?.version).toBe(v4);
    });

    // Mutation: the tombstone's body is empty.
    it("does not overwrite a newer tombstone with an older one", async () => {
      await write(slow, tombstone("k", v1));
      const late = () => write(slow, value("k", v2, "older"));
      const result = await meanwhile("PUT", "k", late, () => write(quick, tombstone("k", v3)));
      expect(result).toEqual({ status: "superseded", by: v3 });
      expect(await held(quick, "k")).toMatchObject({ state: "deleted", version: v3 });
    });

    // Mutation: PAST_MAX without its rule that a full list says nothing.
    it("does not overwrite them after more changes than an object remembers", async () => {
      await write(slow, value("k", v1, "same"));
      const late = () => write(slow, value("k", v2, "older"));
      const result = await meanwhile("PUT", "k", late, async () => {
        for (let i = 0; i < 20; i++) await write(quick, value("k", version(10 + i), `other ${i}`));
        await write(quick, value("k", version(99), "same"));
      });
      expect(result).toMatchObject({ status: "superseded" });
      expect(text(await held(quick, "k"))).toBe("same");
    });
  });

  describe("a key that is created while it is collected", () => {
    // Mutation: `checkCreated` returns at once.
    it("is taken back when its version is not above the new watermark", async () => {
      const [old, collected] = [version(1), version(2)];
      await write(quick, tombstone("k", collected));
      await slow.read(["k"]);
      const late = () => write(slow, value("other", old, "from long ago"));
      const result = await meanwhile("PUT", "other", late, () =>
        quick.forget([{ key: "k", version: collected, reason: "collected" }]),
      );
      expect(result).toEqual({ status: "too-old" });
      expect(await held(quick, "other")).toBeUndefined();
    });
  });

  // Mutation: the watermark is put without condition in watermark.ts: the slower of two takes it back.
  it("a collection watermark that two raise at once is the higher one", async () => {
    const raise = (store: S3Store, at: number) =>
      store.forget([{ key: `gone ${at}`, version: version(at), reason: "collected" }]);
    await raise(quick, 1);
    await meanwhile(
      "PUT",
      "watermark",
      () => raise(slow, 2),
      () => raise(quick, 5),
    );
    expect(await write(slow, value("k", version(3), "from long ago"))).toEqual({ status: "too-old" });
    expect(await held(quick, "k")).toBeUndefined();
  });

  describe("a key that is removed while it is written", () => {
    const [v1, v2] = [version(1), version(2)];

    // Mutation: `forget` without a grave: the DELETE takes the newer entry along.
    it("keeps what was written between the look and the removal", async () => {
      await write(quick, value("k", v1, "old"));
      const forgetting = () => slow.forget([{ key: "k", version: v1, reason: "ghost" }]);
      await meanwhile("PUT", "k", forgetting, () => write(quick, value("k", v2, "new")));
      expect(text(await held(quick, "k"))).toBe("new");
    });

    // Mutation: writers write over graves at once.
    it("keeps what is written between the grave and the removal: the writer waits", async () => {
      await write(quick, value("k", v1, "old"));
      const forgetting = () => slow.forget([{ key: "k", version: v1, reason: "ghost" }]);
      let writing: Promise<unknown> = Promise.resolve();
      await meanwhile("DELETE", "k", forgetting, async () => {
        expect(await held(quick, "k")).toBeUndefined(); // a grave counts as nothing
        writing = write(quick, value("k", v2, "new"));
        for (let i = 0; i < 20; i++) await quick.read(["k"]); // time enough for one that does not wait
      });
      expect(await writing).toEqual({ status: "stored" });
      expect(text(await held(quick, "k"))).toBe("new");
    });

    // Mutation: GRAVE_MS not looked at in removing.ts: writers who gave up waiting may have written by then.
    it("is buried anew when its grave took too long to be there", async () => {
      await write(quick, value("k", v1, "old"));
      let laterMs = 0;
      const late = { ...runtime, monotonic: () => runtime.monotonic() + laterMs };
      const store = await s3({ ...options, endpoint: between.url, runtime: late });
      between.seen.length = 0;
      const forgetting = () => store.forget([{ key: "k", version: v1, reason: "ghost" }]);
      await meanwhile("PUT", "k", forgetting, () => {
        laterMs = 1_001;
        return Promise.resolve();
      });
      const calls = between.seen.filter((line) => line.endsWith("/k")).map((line) => line.split(" ")[0]);
      expect(calls).toEqual(["HEAD", "PUT", "HEAD", "PUT", "DELETE"]);
      expect(await held(quick, "k")).toBeUndefined();
      await store.close();
    });

    it("can be removed again when the first to do so died behind its grave", async () => {
      await write(quick, value("k", v1, "old"));
      between.fates(({ method }) => (method === "DELETE" ? "reset" : "pass"));
      await expect(slow.forget([{ key: "k", version: v1, reason: "ghost" }])).rejects.toThrow(/no answer from S3/);
      await quick.forget([{ key: "k", version: v1, reason: "ghost" }]);
      expect(await keysOf(quick)).toEqual([]);
    });
  });

  describe("two stores on one bucket", () => {
    it("lose no step of a counter that both raise", async () => {
      const raise = async (store: S3Store, by: number) => {
        for (let done = 0; done < by;) {
          const now = await held(store, "n");
          const next = value(
            "n",
            version((Number(text(now) ?? 0) + 1) * 2 + (store === slow ? 1 : 0)),
            `${Number(text(now) ?? 0) + 1}`,
          );
          const result = await write(store, next, now === undefined ? "absent" : now.version);
          if (result?.status === "stored") done++;
        }
      };
      await Promise.all([raise(slow, 10), raise(quick, 10)]);
      expect(text(await held(quick, "n"))).toBe("20");
    });

    it("give an object of another tool one version, whoever looks", async () => {
      const url = await quick.presign("photos/a b.jpg", { expiresMs: 60_000, method: "PUT" });
      const put = await fetch(url, { method: "PUT", body: "pixels", headers: { "content-type": "image/jpeg" } });
      expect(put.status).toBe(200);
      const [one, two] = [await held(quick, "photos/a b.jpg"), await held(slow, "photos/a b.jpg")] as Entry[];
      expect(text(one)).toBe("pixels");
      expect(one?.meta).toEqual({ "content-type": "image/jpeg" });
      expect(one?.version).toBe(two?.version);
      expect(isLow(one?.version ?? version(0))).toBe(true);
      expect(await write(slow, value("photos/a b.jpg", version(1), "stamped"))).toEqual({ status: "stored" });
    });
  });

  async function keysOf(store: S3Store): Promise<string[]> {
    const keys: string[] = [];
    for await (const item of store.list({ prefix: "" })) if (item.kind === "entry") keys.push(item.key);
    return keys;
  }
}
