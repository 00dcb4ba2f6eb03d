import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chainAdvice } from "../../src/doctor/chain-advice.ts";
import { differenceOf } from "../../src/doctor/clock.ts";
import type { StoreReport } from "../../src/doctor/finding.ts";
import { worst } from "../../src/doctor/finding.ts";
import { medianOf, msText, sizeText } from "../../src/doctor/measure.ts";
import type { Supports } from "../../src/store.ts";

describe("the difference of clocks", () => {
  it("is known to half the round trip for a fine clock", () => {
    const samples = [{ askedAt: 1_000, toldAt: 1_010, told: 6_005 }];
    expect(differenceOf(samples, 0)).toEqual({ aheadMs: 5_000, uncertainMs: 5 });
    expect(differenceOf([], 0)).toBeUndefined();
  });

  // Mutation: the resolution left out, or added on the wrong side.
  it("always lies within what is said, and several samples say it closer than one", () => {
    const times = fc.array(fc.tuple(fc.nat(5_000), fc.nat(50), fc.nat(50)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(
        times,
        fc.integer({ min: -1e6, max: 1e6 }),
        fc.constantFrom(1, 1_000),
        (all, aheadMs, resolutionMs) => {
          let now = 1_700_000_000_123;
          const samples = all.map(([pauseMs, there, back]) => {
            now += pauseMs;
            const told = Math.floor((now + there + aheadMs) / resolutionMs) * resolutionMs;
            return { askedAt: now, told, toldAt: (now += there + back) };
          });
          const found = differenceOf(samples, resolutionMs);
          const one = differenceOf(samples.slice(-1), resolutionMs);
          expect(Math.abs((found?.aheadMs ?? NaN) - aheadMs)).toBeLessThanOrEqual(found?.uncertainMs ?? NaN);
          expect(found?.uncertainMs).toBeLessThanOrEqual(one?.uncertainMs ?? NaN);
        },
      ),
    );
  });

  it("is that of the last sample when a clock was set meanwhile", () => {
    const samples = [
      { askedAt: 0, toldAt: 10, told: 5_000 },
      { askedAt: 20, toldAt: 30, told: 25 },
    ];
    expect(differenceOf(samples, 0)).toEqual({ aheadMs: 0, uncertainMs: 5 });
  });
});

describe("figures", () => {
  it("are written as people read them", () => {
    expect([0.01, 0.5, 9.94, 9.96, 9_949, 9_950, 61_000].map(msText)).toEqual([
      "0.010 ms",
      "0.5 ms",
      "9.9 ms",
      "10 ms",
      "9949 ms",
      "9.9 s",
      "61.0 s",
    ]);
    expect([0, 1023, 1024, 1536, 2 * 1024 ** 2, 5 * 1024 ** 3, Infinity].map(sizeText)).toEqual([
      "0 B",
      "1023 B",
      "1 KiB",
      "1.5 KiB",
      "2 MiB",
      "5 GiB",
      "any size",
    ]);
    expect([medianOf([3]), medianOf([1, 10, 2]), medianOf([4, 1, 3, 2])]).toEqual([3, 2, 2.5]);
  });

  it("are as bad as the worst of them", () => {
    expect(worst([])).toBe("ok");
    expect(worst(["ok", "skipped"])).toBe("ok");
    expect(worst(["advice", "ok"])).toBe("advice");
    expect(worst(["advice", "failed", "ok"])).toBe("failed");
  });
});

const SUPPORTS: Supports = {
  keyBytesMax: 512,
  valueBytesMax: Infinity,
  streamBytesMax: 0,
  batchMax: 100,
  conditional: true,
  atomicBatch: true,
  stubs: true,
  watch: "push",
  expiry: false,
  writers: "many",
  durable: true,
  shared: true,
  asOf: "known",
  readonly: false,
};

interface Layer extends Partial<Supports> {
  readonly role?: "cache" | "store";
  readonly readMs?: number;
  readonly aheadMs?: number;
}

function report(store: string, { role = "store", readMs = 1, aheadMs, ...supports }: Layer): StoreReport {
  const finding = { result: "ok", what: "", notes: [], tookMs: 1 } as const;
  return {
    store,
    role,
    readonly: false,
    supports: { ...SUPPORTS, ...supports },
    findings: [
      { ...finding, step: "speed", figures: { readMedianMs: readMs } },
      { ...finding, step: "clock", figures: aheadMs === undefined ? {} : { aheadMs, uncertainMs: 100 } },
    ],
    requests: null,
    left: [],
  };
}

describe("advice on a chain", () => {
  const memory = report("memory:", { role: "cache", durable: false, shared: false, readMs: 0.01 });
  const truth = report("git:", { readMs: 30 });
  const says = (...reports: StoreReport[]) => chainAdvice(reports).map(({ kind, what }) => `${kind}: ${what}`);

  it("is none for a good one, and for one store", () => {
    expect(says(memory, truth)).toEqual([]);
    expect(says(memory)).toEqual([]);
  });

  it("speaks of a source of truth that forgets", () => {
    expect(says(truth, { ...memory, role: "store" })).toContain(
      "advice: memory: is the last, and so the source of truth, but forgets at a power loss",
    );
  });

  it("speaks of a layer that is slower than the one behind it", () => {
    expect(says(report("s3:", { readMs: 80 }), truth)).toEqual([
      "advice: s3: (80 ms a read) stands before git: (30 ms)",
    ]);
    expect(says(report("s3:", { readMs: 31 }), truth)).toEqual([]);
    expect(says(report("a:", { readMs: 0.3 }), report("b:", { readMs: 0.1 }))).toEqual([]);
  });

  it("speaks of conditional writes that nobody decides", () => {
    const swift = report("s3:", { conditional: false, readMs: 80 });
    expect(says(memory, swift)).toEqual([
      "advice: no store of this chain decides conditional writes, so they are refused",
    ]);
    const [note] = chainAdvice([report("postgres:", { role: "cache" }), swift]);
    expect(note?.cure).toBe("give postgres: the role store: ?role=store");
    expect(says(report("postgres:", {}), swift)).toEqual([]);
    expect(says(memory, { ...swift, readonly: true })).toEqual([]);
  });

  it("compares the clocks of systems with each other", () => {
    const ahead = (aheadMs: number) => report(`s3:${aheadMs}`, { aheadMs });
    expect(says(ahead(-900), ahead(200))).toEqual([]);
    expect(says(ahead(-1_500), ahead(1_500))).toEqual([
      "advice: the clocks of s3:-1500 and s3:1500 differ by 2800 ms or more",
    ]);
    expect(says(ahead(-50_000), ahead(50_000))[0]).toMatch(/^failed: the clocks/);
  });

  it("leaves out what could not be opened", () => {
    expect(says({ ...memory, supports: null, findings: [] }, truth)).toEqual([]);
    expect(says(memory, { ...truth, supports: null, findings: [] })).toEqual([]);
  });
});
