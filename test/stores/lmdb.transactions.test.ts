import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { random } from "microsync/testing";
import { openEnvironment } from "../../src/stores/lmdb/environment.ts";
import type { Environment } from "../../src/stores/lmdb/environment.ts";
import type { Row } from "../../src/stores/lmdb/staged.ts";

/** Transactions run on what is staged above the disk, and are sent as batches: that must not show. */
const SEED = 31;
const KEYS = 40;
const folder = mkdtempSync(join(tmpdir(), "microsync-lmdb-transactions-"));
const opened: Environment[] = [];

async function environment(name: string): Promise<Environment> {
  const made = await openEnvironment(join(folder, name), true, "lmdb");
  opened.push(made);
  return made;
}

afterAll(async () => {
  for (const each of opened) await each.close();
  rmSync(folder, { recursive: true });
});

const keyOf = (n: number) => Uint8Array.of(n < KEYS / 2 ? n : 255 - n, n % 3);
const numberOf = (row: Uint8Array | undefined) =>
  row === undefined ? 0 : new DataView(row.buffer, row.byteOffset).getUint32(0);
const rowOf = (value: number) => {
  const row = new Uint8Array(4);
  new DataView(row.buffer).setUint32(0, value);
  return row;
};

/** The same table, kept in a map. */
class Model {
  rows = new Map<string, Row>();

  page(start: Uint8Array | undefined, limit: number, down: boolean): Row[] {
    const order = (a: Uint8Array, b: Uint8Array) => (down ? -1 : 1) * Buffer.compare(a, b);
    const inside = [...this.rows.values()].filter(({ key }) => start === undefined || order(key, start) >= 0);
    return inside.sort((a, b) => order(a.key, b.key)).slice(0, limit);
  }
}

const plain = (rows: readonly Row[]) => rows.map(({ key, value }) => `${key.join(".")}=${numberOf(value)}`);

describe("transactions of lmdb", () => {
  it("see the disk, those before them in one commit and themselves, and leave nothing when they throw", async () => {
    const disk = await environment("model");
    const chance = random(SEED);
    const { entries } = disk.tables;
    let model = new Model();
    for (let round = 0; round < 40; round++) {
      const bodies = Array.from({ length: 1 + chance.below(4) }, (_, nth) => async () => {
        const fails = chance.below(4) === 0;
        const work = disk.transaction(() => {
          const own = new Model();
          own.rows = new Map(model.rows);
          for (let step = 0; step < 12; step++) {
            const key = keyOf(chance.below(KEYS));
            const text = key.join(".");
            const kind = chance.below(5);
            if (kind < 2) {
              const value = rowOf(round * 100 + nth * 20 + step);
              entries.put(key, value);
              own.rows.set(text, { key, value });
            } else if (kind === 2) {
              entries.remove(key);
              own.rows.delete(text);
            } else {
              const start = chance.below(4) === 0 ? undefined : key;
              const limit = 1 + chance.below(6);
              const down = kind === 3;
              const page = entries.page(start, limit, down ? "down" : "up");
              expect(plain(page), `seed ${SEED}, round ${round}`).toEqual(plain(own.page(start, limit, down)));
              expect(numberOf(entries.get(key))).toBe(numberOf(own.rows.get(text)?.value));
            }
          }
          if (fails) throw new Error("not this one");
          model = own;
        });
        if (fails) await expect(work).rejects.toThrow("not this one");
        else await work;
      });
      await Promise.all(bodies.map((body) => body()));
      expect(plain(entries.page(undefined, KEYS))).toEqual(plain(model.page(undefined, KEYS, false)));
    }
  });

  // Mutation it catches: a batch without its condition in commits.ts.
  it("run again where somebody else committed in between", async () => {
    const both = [await environment("two"), await environment("two")];
    const COUNT = 60;
    let runs = 0;
    const counter = Uint8Array.of(1);
    await Promise.all(
      both.map(async (disk) => {
        const { entries } = disk.tables;
        for (let i = 0; i < COUNT; i++) {
          await disk.transaction(() => {
            runs++;
            entries.put(counter, rowOf(numberOf(entries.get(counter)) + 1));
          });
        }
      }),
    );
    both[0]?.refresh();
    expect(numberOf(both[0]?.tables.entries.get(counter))).toBe(2 * COUNT);
    expect(runs).toBeGreaterThan(2 * COUNT);
  });

  it("are not seen before they are on disk", async () => {
    const disk = await environment("unseen");
    const { entries } = disk.tables;
    const key = Uint8Array.of(9);
    const work = disk.transaction(() => {
      entries.put(key, rowOf(1));
      expect(numberOf(entries.get(key))).toBe(1);
    });
    await Promise.resolve();
    expect(entries.get(key)).toBeUndefined();
    await work;
    expect(numberOf(entries.get(key))).toBe(1);
  });
});
