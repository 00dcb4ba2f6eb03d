import { describe, expect, it } from "vitest";
import { ioError } from "microsync/testing";
import type { SimulatedFiles } from "microsync/testing";
import { Lives, REFUSED } from "./lives.ts";
import { Violation, isGone } from "./world.ts";

/**
 * The power fails, or an operation of the disk does, at every point of a life of a chain with a journal: writes at every
 * acknowledgement level, conditions, flushes, a dead letter, segments that come and go, cursors, closing and opening.
 * After each, everything acknowledged is readable at once and reaches every layer (lives.ts).
 */
const SEEDS = [1, 2];

type Trouble = (files: SimulatedFiles) => void;

async function run(seed: number, trouble: Trouble): Promise<{ operations: number; keys: number }> {
  const lives = new Lives(seed, trouble);

  /** @returns true when the machine is still there. */
  const live = async (number: number, end: "close" | "kill"): Promise<boolean> => {
    const text = (what: string) => `${what} of life ${number} ${"x".repeat(150)}`;
    try {
      const life = await lives.begin();
      await life.verify();
      for (let i = 0; i < 3 && !life.isOver; i++) await life.write(`k${i}`, text("first"));
      await life.raise("counter");
      await life.write("k0", text("from memory"), { ack: "memory" });
      await life.write("k1", text("in sql"), { ack: "sql" });
      await life.write(`${REFUSED}${number % 2}`, text("refused"));
      await life.pass(300);
      await life.raise("counter");
      await life.write("k2", undefined);
      await life.write(`own/${number}`, text("own"), { ack: "all" });
      if (number === 1) await life.flush();
      await life.raise("counter");
      await life.pass(1500); // cursors are saved, segments go
      await life.write("k0", text("last"));
      await life.write("k2", text("again"));
      if (life.isOver) return false;
      await life.verify();
      if (end === "close") await life.close();
      else lives.files = lives.files.kill();
      return !life.isOver || end === "kill" || !lives.files.ended;
    } catch (error) {
      if (isGone(error) || lives.files.ended) {
        if (error instanceof Violation) throw error;
        return false;
      }
      throw error;
    }
  };

  void ((await live(1, "close")) && (await live(2, "kill")) && (await live(3, "close")));
  const { operations } = lives.files;
  lives.files = lives.files.powerLoss();
  const life = await lives.begin();
  await life.verify();
  await life.flush();
  for (const [name, state] of Object.entries(lives.states)) {
    for (const key of lives.keys()) {
      const entry = state.copies.get(key)?.entry;
      if (key.startsWith(REFUSED) || (name === "cache" && (entry === undefined || entry.state === "stub"))) continue;
      const { value = null } = entry ?? {};
      lives.saw(key, value === null ? undefined : new TextDecoder().decode(value), name);
    }
  }
  const { journal } = life.chain.status();
  if (journal === undefined || journal.entries > 0 || journal.undecided > 0)
    throw new Violation("something still waits");
  await life.close();
  return { operations, keys: lives.size };
}

/** Runs with trouble at operation 1, 2, ... until a run is over before it comes. @returns how many there were. */
async function sweep(seed: number, trouble: (at: number) => Trouble): Promise<number> {
  for (let at = 1; ; at++) {
    const { operations } = await run(seed, trouble(at)).catch((cause: unknown) => {
      throw new Error(`seed ${seed}, operation ${at}: ${String(cause)}`, { cause });
    });
    if (operations < at) return at - 1;
  }
}

describe("a chain with a journal", () => {
  it("loses nothing when nothing goes wrong", async () => {
    const { operations, keys } = await run(1, () => undefined);
    expect(operations).toBeGreaterThan(150);
    expect(keys).toBeGreaterThan(7);
  });

  it.each(SEEDS)("loses nothing when the power fails at any operation, seed %i", { timeout: 240_000 }, async (seed) => {
    expect(await sweep(seed, (at) => (files) => files.crashAt(at))).toBeGreaterThan(150);
  });

  it.each([
    ["EIO", 1],
    ["ENOSPC", 2],
  ] as const)("loses nothing when any operation fails with %s, seed %i", { timeout: 240_000 }, async (code, seed) => {
    expect(await sweep(seed, (at) => (files) => files.failAt(at, ioError(code)))).toBeGreaterThan(150);
  });

  // The proof that the sweep would see a sync that was left out.
  it.each(["sync", "syncFolder"] as const)("is seen to lose something on a disk that lies about %s", async (lie) => {
    const lying = (at: number) => (files: SimulatedFiles) => {
      files.lying = lie;
      files.crashAt(at);
    };
    await expect(sweep(1, lying)).rejects.toThrow(/lost|journal is damaged|cannot be used/);
  });
});
