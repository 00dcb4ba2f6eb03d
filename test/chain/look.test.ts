import { describe, expect, it } from "vitest";
import { floors } from "../../src/chain/floors.ts";
import { gaps } from "../../src/chain/gaps.ts";
import type { Gap } from "../../src/chain/gaps.ts";
import { Gate } from "../../src/chain/gate.ts";
import { looks } from "../../src/chain/look.ts";
import type { ChainState } from "../../src/chain/state.ts";
import { NO_META, stubOf } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { coarseClock, exactClock } from "../../src/runtime.ts";
import type { Runtime } from "../../src/runtime.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";

const TTL_MS = 1_000;
const BEGAN = 1_700_000_000_000;

/** What a chain looks with, over a clock that is set by hand; memory is the first of so many layers. */
function looking(layers = 2, clock = exactClock) {
  let now = BEGAN;
  const runtime: Runtime = { ...simulatedRuntime({ seed: 1 }), now: () => now, coarse: clock(() => now) };
  const store = memory({ runtime });
  const counts = { hits: 0 };
  const gate = new Gate();
  const kept = floors(1_000_000, 100, gate);
  const missing = gaps([], gate);
  const state = {
    runtime,
    floors: kept,
    gaps: missing,
    gate,
    everywhere: [0, 1],
    slots: [store],
    calls: [{ counts }],
    layers: Array.from({ length: layers }, () => ({ ttlMs: TTL_MS, jitter: 0 })),
  };
  const found = looks(state as unknown as ChainState);
  const put = async (asOf: number, change: Partial<Entry> = {}) => {
    const version = formatVersion(BEGAN, 1, "0123456789abcdef");
    const entry: Entry = { key: "k", state: "value", value: new Uint8Array(1), version, expires: null, meta: NO_META };
    await store.write([{ entry: { ...entry, ...change }, asOf }]);
  };
  const at = (ms: number) => {
    now = BEGAN + ms;
  };
  const hits = () => counts.hits + gate.passed;
  return { ...found, store, hits, kept, missing, put, at, asOf: BEGAN };
}

type Looking = ReturnType<typeof looking>;

/** Whether a slot that has answered before answers now, found by its key and found in an index. */
function answers(one: Looking): [boolean, boolean] {
  const held = one.store.held("k");
  return [one.look("k") !== undefined, held !== undefined && one.lookAgain(held)];
}

