import { describe, expect, it } from "vitest";
import { churn } from "./churn.ts";

/** What the garbage collector leaves lying about, and what V8 makes of code that gets hot. */
const GROWTH_MAX = 1.15;

describe("an hour of churn", () => {
  // Mutation: something kept for each turn, as the second test does.
  it("leaves no more in memory than its first ten minutes did", async () => {
    const [early, late] = await churn([10, 60]);
    if (early === undefined || late === undefined) throw new Error("nothing was measured");
    process.stderr.write(JSON.stringify([early, late]) + "\n");
    expect(late.entries).toBeLessThan(1.1 * early.entries);
    expect(late.heldBytes / early.heldBytes).toBeLessThan(GROWTH_MAX);
  });
});
