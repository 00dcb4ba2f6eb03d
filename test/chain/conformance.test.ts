import { afterAll, describe, test } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
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

for (const depth of [1, 2, 4]) {
  conformance({
    name: `a chain of ${depth} behind a journal, acknowledged by all layers`,
    runner: { describe, test, afterAll },
    open: async () => {
      const runtime = simulatedRuntime({ seed: ++opened, drain });
      const clock = await versionClock({ runtime });
      const state = referenceState();
      const files = simulatedFiles({ seed: opened });
      const open = async () => {
        const journal = await openJournal({ files, runtime });
        return chain(specs(depth, runtime, state), { runtime, clock, journal, ack: "all", collectIntervalMs: 0 });
      };
      return { store: await open(), runtime, advance: (ms) => runtime.advance(ms), reopen: open };
    },
  });
}

/** What a write that is acknowledged by the journal cannot say yet. */
const NOT_JUDGED = "the journal acknowledges before a layer has judged the write: too-old goes to the conflict list";
const NOT_YET = "a watch tells a change when a store has it, which is after the acknowledgement";
conformance({
  name: "a chain of 3 behind a journal, acknowledged by it",
  runner: { describe, test, afterAll },
  open: async () => {
    const runtime = simulatedRuntime({ seed: ++opened, drain });
    const clock = await versionClock({ runtime });
    const state = referenceState();
    const files = simulatedFiles({ seed: opened });
    const open = async () => {
      const journal = await openJournal({ files, runtime });
      return chain(specs(3, runtime, state), { runtime, clock, journal, collectIntervalMs: 0 });
    };
    return { store: await open(), runtime, advance: (ms) => runtime.advance(ms), reopen: open };
  },
  skip: {
    "collection/watermark": NOT_JUDGED,
    "collection/watermark-never-falls": NOT_JUDGED,
    "collection/watermark-survives": NOT_JUDGED,
    "watches/without-initial": NOT_YET,
    "watches/resume": NOT_YET,
    "watches/late": NOT_YET,
    "life/reopened-cursor": NOT_YET,
  },
});
