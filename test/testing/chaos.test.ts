import { afterAll, describe, expect, it, test } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Store } from "../../src/store.ts";
import { chaos, conformance, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { ChaosOptions, ChaosStore, Verb } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

let opened = 0;

function setup(options: Partial<ChaosOptions> = {}) {
  const runtime = simulatedRuntime({ seed: ++opened, drain });
  const inner = referenceStore({ runtime });
  return { runtime, inner, store: chaos(inner, { runtime, seed: 7, ...options }) };
}

function entry(key: string, counter = 0): Entry {
  const version = formatVersion(1_700_000_000_000 - 1000, counter, "00000000000000aa");
  return { key, state: "value", value: new Uint8Array(1), version, expires: null, meta: NO_META };
}

const write = (store: Store, key: string, counter?: number) => store.write([{ entry: entry(key, counter), asOf: 1 }]);

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "fine",
    (error: unknown) => (error instanceof SyncError ? error.code : String(error)),
  );
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Every verb in its smallest form, ended. */
const CALLS: Record<Verb, (store: Store) => Promise<unknown>> = {
  read: (store) => store.read(["k"]),
  write: (store) => write(store, "k"),
  forget: (store) => store.forget([{ key: "k", version: entry("k").version, reason: "ghost" }]),
  list: (store) => collect(store.list({ prefix: "" })),
  watch: async (store) => {
    for await (const change of store.watch({ prefix: "" })) if (change.kind === "current") return;
  },
};
const VERBS = Object.keys(CALLS) as Verb[];

// A wrapper that changes or forgets an argument, an option or a member fails here.
conformance({
  name: "chaos without rates",
  runner: { describe, test, afterAll },
  open: async () => {
    const { store, runtime } = setup();
    return { store, runtime, advance: (ms) => runtime.advance(ms) };
  },
});

conformance({
  name: "chaos that only delays",
  runner: { describe, test, afterAll },
  open: async () => {
    const { store, runtime } = setup({ rates: { delay: 0.5 }, delayMsMax: 3 });
    return { store, runtime, advance: (ms) => runtime.advance(ms) };
  },
});

describe("chaos on command", () => {
  it("nests the name of what it wraps, and can do what that can", () => {
    const { store, inner } = setup();
    expect(chaos(store, { runtime: setup().runtime, seed: 1 }).name).toBe("chaos(chaos(reference))");
    expect(store.supports).toEqual(inner.supports);
  });

  it.each(VERBS)("fails the n-th %s before its effect, and no other", async (verb) => {
    const { store } = setup();
    store.failNth(2, { verb });
    const others = VERBS.filter((other) => other !== verb);
    for (const other of others) expect(await codeOf(CALLS[other](store))).toBe("fine");
    expect(await codeOf(CALLS[verb](store))).toBe("fine");
    expect(await codeOf(CALLS[verb](store))).toBe("UNAVAILABLE");
    expect(await codeOf(CALLS[verb](store))).toBe("fine");
    expect(store.calls(verb)).toBe(3);
    expect(store.calls()).toBe(7);
  });

  it("has no effect when a call fails before, and has it when a call fails after", async () => {
    const { store, inner } = setup();
    store.failNth(1);
    expect(await codeOf(write(store, "before"))).toBe("UNAVAILABLE");
    store.failNth(1, { point: "after" });
    expect(await codeOf(write(store, "after"))).toBe("UNAVAILABLE");
    const found = await inner.read(["before", "after"]);
    expect(found.map(({ entry }) => entry?.key)).toEqual([undefined, "after"]);
  });

  it("fails with the error it was given", async () => {
    const { store } = setup();
    store.failNth(1, { error: new SyncError("CORRUPT", "the disk") });
    expect(await codeOf(store.read(["k"]))).toBe("CORRUPT");
  });

  it("breaks a list and a watch between two items", async () => {
    const { store } = setup();
    for (const key of ["a", "b", "c"]) await write(store, key);
    for (const verb of ["list", "watch"] as const) {
      store.failNth(1, { verb, point: "midway" });
      const seen: unknown[] = [];
      const broken = (async () => {
        for await (const item of store[verb]({ prefix: "" })) seen.push(item);
      })();
      expect(await codeOf(broken)).toBe("UNAVAILABLE");
      expect(seen).toHaveLength(1);
    }
  });

  it("is down for the verbs named until it is up", async () => {
    const { store } = setup();
    store.down(["write", "list"]);
    const codes = async () => Promise.all(VERBS.map((verb) => codeOf(CALLS[verb](store))));
    expect(await codes()).toEqual(["fine", "UNAVAILABLE", "fine", "UNAVAILABLE", "fine"]);
    store.down();
    expect(await codes()).toEqual(VERBS.map(() => "UNAVAILABLE"));
    store.up();
    expect(await codes()).toEqual(VERBS.map(() => "fine"));
  });

  it("breaks open watches when it goes down", async () => {
    const { store, inner } = setup();
    const watch = codeOf(collect(store.watch({ prefix: "" }, { initial: false })));
    await drain();
    store.down();
    await write(inner, "k");
    expect(await watch).toBe("UNAVAILABLE");
  });
});

