import { describe, expect, it } from "vitest";
import { layerCalls } from "../../src/chain/call.ts";
import type { Layer } from "../../src/chain/layer.ts";
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

  // Mutation: every layer is taken for one that cannot hang, or none is.
  it("has no deadline in memory, where nothing can hang", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const layer = { name: "memory", role: "cache", store: memory({ runtime }), deadlineMs: 10, breakerFailures: 2 };
    const calls = layerCalls(layer as unknown as Layer, runtime, () => undefined);
    expect(await calls.call("read", async (options) => options)).toEqual({});
  });
});
