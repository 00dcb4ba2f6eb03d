/**
 * How soon a process answers that starts over a journal with 100,000 pending entries: from the call of `open` in a fresh
 * process to the first value, before anything was sent to the layer, which is down. Medians of several starts;
 * docs/journal.md has the figures.
 *
 *     npm run bench:journal-start -- [--json] [--folder FOLDER]
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { layer } from "../src/chain/layer.ts";
import { open } from "../src/config/open.ts";
import { systemRuntime } from "../src/system.ts";
import { chaos, referenceStore } from "../src/testing/index.ts";

const ENTRIES = 100_000;
const STARTS = 11;
const BATCH = 1000;
const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    folder: { type: "string" },
    /** What the processes are told that this one starts. */
    child: { type: "string" },
    place: { type: "string" },
  },
});
const keyOf = (i: number) => `users/${100_000 + i}/profile`;
const valueOf = (i: number) => ({ id: i, text: "x".repeat(140) });

interface Start {
  readonly firstMs: number;
  readonly afterMs: number;
  readonly pending: number;
  readonly rssMb: number;
  readonly heapMb: number;
}

function openDown(place: string) {
  const runtime = systemRuntime;
  const store = chaos(referenceStore({ runtime, name: "down", supports: { shared: true } }), { runtime, seed: 1 });
  store.down();
  return open(["memory:", layer(store, { name: "down" })], { base: place, journal: "journal", drainMs: 0 });
}

async function fill(place: string): Promise<void> {
  const db = await openDown(place);
  for (let from = 0; from < ENTRIES; from += BATCH) {
    await db.setMany(Array.from({ length: BATCH }, (_, i) => [keyOf(from + i), valueOf(from + i)] as const));
  }
  process.exit(0); // as a crash leaves it
}

async function start(place: string): Promise<void> {
  const began = performance.now();
  const db = await openDown(place);
  const first = await db.get<{ id: number }>(keyOf(ENTRIES - 1));
  const firstMs = performance.now() - began;
  for (let i = 0; i < ENTRIES; i += 997)
    if ((await db.get<{ id: number }>(keyOf(i)))?.id !== i) throw new Error(`${i}`);
  const afterMs = performance.now() - began;
  const pending = db.status().journal?.entries ?? 0;
  if (first?.id !== ENTRIES - 1 || pending !== ENTRIES) throw new Error("something is missing");
  const { rss, heapUsed } = process.memoryUsage();
  const result: Start = { firstMs, afterMs, pending, rssMb: rss / 2 ** 20, heapMb: heapUsed / 2 ** 20 };
  console.log(JSON.stringify(result));
  process.exit(0);
}

const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;

function measure(): void {
  const place = mkdtempSync(join(flags.folder ?? tmpdir(), "microsync-bench-"));
  try {
    const run = (child: string) =>
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), "--child", child, "--place", place]).toString();
    run("fill");
    const starts = Array.from({ length: STARTS }, () => JSON.parse(run("start")) as Start);
    const all = starts.map(({ firstMs }) => firstMs);
    const [cpu] = cpus();
    const result = {
      about: {
        node: process.version,
        system: `${process.platform} ${release()}`,
        cpus: `${cpus().length} x ${cpu?.model}`,
      },
      entries: ENTRIES,
      starts: STARTS,
      firstMs: { median: median(all), least: Math.min(...all), most: Math.max(...all) },
      rssMb: median(starts.map(({ rssMb }) => rssMb)),
      heapMb: median(starts.map(({ heapMb }) => heapMb)),
    };
    console.log(flags.json ? JSON.stringify(result) : result);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const { child, place = "" } = flags;
if (child === "fill") await fill(place);
else if (child === "start") await start(place);
else measure();
