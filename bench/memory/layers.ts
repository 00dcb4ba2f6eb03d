/** What 100,000 entries occupy in each layer, each in a process of its own: `layers.js LAYER` prints one line of JSON. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { layer } from "../../src/chain/layer.ts";
import { open } from "../../src/config/open.ts";
import type { OpenOptions } from "../../src/config/open.ts";
import type { Sync } from "../../src/sync.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { chaos, referenceStore } from "../../src/testing/index.ts";
import { heldNow } from "./held.ts";
import type { Held } from "./held.ts";

export interface LayerMemory {
  readonly layer: string;
  readonly entries: number;
  /** Before there was an entry, and what all of them added. */
  readonly before: Held;
  readonly after: Held;
}

const BATCH = 1_000;
const keyOf = (i: number) => `users/${i % 100}/${i}/profile`;
const valueOf = (i: number) => ({ id: i, name: "Ada", text: "x".repeat(200) });

const PLACES: Readonly<Record<string, (options: OpenOptions) => Promise<Sync>>> = {
  memory: (options) => open("memory:?bytesMax=1gb", options),
  /** Values that were read are kept decoded as well. */
  "memory, read": (options) => open("memory:?bytesMax=1gb", options),
  lmdb: (options) => open("lmdb:./cache", options),
  git: (options) => open("git:./truth.git?create=true&deadline=10m&watch=false", { ...options, journal: "journal" }),
  "journal, pending": (options) => {
    const store = chaos(referenceStore({ runtime, name: "down", supports: { shared: true } }), { runtime, seed: 1 });
    store.down();
    return open([layer(store, { name: "down" })], { ...options, journal: "journal", drainMs: 0 });
  },
};

export const LAYERS = Object.keys(PLACES);

const [, script = "", name = "", entries = ""] = process.argv;
if (script.endsWith("layers.js")) await measure(name, Number(entries));

async function measure(which: string, count: number): Promise<void> {
  const base = mkdtempSync(join(tmpdir(), "microsync-bench-"));
  try {
    const place = PLACES[which];
    if (place === undefined) throw new Error(`there is no layer ${which}`);
    const db = await place({ base, collectIntervalMs: 0 });
    await db.set("first", valueOf(0));
    const before = heldNow();
    for (let from = 0; from < count; from += BATCH) {
      await db.setMany(Array.from({ length: BATCH }, (_, i) => [keyOf(from + i), valueOf(from + i)] as const));
    }
    if (which === "git") await db.flush();
    if (which === "memory, read") for (let i = 0; i < count; i++) await db.get(keyOf(i));
    const after = heldNow();
    // Used after it was measured: what nobody uses any more is garbage.
    await db.get("first");
    const result: LayerMemory = { layer: which, entries: count, before, after };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    rmSync(base, { recursive: true, force: true, maxRetries: 5 });
  }
  process.exit(0);
}
