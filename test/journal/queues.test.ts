import { describe, expect, it } from "vitest";
import { NO_META } from "../../src/entry.ts";
import { Queues } from "../../src/journal/queues.ts";
import type { Item } from "../../src/journal/queues.ts";
import { random } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";

/** A private disk, sql which takes writes first, git. */
const LANES = [
  { name: "disk", role: "cache", shared: false },
  { name: "sql", role: "store", shared: true },
  { name: "git", role: "store", shared: true },
] as const;
const ALL = 0b111;
const SQL = 0b010;

function world() {
  const done: number[] = [];
  const time = { ms: 0 };
  const queues = new Queues(
    LANES,
    () => time.ms,
    (item) => done.push(item.seq),
  );
  let seq = 0;
  const item = (key: string, at?: number): Item => {
    seq++;
    const version = formatVersion(1.7e12 + (at ?? seq), 0, "0".repeat(16));
    const head = { key, state: "value", version, expires: null, meta: NO_META } as const;
    const parts = {
      asOf: 0,
      knownAt: 0,
      entry: undefined,
      body: undefined,
      place: undefined,
      queuedAt: 0,
      flying: 0,
      lines: 0,
      void: false,
    };
    const rest = { valueBytes: 1, condition: undefined, sealed: false, older: undefined, waiters: undefined };
    return { seq, head, ...parts, ...rest, waits: ALL, first: SQL, kept: false };
  };
  const add = (key: string, at?: number) => {
    const added = item(key, at);
    queues.add(added);
    return added;
  };
  const [disk, sql, git] = queues.lanes as [Lane, Lane, Lane];
  return {
    queues,
    add,
    item,
    done,
    time,
    disk,
    sql,
    git,
    seqs: (lane: Lane) => [...lane.queue.values()].map(({ seq }) => seq),
  };
}
type Lane = Queues["lanes"][number];

