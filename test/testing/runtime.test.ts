import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sleep } from "../../src/runtime.ts";
import { random, simulatedRuntime } from "../../src/testing/index.ts";
import type { SimulatedRuntime } from "../../src/testing/index.ts";
import { randomFromState } from "../../src/testing/random.ts";

describe("simulated time", () => {
  it("stands still until it is moved", async () => {
    const runtime = simulatedRuntime({ seed: 1, startMs: 5000 });
    const fired: number[] = [];
    runtime.timer(0, () => fired.push(runtime.now()));
    await runtime.settle();
    expect([runtime.now(), runtime.coarse.now(), runtime.monotonic(), fired]).toEqual([5000, 5000, 0, []]);
    await runtime.advance(10);
    expect([runtime.now(), runtime.coarse.now(), runtime.monotonic(), fired]).toEqual([5010, 5010, 10, [5000]]);
  });

  // Mutation: a heap that sinks or rises the wrong way.
  it("runs timers in the order of their time, then of their making, each at its own time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 20 }), { maxLength: 60 }), async (delays) => {
        const runtime = simulatedRuntime({ seed: 1 });
        const fired: [number, number][] = [];
        for (const [i, delayMs] of delays.entries()) runtime.timer(delayMs, () => fired.push([runtime.monotonic(), i]));
        await runtime.advance(20);
        const expected = delays.map((delayMs, i): [number, number] => [delayMs, i]);
        expect(fired).toEqual(expected.sort(([a, i], [b, j]) => a - b || i - j));
        expect(runtime.pendingTimers).toBe(0);
      }),
    );
  });

  it("runs timers that timers make, in the same advance when they fall due in it", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const fired: number[] = [];
    const again = () => {
      fired.push(runtime.monotonic());
      runtime.timer(10, again);
    };
    runtime.timer(10, again);
    await runtime.advance(35);
    expect(fired).toEqual([10, 20, 30]);
    expect(runtime.monotonic()).toBe(35);
  });

  // Mutation: hold does not count.
  it("runs until no timer is left that keeps it alive, whatever each was told last", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const timer = runtime.timer(5, () => undefined);
    timer.hold(false);
    timer.hold(false);
    await runtime.run();
    expect(runtime.monotonic()).toBe(0);
    timer.hold(true);
    await runtime.run();
    expect(runtime.monotonic()).toBe(5);
    timer.hold(true); // it has fired
    timer.hold(false);
    await runtime.run();
    expect([runtime.monotonic(), runtime.pendingTimers]).toEqual([5, 0]);
  });

  it("forgets cancelled timers, also when cancelled twice or after they fired", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const fired: string[] = [];
    const [a, b, c] = ["a", "b", "c"].map((name) => runtime.timer(5, () => fired.push(name)));
    b?.cancel();
    b?.cancel();
    expect(runtime.pendingTimers).toBe(2);
    await runtime.advance(5);
    a?.cancel();
    c?.cancel();
    expect(fired).toEqual(["a", "c"]);
    expect(runtime.pendingTimers).toBe(0);
  });

  it("lets what a timer woke come to rest before the next timer", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const trace: string[] = [];
    const worker = async (name: string) => {
      await sleep(runtime, 5);
      for (let i = 0; i < 20; i++) await Promise.resolve();
      trace.push(name);
    };
    void worker("first");
    void worker("second");
    await runtime.advance(5);
    expect(trace).toEqual(["first", "second"]);
  });

  it("steps the wall clock alone, both ways", async () => {
    const runtime = simulatedRuntime({ seed: 1, startMs: 5000 });
    const fired: string[] = [];
    runtime.timer(10, () => fired.push("x"));
    runtime.stepWall(3_600_000);
    await runtime.settle();
    expect([runtime.now(), runtime.monotonic(), fired]).toEqual([3_605_000, 0, []]);
    runtime.stepWall(-3_600_100);
    await runtime.advance(10);
    expect([runtime.now(), runtime.monotonic(), fired]).toEqual([4910, 10, ["x"]]);
  });

  it("runs until only background timers are left, and says when that takes too long", async () => {
    const runtime = simulatedRuntime({ seed: 9 });
    const tick = () => void runtime.timer(1000, tick, true);
    tick();
    await sleepAll(runtime, [5, 50_000]);
    expect(runtime.monotonic()).toBe(50_000);
    expect(runtime.pendingTimers).toBe(1);
    const busy = () => void runtime.timer(1000, busy);
    busy();
    await expect(runtime.run(10_000)).rejects.toThrow("seed 9: 1 timers are left after 10000 ms");
  });

  it("refuses a delay that would fire at once on a real platform", () => {
    const runtime = simulatedRuntime({ seed: 1 });
    for (const delayMs of [Number.NaN, Infinity, 2 ** 31])
      expect(() => runtime.timer(delayMs, () => undefined)).toThrow(/fire at once/);
    runtime.timer(2 ** 31 - 1, () => undefined);
    runtime.timer(-5, () => undefined);
  });

  it("throws what a timer's function throws", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    runtime.timer(1, () => {
      throw new Error("from the timer");
    });
    await expect(runtime.advance(1)).rejects.toThrow("from the timer");
  });

  // Mutation: any platform clock, timer or random source in the runtime.
  it("gives the same trace from the same seed, and another from another", async () => {
    const [a, b, c] = [await trace(4), await trace(4), await trace(5)];
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
    expect(a.length).toBeGreaterThan(100);
  });
});

