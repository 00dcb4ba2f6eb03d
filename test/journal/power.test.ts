import { describe, expect, it } from "vitest";
import { ioError, random, simulatedFiles, simulatedRuntime } from "microsync/testing";
import type { SimulatedFiles } from "microsync/testing";
import { SyncError } from "../../src/error.ts";
import { Model, Violation, draftOf, isGone, openAgain } from "./world.ts";

/**
 * The power fails, or an operation does, at every point of a life of the log: groups of appends, new segments, removals,
 * reopenings, kills. After each the log opens and holds what it must (world.ts).
 */
const SEEDS = [1, 2, 3];

/** What goes wrong in a run. */
type Trouble = (files: SimulatedFiles) => void;

interface Outcome {
  readonly operations: number;
  readonly acknowledged: number;
}

async function run(seed: number, trouble: Trouble): Promise<Outcome> {
  const chance = random(seed);
  const runtime = simulatedRuntime({ seed });
  const first = simulatedFiles({ seed });
  const model = new Model();
  trouble(first);
  let files = first;
  let number = 0;

  /** One opening of the log. @returns true when the machine is still there. */
  const life = async (rounds: number, end: "close" | "kill"): Promise<boolean> => {
    try {
      const log = await openAgain(files, runtime);
      await model.verify(log);
      for (let round = 0; round < rounds; round++) {
        const appends = Array.from({ length: 1 + chance.below(3) }, () => {
          const drafts = Array.from({ length: 1 + chance.below(3) }, () => draftOf(chance, ++number));
          return model.append(log, drafts);
        });
        const outcomes = await Promise.allSettled(appends);
        for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
        if (chance.chance(0.2)) await model.removeSome(log, chance).catch(unlessGone);
      }
      if (end === "close") await log.close().catch(unlessGone);
      else files = files.kill();
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  };

  void ((await life(4, "close")) && (await life(3, "kill")) && (await life(4, "close")));
  const { operations } = files;
  files = files.powerLoss();
  if (!(await life(3, "close"))) throw new Violation("the power failed twice");
  const log = await openAgain(files, runtime);
  await model.verify(log);
  const acknowledged = model.size;
  await log.close();
  return { operations, acknowledged };
}

/** A removal or a closing that the disk refused may be tried again; nothing is lost. */
function unlessGone(error: unknown): void {
  if (isGone(error)) throw error;
  if (!(error instanceof SyncError)) throw error;
}

/** Runs with trouble at operation 1, 2, ... until a run is over before it comes. @returns how many there were. */
async function sweep(seed: number, trouble: (at: number) => Trouble, step = 1): Promise<number> {
  for (let at = 1; ; at += step) {
    const { operations } = await run(seed, trouble(at)).catch((cause: unknown) => {
      throw new Error(`seed ${seed}, operation ${at}: ${String(cause)}`, { cause });
    });
    if (operations < at) return at - 1;
  }
}

describe("the log", () => {
  // Mutations: no sync of a group; of a header; of the manifest; of the folder before or after it; at opening; no cut of
  // a torn tail; the commit mark believed without its records.
  it.each(SEEDS)(
    "keeps what it must when the power fails at any operation, seed %i",
    { timeout: 120_000 },
    async (seed) => {
      expect(await sweep(seed, (at) => (files) => files.crashAt(at))).toBeGreaterThan(150);
    },
  );

  // Mutations: going on in a file that did not sync; no cut after a failed append; numbers given out again; the end in
  // header and manifest not believed.
  it.each(SEEDS)("keeps what it must when any operation fails, seed %i", { timeout: 120_000 }, async (seed) => {
    for (const error of [ioError("EIO"), ioError("ENOSPC")]) {
      expect(await sweep(seed, (at) => (files) => files.failAt(at, error))).toBeGreaterThan(150);
    }
  });

  it.each(SEEDS)(
    "keeps what it must when any operation fails and then the power, seed %i",
    { timeout: 120_000 },
    async (seed) => {
      for (const later of [1, 2, 3, 8, 21]) {
        const trouble = (at: number) => (files: SimulatedFiles) => {
          files.failAt(at);
          files.crashAt(at + later);
        };
        expect(await sweep(seed, trouble)).toBeGreaterThan(100);
      }
    },
  );

  it.each(SEEDS)(
    "keeps what it must when two operations in a row fail, seed %i",
    { timeout: 120_000 },
    async (seed) => {
      const trouble = (at: number) => (files: SimulatedFiles) => {
        files.failAt(at);
        files.failAt(at + 1);
      };
      expect(await sweep(seed, trouble)).toBeGreaterThan(150);
    },
  );

  // The proof that the sweep would see a sync that was left out.
  it.each(["sync", "syncFolder"] as const)("is seen to lose something on a disk that lies about %s", async (lie) => {
    const lying = (at: number) => (files: SimulatedFiles) => {
      files.lying = lie;
      files.crashAt(at);
    };
    await expect(sweep(1, lying)).rejects.toThrow(/is lost|journal is damaged/);
  });
});
