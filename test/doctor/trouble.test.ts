import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import type { CallOptions, Forget, Store, Write, WriteResult } from "../../src/store.ts";
import { ReferenceStore, referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";
import { examined, findingOf, stepsWith, words } from "./world.ts";

const NODE = "00000000000000aa";
const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Refuses some verb as servers refuse those who may not. */
function refusing(verb: "write" | "forget") {
  const refusal = () => new SyncError("UNAUTHORISED", "the key may not do this", { cure: "give it the right" });
  return class extends ReferenceStore {
    override async write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
      if (verb === "write") throw refusal();
      return super.write(writes, options);
    }
    override async forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
      if (verb === "forget") throw refusal();
      return super.forget(items, options);
    }
  };
}

describe("what the store does not let the doctor do", () => {
  // Mutation: `refused` not set, and every later check fails for the same reason.
  it("is told once, with the cure, and what needs it is left out", async () => {
    const { report } = await examined({ store: refusing("write") });
    expect(stepsWith(report, "failed")).toEqual(["values"]);
    expect(findingOf(report, "values")?.notes).toEqual([
      { kind: "failed", what: "the key may not do this", cure: "give it the right", code: "UNAUTHORISED" },
    ]);
    expect(stepsWith(report, "skipped")).toEqual(["newest", "conditions", "expiry", "batch", "forget"]);
    expect(report.left).toEqual([]);
  });

  it("is told by name when it is to remove", async () => {
    const { report, state } = await examined({ store: refusing("forget") });
    expect(stepsWith(report, "failed")).toEqual(["forget", "cleanup"]);
    expect(findingOf(report, "cleanup")?.notes[0]).toMatchObject({ cure: "give it the right" });
    expect([...report.left].sort()).toEqual([...state.copies.keys()].sort());
    expect(report.left.length).toBeGreaterThan(200);
  });

  it("is told of a store that cannot be opened, with its cure", async () => {
    const { report } = await examined({
      open: () => Promise.reject(new SyncError("NOT_FOUND", "there is no such bucket", { cure: "create it" })),
    });
    expect(report).toMatchObject({ supports: null, findings: [{ step: "connect", result: "failed" }] });
    expect(words(report)).toContain("there is no such bucket create it");
  });
});

describe("a store that may not be written to", () => {
  const filled = async () => {
    const state = referenceState();
    const runtime = simulatedRuntime({ seed: 1, drain });
    const store = referenceStore({ runtime, state });
    const version = "018000000000-0000-00000000000000aa" as never;
    const entry = { state: "value", value: Uint8Array.of(1), version, expires: null, meta: {} } as const;
    await store.write(["a", "b"].map((key) => ({ entry: { ...entry, key }, asOf: 1 })));
    return { state, runtime };
  };

  // Mutation: a step that writes, and says that it does not.
  it.each([
    ["asked for", { options: { readonly: true } }],
    ["by itself", { supports: { readonly: true } }],
  ] as const)("is only looked at: %s", async (_, how) => {
    const { state, runtime } = await filled();
    const calls: string[] = [];
    class Watched extends ReferenceStore {
      override async write(writes: readonly Write[], options?: CallOptions) {
        calls.push("write");
        return super.write(writes, options);
      }
      override async forget(items: readonly Forget[], options?: CallOptions) {
        calls.push("forget");
        return super.forget(items, options);
      }
    }
    const { report } = await examined({ ...how, store: Watched, state, runtime });
    expect(calls).toEqual([]);
    expect(report.readonly).toBe(true);
    expect(stepsWith(report, "failed")).toEqual([]);
    expect(stepsWith(report, "skipped")).toEqual(["values", "newest", "conditions", "expiry", "batch", "forget"]);
    expect(findingOf(report, "keys")?.what).toBe("the first 2 are in order");
    expect(findingOf(report, "watch")?.what).toMatch(/^begins/);
    expect([...state.copies.keys()]).toEqual(["a", "b"]);
  });
});