describe("queues", () => {
  it("give a shared layer nothing that the first one has not got", () => {
    const { queues, add, seqs, disk, sql, git } = world();
    const a = add("a");
    expect([seqs(disk), seqs(sql), seqs(git)]).toEqual([[1], [1], []]);
    queues.settle(sql, a, { status: "stored" });
    expect(seqs(git)).toEqual([1]);
  });

  it("give no shared layer what the first one refused for good", () => {
    const { queues, add, done, seqs, sql, git, disk } = world();
    const a = add("a");
    queues.settle(sql, a, { status: "refused", error: new Error("no") });
    expect(seqs(git)).toEqual([]);
    expect(done).toEqual([]);
    queues.settle(disk, a, { status: "stored" });
    expect(done).toEqual([1]);
  });

  it("let a newer write take an older one's place, but not of what is under way or sealed", () => {
    const { queues, add, seqs, disk, sql } = world();
    add("a");
    const flying = queues.take(sql, 10, 10);
    add("a");
    expect([seqs(disk), seqs(sql)]).toEqual([[2], [1, 2]]);
    queues.release(sql, flying);
    queues.seal(2);
    add("a");
    expect([seqs(disk), seqs(sql)]).toEqual([
      [2, 3],
      [1, 2, 3],
    ]);
  });

  it("do not send an older write that came late where the newer one waits", () => {
    const { add, seqs, sql, done } = world();
    add("a", 100);
    add("a", 50);
    expect(seqs(sql)).toEqual([1]);
    expect(done).toEqual([2]);
  });

  it("tell who waited for a replaced write what became of the one in its place", () => {
    const { queues, add, sql } = world();
    const a = add("a");
    const outcomes: unknown[] = [];
    a.waiters = [{ lane: SQL, settled: (outcome) => outcomes.push(outcome) }];
    const b = add("a");
    queues.settle(sql, b, { status: "stored" });
    expect(outcomes).toEqual([{ status: "superseded", by: b.head.version }]);
  });

  it("hold up a key behind a conditional write that is not decided", () => {
    const { queues, add, item, sql } = world();
    const before = add("k");
    const intent = { ...item("k"), sealed: true, condition: "absent" } as const;
    queues.hold(intent);
    const after = add("k");
    expect(queues.newest("k")?.seq).toBe(after.seq);
    expect(queues.take(sql, 10, 10)).toEqual([before]);
    queues.settle(sql, before, { status: "stored" });
    expect(queues.takeKey(sql, "k")).toEqual([]);
    queues.decided(intent, true);
    expect(queues.take(sql, 10, 10)).toEqual([after]);
  });

  // Against a plain model: per layer and key, the newest version that was added has to arrive, in order.
  // Mutations: a layer's item is as old as its record; what was decided is as old as its intent; an older one counts.
  it("know since when the youngest waits for each layer", () => {
    const { queues, add, item, time, disk, sql, git } = world();
    time.ms = 100;
    const a = add("a");
    expect([disk.youngestAt, sql.youngestAt]).toEqual([0, 0]);
    queues.settle(sql, a, { status: "stored" });
    expect(git.youngestAt).toBe(100);
    const intent = item("b");
    queues.hold(intent);
    queues.decided(intent, true);
    expect(disk.youngestAt).toBe(100);
    add("c");
    expect([disk.youngestAt, sql.youngestAt]).toEqual([100, 0]);
  });

  // Mutations: what is sent in part, or waits for a decision, counts as sent; what comes back is forgotten.
  it("know since when the oldest waits for a layer", () => {
    const { queues, item, sql } = world();
    const at = (ms: number, key: string) => {
      const added = item(key);
      added.queuedAt = ms;
      queues.add(added);
      return added;
    };
    at(10, "a");
    const b = at(20, "b");
    const a = at(30, "a");
    expect(sql.oldestAt).toBe(10);
    const [first] = queues.take(sql, 1, 100);
    expect([first, sql.oldestAt]).toEqual([b, 10]);
    expect([queues.take(sql, 1, 100), sql.oldestAt]).toEqual([[a], Infinity]);
    at(40, "c");
    queues.settle(sql, a, { status: "stored" });
    queues.release(sql, [a, b]);
    expect(sql.oldestAt).toBe(20);
    const intent = item("d");
    queues.hold(intent);
    at(50, "d");
    expect([queues.take(sql, 9, 100).length, sql.oldestAt]).toEqual([2, 20]);
  });

  // Mutations: it is over when none may be sent; it is over when all were taken.
  it("end the wait when a layer lacks nothing, and no sooner", () => {
    const { queues, add, git, sql } = world();
    const stored = { status: "stored" } as const;
    const [x, y] = [add("x"), add("y")];
    for (const item of [x, y]) queues.settle(sql, item, stored);
    const newer = add("x"); // which git may not have yet
    queues.settle(git, y, stored);
    expect([git.queue.size, git.oldestAt]).toEqual([0, 0]);
    queues.settle(sql, newer, stored);
    expect([git.queue.size, sql.oldestAt]).toEqual([1, Infinity]);
    queues.settle(git, newer, stored);
    expect([git.waiting, git.oldestAt]).toEqual([0, Infinity]);
  });

  it("bring every layer the newest of every key, whatever the order of events", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const chance = random(seed);
      const { queues, add, done, disk, sql, git } = world();
      const arrived = new Map<string, string>();
      const newest = new Map<string, string>();
      const flights: { readonly lane: Lane; readonly items: readonly Item[] }[] = [];
      const settle = (lane: Lane, item: Item) => {
        const at = `${lane.name} ${item.head.key}`;
        if ((arrived.get(at) ?? "") < item.head.version) arrived.set(at, item.head.version);
        if (lane === git) expect(arrived.get(`sql ${item.head.key}`) ?? "").toBeTruthy();
        queues.settle(lane, item, { status: "stored" });
      };
      for (let step = 0; step < 60; step++) {
        const roll = chance.below(10);
        if (roll < 4) {
          const { head } = add(chance.pick(["a", "b", "c"]), chance.chance(0.2) ? chance.below(50) : undefined);
          if ((newest.get(head.key) ?? "") < head.version) newest.set(head.key, head.version);
        } else if (roll < 7) {
          const lane = chance.pick([disk, sql, git]);
          const items = queues.take(lane, 1 + chance.below(3), 100);
          if (items.length > 0) flights.push({ lane, items });
        } else if (roll < 9 && flights.length > 0) {
          const [{ lane, items }] = flights.splice(chance.below(flights.length), 1) as [(typeof flights)[number]];
          if (chance.chance(0.3)) queues.release(lane, items);
          else for (const item of items) settle(lane, item);
        } else queues.seal(chance.below(50));
      }
      for (const { lane, items } of flights) queues.release(lane, items);
      for (let round = 0; round < 3; round++) {
        for (const lane of queues.lanes) for (const item of queues.take(lane, 1_000, 1e9)) settle(lane, item);
      }
      for (const [key, version] of newest) {
        for (const { name } of queues.lanes)
          expect([seed, name, arrived.get(`${name} ${key}`)]).toEqual([seed, name, version]);
      }
      expect([seed, queues.live.size, queues.bytes, new Set(done).size]).toEqual([seed, 0, 0, done.length]);
      expect(queues.lanes.map(({ waiting, oldestAt }) => [waiting, oldestAt])).toEqual(LANES.map(() => [0, Infinity]));
    }
  });
});
