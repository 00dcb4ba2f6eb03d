import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ioError, random, simulatedFiles, simulatedRuntime } from "microsync/testing";
import type { SimulatedFiles } from "microsync/testing";
import { SyncError } from "../../src/error.ts";
import { openLog } from "../../src/journal/log.ts";
import type { Draft, Log, LogOptions } from "../../src/journal/log.ts";
import { mayReturn } from "../../src/journal/segments.ts";
import { Model, Violation, draftOf, entryOf, isGone, openAgain } from "./world.ts";

const runtime = simulatedRuntime({ seed: 1 });
const open = (files: SimulatedFiles, options: Partial<LogOptions> = {}) => openLog({ files, runtime, ...options });

function write(key: string, number: number, bytes = 10): Draft {
  return { kind: "write", key, asOf: number, entry: entryOf(key, number, new Uint8Array(bytes).fill(number)) };
}

async function failure(promise: Promise<unknown>): Promise<SyncError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(error instanceof SyncError)) throw new Error(`no SyncError but ${String(error)}`);
  return error;
}

function thrown(work: () => unknown): SyncError {
  try {
    work();
  } catch (error) {
    if (error instanceof SyncError) return error;
  }
  throw new Error("nothing was thrown");
}

const keys = (log: Log) => [...log.recovered].map(({ seq, key }) => `${seq} ${key}`);