describe("time", () => {
  // Mutation: `bounded` without its timer, or `SILENT_MAX` not heeded.
  it("is limited for each check and in all, for a store that never answers", async () => {
    class Silent extends ReferenceStore {
      override read(keys: readonly string[], options?: CallOptions) {
        if (keys[0]?.endsWith("/none") === true) return super.read(keys, options);
        return new Promise<never>(() => {});
      }
      override write() {
        return new Promise<never>(() => {});
      }
    }
    const runtime = simulatedRuntime({ seed: 1, drain });
    const { report } = await examined({ store: Silent, runtime });
    expect(stepsWith(report, "failed")).toEqual(["values", "speed", "cleanup"]);
    expect(findingOf(report, "values")?.notes[0]).toMatchObject({ code: "TIMEOUT" });
    expect(findingOf(report, "values")?.notes[0]?.cure).toContain("--timeout");
    expect(stepsWith(report, "skipped")).toEqual([
      "newest",
      "conditions",
      "expiry",
      "watch",
      "keys",
      "batch",
      "forget",
    ]);
    expect(report.left).toHaveLength(5); // that is what may be there after all
    expect(runtime.monotonic()).toBeLessThan(30_000); // two checks, what may come late, cleaning up
  });

  it("is not spent on checks of a store that is open and does not answer", async () => {
    class Mute extends ReferenceStore {
      override async read(): Promise<never> {
        throw new SyncError("UNAVAILABLE", "no answer", { cure: "see that it runs" });
      }
    }
    const { report } = await examined({ store: Mute });
    expect(report.findings.map(({ step }) => step)).toEqual(["connect"]);
    expect(words(report)).toContain("no answer see that it runs");
  });

  // Mutation: the usual limit for all, and the check and the cleaning up end before the budget lets them push.
  it("is enough where commits wait a minute for their budget", async () => {
    const state = referenceState();
    let waits = 1;
    class Paced extends ReferenceStore {
      override async forget(items: readonly Forget[], options?: CallOptions) {
        await new Promise<void>((resolve) => this.runtime.timer(60_000, resolve));
        return super.forget(items, options);
      }
      override async write(writes: readonly Write[], options?: CallOptions) {
        if (waits-- > 0) await new Promise<void>((resolve) => this.runtime.timer(60_000, resolve));
        return super.write(writes, options);
      }
    }
    const options = { timeoutMs: undefined };
    const { report } = await examined({ store: Paced, state, patient: { keepsHistory: true }, options });
    expect(stepsWith(report, "failed"), words(report)).toEqual([]);
    expect(state.copies.size).toBe(0);
  });

  it("in all is limited: what is left then is skipped, and what was written removed", async () => {
    const state = referenceState();
    class Slow extends ReferenceStore {
      override async read(keys: readonly string[], options?: CallOptions) {
        await new Promise<void>((resolve) => this.runtime.timer(100, resolve));
        return super.read(keys, options);
      }
    }
    const { report } = await examined({ store: Slow, state, options: { totalMs: 1_000 } });
    expect(findingOf(report, "speed")).toMatchObject({ result: "failed" });
    expect(stepsWith(report, "skipped")).toContain("forget");
    expect(findingOf(report, "forget")?.what).toBe("there was no time left");
    expect(state.copies.size).toBe(0);
  });

  it("of a store that opens too late: it is closed", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    let closed = 0;
    class Late extends ReferenceStore {
      override async close() {
        closed++;
      }
    }
    const { report } = await examined({
      store: Late,
      runtime,
      open: (store: Store) => new Promise((resolve) => runtime.timer(5_000, () => resolve(store))),
    });
    expect(findingOf(report, "connect")?.notes[0]).toMatchObject({ code: "TIMEOUT" });
    await runtime.run();
    await drain();
    expect(closed).toBe(1);
  });
});