describe("the synchronous look", () => {
  // Mutations: neither the gate nor the judging behind it compares the deadline; `deadlineOf` without `expires`, or without the ttl.
  it("answers until the copy is no longer fresh, or the value ends", async () => {
    const one = looking();
    await one.put(one.asOf);
    for (const [ms, fresh] of [
      [0, true],
      [TTL_MS - 1, true],
      [TTL_MS, false],
    ] as const) {
      one.at(ms);
      expect(answers(one)).toEqual([fresh, fresh]);
    }
    expect(one.hits()).toBe(4);
    const other = looking();
    await other.put(other.asOf, { expires: other.asOf + 10 });
    other.at(9);
    expect(answers(other)).toEqual([true, true]);
    other.at(10);
    expect(answers(other)).toEqual([false, false]);
  });

  it("answers for ever where memory is the truth, but not past the value's end", async () => {
    const one = looking(1);
    await one.put(one.asOf);
    for (const ms of [0, TTL_MS, 2 ** 31, 2 ** 40]) {
      one.at(ms);
      expect(answers(one)).toEqual([true, true]);
    }
  });

  // A deadline beyond 24 days is no small integer any more, and as true as one.
  it("answers in a process that is old", async () => {
    const one = looking();
    one.at(2 ** 33);
    await one.put(one.asOf + 2 ** 33);
    one.at(2 ** 33 + TTL_MS - 1);
    expect(answers(one)).toEqual([true, true]);
    one.at(2 ** 33 + TTL_MS);
    expect(answers(one)).toEqual([false, false]);
  });

  // Mutation: no look at `suspectUntil`.
  it("does not answer with what may have changed unseen", async () => {
    const one = looking();
    await one.put(one.asOf);
    expect(answers(one)).toEqual([true, true]);
    one.kept.suspect(one.asOf);
    expect(answers(one)).toEqual([false, false]);
    one.at(5);
    await one.put(one.asOf + 5);
    expect(answers(one)).toEqual([true, true]);
  });

  // Mutations: no look at gaps; `isKnown` without the comparison with them.
  it("does not answer with a copy from before a gap while a watch does not stand", async () => {
    const one = looking();
    await one.put(one.asOf);
    one.missing.open(1, one.asOf);
    expect(answers(one)).toEqual([false, false]);
    const gap = one.missing.of(1);
    if (gap !== undefined) one.missing.close(1, gap);
    expect(answers(one)).toEqual([true, true]);
  });

  // Mutations: no look at `latestAsOf`; `latestAsOf` never raised; `isKnown` without the comparison of asOf.
  it("does not answer with a copy whose age is not known, as the clock has stepped back", async () => {
    const one = looking();
    one.at(5_000);
    await one.put(one.asOf + 5_000);
    expect(answers(one)).toEqual([true, true]);
    one.at(4_000);
    expect(answers(one)).toEqual([true, true]); // as far as a coarse clock may lag
    one.at(3_999);
    expect(answers(one)).toEqual([false, false]);
    await one.put(one.asOf + 3_999, { version: formatVersion(BEGAN, 2, "0123456789abcdef") });
    expect(answers(one)).toEqual([true, true]);
  });

  // Mutations: `deadlineOf` without its first condition; the gate, or the judging behind it, lies before the beginning.
  it("never answers with a stub, nor with a copy from the future", async () => {
    const one = looking();
    await one.put(one.asOf + 1);
    one.at(500);
    expect(one.look("k")).toBeDefined();
    const stub = looking();
    const { key, version } = { key: "k", version: formatVersion(BEGAN, 1, "0123456789abcdef") };
    await stub.put(stub.asOf, stubOf({ key, version, state: "stub", expires: null, meta: NO_META }));
    expect(answers(stub)).toEqual([false, false]);
    stub.at(-1);
    expect(answers(stub)).toEqual([false, false]); // a coarse clock lies behind the beginning for a while
    const future = looking();
    await future.put(future.asOf + 1);
    expect(answers(future)).toEqual([false, false]);
    future.at(500);
    expect(answers(future)).toEqual([false, false]); // decided once: a walk renews it
  });

  // Mutations: the gate stays open, or is opened, while something is suspect; what it let through is not counted.
  it("shuts at once, not with the next reading of a coarse clock, and counts what answered", async () => {
    const one = looking(2, (now) => coarseClock(now, () => ({ cancel() {}, hold() {} })));
    await one.put(one.asOf);
    expect(answers(one)).toEqual([true, true]);
    expect(one.hits()).toBe(2);
    one.missing.open(1, BEGAN);
    expect(answers(one)).toEqual([false, false]);
    one.missing.close(1, one.missing.of(1) as Gap);
    for (let i = 0; i < 300; i++) expect(answers(one)).toEqual([true, true]);
    expect(one.hits()).toBe(602);
    one.kept.suspect(BEGAN);
    for (let i = 0; i < 300; i++) expect(answers(one)).toEqual([false, false]);
    expect(one.hits()).toBe(602);
  });

  // Mutation: `retire` leaves the deadline.
  it("does not answer again with a slot that another one has replaced", async () => {
    const one = looking();
    await one.put(one.asOf);
    const slot = one.look("k");
    if (slot === undefined) throw new Error("memory has the key");
    await one.put(one.asOf, { version: formatVersion(BEGAN, 2, "0123456789abcdef") });
    expect(one.lookAgain(slot)).toBe(false);
    expect(one.look("k")?.entry.version).toBe(formatVersion(BEGAN, 2, "0123456789abcdef"));
  });
});