describe("chaos that hangs", () => {
  it.each(VERBS)("holds a %s until it resumes", async (verb) => {
    const { store, runtime } = setup();
    store.hang();
    let done = false;
    const work = CALLS[verb](store).then(() => (done = true));
    await runtime.advance(60_000);
    expect(done).toBe(false);
    store.resume();
    await work;
  });

  it.each(VERBS)("ends a held %s by its deadline, its signal, or close", async (verb) => {
    const call = (store: ChaosStore, options: object): Promise<unknown> => {
      if (verb === "read") return store.read(["k"], options);
      if (verb === "write") return store.write([{ entry: entry("k"), asOf: 1 }], options);
      if (verb === "forget") return store.forget([{ key: "k", version: entry("k").version, reason: "ghost" }], options);
      return collect<unknown>(store[verb]({ prefix: "" }, options));
    };
    const { store, runtime, inner } = setup();
    store.hang();
    const control = new AbortController();
    const late = codeOf(call(store, { deadline: runtime.monotonic() + 50 }));
    const given = codeOf(call(store, { signal: control.signal }));
    const kept = codeOf(call(store, {}));
    await runtime.advance(49);
    control.abort();
    expect(await given).toBe("ABORTED");
    await runtime.advance(1);
    expect(await late).toBe("TIMEOUT");
    expect(runtime.pendingTimers).toBe(0);
    expect((await inner.read(["k"]))[0]?.entry).toBeUndefined();
    await store.close();
    expect(await kept).toBe("CLOSED");
  });

  it("lets a held write take effect late, after its caller gave up, when told so", async () => {
    const { store, runtime, inner } = setup();
    store.hang({ late: true });
    const given = codeOf(store.write([{ entry: entry("k"), asOf: 1 }], { deadline: runtime.monotonic() + 5 }));
    await runtime.advance(5);
    expect(await given).toBe("TIMEOUT");
    expect((await inner.read(["k"]))[0]?.entry).toBeUndefined();
    store.resume();
    await runtime.settle();
    expect((await inner.read(["k"]))[0]?.entry?.key).toBe("k");
  });
});

describe("chaos by chance", () => {
  const rates = { before: 0.2, after: 0.2, delay: 0.2, hang: 0.1, midway: 0.1, relist: 0.1 };

  async function storm(seed: number) {
    const { store, runtime, inner } = setup({ seed, rates, traceMax: 500 });
    const codes: string[] = [];
    for (let i = 0; i < 200; i++) {
      const options = { deadline: runtime.monotonic() + 150 };
      const work = i % 2 === 0 ? store.write([{ entry: entry("k", i), asOf: 1 }], options) : store.read(["k"], options);
      const ended = codeOf(work);
      await runtime.run();
      codes.push(await ended);
    }
    return { store, codes, held: (await inner.read(["k"]))[0]?.entry?.version };
  }

  // Mutation: drawing from the sequence only when a rate is set, or by the order of timers.
  it("does the same again from the same seed, and something else from another", async () => {
    const [a, b, c] = [await storm(5), await storm(5), await storm(6)];
    expect(a.store.trace).toEqual(b.store.trace);
    expect([a.codes, a.held]).toEqual([b.codes, b.held]);
    expect(a.store.trace).not.toEqual(c.store.trace);
  });

  it("lets everything happen that has a rate", async () => {
    const { store, codes } = await storm(5);
    expect(new Set(codes)).toEqual(new Set(["fine", "UNAVAILABLE", "TIMEOUT"]));
    const did = new Set(store.trace.map((event) => event.did));
    expect([...did].sort()).toEqual(["delayed", "failed after", "failed before", "hung", "passed"]);
    expect(store.trace.length).toBeLessThanOrEqual(500);
    store.storm({});
    const before = store.trace.length;
    await write(store, "calm");
    expect(store.trace.slice(before).map(({ did }) => did)).toEqual(["passed"]);
  });

  it("spares the verbs that it is not for", async () => {
    const { store } = setup({ rates: { before: 1 }, verbs: ["read"] });
    expect(await codeOf(write(store, "k"))).toBe("fine");
    expect(await codeOf(store.read(["k"]))).toBe("UNAVAILABLE");
  });

  it("says relist to a watch, which then ends", async () => {
    const { store } = setup({ rates: { relist: 1 } });
    await write(store, "k");
    expect((await collect(store.watch({ prefix: "" }))).map(({ kind }) => kind)).toEqual(["relist"]);
  });
});
