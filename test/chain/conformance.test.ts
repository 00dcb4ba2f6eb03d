import { afterAll, describe, test } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import { memory } from "../../src/stores/memory.ts";
import { conformance, referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { SimulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

const NEAR = ["memory", "disk", "region"] as const;

/** A chain of `depth` layers: memory, caches, and a durable source of truth that survives a reopen. */
function specs(depth: number, runtime: SimulatedRuntime, state = referenceState()): LayerSpec[] {
  const near = NEAR.slice(0, depth - 1).map((name, i) =>
    i === 0 ? layer(memory({ runtime }), { name }) : layer(referenceStore({ runtime, name }), { name }),
  );
  const truth = referenceStore({ runtime, name: "truth", state, supports: { durable: true, shared: true } });
  return [...near, layer(truth)];
}

let opened = 0;

for (const depth of [1, 2, 3, 4]) {
  conformance({
    name: `a chain of ${depth}`,
    runner: { describe, test, afterAll },
    open: async () => {
      const runtime = simulatedRuntime({ seed: ++opened, drain });
      const clock = await versionClock({ runtime });
      const state = referenceState();
      const open = () => chain(specs(depth, runtime, state), { runtime, clock });
      return { store: open(), runtime, advance: (ms) => runtime.advance(ms), reopen: async () => open() };
    },
  });
}
