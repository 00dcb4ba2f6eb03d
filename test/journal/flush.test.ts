import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import type { ErrorCode } from "../../src/error.ts";
import { backoffMsMax, classify, decideFlush } from "../../src/journal/flush.ts";
import type { FlushState } from "../../src/journal/flush.ts";

const TERMS = { intervalMs: 100, delayMsMax: 500, entriesMax: 10, bytesMax: 1_000 };
const QUIET: FlushState = {
  entries: 1,
  bytes: 1,
  oldestAt: 0,
  youngestAt: 0,
  urgent: false,
  retryAt: 0,
  notBefore: 0,
};

describe("a flush", () => {
  it.each<[string, Partial<FlushState>, number, ReturnType<typeof decideFlush>]>([
    ["has nothing to do without entries", { entries: 0 }, 1_000, "idle"],
    ["waits for a pause", {}, 99, { waitUntil: 100 }],
    ["goes after the pause", {}, 100, "send"],
    ["waits on while writes come", { youngestAt: 300 }, 300, { waitUntil: 400 }],
    ["does not wait longer than the longest delay", { youngestAt: 499 }, 500, "send"],
    ["goes at once when more waits than a batch takes", { entries: 11, youngestAt: 1 }, 1, "send"],
    ["goes at once when that is so of the bytes", { bytes: 1_001, youngestAt: 1 }, 1, "send"],
    [
      "waits for a pause when it fits into a batch",
      { entries: 10, bytes: 1_000, youngestAt: 1 },
      1,
      { waitUntil: 101 },
    ],
    ["goes at once when somebody waits", { urgent: true, youngestAt: 1 }, 1, "send"],
    ["waits after a failure", { urgent: true, retryAt: 700 }, 600, { waitUntil: 700 }],
    ["waits as long as the server says", { urgent: true, retryAt: 0, notBefore: 900 }, 600, { waitUntil: 900 }],
  ])("%s", (_name, state, now, decision) => {
    expect(decideFlush(TERMS, { ...QUIET, ...state }, now)).toEqual(decision);
  });
});

describe("an error", () => {
  const CLASSES: Record<ErrorCode, ReturnType<typeof classify>> = {
    INVALID: "refused",
    TOO_LARGE: "refused",
    UNSUPPORTED: "refused",
    NOT_FOUND: "pause",
    READONLY: "pause",
    UNAUTHORISED: "pause",
    UNAVAILABLE: "again",
    TIMEOUT: "again",
    ABORTED: "again",
    CLOSED: "again",
    CONFLICT: "again",
    INDETERMINATE: "again",
    OVERLOADED: "again",
    TOO_OLD: "too-old",
    SKEW: "refused",
    CORRUPT: "refused",
    INTERNAL: "refused",
  };

  it.each(Object.entries(CLASSES))("%s means %s", (code, kind) => {
    expect(classify(new SyncError(code as ErrorCode, "no"))).toBe(kind);
  });

  it("that trying again does not help, but that is about the layer, pauses it", () => {
    expect(classify(new SyncError("UNAVAILABLE", "no", { retryable: false }))).toBe("pause");
  });
});

it("waits double up to their cap", () => {
  expect([1, 2, 3, 10, 1_000].map((failures) => backoffMsMax(failures, 100, 30_000))).toEqual([
    100, 200, 400, 30_000, 30_000,
  ]);
});
