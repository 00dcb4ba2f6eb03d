import { describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import type { Chain, ChainOptions, Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { openJournal } from "../../src/journal/open.ts";
import { nodeOver } from "../../src/node/node.ts";
import type { NodeOptions, SyncNode } from "../../src/node/node.ts";
import { askForHops, withHops } from "../../src/node/server/hops.ts";
import { SyncError } from "../../src/error.ts";
import { PartialRead } from "../../src/store.ts";
import type { Answer, ReadOptions, Store } from "../../src/store.ts";
import { http } from "../../src/stores/http.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { chaos, simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion, versionClock } from "../../src/version.ts";
import { wireTo } from "./in-process.ts";
import { drain, truth } from "./world.ts";

/** Nodes in one process and one simulated time, each reached by the others through a wire. */
function federation(seed: number) {
  const runtime = simulatedRuntime({ seed, drain });
  const nodes = new Map<string, SyncNode>();
  const reports: Report[] = [];
  const wires = new Map<string, ReturnType<typeof wireTo>>();

  const wireOf = (name: string) => {
    const wire = wires.get(name) ?? wireTo(() => nodes.get(name));
    wires.set(name, wire);
    return wire;
  };
  const storeAt = (name: string): Promise<Store> => {
    const { transport } = wireOf(name);
    return http("http://node.test/", { runtime, name, transport, via: askForHops() });
  };
  const chainOf = async (layers: readonly LayerSpec[], more: Partial<ChainOptions> = {}): Promise<Chain> => {
    const clock = await versionClock({ runtime });
    return chain(layers, {
      runtime,
      clock,
      collectIntervalMs: 0,
      onReport: (report) => void reports.push(report),
      ...more,
    });
  };
  const put = (name: string, layered: Chain, options: NodeOptions = {}) => {
    const node = nodeOver(layered, { name, within: withHops, ...options });
    nodes.set(name, node);
    return node;
  };
  /** What one node answers, once time has passed for all of it. */
  const ask = async (name: string, path: string, init?: RequestInit): Promise<Response> => {
    const node = nodes.get(name);
    if (node === undefined) throw new Error(`there is no node ${name}`);
    const answer = node.fetch(new Request(`http://x${path}`, init));
    await runtime.advance(200);
    return answer;
  };
  return { runtime, nodes, reports, wireOf, storeAt, chainOf, put, ask };
}

async function threeLevels(seed: number) {
  const world = federation(seed);
  const { runtime, storeAt, chainOf, put } = world;
  const source = truth(runtime, "source");
  put("global", await chainOf([layer(memory({ runtime })), layer(source)]));
  put("region", await chainOf([layer(memory({ runtime })), layer(await storeAt("global"))]));
  put("local", await chainOf([layer(memory({ runtime })), layer(await storeAt("region"))]));
  put("other", await chainOf([layer(memory({ runtime })), layer(await storeAt("region"))]));
  return { ...world, source };
}

describe("three levels", () => {
  it("a cold read walks all three and fills them, and one Cache-Status tells it", async () => {
    const { ask } = await threeLevels(1);
    await ask("global", "/v1/kv/k", { method: "PUT", body: "v" });
    const cold = await ask("local", "/v1/kv/k");
    expect(await cold.text()).toBe("v");
    expect(cold.headers.get("cache-status")).toBe(
      "region/global/memory; hit, region/memory; fwd=miss; stored, memory; fwd=miss; stored",
    );
    const warm = await ask("local", "/v1/kv/k");
    expect(warm.headers.get("cache-status")).toBe("memory; hit");
    expect((await ask("other", "/v1/kv/k")).headers.get("cache-status")).toBe(
      "region/memory; hit, memory; fwd=miss; stored",
    );
  });

  it("a write at the local node is in the source, and one at the source's node arrives in local memory", async () => {
    const { ask, source, nodes, runtime } = await threeLevels(2);
    await ask("local", "/v1/kv/k", { method: "PUT", body: "from below" });
    expect(textOf((await source.read(["k"]))[0])).toBe("from below");
    await ask("local", "/v1/kv/k");
    await ask("global", "/v1/kv/k", { method: "PUT", body: "from above" });
    await runtime.advance(800);
    const slot = nodes.get("local")?.chain.look("k");
    expect(slot?.entry.value && new TextDecoder().decode(slot.entry.value)).toBe("from above");
  });

  // Mutation: maxAgeMs passed on to the chain whatever its own copies' ttl.
  it("100 reads at two local nodes at once are one at the global node", async () => {
    const { ask, nodes, wireOf, runtime } = await threeLevels(3);
    await ask("global", "/v1/kv/k", { method: "PUT", body: "v" });
    const before = wireOf("global").requests.length;
    const reads = ["local", "other"].flatMap((name) =>
      Array.from({ length: 50 }, () => nodes.get(name)?.fetch(new Request("http://x/v1/kv/k"))),
    );
    await runtime.advance(200);
    for (const response of reads) expect((await response)?.status).toBe(200);
    expect(wireOf("global").requests.slice(before)).toEqual(["POST /v1/batch"]);
  });

  // Mutations: a failure of one key fails the message (batch.ts), or the chain's batch (read.ts); it opens the breaker.
  it("one key that cannot be answered below does not keep the others of its batch", async () => {
    const { runtime, storeAt, chainOf, put, ask, nodes, wireOf } = federation(17);
    const source = chaos(truth(runtime, "source"), { runtime, seed: 1 });
    put("far", await chainOf([layer(memory({ runtime })), layer(source, { watch: false })]));
    const near = await chainOf([layer(memory({ runtime })), layer(await storeAt("far"), { breakerFailures: 1 })]);
    put("near", near);
    for (const key of ["a", "b"]) await ask("far", `/v1/kv/${key}`, { method: "PUT", body: key });
    source.down(["read"]);
    const asked = near.read(["a", "missing", "b"]).catch((error: unknown) => error);
    await runtime.advance(200);
    const partial = await asked;
    if (!(partial instanceof PartialRead)) throw new Error("the read has an answer for each key");
    const what = partial.answers.map((answer) => (answer instanceof SyncError ? answer.code : textOf(answer)));
    expect(what).toEqual(["a", "UNAVAILABLE", "b"]);
    expect(partial).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(nodes.get("near")?.chain.look("b")).toBeDefined();
    expect(wireOf("far").requests.filter((request) => request.endsWith("/batch"))).toHaveLength(1);
    expect(near.status().layers.at(-1)?.breaker).toBe("closed");
  });

  // Mutation: a write that is in every layer here, but not below, told as failed.
  it("a level that the node below cannot meet yet is 202, with the layer that leads there", async () => {
    const { runtime, storeAt, chainOf, put, ask } = federation(13);
    const source = chaos(truth(runtime, "source"), { runtime, seed: 1 });
    const journalOf = () => openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
    const behind = { journal: await journalOf() };
    put("far", await chainOf([layer(memory({ runtime })), layer(source, { name: "source", watch: false })], behind));
    const above = { journal: await journalOf() };
    put("near", await chainOf([layer(memory({ runtime })), layer(await storeAt("far"))], above));
    source.down(["write"]);
    const headers = { "sync-ack": "all" };
    const late = ask("near", "/v1/kv/k", { method: "PUT", body: "v", headers });
    await runtime.advance(15_000);
    expect([(await late).status, (await late).headers.get("sync-pending")]).toEqual([202, "far"]);
    source.up();
    await runtime.advance(60_000);
    expect(textOf((await source.read(["k"]))[0])).toBe("v");
  });

  it("an absent key is 404 when all were asked, 503 when one was not", async () => {
    const { ask, wireOf, runtime } = await threeLevels(4);
    expect((await ask("local", "/v1/kv/nothing")).status).toBe(404);
    wireOf("global").cut = true;
    await runtime.advance(6_000); // the absence was remembered
    const unknown = await ask("local", "/v1/kv/nothing");
    expect(unknown.status).toBe(503);
    expect(await unknown.json()).toMatchObject({ code: "UNAVAILABLE", retryable: true, status: 503 });
  });
});

describe("what travels", () => {
  /** A node over a chain whose reads are looked at, and may be answered by hand. */
  async function spied(seed: number, answer?: (keys: readonly string[]) => Answer[]) {
    const world = federation(seed);
    const { runtime, chainOf, put, storeAt } = world;
    const real = await chainOf([layer(memory({ runtime, name: "near" }), { ttlMs: 10_000 }), layer(truth(runtime))]);
    const asked: ReadOptions[] = [];
    const watched: Chain = {
      ...real,
      status: () => real.status(),
      async read(keys, options) {
        asked.push(options ?? {});
        return answer === undefined ? real.read(keys, options) : answer(keys);
      },
    };
    put("far", watched);
    const store = await storeAt("far");
    asked.splice(0);
    const read = async (options: ReadOptions, keys: readonly string[] = ["k"]) => {
      const answers = store.read(keys, options);
      answers.catch(() => undefined);
      await runtime.advance(50);
      return answers;
    };
    return { ...world, read, asked, store };
  }
  const version = formatVersion(2 ** 41, 0, "00000000000000aa");

  it("maxAgeMs, authority and atLeast go down, and the deadline as what is left of it", async () => {
    const { read, asked, runtime, wireOf } = await spied(5);
    await read({ maxAgeMs: 700, deadline: runtime.monotonic() + 1_234 });
    expect(asked.at(-1)).toMatchObject({ maxAgeMs: 700 });
    expect(wireOf("far").headers["sync-timeout-ms"]).toBe("1234");
    await read({ authority: true });
    expect(asked.at(-1)).toMatchObject({ authority: true });
    await read({ atLeast: new Map([["b", version]]) }, ["a", "b"]).catch(() => undefined);
    expect(asked.at(-1)?.atLeast).toEqual(new Map([["b", version]]));
  });

  // Mutation: a date in place of an age, with the clocks apart.
  it("the age comes up, counted back from the asking; stale and complete come with it", async () => {
    const entry: Entry = { key: "k", state: "deleted", value: null, version, expires: null, meta: NO_META };
    let now = 0;
    const world = await spied(6, () => [
      { entry, asOf: now - 5_000, complete: false, stale: true, from: "near" },
      { entry: undefined, asOf: now + 60_000, complete: true, stale: false, from: "near" },
    ]);
    now = world.runtime.now();
    const [old, unknown] = await world.read({}, ["k", "l"]);
    expect(old).toMatchObject({ entry, asOf: now - 5_000, complete: false, stale: true, from: "near" });
    // Dated in the future there: of unknown age, as old as can be here.
    expect(unknown).toMatchObject({ entry: undefined, asOf: 0, complete: true, stale: false });
  });

  // Mutation: 404 for whatever has no value.
  it("no value is not known from an answer that is stale, or of which something could not be asked", async () => {
    const entry: Entry = { key: "k", state: "deleted", value: null, version, expires: null, meta: NO_META };
    let answer: Answer = { entry, asOf: 0, complete: true, stale: true, from: "near" };
    const { ask } = await spied(11, () => [answer]);
    expect((await ask("far", "/v1/kv/k")).status).toBe(503);
    answer = { ...answer, entry: undefined, stale: false, complete: false };
    expect((await ask("far", "/v1/kv/k")).status).toBe(503);
    answer = { ...answer, complete: true };
    expect((await ask("far", "/v1/kv/k")).status).toBe(404);
  });

  // Rule 22. Mutation: the entry sent as it is.
  it("no stub comes up: an expired one is a tombstone of its version, a live one is no answer", async () => {
    let expires = 0;
    const stub = (key: string): Entry => ({ key, state: "stub", value: null, version, expires, meta: NO_META });
    const { read, runtime } = await spied(7, (keys) =>
      keys.map((key) => ({ entry: stub(key), asOf: 0, complete: true, stale: false, from: "near" })),
    );
    expires = runtime.now() - 1;
    const [dead] = await read({});
    expect(dead?.entry).toEqual({ key: "k", state: "deleted", value: null, version, expires: null, meta: NO_META });
    expires = runtime.now() + 60_000;
    await expect(read({})).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("loops", () => {
  // Mutation: the hops not looked at.
  it.each([true, false])("are refused by the names of the nodes, watched: %s", async (watch) => {
    const { runtime, storeAt, chainOf, put, ask, reports } = federation(8);
    put("a", await chainOf([layer(memory({ runtime })), layer(await storeAt("b"), { watch })]));
    put("b", await chainOf([layer(memory({ runtime })), layer(await storeAt("a"), { watch })]));
    const first = await ask("a", "/v1/kv/k", { method: "PUT", body: "x" });
    expect(first.status).toBeGreaterThanOrEqual(500);
    await runtime.advance(5_000);
    const known = await ask("a", "/v1/kv/k");
    expect(known.status).toBe(508);
    expect(await known.json()).toMatchObject({ reason: "the nodes form a loop: a -> b -> a", retryable: false });
    expect(reports.some(({ message }) => /form a loop: \w -> \w -> \w/.test(message))).toBe(watch);
  });

  // Each would send the other what it got, for ever. Mutation: the shape of the nodes below not looked at.
  it("come to rest also where each node acknowledges by its own journal", async () => {
    const { runtime, storeAt, chainOf, put, ask, wireOf } = federation(12);
    for (const [name, other] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
      put(name, await chainOf([layer(memory({ runtime })), layer(await storeAt(other))], { journal }));
    }
    await runtime.advance(3_000);
    expect((await ask("a", "/v1/kv/k", { method: "PUT", body: "x" })).status).toBe(508);
    await runtime.advance(60_000);
    const writes = () =>
      [...wireOf("a").requests, ...wireOf("b").requests].filter((each) => each.endsWith("/batch")).length;
    const before = writes();
    await runtime.advance(60_000);
    expect(writes() - before).toBe(0);
  });

  it("are told to whom a request comes back to", async () => {
    const { runtime, chainOf, put, ask } = federation(9);
    put("a", await chainOf([layer(truth(runtime))]));
    const headers = { "sync-via": "edge, a, b" };
    const refused = await ask("a", "/v1/kv/k", { headers });
    expect(refused.status).toBe(508);
    expect(await refused.json()).toMatchObject({ reason: "the nodes form a loop: edge -> a -> b -> a" });
  });

  it("and so are requests through too many nodes", async () => {
    const { runtime, storeAt, chainOf, put, ask, wireOf } = federation(10);
    put("c", await chainOf([layer(truth(runtime))]), { limits: { hopsMax: 1 } });
    put("b", await chainOf([layer(await storeAt("c"), { watch: false })]));
    put("a", await chainOf([layer(await storeAt("b"), { watch: false })]));
    expect((await ask("b", "/v1/kv/k", { method: "PUT", body: "x" })).status).toBe(200);
    expect(wireOf("c").headers["sync-via"]).toBe("b");
    const far = await ask("a", "/v1/kv/k", { method: "PUT", body: "x" });
    expect(wireOf("c").headers["sync-via"]).toBe("a, b");
    expect(far.status).toBe(501);
    expect(await far.json()).toMatchObject({ reason: expect.stringContaining("came through 2 nodes, the limit is 1") });
  });
});

function textOf(answer: Answer | undefined): string | undefined {
  return answer?.entry?.value ? new TextDecoder().decode(answer.entry.value) : undefined;
}