describe("append", () => {
  it("numbers at once and in order, tells the owner, then those who wait, and gives back what was written", async () => {
    const files = simulatedFiles({ seed: 1 });
    const log = await open(files);
    const told: string[] = [];
    log.onDurable = (first, last) => told.push(`durable ${first}-${last}`);
    const a = log.append([write("a", 1), write("b", 2)]);
    const b = log.append([{ kind: "decision", key: "c", asOf: -5, entry: null, note: Uint8Array.of(7) }]);
    expect([a.first, b.first, log.last, log.durable]).toEqual([1, 3, 3, 0]);
    await Promise.all([a.durable.then(() => told.push("a")), b.durable.then(() => told.push("b"))]);
    expect(told).toEqual(["durable 1-3", "a", "b"]);
    expect(log.durable).toBe(3);
    const place = a.placeOf(2);
    expect(await log.read(place, "b")).toEqual(write("b", 2).entry);
    expect(await failure(log.read(place, "x"))).toMatchObject({ code: "CORRUPT" });
    await log.close();
    const again = await open(files);
    expect(keys(again)).toEqual(["1 a", "2 b", "3 c"]);
    const { kind, asOf, note, head, valueBytes } = again.recovered.at(2);
    expect({ kind, asOf, note, head, valueBytes }).toEqual({
      kind: "decision",
      asOf: -5,
      note: Uint8Array.of(7),
      head: null,
      valueBytes: 0,
    });
    expect(again.append([write("d", 4)]).first).toBe(4);
  });

  // Mutation: every append written by itself.
  it("writes everything that came while the disk was busy by one append and one sync", async () => {
    const clock = simulatedRuntime({ seed: 1 });
    const files = simulatedFiles({ seed: 1, runtime: clock, delayMsMax: 5 });
    const opening = openLog({ files, runtime: clock });
    await clock.run();
    const log = await opening;
    let groups = 0;
    log.onDurable = () => groups++;
    const first = log.append([write("first", 0)]).durable;
    await clock.run();
    await first;
    const before = files.operations;
    let done = 0;
    const writer = async (id: number) => {
      for (let i = 0; i < 20; i++) {
        await log.append([write(`${id}`, i)]).durable;
        done++;
      }
    };
    const all = Promise.all(Array.from({ length: 50 }, (_, id) => writer(id)));
    await clock.run();
    await all;
    expect([done, groups]).toEqual([1000, 21]);
    expect(files.operations - before).toBe(2 * 20);
  });

  it("does not wait for company when a group is large, and bounds groups", async () => {
    const log = await open(simulatedFiles({ seed: 1 }), { groupBytesMax: 10_000, segmentBytes: 50_000 });
    const groups: number[] = [];
    log.onDurable = (first, last) => groups.push(last - first + 1);
    await Promise.all(Array.from({ length: 100 }, (_, i) => log.append([write(`k${i}`, i, 1000)]).durable));
    expect(groups.reduce((a, b) => a + b)).toBe(100);
    expect(Math.max(...groups)).toBeLessThanOrEqual(10);
    expect(log.segments().length).toBeGreaterThan(1);
    await log.append(Array.from({ length: 30 }, (_, i) => write(`k${i}`, i, 1000))).durable; // never divided
    expect(groups.at(-1)).toBe(30);
  });

  it("keeps nothing of the caller's bytes", async () => {
    const files = simulatedFiles({ seed: 1 });
    const log = await open(files);
    const draft = write("a", 1);
    const { first, durable, placeOf } = log.append([draft]);
    draft.entry?.value?.fill(99);
    await durable;
    expect((await log.read(placeOf(first), "a")).value).toEqual(new Uint8Array(10).fill(1));
  });

  // Mutation: memory is used again while heads lie in it (`giveBack` of what is kept).
  it.each([{ valueBytes: 20 }, { valueBytes: 3000 }])("reads back many values of $valueBytes bytes", async (about) => {
    const { valueBytes } = about;
    const keyOf = (i: number) => `${i} ${"k".repeat(400)}`;
    const files = simulatedFiles({ seed: 1 });
    const log = await open(files);
    const count = Math.floor((8 << 20) / (500 + valueBytes));
    for (let from = 0; from < count; from += 1000) {
      const drafts = Array.from({ length: Math.min(1000, count - from) }, (_, i) => {
        return write(keyOf(from + i), from + i, valueBytes);
      });
      await log.append(drafts).durable;
    }
    await log.close();
    const again = await open(files);
    expect(keys(again)).toEqual(Array.from({ length: count }, (_, i) => `${i + 1} ${keyOf(i)}`));
    for (let i = 0; i < count; i += 997) {
      const { place, key } = again.recovered.at(i);
      expect(await again.read(place, key)).toEqual(write(key, i, valueBytes).entry);
    }
  });

  it("refuses what is malformed, too much, or late, before any effect", async () => {
    const log = await open(simulatedFiles({ seed: 1 }), { waitingBytesMax: 1000 });
    const refused = (draft: Draft) => thrown(() => log.append([write("fine", 1), draft])).code;
    expect(refused({ ...write("a", 1), key: "b" })).toBe("INVALID");
    expect(refused({ ...write("a", 1), entry: null })).toBe("INVALID");
    expect(refused({ ...write("a", 1), kind: "decision" })).toBe("INVALID");
    expect(refused({ ...write("a", 1), asOf: 0.5 })).toBe("INVALID");
    expect(refused({ ...write("a", 1), note: new Uint8Array(1025) })).toBe("TOO_LARGE");
    expect(refused(write("x".repeat(513), 1))).toBe("TOO_LARGE");
    expect(refused({ kind: "decision", key: "", asOf: 1, entry: null })).toBe("INVALID");
    expect(log.last).toBe(0);
    const waiting = log.append([write("a", 1, 900)]).durable;
    const late = thrown(() => log.append([write("b", 2, 900)]));
    expect([late.code, late.retryable, log.last]).toEqual(["OVERLOADED", true, 1]);
    await waiting;
    const note = new Uint8Array(1024).fill(3);
    await log.append([{ ...write("b", 2, 900), note }]).durable;
    await log.append([]).durable;
    const under = log.append([write("c", 3)]).durable;
    const closing = log.close();
    expect(thrown(() => log.append([write("d", 4)])).code).toBe("CLOSED");
    await Promise.all([under, closing, log.close()]);
    expect((await failure(log.read({ segment: 1, at: 48, length: 100 }, "a"))).code).toBe("CLOSED");
    expect((await failure(log.removeSegments([]))).code).toBe("CLOSED");
  });
});

describe("a folder", () => {
  it("belongs to one log at a time", async () => {
    const files = simulatedFiles({ seed: 1 });
    const log = await open(files);
    expect((await failure(open(files))).code).toBe("UNAVAILABLE");
    await log.close();
    const again = await open(files);
    await again.append([write("a", 1)]).durable;
    await again.close();
    await files.remove("0000000001.log");
    // An opening that fails gives the folder back.
    for (let attempt = 0; attempt < 2; attempt++) expect((await failure(open(files))).code).toBe("CORRUPT");
  });
});

