/**
 * Whole paths through a chain: writes until they are acknowledged, and reads that each layer answers in turn. The same
 * work for every chain; `places.ts` says what the chains are.
 */
import type { Sync } from "../../src/sync.ts";
import { spreadOf } from "../report.ts";
import type { Spread } from "../report.ts";

/** A chain, and ways to open it so that no layer above one of its own holds anything. */
export interface Place {
  readonly name: string;
  /** For the table's foot. */
  readonly is: string;
  readonly open: () => Promise<Sync>;
  /** From the memory down: opened anew, the first read of a key is answered by this layer. */
  readonly below: readonly { readonly layer: string; readonly open: () => Promise<Sync> }[];
  readonly close: () => Promise<unknown>;
}

export interface PathFigure {
  readonly chain: string;
  readonly path: string;
  /** Microseconds for one key, of all rounds. */
  readonly us: Spread;
  /** The same of this process's processor time. Programs and servers that the chain asks are not in it. */
  readonly cpuUs: number;
}

/** How much of each work one round has, in keys. */
const WRITES = 50;
const WRITES_AT_ONCE = 500;
const READS = 100;
const MEMORY_READS = 20_000;

export const keyOf = (i: number) => `users/${i % 100}/${i}/profile`;
export const valueOf = (i: number) => ({ id: i, name: "Ada", text: "x".repeat(200) });

export async function walkPaths(place: Place, rounds: number): Promise<readonly PathFigure[]> {
  const figures = new Map<string, { us: number[]; cpu: number[] }>();
  const timed = async (path: string, keys: number, work: () => Promise<unknown>) => {
    const { us, cpuUs } = await spent(keys, work);
    const all = figures.get(path) ?? { us: [], cpu: [] };
    all.us.push(us);
    all.cpu.push(cpuUs);
    figures.set(path, all);
  };
  const first = await place.open();
  let written = 0;
  for (let round = 0; round < rounds; round++) {
    await timed("write, one after the other", WRITES, async () => {
      for (let i = 0; i < WRITES; i++) await first.set(keyOf(written++), valueOf(i));
    });
    await timed(`write, ${WRITES_AT_ONCE} at once`, WRITES_AT_ONCE, () =>
      Promise.all(Array.from({ length: WRITES_AT_ONCE }, (_, i) => first.set(keyOf(written++), valueOf(i)))),
    );
    await timed("read, from memory", MEMORY_READS, async () => {
      for (let i = 0; i < MEMORY_READS; i++) await first.get(keyOf(i % WRITES));
    });
  }
  await timed("flush of all that was written", written, () => first.flush());
  await first.close();
  for (const { layer, open } of place.below) {
    const db = await open();
    for (let round = 0; round < rounds; round++) {
      const keys = Array.from({ length: 2 * READS }, (_, i) => keyOf(2 * READS * round + i));
      await timed(`read, from ${layer}`, READS, async () => {
        for (const key of keys.slice(0, READS))
          if ((await db.get(key)) === undefined) throw new Error(`${key} is gone`);
      });
      await timed(`read, from ${layer}, ${READS} in a call`, READS, () => db.getMany(keys.slice(READS)));
    }
    const { layers } = db.status();
    const hits = layers.find(({ name }) => name === layer)?.hits ?? 0;
    if (hits < rounds * READS) throw new Error(`${layer} answered only ${hits} reads`);
    await db.close();
  }
  return [...figures].map(([path, { us, cpu }]) => {
    return { chain: place.name, path, us: spreadOf(us), cpuUs: spreadOf(cpu).median };
  });
}

/** @returns microseconds for each of the keys. */
export async function spent(keys: number, work: () => Promise<unknown>) {
  const started = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { us: ((performance.now() - started) * 1_000) / keys, cpuUs: (user + system) / keys };
}
