import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { chaos, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import { drain, problemOf, truth, world } from "./world.ts";

describe("conditions", () => {
  it("of a write: If-None-Match * over nothing, If-Match over its version, else 412 with what is there", async () => {
    const { ask, put } = await world();
    const first = await put("k", "one", { "if-none-match": "*" });
    expect(first.status).toBe(200);
    const tag = first.headers.get("etag") ?? "";
    const again = await put("k", "two", { "if-none-match": "*" });
    expect([again.status, again.headers.get("etag")]).toEqual([412, tag]);
    expect(await problemOf(again)).toMatchObject({ code: "CONFLICT", retryable: false });
    const second = await put("k", "two", { "if-match": tag });
    expect(second.status).toBe(200);
    expect((await put("k", "three", { "if-match": tag })).status).toBe(412);
    expect((await ask("/v1/kv/k", { method: "DELETE", headers: { "if-match": tag } })).status).toBe(412);
    expect(await (await ask("/v1/kv/k")).text()).toBe("two");
    expect((await put("k", "x", { "if-match": "*" })).status).toBe(200);
    expect((await put("absent", "x", { "if-match": "*" })).status).toBe(412);
    const several = `"other", ${(await ask("/v1/kv/k")).headers.get("etag") ?? ""}`;
    expect((await ask("/v1/kv/k", { method: "DELETE", headers: { "if-match": several } })).status).toBe(200);
    expect((await put("k", "new", { "if-none-match": "*" })).status).toBe(200);
  });

  it("that say nothing are refused", async () => {
    const { put } = await world();
    const all: Record<string, string>[] = [
      { "if-match": '"1"' },
      { "if-none-match": '"x"' },
      { "if-match": "*", "if-none-match": "*" },
    ];
    for (const headers of all) {
      const refused = await put("k", "v", headers);
      expect([refused.status, (await problemOf(refused)).code]).toEqual([400, "INVALID"]);
    }
  });

  it("of a read: 304 for the version one has, 412 for another than asked for", async () => {
    const { ask, put } = await world();
    const tag = (await put("k", "one")).headers.get("etag") ?? "";
    const same = await ask("/v1/kv/k", { headers: { "if-none-match": tag } });
    expect([same.status, await same.text(), same.headers.get("etag")]).toEqual([304, "", tag]);
    expect((await ask("/v1/kv/k", { headers: { "if-none-match": `W/"a", ${tag}` } })).status).toBe(304);
    expect((await ask("/v1/kv/k", { headers: { "if-none-match": '"a"' } })).status).toBe(200);
    expect((await ask("/v1/kv/k", { headers: { "if-match": '"a"' } })).status).toBe(412);
  });
});

describe("ranges", () => {
  it.each([
    ["bytes=0-3", 206, "0123", "bytes 0-3/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-2", 206, "89", "bytes 8-9/10"],
    ["bytes=0-99", 206, "0123456789", "bytes 0-9/10"],
    ["bytes=5-2", 200, "0123456789", null],
    ["bytes=0-1,4-5", 200, "0123456789", null],
    ["lines=0-1", 200, "0123456789", null],
    ["bytes=10-", 416, "", "bytes */10"],
    ["bytes=-0", 416, "", "bytes */10"],
  ])("%s", async (range, status, text, contentRange) => {
    const { ask, put } = await world();
    await put("k", "0123456789");
    const part = await ask("/v1/kv/k", { headers: { range } });
    expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([status, text, contentRange]);
  });

  it("of another version than If-Range names are the whole", async () => {
    const { ask, put } = await world();
    const tag = (await put("k", "0123456789")).headers.get("etag") ?? "";
    const range = "bytes=0-1";
    expect((await ask("/v1/kv/k", { headers: { range, "if-range": tag } })).status).toBe(206);
    expect((await ask("/v1/kv/k", { headers: { range, "if-range": '"old"' } })).status).toBe(200);
  });
});

describe("how fresh an answer is", () => {
  /** Memory with an old copy over a truth that has a newer one which nobody told of. */
  async function old() {
    const runtime = simulatedRuntime({ seed: 3, drain });
    const source = truth(runtime);
    const w = await world({
      runtime,
      layers: () => [layer(memory({ runtime })), layer(source, { watch: false })],
    });
    await w.put("k", "old");
    await w.ask("/v1/kv/k");
    const [answer] = await source.read(["k"]);
    const entry = answer?.entry;
    if (entry === undefined) throw new Error("nothing is there");
    await w.runtime.advance(5_000);
    const version = await w.chain.clock.stamp();
    await source.write([
      { entry: { ...entry, value: new TextEncoder().encode("new"), version }, asOf: w.runtime.now() },
    ]);
    return { ...w, version };
  }
  it.each([
    [{}, "old"],
    [{ "cache-control": "max-age=60" }, "old"],
    [{ "cache-control": "max-age=2" }, "new"],
    [{ "cache-control": "no-cache" }, "new"],
    [{ "cache-control": "max-age=0" }, "new"],
    [{ "cache-control": "only-if-cached" }, "old"],
    [{ "cache-control": "only-if-cached, max-age=60" }, "old"],
    [{ "cache-control": "no-transform, MAX-AGE=2" }, "new"],
  ])("%j gives %s", async (headers, expected) => {
    const { ask } = await old();
    const got = await ask("/v1/kv/k", { headers });
    expect(await got.text()).toBe(expected);
    expect(got.headers.get("age")).toBe(expected === "old" ? "5" : "0");
  });

  it("is at least what the caller has seen", async () => {
    const { ask, version } = await old();
    const got = await ask("/v1/kv/k", { headers: { "sync-at-least": version } });
    expect([await got.text(), got.headers.get("sync-version")]).toEqual(["new", version]);
  });

  it("is 504 where only what is near may be answered, and nothing is", async () => {
    const { ask } = await world();
    const none = await ask("/v1/kv/k", { headers: { "cache-control": "only-if-cached" } });
    expect(none.status).toBe(504);
    expect((await ask("/v1/kv/k", { headers: { "cache-control": "max-age=soon" } })).status).toBe(400);
  });

  // Mutations: memory alone is asked; the source is asked; a copy that is not fresh is answered.
  it("may be what any layer knows that is a cache or of this machine alone", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const disk = referenceStore({ runtime, name: "disk", supports: { durable: true } });
    const source = chaos(truth(runtime), { runtime, seed: 1 });
    const { ask, chain, put } = await world({
      runtime,
      layers: () => [layer(memory({ runtime })), layer(disk), layer(source, { watch: false })],
    });
    const near = async (key: string, more = "") => {
      const got = await ask(`/v1/kv/${key}`, { headers: { "cache-control": `only-if-cached${more}` } });
      return [got.status, got.status === 200 ? await got.text() : undefined, got.headers.get("cache-status")];
    };
    await put("k", "v");
    await put("gone", "v");
    await ask("/v1/kv/gone", { method: "DELETE" });
    for (const key of ["k", "gone"]) {
      const version = chain.look(key)?.entry.version;
      if (version !== undefined) await chain.layers[0]?.store.forget([{ key, version, reason: "ghost" }]);
    }
    source.down();
    const calls = source.calls();
    expect(await near("k")).toEqual([200, "v", "disk; hit, memory; fwd=miss; stored"]);
    expect(await near("k")).toEqual([200, "v", "memory; hit"]);
    expect((await near("gone"))[0]).toBe(404);
    expect((await near("never"))[0]).toBe(504);
    await runtime.advance(5_000);
    expect((await near("k", ", max-age=2"))[0]).toBe(504);
    expect((await near("k", ", no-cache"))[0]).toBe(504);
    await runtime.advance(60_000);
    expect((await near("k"))[0]).toBe(504);
    expect(source.calls()).toBe(calls);
    source.up();
    expect((await ask("/v1/kv/never")).status).toBe(404);
    expect((await near("never"))[0]).toBe(404);
  });

  // Mutation: a stale copy without a word of it.
  it("is said where it is less than asked for", async () => {
    const { ask, put, runtime, source: broken } = await failing();
    await put("k", "v");
    await ask("/v1/kv/k");
    broken.down();
    await runtime.advance(90_000);
    const answer = ask("/v1/kv/k");
    await runtime.advance(15_000);
    const stale = await answer;
    expect([stale.status, await stale.text(), stale.headers.get("sync-stale")]).toEqual([200, "v", "true"]);
    const none = ask("/v1/kv/nothing");
    await runtime.advance(15_000);
    expect((await none).status).toBe(503);
    expect((await none).headers.get("retry-after")).toBe("1");
  });
});

