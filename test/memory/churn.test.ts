import { describe, expect, it } from "vitest";
import { churn } from "./churn.ts";

/** Above it something is kept of every turn: it is some 12 bytes for each operation. Below lies a collection more or less. */
const GROWTH_BYTES_MAX = 2 ** 17;
const TIMEOUT_MS = 120_000;

describe("an hour of churn", () => {
  it(
    "leaves no more in memory than its first ten minutes did",
    async () => {
      const [early, late] = await churn([10, 60]);
      if (early === undefined || late === undefined) throw new Error("nothing was measured");
      expect(late.entries).toBeLessThan(1.5 * early.entries);
      expect(late.heldBytes - early.heldBytes).toBeLessThan(GROWTH_BYTES_MAX);
    },
    TIMEOUT_MS,
  );

  it(
    "would show what is kept of every turn",
    async () => {
      const kept: object[] = [];
      const [early, late] = await churn([2, 12], () => void kept.push(new Uint8Array(100_000)));
      expect(kept.length).toBeGreaterThan(40);
      expect((late?.heldBytes ?? 0) - (early?.heldBytes ?? 0)).toBeGreaterThan(GROWTH_BYTES_MAX);
    },
    TIMEOUT_MS,
  );
});
