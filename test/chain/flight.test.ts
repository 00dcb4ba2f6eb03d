import { describe, expect, it } from "vitest";
import { flights } from "../../src/chain/flight.ts";
import { Background } from "../../src/chain/background.ts";
import { SyncError } from "../../src/error.ts";
import { VERSION_ZERO, formatVersion } from "../../src/version.ts";

const ANSWER = { entry: undefined, asOf: 1, complete: true, stale: false, from: "truth" };

describe("walks under way", () => {
  // Mutations: `joinable` stops at the latest; it takes one that is not shared, or overtaken.
  it("of a key can be joined, the latest first, if they are shared and not overtaken", () => {
    const walks = flights();
    const first = walks.begin("k", true);
    expect(walks.joinable("k")).toBe(first);
    expect(walks.joinable("other")).toBeUndefined();
    const own = walks.begin("k", false);
    expect(walks.joinable("k")).toBe(first);
    walks.overtake("k");
    expect([first.overtaken, own.overtaken]).toEqual([true, true]);
    expect([walks.joinable("k"), walks.isUnderWay("k")]).toEqual([undefined, false]);
    const later = walks.begin("k", true);
    expect([walks.joinable("k"), walks.isUnderWay("k")]).toEqual([later, true]);
  });

  // Mutations: `end` takes away the later ones as well, or leaves one that is not the latest.
  it("end in any order", () => {
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]) {
      const walks = flights();
      const begun = [walks.begin("k", true), walks.begin("k", true), walks.begin("k", true)];
      for (const [i, which] of order.entries()) {
        walks.end(begun[which]!);
        const left = begun.filter((_, index) => !order.slice(0, i + 1).includes(index));
        expect(walks.joinable("k")).toBe(left.at(-1));
        walks.overtake("k");
        expect(left.every(({ overtaken }) => overtaken)).toBe(true);
        for (const flight of left) flight.overtakenBy = VERSION_ZERO;
      }
      expect(walks.isUnderWay("k")).toBe(false);
    }
  });

  // Mutations: a lower version takes the place of a higher one; without a version something is not late.
  it("are late with what is older than what overtook them", () => {
    const walks = flights();
    const walk = walks.begin("k", true);
    const [low, middle, high] = [1, 2, 3].map((ms) => formatVersion(ms, 0, "0".repeat(16)));
    const late = () => [low!, middle!, high!].map((version) => walk.isLateWith(version));
    expect(late()).toEqual([false, false, false]);
    walks.overtake("k", middle);
    walks.overtake("k", low);
    expect(late()).toEqual([true, false, false]);
    walks.overtake("k");
    expect(late()).toEqual([true, true, true]);
  });

  // Mutation: `overtakeAll` overtakes the latest of each key only.
  it("are overtaken all at once", () => {
    const walks = flights();
    const begun = [walks.begin("a", true), walks.begin("a", true), walks.begin("b", false)];
    walks.overtakeAll();
    expect(begun.every(({ overtaken }) => overtaken)).toBe(true);
  });

  // Mutation: `answer` makes a promise for each who asks, or none for those who ask when it is over.
  it("give everybody one promise, before and after the end", async () => {
    const walks = flights();
    const [early, late, failing] = [walks.begin("a", true), walks.begin("b", true), walks.begin("c", true)];
    const { answer } = early;
    expect(early.answer).toBe(answer);
    early.end(ANSWER);
    late.end(ANSWER);
    expect([await answer, await late.answer]).toEqual([ANSWER, ANSWER]);
    // One that nobody waits for is no unhandled rejection.
    failing.end(new SyncError("UNAVAILABLE", "down"));
    await new Promise((resolve) => setImmediate(resolve));
    await expect(failing.answer).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("work in the background", () => {
  // Mutations: `settled` waits for what began after it; it waits for the first that ends; a promise that fails never ends.
  it("is waited for as far as it had begun, or until there is none", async () => {
    const works = new Background();
    const ended: string[] = [];
    const one = works.begin();
    const two = works.begin();
    const failing = Promise.reject(new Error("no"));
    works.add(failing);
    const settled = works.settled().then(() => ended.push("settled"));
    const idle = works.idle().then(() => ended.push("idle"));
    const three = works.begin();
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    works.end(one);
    await turn();
    expect(ended).toEqual([]);
    works.end(two);
    await settled;
    await turn();
    expect(ended).toEqual(["settled"]);
    works.end(three);
    await idle;
    expect(ended).toEqual(["settled", "idle"]);
    await works.settled();
    await works.idle();
  });
});
