import { describe, expect, it } from "vitest";
import { layerCalls } from "../../src/chain/call.ts";
import type { Layer } from "../../src/chain/layer.ts";
import { SyncError } from "../../src/error.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("a call of a layer", () => {
  // Mutation: an answer that comes after the deadline is taken for one: the breaker of a slow layer never opens.
  it("that is answered too late has failed, and stays so", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "slow", role: "store", store: {}, deadlineMs: 10, breakerFailures: 2, breakerMs: 1_000 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    for (let i = 0; i < 2; i++) {
      let answer: (text: string) => void = () => undefined;
      const late = new Promise<string>((resolve) => {
        answer = resolve;
      });
      const call = calls.call("read", () => late);
      const refused = expect(call).rejects.toMatchObject({ code: "TIMEOUT" });
      await runtime.advance(10);
      await refused;
      answer("late");
      await drain();
    }
    expect(calls.status()).toMatchObject({ breaker: "open", failures: 2, calls: 2, callMs: 20 });
    expect(calls.isLeftAlone()).toBe(true);
  });

  // Mutations: begin adds no deadline; end does not remove it; a deadline of many entries is that of one.
  it("has its own deadline among others, longer for many entries, and none when it has ended", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "slow", role: "store", store: {}, deadlineMs: 10, breakerFailures: 9, breakerMs: 1_000 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    const ends: string[] = [];
    const never = () => new Promise<never>(() => undefined);
    const ended = (name: string) => () => ends.push(`${name} ${runtime.monotonic()}`);
    await calls.call("read", () => Promise.resolve(1));
    await runtime.run(); // nothing is due any more that would keep the process alive
    expect(runtime.monotonic()).toBe(0);
    calls.call("write", never, 3_000).catch(ended("many"));
    await runtime.advance(5);
    calls.call("read", never).catch(ended("one"));
    calls.call("read", () => Promise.resolve(1)).then(ended("quick"), ended("quick failed"));
    await runtime.advance(100);
    expect(ends).toEqual(["quick 5", "one 15", "many 30"]);
    expect(runtime.pendingTimers).toBe(0);
  });

  // Mutations: `next` is called at the deadline and again with the late answer; a layer that is left alone is asked.
  it("is told once what became of it, be that an error", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "odd", role: "store", store: {}, deadlineMs: 10, breakerFailures: 2, breakerMs: 1_000 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    const told: unknown[] = [];
    const next = (outcome: unknown) => told.push(outcome instanceof SyncError ? outcome.code : outcome);
    let answer: (text: string) => void = () => undefined;
    const asked: string[] = [];
    const send = (what: string, promise: Promise<string>) => () => {
      asked.push(what);
      return promise;
    };
    calls.ask("read", { send: send("one", Promise.resolve("answer")), next }, 1);
    calls.ask("read", { send: send("two", Promise.reject(new Error("down"))), next }, 1);
    await runtime.advance(1);
    expect(told).toEqual(["answer", "UNAVAILABLE"]);
    calls.ask("read", { send: send("three", new Promise((resolve) => (answer = resolve))), next }, 1);
    await runtime.advance(10);
    answer("too late");
    await runtime.advance(1);
    calls.ask("read", { send: send("four", Promise.resolve("never")), next }, 1);
    expect(told).toEqual(["answer", "UNAVAILABLE", "TIMEOUT", "UNAVAILABLE"]);
    expect(asked).toEqual(["one", "two", "three"]);
    expect(calls.status()).toMatchObject({ breaker: "open", calls: 3, failures: 2 });
  });

  // Mutation: every layer is taken for one that cannot hang, or none is.
  it("has no deadline in memory, where nothing can hang", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "memory", role: "cache", store: memory({ runtime }), deadlineMs: 10, breakerFailures: 2 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    expect(await calls.call("read", async (options) => options)).toEqual({});
  });
});