describe("segments", () => {
  // Mutation: the end of a segment looked for in the header of the next one only, which may be gone.
  it("are removed in any order, never the open one, and stay removed", async () => {
    const files = simulatedFiles({ seed: 1 });
    const log = await open(files, { segmentBytes: 500 });
    for (let i = 1; i <= 12; i++) await log.append([write(`k${i}`, i, 100)]).durable;
    const before = log.segments();
    expect(before.length).toBe(6);
    expect(before.map(({ first, last }) => [first, last])).toEqual([1, 3, 5, 7, 9, 11].map((n) => [n, n + 1]));
    const [, second, , fourth, , open_] = before.map(({ number }) => number);
    if (second === undefined || fourth === undefined || open_ === undefined) throw new Error("too few");
    await log.removeSegments([fourth, second]);
    await log.removeSegments([second]);
    expect(await failure(log.removeSegments([open_]))).toMatchObject({ code: "INVALID" });
    expect(log.bytes).toBe(log.segments().reduce((sum, { bytes }) => sum + bytes, 0));
    expect((await files.list()).filter((name) => name.endsWith(".log")).length).toBe(4);
    await log.close();
    const again = await open(files, { segmentBytes: 500 });
    expect([...again.recovered].map(({ seq }) => seq)).toEqual([1, 2, 5, 6, 9, 10, 11, 12]);
    expect(again.segments().map(({ first, last }) => [first, last])).toEqual([1, 5, 9, 11].map((n) => [n, n + 1]));
    expect(again.append([write("next", 1)]).first).toBe(13);
  });
});

describe("a disk that refuses", () => {
  // Mutations: going on in the file that did not sync; numbers given out again.
  it("fails one group, after which a new segment goes on, and the failed one never comes back", async () => {
    for (const operation of ["append", "sync"] as const) {
      const files = simulatedFiles({ seed: 3 });
      const log = await open(files);
      await log.append([write("a", 1)]).durable;
      files.failAt(files.operations + (operation === "append" ? 1 : 2));
      files.failAt(files.operations + (operation === "append" ? 2 : 3)); // the cut, too
      const failed = log.append([write("b", 2), write("c", 3)]);
      const error = await failure(failed.durable);
      expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true, operation: "append" });
      expect(error.cure).toContain("nothing acknowledged before is lost");
      const { first, durable } = log.append([write("d", 4)]);
      await durable;
      expect([first, log.segments().length]).toEqual([4, 2]);
      const again = await open(files.powerLoss());
      expect(keys(again)).toEqual(["1 a", "4 d"]);
    }
  });

  // Mutations: no sync after the cut, which a power loss takes back then; what failed is always told as gone, or never.
  it("lets a failed group come back only where it says so", async () => {
    const returned = new Set<string>();
    for (let seed = 1; seed <= 40; seed++) {
      for (const [step, nth] of [
        ["append", 1],
        ["sync", 2],
      ] as const) {
        for (const isCut of [true, false]) {
          const files = simulatedFiles({ seed });
          const log = await open(files);
          await log.append([write("a", 1)]).durable;
          files.failAt(files.operations + nth);
          if (!isCut) files.failAt(files.operations + nth + 1);
          const error = await failure(log.append([write("b", 2, 700)]).durable);
          expect(mayReturn(error)).toBe(!isCut);
          const told = keys(await open(files.powerLoss()));
          if (told.length > 1) returned.add(`${step}, ${isCut ? "cut" : "not cut"}`);
        }
      }
    }
    expect([...returned].toSorted()).toEqual(["sync, not cut"]);
  });

  it("refuses while it is full, harms nothing, and goes on when there is room", async () => {
    const files = simulatedFiles({ seed: 1, capacityBytes: 3000 });
    const log = await open(files, { segmentBytes: 1000 });
    const sure: string[] = [];
    let refused = 0;
    for (let i = 1; i <= 40; i++) {
      const { first, durable } = log.append([write(`k${i}`, i, 200)]);
      const error = await durable.then(
        () => undefined,
        (error: SyncError) => error,
      );
      if (error === undefined) sure.push(`${first} k${i}`);
      else {
        expect([error.code, error.retryable]).toEqual(["UNAVAILABLE", true]);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(10);
    expect((await files.list()).length).toBeLessThan(8); // what could not be made is not left behind
    files.capacityBytes = 10_000;
    const { first, durable } = log.append([write("room", 1, 200)]);
    await durable;
    sure.push(`${first} room`);
    const again = await open(files.powerLoss());
    expect(keys(again)).toEqual(sure);
  });

  // Mutation: the last group believed because it can be read.
  it("does not keep a group that was read back and is not on it from being kept", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const files = simulatedFiles({ seed });
      const log = await open(files);
      await log.append([write("a", 1, 700)]).durable;
      files.failAt(files.operations + 2); // the sync
      files.failAt(files.operations + 3); // the cut
      await failure(log.append([write("b", 2, 700)]).durable);
      const killed = files.kill();
      const again = await open(killed);
      const told = keys(again);
      for (const { place, key } of again.recovered) expect((await again.read(place, key)).key).toBe(key);
      await again.append([write("c", 3)]).durable;
      const last = await open(killed.powerLoss());
      expect(keys(last)).toEqual([...told, `${told.length + 1} c`]);
    }
  });

  // Mutation: no sync at opening.
  it("has what was told at an opening, even where there is no room to write it anew", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const files = simulatedFiles({ seed });
      const log = await open(files);
      await log.append([write("a", 1, 700)]).durable;
      files.lying = "sync"; // the process is killed between writing and syncing
      await log.append([write("b", 2, 700)]).durable;
      files.lying = undefined;
      const killed = files.kill();
      killed.capacityBytes = 0;
      const again = await open(killed);
      expect(keys(again)).toEqual(["1 a", "2 b"]);
      expect((await failure(again.append([write("c", 3)]).durable)).code).toBe("UNAVAILABLE");
      killed.capacityBytes = Infinity;
      if (seed % 2 === 0) await again.append([write("d", 4)]).durable;
      for (const { place, key } of again.recovered) expect((await again.read(place, key)).key).toBe(key);
      const last = await open(killed.powerLoss());
      expect(keys(last)).toEqual(["1 a", "2 b", ...(seed % 2 === 0 ? ["4 d"] : [])]);
    }
  });

  // Mutations: a segment that holds a group before the list knows its number; the end of a group that is not surely on
  // disk stated as durable.
  it("may refuse or lose power at any step of writing such a group anew", async () => {
    for (const trouble of ["failAt", "crashAt"] as const) {
      for (let at = 1, passed = false; !passed; at++) {
        for (let seed = 1; seed <= 8; seed++) {
          const files = simulatedFiles({ seed });
          const log = await open(files);
          await log.append([write("a", 1, 700)]).durable;
          files.failAt(files.operations + 2); // the sync
          files.failAt(files.operations + 3); // the cut
          await failure(log.append([write("b", 2, 700)]).durable);
          const killed = files.kill();
          const until = killed.operations + at;
          killed[trouble](until);
          await open(killed).catch((error: unknown) => {
            if (!isGone(error) && !(error instanceof SyncError && error.retryable)) throw error;
          });
          passed = killed.operations < until;
          const last = await open(killed.powerLoss());
          expect(["1 a", "1 a,2 b"], `${trouble} ${at}, seed ${seed}`).toContain(keys(last).join());
        }
      }
    }
  });
});