async function sleepAll(runtime: SimulatedRuntime, delays: readonly number[]): Promise<void> {
  const all = Promise.all(delays.map((delayMs) => sleep(runtime, delayMs)));
  await runtime.run();
  await all;
}

/** Ten workers that sleep for random times and talk in turns. */
async function trace(seed: number): Promise<string[]> {
  const runtime = simulatedRuntime({ seed });
  const lines: string[] = [];
  const worker = async (name: number) => {
    for (let i = 0; i < 20; i++) {
      const [byte = 0] = runtime.random(new Uint8Array(1));
      await sleep(runtime, byte);
      lines.push(`${runtime.now()} ${name} ${byte}`);
    }
  };
  const work = Promise.all(Array.from({ length: 10 }, (_, name) => worker(name)));
  await runtime.run();
  await work;
  return lines;
}

describe("chance from a seed", () => {
  // The numbers that the authors' own C code gives from this state, as published with edorfaus/xoshiro-6502.
  it("is xoshiro128**", () => {
    const chance = randomFromState([0x964d4a0c, 0xd40ab895, 0xad7fdecb, 0x3006f0f0]);
    const published = [0xf1391922, 0x6fe53806, 0xa5be2840, 0xf510ee70];
    expect(published.map(() => chance.next())).toEqual(published);
  });

  it("repeats from its seed, and near seeds have nothing in common", () => {
    const numbers = (seed: number) => {
      const chance = random(seed);
      return Array.from({ length: 50 }, () => chance.next());
    };
    expect(numbers(1)).toEqual(numbers(1));
    const seen = new Set([0, 1, 2, 3, -1].flatMap(numbers));
    expect(seen.size).toBe(250);
  });

  it("keeps to its limits and about to its odds", () => {
    const chance = random(1);
    const below = Array.from({ length: 6000 }, () => chance.below(6));
    for (const face of [0, 1, 2, 3, 4, 5]) {
      const share = below.filter((roll) => roll === face).length / 6000;
      expect(share).toBeGreaterThan(0.14);
      expect(share).toBeLessThan(0.2);
    }
    const hits = Array.from({ length: 6000 }, () => chance.chance(0.25)).filter(Boolean).length;
    expect(Math.abs(hits / 6000 - 0.25)).toBeLessThan(0.03);
    expect([chance.chance(0), chance.chance(1)]).toEqual([false, true]);
    expect(() => chance.pick([])).toThrow(RangeError);
  });

  it("shuffles without losing or doubling, and gives the bytes asked for", () => {
    const chance = random(1);
    const items = Array.from({ length: 30 }, (_, i) => i);
    const order = chance.shuffle(items);
    expect(order).not.toEqual(items);
    expect(order.toSorted((a, b) => a - b)).toEqual(items);
    expect(new Set(chance.bytes(5000)).size).toBe(256);
    expect(items).toContain(chance.pick(items));
  });
});
