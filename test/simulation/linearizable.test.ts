import { describe, expect, it } from "vitest";
import { random } from "../../src/testing/random.ts";
import { CLIENTS_MAX, explain } from "./linearizable.ts";
import type { Operation, What } from "./linearizable.ts";

const at = (client: string, called: number, returned: number, what: What): Operation => ({
  client,
  called,
  returned,
  what,
});
const get = (got: string): What => ({ kind: "get", got });
const put = (version: string): What => ({ kind: "put", version });
const cas = (expected: string, version: string): What => ({ kind: "cas", expected, version });
const refused = (expected: string): What => ({ kind: "refused", expected });

/** A register that is asked and changed at one moment of each operation, somewhere between its call and its return. */
function history(seed: number, operations: number): Operation[] {
  const chance = random(seed);
  const made: Operation[] = [];
  let state = "";
  for (let i = 0; i < operations; i++) {
    const moment = 10 * (i + 1);
    const called = moment - chance.below(40);
    const isUnknown = chance.chance(0.15);
    const returned = isUnknown ? Infinity : moment + 1 + chance.below(40);
    const client = `c${i % CLIENTS_MAX}`;
    const version = `v${i}`;
    const roll = chance.below(4);
    if (roll === 0) made.push(at(client, called, isUnknown ? moment + 1 : returned, get(state)));
    else if (roll === 1 && isUnknown && chance.chance(0.5))
      made.push(at(client, called, Infinity, cas(state, version)));
    else if (roll === 1) {
      made.push(at(client, called, returned, cas(state, version)));
      state = version;
    } else if (roll === 2) made.push(at(client, called, isUnknown ? moment + 1 : returned, refused("never there")));
    else {
      made.push(at(client, called, returned, put(version)));
      state = version;
    }
  }
  return made;
}

describe("a history of one register", () => {
  // Mutation: in `explain`, `operation.called > first` turned round, or the memory of states tried dropped from the key.
  it("is explained when one took place", () => {
    for (let seed = 1; seed <= 200; seed++) expect(explain(history(seed, 40)), `seed ${seed}`).toBeUndefined();
  });

  it.each<[string, Operation[]]>([
    ["a stale read", [at("a", 1, 2, put("v1")), at("a", 3, 4, put("v2")), at("b", 5, 6, get("v1"))]],
    ["a read that goes back", [at("a", 1, 9, put("v1")), at("b", 2, 3, get("v1")), at("b", 4, 5, get(""))]],
    ["a value from nowhere", [at("a", 1, 2, put("v1")), at("b", 3, 4, get("v2"))]],
    ["a lost update", [at("a", 1, 2, cas("", "v1")), at("b", 3, 4, cas("", "v2"))]],
    ["a refusal without a reason", [at("a", 1, 2, put("v1")), at("b", 3, 4, refused("v1"))]],
    [
      "an unknown write that is there, then not, then there",
      [at("a", 1, Infinity, cas("", "v1")), at("b", 2, 3, get("v1")), at("b", 4, 5, get("")), at("b", 6, 7, get("v1"))],
    ],
  ])("is not explained with %s", (_, operations) => {
    expect(explain(operations)).toContain("none of these fits");
  });

  it("leaves open whether and when an unknown write took effect", () => {
    const unknown = at("a", 1, Infinity, cas("", "v1"));
    expect(explain([unknown, at("b", 2, 3, get(""))])).toBeUndefined();
    expect(explain([unknown, at("b", 2, 3, get("")), at("b", 40, 50, get("v1"))])).toBeUndefined();
  });

  it("lets what overlaps come in any order, and begins with what was there", () => {
    expect(explain([at("a", 1, 9, put("v1")), at("b", 2, 8, get("v0"))], "v0")).toBeUndefined();
    expect(explain([at("a", 1, 9, put("v1")), at("b", 2, 8, get("v1"))], "v0")).toBeUndefined();
  });

  it("finds one planted stale read among many operations", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const good = history(seed, 40);
      const last = 10 * 41 + 100;
      const planted = [...good, at("c0", last, last + 1, put("w")), at("c1", last + 2, last + 3, get("gone"))];
      expect(explain(planted), `seed ${seed}`).toContain("get gone");
    }
  });

  it("refuses more clients than it can search through", () => {
    const many = Array.from({ length: CLIENTS_MAX + 1 }, (_, i) => at(`c${i}`, i, i + 1, put(`v${i}`)));
    expect(() => explain(many)).toThrow("9 clients on one key");
  });
});