describe("an interruption", () => {
  // Mutation: the clean-up made with the caller's signal.
  it.each(["connect", "values", "conditions", "watch", "keys", "batch"] as const)(
    "in the check %s ends the checks, and all is removed",
    async (at) => {
      const control = new AbortController();
      const state = referenceState();
      const { report } = await examined({
        state,
        options: {
          signal: control.signal,
          onStep: (step) => {
            if (step === at) control.abort("SIGINT");
          },
        },
      });
      expect(stepsWith(report, "failed")).toEqual([]);
      expect(report.findings.map(({ step }) => step)).not.toContain("forget");
      expect(state.copies.size).toBe(0);
      expect(report.left).toEqual([]);
    },
  );

  it("while a write is under way waits for it, so that it cannot come after the cleaning", async () => {
    const control = new AbortController();
    const state = referenceState();
    class Slow extends ReferenceStore {
      override async write(writes: readonly Write[]) {
        control.abort("SIGINT");
        await new Promise<void>((resolve) => this.runtime.timer(1_000, resolve));
        return super.write(writes);
      }
    }
    const { report } = await examined({ store: Slow, state, options: { signal: control.signal } });
    expect(state.commits).toBeGreaterThan(0);
    expect(state.copies.size).toBe(0);
    expect(report.left).toEqual([]);
  });

  it("by whoever listens still closes the store and removes all", async () => {
    const state = referenceState();
    let closed = 0;
    class Counted extends ReferenceStore {
      override async close() {
        closed++;
        await super.close();
      }
    }
    const onFinding = ({ step }: { step: string }) => {
      if (step === "conditions") throw new Error("nobody reads any more");
    };
    await expect(examined({ store: Counted, state, options: { onFinding } })).rejects.toThrow("nobody reads any more");
    expect(closed).toBe(1);
    expect(state.copies.size).toBe(0);
  });
});

describe("what is there already", () => {
  // Mutation: what is younger than an hour is told too.
  it("stays as it is, also what a doctor left that was killed, which is told", async () => {
    const state = referenceState();
    const runtime = simulatedRuntime({ seed: 1, drain });
    const store = referenceStore({ runtime, state });
    const keys = ["a", ".doctor", ".doctor/mine", ".doctor/0123456789abcdef/speed", "\u{1F600}"];
    const version = "018000000000-0000-00000000000000aa" as never;
    const entry = { state: "value", value: Uint8Array.of(1), version, expires: null, meta: {} } as const;
    await store.write(keys.map((key) => ({ entry: { ...entry, key }, asOf: 1 })));
    // Another doctor is at work.
    const young = { ...entry, key: ".doctor/fedcba9876543210/speed", version: formatVersion(runtime.now(), 0, NODE) };
    await store.write([{ entry: young, asOf: 1 }]);
    const before = structuredClone([...state.copies]);
    const { report } = await examined({ state, runtime });
    expect(stepsWith(report, "failed")).toEqual([]);
    expect([...state.copies]).toEqual(before);
    expect(findingOf(report, "cleanup")).toMatchObject({ result: "advice" });
    expect(findingOf(report, "cleanup")?.notes[0]?.what).toContain("1 key of an earlier run");
  });

  it("is taken back only when opening created it and nothing is in it", async () => {
    for (const [there, expected] of [
      [false, 1],
      [true, 0],
    ] as const) {
      const state = referenceState();
      const runtime = simulatedRuntime({ seed: 1, drain });
      const version = "018000000000-0000-00000000000000aa" as never;
      const entry = { key: "k", state: "value", value: Uint8Array.of(1), version, expires: null, meta: {} } as const;
      if (there) await referenceStore({ runtime, state }).write([{ entry, asOf: 1 }]);
      let undone = 0;
      await examined({ state, runtime, patient: { undo: async () => void undone++ } });
      expect(undone).toBe(expected);
    }
  });
});
