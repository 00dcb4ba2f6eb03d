import { describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import type { Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerOptions } from "../../src/chain/layer.ts";
import { nodeOver } from "../../src/node/node.ts";
import type { Change } from "../../src/store.ts";
import { http } from "../../src/stores/http.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import { wireTo } from "../node/in-process.ts";
import type { Wire } from "../node/in-process.ts";
import { drain, truth } from "../node/world.ts";

const HEARTBEAT_MS = 5_000;
/** By then a feed that says nothing is given up, and another stands. */
const SILENCE_MS = 3.5 * HEARTBEAT_MS + 5_000;

/** A chain above a node, in simulated time; both can be asked. */
async function twoLevels(seed: number, far: LayerOptions = {}) {
  const runtime = simulatedRuntime({ seed, drain });
  let node = nodeOver(await farChain(), { name: "far" });
  const wire = wireTo(() => node);
  const store = await http("http://node.test/", { runtime, transport: wire.transport, heartbeatMs: HEARTBEAT_MS });
  const reports: Report[] = [];
  const clock = await versionClock({ runtime });
  const near = chain([layer(memory({ runtime })), layer(store)], {
    runtime,
    clock,
    collectIntervalMs: 0,
    onReport: (report) => void reports.push(report),
  });
  await runtime.advance(100);
  await near.ready();

  async function farChain() {
    const layers = [layer(memory({ runtime }), far), layer(truth(runtime))];
    return chain(layers, { runtime, clock: await versionClock({ runtime }), collectIntervalMs: 0 });
  }
  const put = (value: string, key = "k") =>
    settled(node.fetch(new Request(`http://x/v1/kv/${key}`, { method: "PUT", body: value })));
  const read = async (key = "k") => {
    const [answer] = await settled(near.read([key]));
    return textOf(answer?.entry?.value);
  };
  /** What the near memory answers without asking anybody. */
  const look = (key = "k") => textOf(near.look(key)?.entry.value);
  async function settled<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    await runtime.advance(50);
    return work;
  }
  /** Another process in the node's place, with nothing of what it had. */
  const restart = async () => {
    node.stop();
    node = nodeOver(await farChain(), { name: "far" });
    wire.breakFeeds();
  };
  return { runtime, near, store, wire, reports, put, read, look, restart };
}

/** How many requests for values were sent. */
function batches({ requests }: Wire): number {
  return requests.filter((request) => request.endsWith("/batch")).length;
}

function textOf(value: Uint8Array | null | undefined): string | undefined {
  return value === null || value === undefined ? undefined : new TextDecoder().decode(value);
}

