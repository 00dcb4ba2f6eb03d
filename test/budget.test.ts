import { describe, expect, it } from "vitest";
import { GITHUB_LIMITS, budget } from "../src/budget.ts";
import type { Cost, Limit } from "../src/budget.ts";
import { simulatedRuntime } from "../src/testing/index.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
const PER_MINUTE: Limit = { name: "calls", max: 10, windowMs: 60_000, weights: { read: 1, write: 5 }, readShare: 0.5 };

function world(limits: readonly Limit[] = [PER_MINUTE], waitingMax?: number) {
  const runtime = simulatedRuntime({ seed: 1, drain });
  const purse = budget({ runtime, name: "test", limits, waitingMax });
  const spent: { readonly atMs: number; readonly cost: Cost }[] = [];
  const take = (cost: Cost) => purse.take(cost).then(() => spent.push({ atMs: runtime.now(), cost }));
  return { runtime, purse, spent, take };
}

/** The most that any window of any position held. */
function most(spent: readonly { readonly atMs: number; readonly cost: Cost }[], limit: Limit): number {
  const weigh = (cost: Cost) =>
    Object.entries(limit.weights).reduce((sum, [kind, weight]) => sum + weight * (cost[kind as keyof Cost] ?? 0), 0);
  return Math.max(
    ...spent.map(({ atMs }) =>
      spent
        .filter((other) => other.atMs >= atMs && other.atMs < atMs + limit.windowMs)
        .reduce((sum, { cost }) => sum + weigh(cost), 0),
    ),
  );
}

describe("a budget", () => {
  // Mutation: tokens that come back at once, at an even rate, or at the full minute.
  it("holds in every window of every position, and is used to the full", async () => {
    const { runtime, spent, take } = world([{ ...PER_MINUTE, readShare: 0 }]);
    for (let i = 0; i < 100; i++) void take({ read: 1 });
    for (let second = 0; second < 700; second++) await runtime.advance(1_000);
    expect(spent).toHaveLength(100);
    expect(most(spent, PER_MINUTE)).toBe(10);
    expect((spent.at(-1)?.atMs ?? 0) - (spent[0]?.atMs ?? 0)).toBeLessThan(9 * 60_000 + 9 * 61);
  });

  it("keeps a share for reads, which do not wait behind writes", async () => {
    const { runtime, spent, take, purse } = world();
    void take({ write: 1 });
    void take({ write: 1 });
    void take({ read: 3 });
    await runtime.settle();
    expect(spent.map(({ cost }) => cost)).toEqual([{ write: 1 }, { read: 3 }]);
    expect(purse.status()).toEqual([{ limit: "calls", max: 10, remaining: 2 }]);
    await runtime.advance(61_000);
    expect(spent).toHaveLength(3);
  });

  it("takes the server's count in place of its own, with what is under way on top", async () => {
    const { runtime, purse } = world();
    await purse.take({ read: 2 });
    purse.correct({ limit: "calls", remaining: 1, resetAt: runtime.now() + 5_000, underWay: 1 });
    expect(purse.waitMs({ read: 1 })).toBe(5_000);
    purse.correct({ limit: "calls", remaining: 9, resetAt: runtime.now() + 5_000 });
    expect(purse.waitMs({ read: 9 })).toBe(0);
    // A limit that it does not have is the server's affair.
    purse.correct({ limit: "calls an hour", remaining: 0, resetAt: runtime.now() + 5_000 });
    expect(purse.waitMs({ read: 9 })).toBe(0);
  });

  it("spends nothing before the moment that the server named", async () => {
    const { runtime, purse, spent, take } = world();
    purse.notBefore(runtime.now() + 30_000);
    void take({ read: 1 });
    await runtime.advance(29_999);
    expect(spent).toEqual([]);
    await runtime.advance(1);
    expect(spent).toHaveLength(1);
  });

  it("ends a wait with the caller's signal or deadline, and lets the next one on", async () => {
    const { runtime, purse, spent, take } = world();
    await take({ read: 10 });
    const abort = new AbortController();
    const first = purse.take({ read: 8 }, { signal: abort.signal });
    const second = purse.take({ read: 8 }, { deadline: runtime.monotonic() + 1_000 });
    void take({ read: 1 });
    abort.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    const late = expect(second).rejects.toThrow(/the budget allows this in 59\d\d\d ms, after the deadline/);
    await runtime.advance(1_000);
    await late;
    await runtime.advance(60_000);
    expect(spent).toHaveLength(2);
  });

  it("refuses what no window can hold, and more waiting than its bound", async () => {
    const { purse } = world([PER_MINUTE], 1);
    await expect(purse.take({ read: 11 })).rejects.toMatchObject({ code: "INVALID" });
    await expect(purse.take({ write: 2 })).rejects.toThrow("above the whole limit of 5 calls");
    await purse.take({ read: 10 });
    purse.take({ read: 1 }).catch(() => undefined);
    await expect(purse.take({ read: 1 })).rejects.toMatchObject({ code: "OVERLOADED" });
    expect(() => world([{ ...PER_MINUTE, max: 0 }])).toThrow("the limit calls of budget test is none");
  });

  it("of GitHub allows 6 pushes and 80 creations a minute, 500 creations an hour, 900 points, 5,000 requests", async () => {
    const { runtime, spent, take } = world(GITHUB_LIMITS, 10_000);
    for (let i = 0; i < 20; i++) void take({ push: 1 });
    for (let i = 0; i < 1_200; i++) void take({ write: 1, create: 1 });
    for (let i = 0; i < 3_000; i++) void take({ read: 1 });
    for (let minute = 0; minute < 150; minute++) await runtime.advance(60_000);
    expect(spent).toHaveLength(4_220);
    const limits = GITHUB_LIMITS.map((limit) => [limit.name, most(thinned(spent), limit), limit.max]);
    for (const [name, used, max] of limits) expect([name, Number(used) <= Number(max)]).toEqual([name, true]);
    expect(limits.slice(0, 2).map(([, used]) => used)).toEqual([6, 80]);
  });
});

/** The same sums with fewer entries: those of one moment together. */
function thinned(spent: readonly { readonly atMs: number; readonly cost: Cost }[]) {
  const byMoment = new Map<number, Record<string, number>>();
  for (const { atMs, cost } of spent) {
    const sums = byMoment.get(atMs) ?? {};
    byMoment.set(atMs, sums);
    for (const [kind, count] of Object.entries(cost)) sums[kind] = (sums[kind] ?? 0) + count;
  }
  return [...byMoment].map(([atMs, cost]) => ({ atMs, cost }));
}
