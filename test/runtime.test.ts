import { describe, expect, it } from "vitest";
import { coarseClock, randomBelow, sleep } from "../src/runtime.ts";
import type { Runtime } from "../src/runtime.ts";
import { systemRuntime } from "../src/system.ts";
import { simulatedRuntime } from "../src/testing/index.ts";

/** A simulated runtime whose coarse clock is the real one, and the number of looks it took at the wall clock. */
function coarse() {
  const runtime = simulatedRuntime({ seed: 1 });
  let looks = 0;
  const now = () => {
    looks++;
    return runtime.now();
  };
  const timer: Runtime["timer"] = (delayMs, fn, background) => runtime.timer(delayMs, fn, background);
  const clock = coarseClock(now, timer);
  return { runtime, clock, read: () => clock.now(), looks: () => looks };
}

describe("the coarse clock", () => {
  // Mutation: a reading that is kept for ever while no timer can run.
  it("looks at the wall clock once in 256 readings, however many come in one turn", () => {
    const { runtime, read, looks } = coarse();
    const first = read();
    runtime.stepWall(1000); // time that passes while no timer can fire
    for (let i = 1; i < 256; i++) expect(read()).toBe(first);
    expect(looks()).toBe(1);
    expect(read()).toBe(first + 1000);
    expect(looks()).toBe(2);
  });

  // Mutation: no timer, so that an idle process answers with an old time.
  it("is never older than its 4 milliseconds once timers run", async () => {
    const { runtime, read } = coarse();
    for (let i = 0; i < 200; i++) {
      expect(runtime.now() - read()).toBeLessThan(4);
      await runtime.advance(i % 7);
    }
  });

  it("is right at the first reading after a long rest", async () => {
    const { runtime, read } = coarse();
    read();
    await runtime.advance(3_600_000);
    expect(read()).toBe(runtime.now());
  });

  it("has one timer while in use and none at rest, and that one keeps no process alive", async () => {
    const { runtime, read } = coarse();
    expect(runtime.pendingTimers).toBe(0);
    for (let i = 0; i < 1000; i++) read();
    expect(runtime.pendingTimers).toBe(1);
    await runtime.run(); // returns at once: only a background timer is left
    expect(runtime.pendingTimers).toBe(1);
    await runtime.advance(4);
    expect(runtime.pendingTimers).toBe(0);
  });

  // Mutations: who borrowed a reading is not told that it is over; he may use one that is worn out already.
  it("lends a reading for 255 uses and 4 milliseconds", async () => {
    const { runtime, clock, read } = coarse();
    const allowed: number[] = [];
    const borrower = { allow: (uses: number) => void allowed.push(uses) };
    for (let i = 0; i < 100; i++) read();
    runtime.stepWall(1000);
    expect(clock.lend(borrower)).toBe(runtime.now());
    expect(allowed).toEqual([255]);
    await runtime.advance(4);
    expect(allowed).toEqual([255, 0]);
    await runtime.advance(60_000);
    read();
    await runtime.advance(4);
    expect(allowed).toEqual([255, 0]);
  });

  it("follows the wall clock when that steps back", async () => {
    const { runtime, read } = coarse();
    read();
    runtime.stepWall(-5000);
    await runtime.advance(4);
    expect(read()).toBe(runtime.now());
  });
});

describe("sleep", () => {
  it("ends after its time, not before", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    let woke = -1;
    void sleep(runtime, 50).then(() => (woke = runtime.monotonic()));
    await runtime.advance(49);
    expect(woke).toBe(-1);
    await runtime.advance(10);
    expect(woke).toBe(50);
  });

  it("ends at once with the signal's reason, and leaves no timer", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const control = new AbortController();
    const reason = new Error("enough");
    const asleep = expect(sleep(runtime, 50, control.signal)).rejects.toBe(reason);
    control.abort(reason);
    await asleep;
    expect(runtime.pendingTimers).toBe(0);
    await expect(sleep(runtime, 50, control.signal)).rejects.toBe(reason);
    expect(runtime.pendingTimers).toBe(0);
  });

  it("does not hear a signal that comes after it ended", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const control = new AbortController();
    const asleep = sleep(runtime, 5, control.signal);
    await runtime.advance(5);
    control.abort();
    await expect(asleep).resolves.toBeUndefined();
  });
});

describe("randomBelow", () => {
  it("gives every number below its limit, and no other", () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const seen = new Set(Array.from({ length: 1000 }, () => randomBelow(runtime, 7)));
    expect(seen).toEqual(new Set([0, 1, 2, 3, 4, 5, 6]));
    expect(randomBelow(runtime, 1)).toBe(0);
  });

  it("reaches the ends of 32 bits", () => {
    const bytes = (fill: number): Pick<Runtime, "random"> & Runtime => ({
      ...simulatedRuntime({ seed: 1 }),
      random: (into) => into.fill(fill),
    });
    expect(randomBelow(bytes(0), 2 ** 32)).toBe(0);
    expect(randomBelow(bytes(0xff), 2 ** 32)).toBe(2 ** 32 - 1);
    expect(randomBelow(bytes(0xff), 10)).toBe(9);
  });
});

describe("the platform's runtime", () => {
  it("has a clock, timers that can be cancelled, and randomness", async () => {
    expect(Number.isInteger(systemRuntime.now())).toBe(true);
    expect(Math.abs(systemRuntime.coarse.now() - systemRuntime.now())).toBeLessThan(60_000);
    const before = systemRuntime.monotonic();
    const fired: string[] = [];
    systemRuntime.timer(0, () => fired.push("cancelled")).cancel();
    await new Promise<void>((resolve) => systemRuntime.timer(1, resolve, false));
    expect(fired).toEqual([]);
    expect(systemRuntime.monotonic()).toBeGreaterThanOrEqual(before);
    const [a, b] = [systemRuntime.random(new Uint8Array(16)), systemRuntime.random(new Uint8Array(16))];
    expect(a).not.toEqual(b);
  });

  // Mutation: hold does nothing.
  it("has timers that keep the process alive, or do not, and can be told otherwise", () => {
    const held = () => process.getActiveResourcesInfo().filter((what) => what === "Timeout").length;
    const before = held();
    const timer = systemRuntime.timer(60_000, () => undefined);
    const background = systemRuntime.timer(60_000, () => undefined, true);
    expect(held() - before).toBe(1);
    timer.hold(false);
    expect(held() - before).toBe(0);
    timer.hold(true);
    background.hold(true);
    expect(held() - before).toBe(2);
    for (const each of [timer, background]) each.cancel();
    expect(held() - before).toBe(0);
  });
});
