import { afterAll, describe, expect, it, test } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Change, Store } from "../../src/store.ts";
import { chaos } from "../../src/testing/chaos.ts";
import { conformance, referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";
import { retry } from "../../src/wrappers/retry.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
let opened = 0;
const runner = { describe, test, afterAll };

conformance({
  name: "retry over a store",
  runner,
  open: async () => {
    const runtime = simulatedRuntime({ seed: ++opened, drain });
    const state = referenceState();
    const open = () => retry(referenceStore({ runtime, state, supports: { durable: true } }), { runtime });
    return { store: open(), runtime, advance: (ms) => runtime.advance(ms), reopen: async () => open() };
  },
});

conformance({
  name: "retry over a store that fails every fourth call, before or after its effect",
  runner,
  batchBound: 500,
  open: async () => {
    const runtime = simulatedRuntime({ seed: ++opened, drain });
    const rates = { before: 0.15, after: 0.1, midway: 0.02 };
    const calm = referenceStore({ runtime });
    const bad = chaos(calm, { runtime, seed: opened, rates });
    // Conditions under lost answers have tests of their own: INDETERMINATE is an answer that the suite does not know.
    const write = bad.write.bind(bad);
    bad.write = (writes, options) =>
      writes.some((one) => one.if !== undefined) ? calm.write(writes, options) : write(writes, options);
    const store = retry(bad, { runtime, attempts: 12, baseMs: 4, waitMsMax: 8 });
    return { store, runtime, advance: (ms) => runtime.advance(ms) };
  },
});

function world(options: { attempts?: number; baseMs?: number; waitMsMax?: number } = {}) {
  const runtime = simulatedRuntime({ seed: 7, drain });
  const direct = referenceStore({ runtime });
  const bad = chaos(direct, { runtime, seed: 7 });
  let stamps = 0;
  const entry = (key: string, text: string): Entry => ({
    key,
    state: "value",
    value: new TextEncoder().encode(text),
    version: formatVersion(runtime.now(), stamps++, "00000000000000aa"),
    expires: null,
    meta: NO_META,
  });
  return { runtime, direct, bad, entry, store: retry(bad, { runtime, ...options }) };
}

async function told<T>(items: AsyncIterable<T>, into: T[] = []): Promise<T[]> {
  for await (const item of items) into.push(item);
  return into;
}

async function after<T>(runtime: { run(): Promise<void> }, work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  await runtime.run();
  return work;
}

const write = (entry: Entry, condition?: "absent") => ({ entry, asOf: 0, if: condition });

describe("retry", () => {
  // Mutation: `this.name` is the inner name.
  it("names itself and has what the inner store has", () => {
    const w = world();
    expect(w.store.name).toBe("retry(chaos(reference))");
    expect(w.store.supports).toBe(w.bad.supports);
  });

  // Mutation: waitOrThrow counts to one more or one less.
  it("tries exactly as often as it was told, then throws the last error", async () => {
    const w = world({ attempts: 3 });
    w.bad.down();
    await expect(after(w.runtime, w.store.read(["k"]))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(w.bad.calls("read")).toBe(3);
    w.bad.up();
    w.bad.failNth(1);
    w.bad.failNth(2);
    expect(await after(w.runtime, w.store.read(["k"]))).toHaveLength(1);
    expect(w.bad.calls("read")).toBe(6);
  });

  // Mutation: waitOrThrow does not look at `retryable`.
  it("does not try again what cannot help", async () => {
    const w = world();
    w.bad.failNth(1, { error: new SyncError("CORRUPT", "damaged") });
    await expect(w.store.read(["k"])).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(w.store.read([""])).rejects.toMatchObject({ code: "INVALID" });
    expect(w.bad.calls("read")).toBe(2);
  });

  // Mutation: the limit does not double, is not capped, or the wait is the limit itself.
  it("waits at random, up to twice as long each time, and no longer than the cap", async () => {
    const runtime = simulatedRuntime({ seed: 3, drain });
    const waits: number[] = [];
    const timed = { ...runtime, timer: (ms: number, fn: () => void) => (waits.push(ms), runtime.timer(ms, fn)) };
    const bad = chaos(referenceStore({ runtime }), { runtime, seed: 1 });
    bad.down();
    const store = retry(bad, { runtime: timed, attempts: 5, baseMs: 100, waitMsMax: 300 });
    for (let i = 0; i < 200; i++) await expect(after(runtime, store.read(["k"]))).rejects.toThrow(SyncError);
    const nth = (n: number) => waits.filter((_, i) => i % 4 === n);
    for (const [n, limit] of [100, 200, 300, 300].entries()) {
      expect(Math.max(...nth(n))).toBeLessThanOrEqual(limit);
      expect(Math.max(...nth(n))).toBeGreaterThan(limit * 0.9);
      expect(Math.min(...nth(n))).toBeLessThan(limit * 0.1);
    }
  });

  // Mutation: waitOrThrow does not look at the deadline; pause not at the signal.
  it("ends by the caller's deadline and signal", async () => {
    const w = world({ attempts: 1_000, baseMs: 50, waitMsMax: 50 });
    w.bad.down();
    const late = w.store.read(["k"], { deadline: w.runtime.monotonic() + 200 });
    await expect(after(w.runtime, late)).rejects.toMatchObject({ retryable: true });
    expect(w.runtime.monotonic()).toBeLessThanOrEqual(200);
    const controller = new AbortController();
    const stopped = w.store.read(["k"], { signal: controller.signal });
    stopped.catch(() => undefined);
    await w.runtime.settle();
    controller.abort();
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(w.runtime.pendingTimers).toBe(0);
  });

  // Mutation: close does not wake the waits.
  it("close ends the waits with CLOSED, and watches quietly", async () => {
    const w = world({ attempts: 1_000, baseMs: 1_000 });
    w.bad.down();
    const read = w.store.read(["k"]);
    const watch = told(w.store.watch({ prefix: "" }));
    read.catch(() => undefined);
    await w.runtime.settle();
    await w.store.close();
    await expect(read).rejects.toMatchObject({ code: "CLOSED" });
    expect(await watch).toMatchObject([{ kind: "interrupted" }]);
    expect(w.runtime.pendingTimers).toBe(0);
  });

  // Mutation: list begins anew, or with the whole limit.
  it("a list goes on after the last key, and counts its limit on", async () => {
    const w = world();
    await w.direct.write(["a", "b", "c", "d"].map((key) => write(w.entry(key, key))));
    const keys = async (limit?: number) => {
      w.bad.failNth(1, { verb: "list", point: "midway" });
      w.bad.failNth(2, { verb: "list", point: "midway" });
      return (await after(w.runtime, told(w.store.list({ prefix: "" }, { limit })))).map((item) =>
        item.kind === "entry" ? item.key : "?",
      );
    };
    expect(await keys()).toEqual(["a", "b", "c", "d"]);
    expect(await keys(3)).toEqual(["a", "b", "c"]);
  });

  // Mutation: watch begins anew without its cursor; tells no interruption, or one for each attempt.
  it("a watch goes on from the last cursor and says that it was interrupted, and that it is current again", async () => {
    const w = world();
    await w.direct.write([write(w.entry("a", "1"))]);
    const seen: Change[] = [];
    const watch = told(w.store.watch({ prefix: "" }), seen);
    await w.runtime.settle();
    w.bad.down(["watch"]);
    await w.direct.write([write(w.entry("b", "2"))]);
    await w.runtime.settle();
    w.bad.up();
    await w.runtime.advance(10_000);
    const kinds = seen.map((change) => (change.kind === "change" ? change.key : change.kind));
    expect(kinds).toEqual(["a", "current", "interrupted", "b", "current"]);
    await w.store.close();
    await watch;
  });

  // Mutation: write sends everything again, or takes the whole call for failed.
  it("sends again only the writes that failed", async () => {
    const w = world();
    const sent: number[] = [];
    const inner: Store = Object.create(w.direct, {
      write: {
        value: async (writes: readonly { entry: Entry }[]) => {
          sent.push(writes.length);
          const error = new SyncError("UNAVAILABLE", "busy");
          return writes.map(({ entry }) =>
            entry.key === "b" && sent.length < 3 ? { status: "failed", error } : { status: "stored" },
          );
        },
      },
    }) as Store;
    const store = retry(inner, { runtime: w.runtime });
    const results = await after(w.runtime, store.write(["a", "b", "c"].map((key) => write(w.entry(key, key)))));
    expect(results).toEqual([{ status: "stored" }, { status: "stored" }, { status: "stored" }]);
    expect(sent).toEqual([3, 1, 1]);
  });

  // Mutation: settled gives the second answer as it is.
  it("a condition whose answer was lost is stored once, or INDETERMINATE when something newer is there", async () => {
    const w = world();
    w.bad.failNth(1, { verb: "write", point: "after" });
    const mine = w.entry("k", "mine");
    expect(await after(w.runtime, w.store.write([write(mine, "absent")]))).toEqual([{ status: "stored" }]);
    w.bad.failNth(1, { verb: "write", point: "after" });
    const lost = w.store.write([write(w.entry("l", "mine"), "absent")]);
    await w.runtime.settle();
    await w.direct.write([write(w.entry("l", "theirs"))]);
    expect(await after(w.runtime, lost)).toMatchObject([{ status: "failed", error: { code: "INDETERMINATE" } }]);
    await w.direct.write([write(w.entry("m", "older"))]);
    w.bad.failNth(1, { verb: "write" });
    const refused = w.store.write([write(w.entry("m", "mine"), "absent")]);
    expect(await after(w.runtime, refused)).toMatchObject([{ status: "conflict" }]);
  });

  it("refuses options out of range", () => {
    const w = world();
    for (const options of [{ attempts: 0 }, { attempts: 1.5 }, { baseMs: -1 }, { waitMsMax: Number.NaN }]) {
      expect(() => retry(w.bad, { runtime: w.runtime, ...options })).toThrow(/INVALID|option/);
    }
  });
});
