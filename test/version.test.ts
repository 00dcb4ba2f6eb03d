import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SyncError } from "../src/error.ts";
import { random, simulatedRuntime } from "../src/testing/index.ts";
import type { SimulatedRuntime } from "../src/testing/index.ts";
import {
  SKEW_MAX_MS,
  STAMP_MS_MIN,
  VERSION_BYTES,
  VERSION_LENGTH,
  VERSION_ZERO,
  formatVersion,
  isLow,
  isVersion,
  lowVersion,
  toVersion,
  versionClock,
  versionFromBytes,
  versionMs,
  versionToBytes,
} from "../src/version.ts";
import type { ClockBound, Version, VersionClock } from "../src/version.ts";

const NODE = "00000000000000aa";
let seeds = 0;

function world(): SimulatedRuntime {
  return simulatedRuntime({ seed: ++seeds });
}

/** A bound on a disk that outlives the clocks of a test. */
function disk(): ClockBound & { ms: number; stores: number[] } {
  const bound = {
    ms: 0,
    stores: [] as number[],
    load: async () => bound.ms,
    store: async (ms: number) => {
      await Promise.resolve();
      bound.ms = ms;
      bound.stores.push(ms);
    },
  };
  return bound;
}

async function stamps(clock: VersionClock, count: number): Promise<Version[]> {
  const issued: Version[] = [];
  for (let i = 0; i < count; i++) issued.push(await clock.stamp());
  return issued;
}

function expectAscending(issued: readonly Version[]): void {
  for (const [i, version] of issued.entries()) {
    expect(isVersion(version)).toBe(true);
    const before = issued[i - 1];
    if (before !== undefined && !(before < version)) expect.fail(`${version} was issued after ${before}`);
  }
}

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof SyncError ? error.code : String(error);
  }
  return "fine";
}

const parts = fc.record({
  ms: fc.oneof(
    fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    fc.constantFrom(0, 1, STAMP_MS_MIN - 1, STAMP_MS_MIN, 2 ** 48 - 1),
  ),
  counter: fc.integer({ min: 0, max: 0xffff }),
  node: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString("hex")),
});

describe("a version", () => {
  it("goes to bytes and back, also at a place inside other bytes", () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 0, max: 5 }), ({ ms, counter, node }, at) => {
        const version = formatVersion(ms, counter, node);
        expect(version).toHaveLength(VERSION_LENGTH);
        expect(isVersion(version)).toBe(true);
        expect(versionMs(version)).toBe(ms);
        const into = new Uint8Array(VERSION_BYTES + 10).fill(0xee);
        expect(versionToBytes(version, into, at)).toBe(into);
        expect(versionFromBytes(into, at)).toBe(version);
        const around = [...into.subarray(0, at), ...into.subarray(at + VERSION_BYTES)];
        expect(around.every((byte) => byte === 0xee)).toBe(true);
        expect(Buffer.from(versionToBytes(version)).toString("hex")).toBe(version.replaceAll("-", ""));
      }),
    );
  });

  it("is ordered by time, then counter, then node, as text and as bytes", () => {
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const [x, y] = [formatVersion(a.ms, a.counter, a.node), formatVersion(b.ms, b.counter, b.node)];
        const byParts =
          a.ms - b.ms || a.counter - b.counter || Buffer.compare(Buffer.from(a.node), Buffer.from(b.node));
        expect(x < y).toBe(byParts < 0);
        expect(Math.sign(Buffer.compare(versionToBytes(x), versionToBytes(y)))).toBe(Math.sign(byParts));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    "",
    VERSION_ZERO.slice(1),
    `${VERSION_ZERO}0`,
    `${VERSION_ZERO.slice(0, -1)}\n`,
    VERSION_ZERO.replace("0", "A"),
    VERSION_ZERO.replace("0", "g"),
    VERSION_ZERO.replaceAll("-", "0"),
  ])("is not %j", (text) => {
    expect(isVersion(text)).toBe(false);
    expect(codeOf(() => toVersion(text))).toBe("INVALID");
  });

  it("of the low band lies above zero and below every stamp", async () => {
    const runtime = simulatedRuntime({ seed: 1, startMs: 0 }); // a machine whose clock was never set
    const stamp = await (await versionClock({ runtime })).stamp();
    const low = [lowVersion(1, NODE), lowVersion(2, NODE), lowVersion(STAMP_MS_MIN - 1, "f".repeat(16))];
    expectAscending([VERSION_ZERO, ...low, stamp]);
    expect([VERSION_ZERO, ...low].every(isLow)).toBe(true);
    expect(isLow(stamp)).toBe(false);
    for (const position of [0, -1, 0.5, STAMP_MS_MIN, Number.NaN]) {
      expect(codeOf(() => lowVersion(position, NODE))).toBe("INTERNAL");
    }
  });
});

