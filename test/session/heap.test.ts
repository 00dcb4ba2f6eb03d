import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { diff, mirror } from "../../src/session/index.ts";
import type { SessionEvent } from "../../src/session/index.ts";
import type { Answer, Store } from "../../src/store.ts";
import { entry, faulty, store } from "./world.ts";

/**
 * A million keys on both sides, of which every tenth has to be written: what is held of them stays the same from the first
 * tenth to the last. Mutations it catches: the listed pairs kept in `Session.pass`, the readings of all batches kept.
 */
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const KEYS = 1_000_000;
const GROWTH_BYTES_MAX = 6 * 1024 * 1024;

/** @param differs every so many-th key is newer here. */
function generated(differs: number): Store {
  const keyOf = (i: number) => `key/${String(i).padStart(7, "0")}`;
  const entryOf = (i: number) => entry(keyOf(i), i % differs === differs - 1 ? 2 : 1, `value of ${i}`);
  return faulty(store(), {
    list: async function* (_range, { after } = {}) {
      for (let i = after === undefined ? 0 : Number(after.slice(4)) + 1; i < KEYS; i++) {
        const { value: _, ...head } = entryOf(i);
        yield { kind: "entry", key: head.key, tag: "", head, value: null };
      }
    },
    read: async (keys) =>
      keys.map((key): Answer => {
        const known = { asOf: 0, complete: true, stale: false, from: "generated" };
        return { entry: entryOf(Number(key.slice(4))), ...known };
      }),
    write: async (writes) => writes.map(() => ({ status: "stored" })),
  });
}

/** Heap in use after a tenth and after nine tenths of the keys, in bytes. */
class Probe {
  private readonly at: number[] = [];
  private next = KEYS / 10;

  look(keys: number): void {
    if (keys < this.next) return;
    this.next += (KEYS * 4) / 10;
    collect();
    this.at.push(process.memoryUsage().heapUsed);
  }

  expectFlat(): void {
    const [first = 0] = this.at;
    expect(this.at.length).toBeGreaterThanOrEqual(3);
    for (const bytes of this.at) expect(bytes - first).toBeLessThan(GROWTH_BYTES_MAX);
  }
}

describe("a million keys", () => {
  it("mirror", { timeout: 300_000 }, async () => {
    const probe = new Probe();
    const onEvent = (event: SessionEvent) => event.kind === "progress" && probe.look(event.stats.keys);
    const result = await mirror(generated(10), generated(Infinity), { onEvent });
    expect(result).toMatchObject({ keys: KEYS, copied: KEYS / 10, same: (KEYS * 9) / 10 });
    probe.expectFlat();
  });

  it("diff", { timeout: 300_000 }, async () => {
    const probe = new Probe();
    let [keys, differing] = [0, 0];
    for await (const { symbol } of diff(generated(10), generated(Infinity))) {
      probe.look(++keys);
      if (symbol !== "=") differing++;
    }
    expect([keys, differing]).toEqual([KEYS, 0]); // other versions, the same content
    probe.expectFlat();
  });
});
