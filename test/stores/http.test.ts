import { afterAll, describe, test } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { memory } from "../../src/stores/memory.ts";
import { conformance } from "../../src/testing/index.ts";
import { overMemory, runtime, serve, storeOf } from "./http/world.ts";

const runner = { describe, test, afterAll };

conformance({
  name: "a node over memory",
  runner,
  open: async () => {
    const served = await overMemory();
    return { store: await storeOf(served), runtime, close: () => served.close() };
  },
});

conformance({
  name: "a node over a node over memory",
  runner,
  seed: 2,
  runs: 20,
  open: async () => {
    const far = await overMemory();
    const near = await serve([layer(memory({ runtime })), layer(await storeOf(far))]);
    const close = async () => {
      await near.close();
      await far.close();
    };
    return { store: await storeOf(near), runtime, close };
  },
});