describe("the clock of versions in one process", () => {
  // Mutation: `ms = wall` whatever was issued before.
  it("never goes back, whatever the wall clock does", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const runtime = simulatedRuntime({ seed });
      const chance = random(seed);
      const clock = await versionClock({ runtime });
      const issued: Version[] = [];
      for (let i = 0; i < 300; i++) {
        issued.push(await clock.stamp());
        if (chance.chance(0.3)) runtime.stepWall(chance.below(20_000) - 10_000);
        if (chance.chance(0.1))
          clock.observe(formatVersion(runtime.now() + chance.below(50_000), chance.below(0x10000), NODE));
      }
      expectAscending(issued);
    }
  });

  it("stamps with the wall clock when that is ahead, and begins its counter anew", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime });
    const now = runtime.now();
    expect(await stamps(clock, 3)).toEqual([0, 1, 2].map((counter) => formatVersion(now, counter, clock.node)));
    await runtime.advance(7);
    expect(await clock.stamp()).toBe(formatVersion(now + 7, 0, clock.node));
  });

  // Mutation: a counter that wraps round.
  it("issues 65,536 versions in one millisecond, and goes on in the next", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime });
    const now = runtime.now();
    let before = VERSION_ZERO;
    for (let i = 0; i < 65_536; i++) {
      const version = clock.stamp() as Version;
      if (version <= before) expect.fail(`${version} was issued after ${before}`);
      before = version;
    }
    expect(before).toBe(formatVersion(now, 0xffff, clock.node));
    expect(clock.stamp()).toBe(formatVersion(now + 1, 0, clock.node));
  });

  it("stamps at once when there is no bound to move", async () => {
    expect(typeof (await versionClock({ runtime: world() })).stamp()).toBe("string");
  });

  it("has a node of 64 random bits, another at each start", async () => {
    const runtime = world();
    const nodes = await Promise.all(Array.from({ length: 20 }, async () => (await versionClock({ runtime })).node));
    expect(new Set(nodes).size).toBe(20);
    for (const node of nodes) expect(node).toMatch(/^[0-9a-f]{16}$/);
  });

  it("stamps above what it has seen elsewhere, and above what it is told to", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime });
    const seen = formatVersion(runtime.now() + 5000, 9, "f".repeat(16));
    expect(clock.observe(seen)).toBe(true);
    const first = await clock.stamp();
    expect(first).toBe(formatVersion(runtime.now() + 5000, 10, clock.node));
    const above = formatVersion(runtime.now() + 9000, 0xffff, "f".repeat(16));
    expect(await clock.stamp(above)).toBe(formatVersion(runtime.now() + 9001, 0, clock.node));
    expect(clock.observe(first)).toBe(true);
    expect((await clock.stamp()) > above).toBe(true);
    expect((await clock.stamp(lowVersion(3, NODE))) > above).toBe(true);
  });

  it("stamps above the highest of what it has seen in one millisecond", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime });
    await clock.stamp();
    for (const counter of [50, 3]) clock.observe(formatVersion(runtime.now(), counter, NODE));
    expect(await clock.stamp()).toBe(formatVersion(runtime.now(), 51, clock.node));
  });

  // Mutation: taking in a version before it is looked at.
  it("refuses what lies too far in the future, and does not move", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime });
    const [edge, beyond] = [SKEW_MAX_MS, SKEW_MAX_MS + 1].map((ms) => formatVersion(runtime.now() + ms, 0, NODE)) as [
      Version,
      Version,
    ];
    expect(clock.observe(beyond)).toBe(false);
    expect(codeOf(() => clock.stamp(beyond))).toBe("SKEW");
    expect(await clock.stamp()).toBe(formatVersion(runtime.now(), 0, clock.node));
    expect(clock.observe(edge)).toBe(true);
    expect((await clock.stamp()) > edge).toBe(true);
  });

  it("takes another limit of skew", async () => {
    const runtime = world();
    const clock = await versionClock({ runtime, skewMaxMs: 10 });
    expect(clock.observe(formatVersion(runtime.now() + 10, 0, NODE))).toBe(true);
    expect(clock.observe(formatVersion(runtime.now() + 11, 0, NODE))).toBe(false);
  });
});

