import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ioError, simulatedFiles, simulatedRuntime } from "microsync/testing";
import type { SimulatedFiles } from "microsync/testing";
import type { Files } from "../../src/journal/files.ts";

/** That the simulated disk is as bad as it says, and not worse. */
const SEEDS = Array.from({ length: 60 }, (_, seed) => seed);

async function put(files: Files, name: string, bytes: Uint8Array, sync = true): Promise<void> {
  const file = await files.create(name);
  await file.append(bytes);
  if (sync) await file.sync();
  await file.close();
}

const whole = async (files: Files, name: string) => files.read(name, 0, await files.size(name));
const pattern = (length: number) => new Uint8Array(length).map((_, i) => (i % 251) + 1);

/** What is left of 3,000 bytes of which the first 1,000 were synced. */
async function torn(files: SimulatedFiles): Promise<Uint8Array> {
  const file = await files.create("a");
  await file.append(pattern(1000));
  await file.sync();
  await files.syncFolder();
  await file.append(pattern(3000).subarray(1000));
  return whole(files.powerLoss(), "a");
}

describe("simulated files", () => {
  it("keep what was synced, and of the rest any pages, the later without the earlier", async () => {
    const left = await Promise.all(SEEDS.map((seed) => torn(simulatedFiles({ seed }))));
    const good = pattern(3000);
    expect(left.every((bytes) => bytes.subarray(0, 1000).every((byte, i) => byte === good[i]))).toBe(true);
    expect(new Set(left.map(({ length }) => length)).size).toBeGreaterThan(20);
    expect(left.some(({ length }) => length === 1000)).toBe(true);
    expect(left.some((bytes) => bytes.length === 3000 && bytes.every((byte, i) => byte === good[i]))).toBe(true);
    const holes = left.filter((bytes) => bytes[1100] !== good[1100] && bytes[2000] === good[2000]);
    expect(holes.length).toBeGreaterThan(0);
    expect(await torn(simulatedFiles({ seed: 5 }))).toEqual(await torn(simulatedFiles({ seed: 5 })));
  });

  it("let creations, renames and removals happen or not, each for itself, until the folder is synced", async () => {
    const seen = new Set<string>();
    for (const seed of SEEDS) {
      const files = simulatedFiles({ seed });
      await put(files, "old", pattern(3));
      await files.syncFolder();
      await put(files, "new", pattern(5));
      await put(files, "other", pattern(5));
      await files.rename("new", "old");
      await files.remove("other");
      const after = files.powerLoss();
      const names = [...(await after.list())].sort();
      seen.add(`${names.join(" ")} ${await after.size("old")}`);
      expect(names).toContain("old"); // replaced or not, never gone
    }
    expect(seen.size).toBeGreaterThan(4);
    const files = simulatedFiles({ seed: 1 });
    await put(files, "a", pattern(3));
    await files.syncFolder();
    expect(await files.powerLoss().list()).toEqual(["a"]);
  });

  it("keep everything when only the process ends, and refuse the one that ended", async () => {
    const files = simulatedFiles({ seed: 1 });
    await put(files, "a", pattern(700), false);
    await files.claim();
    const next = files.kill();
    expect(await whole(next, "a")).toEqual(pattern(700));
    await next.claim();
    await expect(next.claim()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(files.list()).rejects.toThrow("gone");
    expect(files.ended).toBe(true);
  });

  it("lose the power in the middle of the operation named", async () => {
    const files = simulatedFiles({ seed: 2 });
    files.crashAt(3);
    const file = await files.create("a");
    await file.append(pattern(10));
    await expect(file.sync()).rejects.toThrow("gone");
    expect([files.operations, files.ended]).toEqual([3, true]);
    await expect(files.list()).rejects.toThrow("gone");
  });

  it("fail the operation named, after a part of it", async () => {
    const lengths = new Set<number>();
    for (const seed of SEEDS) {
      const files = simulatedFiles({ seed });
      files.failAt(2, ioError("ENOSPC"));
      const file = await files.create("a");
      await expect(file.append(pattern(20))).rejects.toThrow("ENOSPC");
      lengths.add(await files.size("a"));
    }
    expect(lengths.size).toBeGreaterThan(10);
  });

  it("never bring to the disk what a failed sync lost, though it can be read", async () => {
    let lost = 0;
    for (const seed of SEEDS) {
      const files = simulatedFiles({ seed });
      files.failAt(3);
      const file = await files.create("a");
      await file.append(pattern(512));
      await expect(file.sync()).rejects.toThrow("EIO");
      expect(await whole(files, "a")).toEqual(pattern(512));
      await file.sync();
      await files.syncFolder();
      const after = await whole(files.powerLoss(), "a");
      expect(after.length).toBe(512);
      if (after[0] !== 1) lost++;
    }
    expect(lost).toBeGreaterThan(10);
    expect(lost).toBeLessThan(50);
  });

  it("take what has room", async () => {
    const files = simulatedFiles({ seed: 1, capacityBytes: 100 });
    await put(files, "a", pattern(60));
    const file = await files.create("b");
    await expect(file.append(pattern(60))).rejects.toThrow("ENOSPC");
    expect(await files.size("b")).toBe(40);
    await file.truncate(0);
    files.capacityBytes = 200;
    await file.append(pattern(60));
    expect(await whole(files, "b")).toEqual(pattern(60));
  });

  it("lie when told to", async () => {
    const kept = async (lying: SimulatedFiles["lying"]) => {
      let all = 0;
      for (const seed of SEEDS) {
        const files = simulatedFiles({ seed });
        files.lying = lying;
        await put(files, "a", pattern(2000));
        await files.syncFolder();
        const after = files.powerLoss();
        if ((await after.list()).length === 1 && (await after.size("a")) === 2000) all++;
      }
      return all;
    };
    expect(await kept(undefined)).toBe(SEEDS.length);
    expect(await kept("sync")).toBeLessThan(SEEDS.length / 2);
    expect(await kept("syncFolder")).toBeLessThan(SEEDS.length - 10);
  });

  it("take time where they are given a clock", async () => {
    const clock = simulatedRuntime({ seed: 1 });
    const files = simulatedFiles({ seed: 1, runtime: clock, delayMsMax: 50 });
    const started = clock.now();
    const work = Promise.all([1, 2, 3, 4].map((i) => put(files, `${i}`, pattern(10))));
    await clock.run();
    await work;
    expect(clock.now()).toBeGreaterThan(started);
  });
});

describe("the checksums of the simulated disk", () => {
  // Mutations: another polynomial; what stands before is left out.
  it("are those of the platform", () => {
    const files = simulatedFiles({ seed: 1, runtime: simulatedRuntime({ seed: 1 }) });
    for (const length of [0, 1, 63, 64, 1000]) {
      const bytes = pattern(length);
      expect(files.crc32(bytes)).toBe(crc32(bytes));
      expect(files.crc32(bytes.subarray(length >> 1), files.crc32(bytes.subarray(0, length >> 1)))).toBe(crc32(bytes));
      const sum = files.sha256();
      sum.update(bytes);
      expect(sum.digest()).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
  });
});
