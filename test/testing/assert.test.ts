import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import { ConformanceError, equal, rejects, same, show } from "../../src/testing/assert.ts";

const bytes = (...all: number[]) => Uint8Array.of(...all);

describe("equal", () => {
  it.each<[unknown, unknown]>([
    [Number.NaN, Number.NaN],
    [bytes(1, 2), Buffer.from([1, 2])],
    [
      { a: 1, b: [bytes()] },
      { b: [bytes()], a: 1 },
    ],
    [new Map([["a", { b: 1 }]]), new Map([["a", { b: 1 }]])],
    [new SyncError("CLOSED", "one"), new SyncError("CLOSED", "two")],
    [Object.create(null), {}],
  ])("takes %o and %o for the same", (a, b) => {
    expect([equal(a, b), equal(b, a)]).toEqual([true, true]);
  });

  it.each<[unknown, unknown]>([
    [0, -0],
    [1, "1"],
    [null, undefined],
    [null, {}],
    [[], {}],
    [[1, 2], [1]],
    [bytes(1, 2), bytes(1, 3)],
    [bytes(1), bytes(1, 0)],
    [bytes(1), [1]],
    [{ a: undefined }, {}],
    [{ a: undefined }, { b: undefined }],
    [{ a: 1 }, { a: 1, b: 1 }],
    [new Map([["a", 1]]), new Map([["a", 2]])],
    [new Map(), {}],
    [new SyncError("CLOSED", "x"), new SyncError("TIMEOUT", "x")],
    [{ constructor: Object }, {}],
  ])("tells %o and %o apart", (a, b) => {
    expect([equal(a, b), equal(b, a)]).toEqual([false, false]);
  });
});

describe("a failure", () => {
  it("says what, got and expected, and stays short", () => {
    expect(() => same({ a: bytes(255) }, "x", "the thing")).toThrow(
      'the thing: got { "a": bytes(1) ff }, expected "x"',
    );
    const long = new Uint8Array(100_000);
    expect(show(long).length).toBeLessThan(200);
    const message = (() => {
      try {
        return same("a".repeat(100_000), "b", "long");
      } catch (error) {
        return String(error);
      }
    })();
    expect(message?.length).toBeLessThan(600);
    expect(message).toMatch(/\(100002 characters\)/);
  });

  it("of a rejection says what came instead", async () => {
    const error = new SyncError("CLOSED", "the store is closed");
    expect(await rejects("CLOSED", () => Promise.reject(error), "x")).toBe(error);
    const failing: [() => unknown, RegExp][] = [
      [() => 7, /x: expected CLOSED, but the call succeeded with 7/],
      [() => Promise.reject(new SyncError("TIMEOUT", "late")), /x: threw SyncError: late, expected CLOSED/],
      [() => Promise.reject(new TypeError("broken")), /x: threw TypeError: broken, expected a SyncError CLOSED/],
    ];
    for (const [call, message] of failing) {
      const outcome = rejects("CLOSED", call, "x");
      await expect(outcome).rejects.toThrow(message);
      await expect(outcome).rejects.toBeInstanceOf(ConformanceError);
    }
  });
});
