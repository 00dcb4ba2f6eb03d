import { describe, expect, it } from "vitest";
import type { Failures } from "../../src/cli/failures.ts";
import type { Item } from "../../src/node/lines.ts";
import { send } from "../../src/cli/send.ts";
import { SyncError } from "../../src/error.ts";
import { BatchError } from "../../src/sync.ts";
import type { Written } from "../../src/sync.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";

const item = (key: string): Item => ({
  key,
  raw: { bytes: new Uint8Array(), type: undefined },
  expires: null,
  meta: {},
});
const keysOf = (items: readonly Item[]) => items.map(({ key }) => key).sort();

/** Sends to a layer that takes at most so many keys in its time, and never the bad ones. */
async function sent(keys: readonly string[], takes: number, bad: readonly string[] = []) {
  const runtime = simulatedRuntime({ seed: 1, drain: () => new Promise((resolve) => setImmediate(resolve)) });
  const stored: string[] = [];
  const told: string[] = [];
  let calls = 0;
  const failed: Failures = {
    count: 0,
    add: async (what) => {
      told.push(what);
    },
    end: async () => 0,
  };
  const setMany = async (entries: Iterable<readonly [string, unknown, unknown?]>): Promise<Written[]> => {
    calls++;
    const all = [...entries].map(([key]) => key);
    const failures = (wrong: readonly string[], code: "INVALID" | "TIMEOUT") =>
      wrong.map((key) => ({ key, error: new SyncError(code, "no") }));
    const wrong = all.filter((key) => bad.includes(key));
    if (wrong.length > 0) throw new BatchError(failures(wrong, "INVALID"), all.length, false);
    stored.push(...all.slice(0, takes));
    const late = all.slice(takes);
    if (late.length > 0) throw new BatchError(failures(late, "TIMEOUT"), all.length, true);
    return [];
  };
  const sending = { db: { setMany }, prefix: "p/", options: {}, failed, runtime };
  const done = send(sending, keys.map(item));
  await runtime.run();
  return { written: keysOf(await done), stored: stored.sort(), told: told.sort(), calls };
}

describe("a batch of an import", () => {
  const keys = Array.from({ length: 64 }, (_, i) => `k${String(i).padStart(2, "0")}`);

  it("is written in one call where the layer takes it", async () => {
    expect(await sent(keys, 64)).toMatchObject({ written: keys, told: [], calls: 1 });
  });

  // Mutation: sending the whole again instead of halves never gets through.
  it("is sent again in halves when it was too much for a layer's time", async () => {
    const { written, stored, told } = await sent(keys, 4);
    expect([written, told]).toEqual([keys, []]);
    expect(stored).toEqual(keys.map((key) => `p/${key}`));
  });

  it("is given up, and told, when the layer takes nothing", async () => {
    const { written, told } = await sent(keys.slice(0, 2), 0);
    expect([written, told]).toEqual([[], ["p/k00", "p/k01"]]);
  });

  it("loses its bad entries alone", async () => {
    const { written, told } = await sent(keys, 64, ["p/k03", "p/k05"]);
    expect(written).toEqual(keys.filter((key) => key !== "k03" && key !== "k05"));
    expect(told).toEqual(["p/k03", "p/k05"]);
  });
});
