import { afterAll, describe, test } from "vitest";
import { conformance, simulatedRuntime } from "microsync/testing";
import { memory } from "../../src/stores/memory.ts";
import { systemRuntime } from "../../src/system.ts";

const runner = { describe, test, afterAll };

conformance({
  name: "memory",
  runner,
  open: async () => ({ store: memory({ runtime: systemRuntime }), runtime: systemRuntime }),
});

conformance({
  name: "memory in simulated time",
  runner,
  seed: 2,
  open: async () => {
    const runtime = simulatedRuntime({ seed: 2 });
    return { store: memory({ runtime }), runtime, advance: (ms) => runtime.advance(ms) };
  },
});
