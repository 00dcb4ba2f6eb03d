import { afterAll, describe, test } from "vitest";
import type { Supports } from "../../src/store.ts";
import { conformance, referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

/** The model must pass its own suite with every ability present, and with each absent. */
const variants: Record<string, Partial<Supports>> = {
  everything: { durable: true },
  "no stubs": { stubs: false },
  "no conditions": { conditional: false },
  polling: { watch: "poll" },
  expiring: { expiry: true },
  "known dates": { asOf: "known" },
  small: { keyBytesMax: 100, valueBytesMax: 1000, batchMax: 10 },
  "one at a time": { batchMax: 1, atomicBatch: false },
  readonly: { readonly: true, conditional: false, durable: true },
  nothing: {
    stubs: false,
    conditional: false,
    watch: "poll",
    expiry: true,
    asOf: "known",
    batchMax: 3,
    atomicBatch: false,
  },
};

let opened = 0;

for (const [name, supports] of Object.entries(variants)) {
  conformance({
    name: `reference, ${name}`,
    runner: { describe, test, afterAll },
    open: async () => {
      const runtime = simulatedRuntime({ seed: ++opened, drain });
      const state = referenceState();
      const open = () => referenceStore({ runtime, supports, state });
      const behind = referenceStore({ runtime, state, supports: { ...supports, readonly: false } });
      return {
        store: open(),
        runtime,
        advance: (ms) => runtime.advance(ms),
        reopen: supports.durable ? async () => open() : undefined,
        put: supports.readonly
          ? async (entries) => void (await behind.write(entries.map((entry) => ({ entry, asOf: runtime.now() }))))
          : undefined,
      };
    },
  });
}
