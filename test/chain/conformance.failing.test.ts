import { afterAll, describe, test } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { CallOptions, Store, Write } from "../../src/store.ts";
import { chaos } from "../../src/testing/chaos.ts";
import type { ChaosStore } from "../../src/testing/chaos.ts";
import { conformance, referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { SimulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import { retry } from "../../src/wrappers/retry.ts";
import { drain } from "./world.ts";

/**
 * The suite on chains of four layers with trouble in every place. A cache may fail in any way without any promise of
 * the chain being the less; the source of truth may fail now and then behind `retry`.
 * Mutation: advance (walk.ts) counts a failed cache as silent; writeNext fails a write for a cache; breaker removed.
 */
const runner = { describe, test, afterAll };
const small = { runs: 10, batchBound: 300, valueBytesBound: 65_536 };
const PLACES = ["near", "disk", "region"] as const;

const TROUBLES: Readonly<Record<string, (store: ChaosStore) => void>> = {
  "is down for good": (store) => store.down(),
  "fails every other call, before or after its effect": (store) => store.storm({ before: 0.25, after: 0.33 }),
  "hangs for good": (store) => store.hang(),
};

let suites = 0;

/** Lets the time pass that `close` waits for what hangs: the suite itself does not then. */
function closing(store: Store, runtime: SimulatedRuntime): Store {
  const close = store.close.bind(store);
  return Object.assign(store, {
    close: async () => {
      const closed = close();
      await runtime.advance(10_000);
      await closed;
    },
  });
}

function truthOf(runtime: SimulatedRuntime, state = referenceState()): Store {
  return referenceStore({ runtime, name: "truth", state, supports: { durable: true, shared: true } });
}

for (const [trouble, begin] of Object.entries(TROUBLES)) {
  for (const place of PLACES) {
    let seed = ++suites * 1_000;
    conformance({
      name: `a chain of 4 whose cache ${place} ${trouble}`,
      runner,
      ...small,
      open: async () => {
        const runtime = simulatedRuntime({ seed: ++seed, drain });
        const clock = await versionClock({ runtime });
        const state = referenceState();
        const open = () => {
          const caches = PLACES.map((name) => {
            const calm = referenceStore({ runtime, name });
            const store = chaos(calm, { runtime, seed });
            // Two contents of one version are an alarm, not a state: a cache that missed the greater one may show the
            // other. So a cache that answers at all is given both.
            const write = store.write.bind(store);
            const both = async (writes: readonly Write[], options?: CallOptions) => {
              const held = await calm.read(writes.map(({ entry }) => entry.key));
              const again = held.some(({ entry }, i) => entry?.version === writes[i]?.entry.version);
              return again ? calm.write(writes) : write(writes, options);
            };
            if (trouble.startsWith("fails")) store.write = both;
            if (name === place) begin(store);
            return layer(store, { name, deadlineMs: 20 });
          });
          return chain([...caches, layer(truthOf(runtime, state))], { runtime, clock });
        };
        const timed = () => closing(open(), runtime);
        return { store: timed(), runtime, advance: (ms) => runtime.advance(ms), reopen: async () => timed() };
      },
    });
  }
}

let seed = 0;
conformance({
  name: "a chain of 4 whose source of truth fails now and then, behind retry",
  runner,
  ...small,
  open: async () => {
    const runtime = simulatedRuntime({ seed: ++seed, drain });
    const clock = await versionClock({ runtime });
    const state = referenceState();
    const open = () => {
      const calm = truthOf(runtime, state);
      const bad = chaos(calm, { runtime, seed, rates: { before: 0.15, after: 0.1, midway: 0.01 } });
      // What is honestly answered to a condition, or to two writes of one key, when the first answer was lost
      // (INDETERMINATE, superseded) is not what the suite expects of a call that went well.
      const write = bad.write.bind(bad);
      const isDelicate = (writes: readonly Write[]) =>
        writes.some((one) => one.if !== undefined) ||
        new Set(writes.map(({ entry }) => entry.key)).size < writes.length;
      bad.write = (writes, options) => (isDelicate(writes) ? calm.write(writes, options) : write(writes, options));
      const caches = PLACES.map((name) => layer(referenceStore({ runtime, name }), { name }));
      const truth = layer(retry(bad, { runtime, attempts: 12, baseMs: 4, waitMsMax: 8 }), { name: "truth" });
      return chain([...caches, truth], { runtime, clock });
    };
    return { store: open(), runtime, advance: (ms) => runtime.advance(ms), reopen: async () => open() };
  },
});
