import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { syncOver } from "../../src/sync.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { referenceState, referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import { held } from "./held.ts";

export interface ChurnMinute {
  readonly minute: number;
  readonly heldBytes: number;
  /** Of the source of truth, tombstones among them. */
  readonly entries: number;
}

const MINUTE_MS = 60_000;
/** A minute has so many turns. */
const TURNS = 4;
/** Keys that stay, and in each turn keys that were never there before. */
const STEADY_KEYS = 40;
const NEW_KEYS = 16;
const READS = 10;

/**
 * Busy hours of one process, in simulated time and by real work: a chain of a small memory and a source of truth, with a
 * journal, sees keys come, end, be deleted, evicted, missed and collected. No more is alive at its end than at its
 * beginning. `leak` is kept with every turn, to show what would be seen.
 *
 * @param minutes at whose end it is measured.
 */
export async function churn(
  minutes: readonly number[],
  leak: () => void = () => undefined,
): Promise<readonly ChurnMinute[]> {
  const runtime = simulatedRuntime({ seed: 1 });
  const clock = await versionClock({ runtime });
  const state = referenceState();
  const truth = referenceStore({ runtime, name: "truth", supports: { durable: true }, state });
  const journal = await openJournal({
    files: simulatedFiles({ seed: 1 }),
    runtime,
    ageMsMax: MINUTE_MS,
    segmentBytes: 64 * 1024,
  });
  const near = layer(memory({ runtime, entriesMax: 50 }), { ttlMs: MINUTE_MS / 2, graceMs: MINUTE_MS });
  const layers = [near, layer(truth, { watch: false })];
  const own = { runtime, clock, journal, retentionMs: 5 * MINUTE_MS, collectIntervalMs: MINUTE_MS };
  const db = syncOver(chain(layers, own));
  const results: ChurnMinute[] = [];
  let [turn, met] = [0, 0];
  for (let minute = 1; minute <= Math.max(...minutes); minute++) {
    for (let i = 0; i < TURNS; i++, turn++) {
      const fresh = Array.from({ length: NEW_KEYS }, (_, n) => `session/${turn}/${n}`);
      for (const [n, key] of fresh.entries()) {
        await db.set(key, { turn, n, text: "x".repeat(100) }, n % 2 === 0 ? { ttlMs: 20_000 + n * 5_000 } : {});
      }
      await db.set(`steady/${turn % STEADY_KEYS}`, { turn, text: "y".repeat(200) });
      for (let n = 0; n < READS; n++) {
        await db.get(`steady/${(turn * READS + n) % STEADY_KEYS}`);
        await db.get(`nobody/${met++}`);
      }
      await db.getOrSet(`loaded/${turn}`, () => ({ turn }), { ttlMs: 10_000 });
      for (let n = 1; n < NEW_KEYS; n += 2) await db.delete(`session/${turn}/${n}`);
      leak();
      await runtime.advance(MINUTE_MS / TURNS);
    }
    // For watches it remembers every key that it ever had; nobody watches.
    for (const key of state.changes.keys()) if (!state.copies.has(key)) state.changes.delete(key);
    if (minutes.includes(minute)) {
      let entries = 0;
      for await (const _ of truth.list({ prefix: "" })) entries++;
      results.push({ minute, heldBytes: held(), entries });
    }
  }
  const closed = db.close();
  await runtime.advance(MINUTE_MS);
  await closed;
  return results;
}
