/** What one write and one miss cost as the number of keys grows, through the embedded chain. */
import { embedded } from "./places.ts";
import { spent, valueOf } from "./paths.ts";

export interface Growth {
  readonly keys: number;
  /** Microseconds of processor time of this process for one, and of the clock. */
  readonly write: Cost;
  /** A key that lmdb has and memory has not. */
  readonly missToDisk: Cost;
  /** A key that nobody has. */
  readonly missToGit: Cost;
}

export interface Cost {
  readonly us: number;
  readonly cpuUs: number;
}

const BATCH = 1_000;
const FLUSH_EVERY = 20 * BATCH;
const COUNT = 300;
/** So few that next to every read is a miss. */
const MEMORY = "memory:?entriesMax=100";
/** Filling takes longer than a copy is fresh: then every miss of memory would ask git. */
const DISK = "?ttl=1d";
/** No folder holds more than 100, up to a million keys. */
const keyOf = (i: number) => `users/${i % 100}/${Math.floor(i / 100) % 100}/${i}/profile`;
/** Spreads over the keys, and meets none twice. */
const STEP = 7_919;

export async function grow(
  folder: string,
  sizes: readonly number[],
  onBatch: (done: number, all: number) => void,
): Promise<readonly Growth[]> {
  const db = await embedded(folder, MEMORY, DISK).open();
  const growths: Growth[] = [];
  let stored = 0;
  for (const keys of sizes) {
    for (; stored < keys; stored += BATCH) {
      onBatch(stored, keys);
      await db.setMany(Array.from({ length: BATCH }, (_, i) => [keyOf(stored + i), valueOf(i)] as const));
      // The journal takes no more than its limit ahead of git.
      if (stored % FLUSH_EVERY === 0) await db.flush();
    }
    await db.flush();
    const spread = (from: number) => Array.from({ length: COUNT }, (_, i) => keyOf(((from + i) * STEP) % keys));
    const write = await spent(COUNT, async () => {
      for (const key of spread(0)) await db.set(key, valueOf(1));
    });
    await db.flush();
    const read = async () => {
      for (const key of spread(COUNT)) if ((await db.get(key)) === undefined) throw new Error(`${key} is gone`);
    };
    // Once before: who has written more keys than there are floors for asks git once for each of them.
    await read();
    const missToDisk = await spent(COUNT, read);
    const missToGit = await spent(COUNT, async () => {
      for (let i = 0; i < COUNT; i++) await db.get(`nobody/${keys}/${i}`);
    });
    growths.push({ keys, write, missToDisk, missToGit });
  }
  await db.close();
  return growths;
}