type Step =
  | { readonly do: "append"; readonly sizes: readonly number[] }
  | { readonly do: "remove" }
  | { readonly do: "reopen"; readonly by: "close" | "kill" | "power" }
  | { readonly do: "fail"; readonly after: number; readonly full: boolean }
  | { readonly do: "crash"; readonly after: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "remove" } as const) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("reopen" as const), by: fc.constantFrom("close", "kill", "power") }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("fail" as const),
      after: fc.integer({ min: 1, max: 12 }),
      full: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("crash" as const), after: fc.integer({ min: 1, max: 12 }) }) },
);

describe("any life of a log", () => {
  it("holds what was acknowledged, exactly and in order, and nothing else", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(step, { maxLength: 40 }), async (seed, steps) => {
        const chance = random(seed);
        const model = new Model();
        let files = simulatedFiles({ seed });
        let number = 0;
        let log: Log | undefined;
        const start = async (): Promise<Log> => {
          const opened = await openAgain(files, runtime);
          await model.verify(opened);
          log = opened;
          return opened;
        };
        const perform = async (what: Step): Promise<void> => {
          const current = log ?? (await start());
          if (what.do === "append") {
            const drafts = what.sizes.map((size) => Array.from({ length: size }, () => draftOf(chance, ++number, 600)));
            const outcomes = await Promise.allSettled(drafts.map((some) => model.append(current, some)));
            for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
          } else if (what.do === "remove") await model.removeSome(current, chance);
          else if (what.do === "fail")
            files.failAt(files.operations + what.after, ioError(what.full ? "ENOSPC" : "EIO"));
          else if (what.do === "crash") files.crashAt(files.operations + what.after);
          else {
            log = undefined;
            if (what.by === "close") await current.close();
            else files = what.by === "kill" ? files.kill() : files.powerLoss();
          }
        };
        for (const what of steps) {
          try {
            await perform(what);
          } catch (error) {
            if (error instanceof Violation) throw error;
            if (isGone(error)) [files, log] = [files.powerLoss(), undefined];
            else if (!(error instanceof SyncError && error.retryable)) throw error;
          }
        }
        files = files.powerLoss();
        await start();
      }),
      { numRuns: 300, seed: 11 },
    );
  });
});