describe("the feed", () => {
  // Mutation: the layer not watched.
  it("brings what changes at the node into the memory above, within a second", async () => {
    const { put, read, look, runtime } = await twoLevels(1);
    await put("one");
    expect(await read()).toBe("one");
    expect(look()).toBe("one");
    await put("two");
    await runtime.advance(950);
    expect(look()).toBe("two");
  });

  it("goes on after a connection that broke, with what was missed, and nothing is listed again", async () => {
    const { put, read, look, runtime, wire, reports } = await twoLevels(2);
    await put("one");
    await read();
    wire.cut = true;
    wire.breakFeeds();
    await put("two");
    await runtime.advance(3_000);
    expect(look()).toBeUndefined();
    wire.cut = false;
    await runtime.advance(3_000);
    expect(look()).toBe("two");
    expect(reports.filter(({ kind }) => kind === "relist")).toEqual([]);
  });

  // Mutation: the silence of a feed taken for quiet.
  it("does not trust a connection that says nothing: a heartbeat that is missing breaks it", async () => {
    const { put, read, look, runtime, wire } = await twoLevels(3);
    await put("one");
    await read();
    wire.silent = true;
    await put("two");
    await runtime.advance(HEARTBEAT_MS);
    const before = wire.requests.filter((request) => request.endsWith("/changes")).length;
    wire.silent = false;
    // The connection that hung is still open: what it says from here on begins with a gap, or it was given up.
    await runtime.advance(SILENCE_MS);
    expect(wire.requests.filter((request) => request.endsWith("/changes")).length).toBeGreaterThan(before);
    expect(look()).not.toBe("one");
    expect(await read()).toBe("two");
  });

  // Mutations: no interruption told (feed.ts); gaps not opened (carry.ts), or not looked at (look.ts).
  it("that says nothing makes what it brought suspect: it is asked for again, without its value", async () => {
    const { put, read, look, runtime, wire } = await twoLevels(9);
    await put("x".repeat(10_000));
    await read();
    wire.silent = true;
    expect(look()).toHaveLength(10_000);
    await runtime.advance(SILENCE_MS);
    expect(look()).toBeUndefined();
    const [asked, bytes] = [batches(wire), wire.bytes];
    expect(await read()).toHaveLength(10_000);
    expect(batches(wire)).toBe(asked + 1);
    expect(wire.bytes - bytes).toBeLessThan(200);
    await put("two");
    await runtime.advance(1_000);
    expect(await read()).toBe("two");
  });

  // Mutation: the copies of a gap trusted for their whole ttl, or not at all.
  it("is made up for, while it is broken, by asking as often as a store that has to be polled", async () => {
    const { put, read, look, runtime, wire } = await twoLevels(10, { ttlMs: 0 });
    await put("one");
    await read();
    wire.silent = true;
    await runtime.advance(SILENCE_MS);
    await read();
    expect(look()).toBe("one");
    await runtime.advance(900);
    expect(look()).toBe("one");
    await runtime.advance(200);
    expect(look()).toBeUndefined();
  });

  // Mutation: the gap not closed at "current"; suspicion for good.
  it("that goes on without loss makes what did not change good again, without a request", async () => {
    const { put, read, look, runtime, wire } = await twoLevels(11);
    await put("one");
    await put("other", "o");
    await read();
    await read("o");
    wire.cut = true;
    wire.breakFeeds();
    await runtime.advance(100);
    expect(look()).toBeUndefined();
    await put("two");
    wire.cut = false;
    const asked = batches(wire);
    await runtime.advance(3_000);
    expect(look("o")).toBe("other");
    expect(look()).toBe("two");
    // That of the value which changed and was held.
    expect(batches(wire)).toBe(asked + 1);
  });

  // Mutation: a gap makes copies fresh no more, but stale ones are not marked.
  it("that is broken with the node away leaves the rules for stale copies: marked, and no miss", async () => {
    const { put, near, read, runtime, wire } = await twoLevels(12);
    await put("one");
    await read();
    await read("nothing");
    wire.cut = true;
    wire.breakFeeds();
    await runtime.advance(100);
    const asked = near.read(["k"]);
    const missing = expect(near.read(["nothing"])).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await runtime.advance(100);
    expect(await asked).toMatchObject([{ stale: true, complete: false, entry: { key: "k" } }]);
    await missing;
  });

  // Mutations: watchMerged passes no interruption on; the node tells none (changes.ts).
  it("is told to be broken at every level above", async () => {
    const { put, read, look, runtime, wire, near } = await twoLevels(13);
    const middle = nodeOver(near, { name: "middle" });
    const upper = wireTo(() => middle);
    const store = await http("http://middle.test/", { runtime, transport: upper.transport, heartbeatMs: HEARTBEAT_MS });
    const clock = await versionClock({ runtime });
    const local = chain([layer(memory({ runtime })), layer(store)], { runtime, clock, collectIntervalMs: 0 });
    await runtime.advance(100);
    await put("one");
    await read();
    const first = local.read(["k"]);
    await runtime.advance(50);
    await first;
    const lookLocal = () => textOf(local.look("k")?.entry.value);
    expect(lookLocal()).toBe("one");
    wire.silent = true;
    await runtime.advance(SILENCE_MS);
    expect([look(), lookLocal()]).toEqual([undefined, undefined]);
    wire.silent = false;
    await runtime.advance(SILENCE_MS);
    expect([look(), lookLocal()]).toEqual(["one", "one"]);
    expect(upper.requests.filter((request) => request.endsWith("/changes"))).toHaveLength(1);
    await local.close();
  });

  it("is asked for again when nothing at all comes any more", async () => {
    const { runtime, wire } = await twoLevels(4);
    const feeds = () => wire.requests.filter((request) => request.endsWith("/changes")).length;
    wire.silent = true;
    const before = feeds();
    await runtime.advance(SILENCE_MS);
    expect(feeds()).toBeGreaterThan(before);
  });

  // Rule 20: until they are looked at again, copies from before a gap are nobody's truth. Mutation: `seq` not compared.
  it("takes an event that is missing for missed changes: copies are suspect until they were asked for again", async () => {
    const { put, read, look, runtime, wire, reports } = await twoLevels(5);
    await put("one");
    await read();
    wire.tamper = (text) => (text.includes("event: change") ? undefined : text);
    await put("two");
    await runtime.advance(500);
    wire.tamper = (text) => text;
    expect(look()).toBe("one");
    await runtime.advance(HEARTBEAT_MS + 1_000);
    expect(reports.filter(({ kind }) => kind === "relist").map(({ message }) => message)).toContainEqual(
      expect.stringMatching(/^event \d of the feed is missing$/),
    );
    expect(look()).toBeUndefined();
    expect(await read()).toBe("two");
  });

  it("is begun anew with a node that knows nothing of the cursor, and copies from before are suspect", async () => {
    const { put, read, look, runtime, restart, reports } = await twoLevels(6);
    await put("one");
    await read();
    await restart();
    await runtime.advance(5_000);
    expect(reports.some(({ kind }) => kind === "relist")).toBe(true);
    expect(look()).toBeUndefined();
  });

  it("tells the same changes once, whatever a connection does", async () => {
    const { store, put, runtime, wire } = await twoLevels(7);
    const told: Change[] = [];
    const control = new AbortController();
    const following = (async () => {
      for await (const change of store.watch({ prefix: "w/" }, { signal: control.signal })) told.push(change);
    })().catch((error: unknown) => error);
    await runtime.advance(50);
    for (let i = 0; i < 5; i++) {
      await put(`${i}`, `w/${i}`);
      await runtime.advance(1_500);
      wire.breakFeeds();
      await runtime.advance(1_500);
    }
    control.abort();
    await following;
    const kinds = told.map((change) => (change.kind === "change" ? change.key : change.kind));
    const again = ["interrupted", "current"];
    expect(kinds).toEqual(["current", ...[0, 1, 2, 3, 4].flatMap((i) => [`w/${i}`, ...again])]);
  });

  it("gives up after its time with a node that is not there, and says so", async () => {
    const { store, runtime, wire } = await twoLevels(8);
    wire.cut = true;
    const watch = (async () => {
      for await (const change of store.watch({ prefix: "" })) void change;
    })();
    const failed = expect(watch).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await runtime.advance(40_000);
    await failed;
  });
});