async function failing() {
  const runtime = simulatedRuntime({ seed: 1, drain });
  const source = chaos(truth(runtime), { runtime, seed: 1 });
  const w = await world({
    runtime,
    layers: () => [layer(memory({ runtime })), layer(source, { name: "truth", watch: false })],
  });
  return { ...w, source };
}

describe("acknowledgement", () => {
  /** A node with a journal, over a truth that can be taken away. */
  async function journaled() {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
    const source = chaos(truth(runtime), { runtime, seed: 1 });
    const copy = chaos(truth(runtime, "second"), { runtime, seed: 2 });
    const w = await world({
      runtime,
      chain: { journal },
      layers: () => [
        layer(memory({ runtime })),
        layer(source, { name: "truth", role: "store", watch: false }),
        layer(copy, { name: "copy", watch: false, breakerFailures: 1_000 }),
      ],
    });
    const ask = async (path: string, init: RequestInit, ms = 100) => {
      const answer = w.ask(path, init);
      await runtime.advance(ms);
      return answer;
    };
    return { ...w, ask, source, copy };
  }
  const put = (headers: Record<string, string>): RequestInit => ({ method: "PUT", body: "v", headers });

  it("is by the journal when nothing is said, and by the level that is asked for", async () => {
    const { ask, source } = await journaled();
    source.hang({ verbs: ["write"] });
    expect((await ask("/v1/kv/k", put({}))).status).toBe(200);
    expect((await ask("/v1/kv/k", put({ "sync-ack": "nobody" }))).status).toBe(400);
    source.resume();
    const all = await ask("/v1/kv/k", put({ "sync-ack": "all" }), 1_000);
    expect([all.status, all.headers.get("sync-pending")]).toEqual([200, null]);
    expect((await source.read(["k"]))[0]?.entry).toBeDefined();
  });

  // Mutation: the write reported as failed though it is on disk.
  it("that is not met in time is 202, with what is pending, and the value is there", async () => {
    const { ask, source } = await journaled();
    source.hang({ verbs: ["write"] });
    const late = await ask("/v1/kv/k", put({ "sync-ack": "truth", prefer: "respond-async, wait=2" }), 2_500);
    expect([late.status, late.headers.get("sync-pending")]).toEqual([202, "truth"]);
    expect(await late.json()).toMatchObject({ key: "k", pending: ["truth"] });
    expect(await (await ask("/v1/kv/k", {})).text()).toBe("v");
    source.resume();
    await ask("/livez", {}, 20_000);
    expect((await source.read(["k"]))[0]?.entry).toBeDefined();
  });

  // Mutation: the level waited for to the end of the request; the condition given no longer than the level.
  it("that a conditional write does not meet in time is 202 once its condition has held, and 412 where it has not", async () => {
    const { ask, source, copy } = await journaled();
    copy.hang({ verbs: ["write"] });
    const only = { "if-none-match": "*", "sync-ack": "copy", prefer: "wait=2" };
    const late = await ask("/v1/kv/k", put(only), 2_500);
    expect([late.status, late.headers.get("sync-pending")]).toEqual([202, "copy"]);
    expect((await source.read(["k"]))[0]?.entry?.version).toBe(late.headers.get("sync-version"));
    expect((await ask("/v1/kv/k", put(only), 2_500)).status).toBe(412);
    const over = { "if-match": late.headers.get("etag") ?? "", "sync-ack": "all", prefer: "wait=0" };
    expect((await ask("/v1/kv/k", put(over))).status).toBe(202);
    // Until it is decided it is not accepted, however short the wait for the level.
    source.hang({ verbs: ["write"] });
    const undecided = await ask("/v1/kv/j", put({ ...only, prefer: "wait=0" }), 70_000);
    expect([undecided.status, (await problemOf(undecided)).code]).toEqual([504, "INDETERMINATE"]);
  });

  it("by a layer that is down is 202 too", async () => {
    const { ask, source } = await journaled();
    source.down(["write"]);
    const late = await ask("/v1/kv/k", put({ "sync-ack": "all" }), 10_500);
    expect([late.status, late.headers.get("sync-pending")]).toEqual([202, "truth"]);
  });

  it("through a flush waits for everything", async () => {
    const { ask, source } = await journaled();
    source.down(["write"]);
    await ask("/v1/kv/k", put({}));
    expect((await ask("/v1/flush", { method: "POST" }, 5_000)).status).toBe(503);
    source.up();
    await ask("/livez", {}, 10_000); // the layer is tried again
    expect((await ask("/v1/flush", { method: "POST" }, 60_000)).status).toBe(200);
    expect((await source.read(["k"]))[0]?.entry).toBeDefined();
  });
});
