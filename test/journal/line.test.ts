import { expect, it } from "vitest";
import { Line } from "../../src/journal/line.ts";
import type { Item } from "../../src/journal/queues.ts";
import { random } from "../../src/testing/index.ts";

function item(seq: number, valueBytes: number): Item {
  const head = { key: `k${seq}`, state: "value", version: "", expires: null, meta: {} } as unknown as Item["head"];
  return {
    seq,
    head,
    valueBytes,
    condition: undefined,
    asOf: 0,
    knownAt: 0,
    entry: undefined,
    body: undefined,
    place: undefined,
    queuedAt: 0,
    waits: 0,
    flying: 0,
    lines: 0,
    first: 0,
    sealed: false,
    older: undefined,
    waiters: undefined,
    kept: true,
    void: false,
  };
}

// Mutations: `close` keeps `begin`; `first` does not pass those that left; `delete` counts what was not there.
it("A line holds what came and did not leave, in the order in which it came, as a map by number would", () => {
  const chance = random(1);
  for (const valueBytes of [1, 100_000]) {
    const [line, other] = [new Line(1), new Line(2)];
    const model = new Map<number, Item>();
    const all: Item[] = [];
    for (let step = 0; step < 20_000; step++) {
      const draining = step % 4_000 > 3_000;
      if (!draining && chance.below(2) === 0) {
        const added = item(step, valueBytes);
        line.add(added);
        line.add(added);
        other.add(added);
        model.set(step, added);
        all.push(added);
      } else {
        const [oldest] = model.values();
        const gone = chance.below(2) === 0 ? oldest : all[chance.below(all.length)];
        if (gone !== undefined) expect(line.delete(gone)).toBe(model.delete(gone.seq));
      }
      expect(line.size).toBe(model.size);
      expect(line.first()).toBe([...model.values()][0]);
      if (step % 500 === 0) expect([...line.values()]).toEqual([...model.values()]);
    }
    expect([...other.values()]).toEqual(all);
  }
});