describe("the clock of versions over restarts", () => {
  // Mutation: starting at the wall clock instead of the bound.
  it("never goes back when the wall clock did meanwhile", async () => {
    const runtime = world();
    const bound = disk();
    const issued: Version[] = [];
    for (const stepMs of [0, -60_000, -3_600_000, 1000, -1, 0]) {
      runtime.stepWall(stepMs);
      issued.push(...(await stamps(await versionClock({ runtime, bound }), 5)));
    }
    expectAscending(issued);
  });

  // Mutation: beginning at the bound itself, where the last process may have stamped.
  it("begins above a version that was issued at the very bound", async () => {
    for (let i = 0; i < 20; i++) {
      const runtime = world();
      const bound = disk();
      const clock = await versionClock({ runtime, bound });
      await clock.stamp();
      await runtime.advance(bound.ms - runtime.now());
      const last = await clock.stamp();
      expect(versionMs(last)).toBe(bound.ms);
      runtime.stepWall(-1000);
      expectAscending([last, await (await versionClock({ runtime, bound })).stamp()]);
    }
  });

  it("stamps above the low band on a machine whose clock was never set", async () => {
    const runtime = simulatedRuntime({ seed: 1, startMs: 0 });
    const clock = await versionClock({ runtime, bound: disk() });
    expect((await stamps(clock, 3)).some(isLow)).toBe(false);
  });

  // Mutation: issuing the versions before the bound is stored.
  it("has every version it issues below the stored bound", async () => {
    const runtime = world();
    const bound = disk();
    const clock = await versionClock({ runtime, bound });
    const chance = random(3);
    for (let i = 0; i < 500; i++) {
      const version = await clock.stamp();
      expect(versionMs(version)).toBeLessThanOrEqual(bound.ms);
      await runtime.advance(chance.below(200));
      if (chance.chance(0.1)) runtime.stepWall(-chance.below(20_000));
    }
    expect(bound.stores).toEqual([...bound.stores].sort((a, b) => a - b));
    expect(bound.stores.length).toBeLessThan(20); // some ten seconds of reserve each
  });

  it("never goes back when it is killed between reserving and issuing, or while reserving", async () => {
    for (const lands of [true, false]) {
      const runtime = world();
      const bound = disk();
      const issued = await stamps(await versionClock({ runtime, bound }), 3);
      await runtime.advance(10_001); // past the reserve
      const dying = await versionClock({
        runtime,
        bound: {
          load: () => bound.load(),
          async store(ms) {
            if (lands) await bound.store(ms);
            await new Promise(() => undefined); // killed here
          },
        },
      });
      void dying.stamp();
      await runtime.settle();
      runtime.stepWall(-20_000);
      issued.push(...(await stamps(await versionClock({ runtime, bound }), 3)));
      expectAscending(issued);
    }
  });

  it("does not issue what it could not reserve, and tries again with the next stamp", async () => {
    const runtime = world();
    const bound = disk();
    let full = true;
    const clock = await versionClock({
      runtime,
      bound: {
        load: () => bound.load(),
        store: (ms) => (full ? Promise.reject(new SyncError("UNAVAILABLE", "the disk is full")) : bound.store(ms)),
      },
    });
    const both = await Promise.allSettled([clock.stamp(), clock.stamp()]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    full = false;
    expect(versionMs(await clock.stamp())).toBeLessThanOrEqual(bound.ms);
  });

  it("moves the bound once for many stamps at once, and issues them in their order", async () => {
    const runtime = world();
    const bound = disk();
    const clock = await versionClock({ runtime, bound });
    expectAscending(await Promise.all(Array.from({ length: 100 }, async () => clock.stamp())));
    expect(bound.stores).toHaveLength(1);
    expect(typeof clock.stamp()).toBe("string");
  });

  // Mutation: reserving the full ten seconds above the stored bound at each start.
  it("is not driven into the future by restarts in a loop", async () => {
    const runtime = world();
    const bound = disk();
    const issued: Version[] = [];
    for (let i = 0; i < 2000; i++) {
      issued.push(await (await versionClock({ runtime, bound })).stamp());
      await runtime.advance(20); // no process starts faster
    }
    expectAscending(issued);
    const aheadMs = Math.max(...issued.map((version, i) => versionMs(version) - (1_700_000_000_000 + 20 * i)));
    expect(aheadMs).toBeLessThanOrEqual(10_000);
  });

  it("goes on above a version from elsewhere that lies above its reserve", async () => {
    const runtime = world();
    const bound = disk();
    const clock = await versionClock({ runtime, bound });
    await clock.stamp();
    const seen = formatVersion(runtime.now() + 50_000, 0, NODE);
    clock.observe(seen);
    const above = await clock.stamp();
    expect(above > seen).toBe(true);
    expect(versionMs(above)).toBeLessThanOrEqual(bound.ms);
    const again = await (await versionClock({ runtime, bound })).stamp();
    expect(again > above).toBe(true);
  });
});
