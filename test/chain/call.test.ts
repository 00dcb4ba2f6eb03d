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

  // Mutation: done lets what `next` throws go by: the call never ends.
  it("ends with what is made of its outcome, be that an error", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "odd", role: "store", store: {}, deadlineMs: 10, breakerFailures: 1, breakerMs: 1_000 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    const said = (outcome: unknown) => (outcome instanceof SyncError ? outcome.code : outcome);
    expect(await calls.callThen("read", () => Promise.resolve("answer"), 1, said)).toBe("answer");
    const defect = new TypeError("a defect");
    const broken = calls.callThen(
      "read",
      () => Promise.resolve(1),
      1,
      () => {
        throw defect;
      },
    );
    await expect(broken).rejects.toBe(defect);
    expect(await calls.callThen("read", () => Promise.reject(new Error("down")), 1, said)).toBe("UNAVAILABLE");
    expect(await calls.callThen("read", () => Promise.resolve(1), 1, said)).toBe("UNAVAILABLE");
    expect(calls.status()).toMatchObject({ breaker: "open", calls: 3, failures: 1 });
  });

  // Mutation: every layer is taken for one that cannot hang, or none is.
  it("has no deadline in memory, where nothing can hang", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "memory", role: "cache", store: memory({ runtime }), deadlineMs: 10, breakerFailures: 2 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    expect(await calls.call("read", async (options) => options)).toEqual({});
  });
});
