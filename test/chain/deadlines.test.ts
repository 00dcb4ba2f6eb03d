import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadlines } from "../../src/chain/deadlines.ts";
import type { Due } from "../../src/chain/deadlines.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";

class Wait implements Due {
  before: Due | undefined = undefined;
  after: Due | undefined = undefined;
  readonly dueAt: number;
  readonly late: () => void;

  constructor(dueAt: number, late: () => void = () => undefined) {
    this.dueAt = dueAt;
    this.late = late;
  }
}

describe("deadlines", () => {
  // Mutations: add puts each one at the end; arm only where there is no timer; fire does not arm again.
  it("are each told at their own moment, in whatever order they came, unless they were removed", async () => {
    const step = fc.record({ dueMs: fc.integer({ min: 1, max: 30 }), removedMs: fc.option(fc.nat({ max: 30 })) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const runtime = simulatedRuntime({ seed: 1 });
        const deadlines = new Deadlines(runtime);
        const told: [number, number][] = [];
        const isOpen = new Set<number>();
        const waits = steps.map(({ dueMs }, i) => {
          const wait = new Wait(dueMs, () => {
            isOpen.delete(i);
            told.push([runtime.monotonic(), dueMs]);
          });
          isOpen.add(i);
          deadlines.add(wait);
          return wait;
        });
        for (let ms = 0; ms <= 30; ms++) {
          for (const [i, { removedMs }] of steps.entries()) {
            if (removedMs === ms && isOpen.delete(i)) deadlines.remove(waits[i] as Wait);
          }
          await runtime.advance(1);
        }
        const expected = steps.filter(({ dueMs, removedMs }) => removedMs === null || removedMs >= dueMs);
        expect(told).toEqual(expected.map(({ dueMs }) => [dueMs, dueMs]).sort(([a = 0], [b = 0]) => a - b));
        expect(isOpen.size).toBe(0);
      }),
    );
  });

  // Mutations: a timer for each; remove cancels it; the timer is not held, or not let go of.
  it("have one timer, which stays when they are removed and keeps the process alive only for those that are left", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const deadlines = new Deadlines(runtime);
    const told: number[] = [];
    for (let i = 0; i < 100; i++) {
      const wait = new Wait(runtime.monotonic() + 10, () => told.push(runtime.monotonic()));
      deadlines.add(wait);
      expect(runtime.pendingTimers).toBe(1);
      deadlines.remove(wait);
      await runtime.run(); // ends at once where nothing keeps the process alive
      expect(runtime.monotonic()).toBe(0);
    }
    await runtime.advance(4);
    deadlines.add(new Wait(14, () => told.push(runtime.monotonic())));
    await runtime.run();
    expect([told, runtime.monotonic(), runtime.pendingTimers]).toEqual([[14], 14, 0]);
  });

  // Mutation: stop leaves the timer, or what is added afterwards counts on it.
  it("give their timer back, and take another for what comes after", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const deadlines = new Deadlines(runtime);
    const [gone, late]: [Wait, string[]] = [new Wait(5), []];
    deadlines.add(gone);
    deadlines.remove(gone);
    deadlines.stop();
    expect(runtime.pendingTimers).toBe(0);
    deadlines.add(new Wait(7, () => late.push("late")));
    await runtime.advance(7);
    expect(late).toEqual(["late"]);
  });

  // Mutation: fire counts on time that has passed to the full: the platform's timers may be a part of a millisecond early.
  it("are told though the timer fires a little early, and once", async () => {
    const runtime = simulatedRuntime({ seed: 1 });
    const early = { ...runtime, monotonic: () => runtime.monotonic() - 0.4 };
    const deadlines = new Deadlines(early);
    let told = 0;
    deadlines.add(new Wait(early.monotonic() + 10, () => told++));
    await runtime.advance(10);
    expect([told, runtime.pendingTimers]).toEqual([1, 0]);
  });
});
