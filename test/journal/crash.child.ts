/**
 * What the crash tests run in a process of its own: `node crash.child.js FOLDER ROUND KIND`. Opens the journal, says what the
 * keys of `FOLDER/keys.json` are now, before anything is flushed, then writes for ever. Each line on stdout is written at
 * once (no buffer of Node's holds it back): what is tried, and what was acknowledged.
 */
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { open } from "../../src/config/open.ts";
import { SyncError } from "../../src/error.ts";
import type { Sync } from "../../src/sync.ts";
import { random } from "../../src/testing/random.ts";
import type { Kind } from "./crash.layers.ts";
import { COUNTERS, JOURNAL, KEYS_A_WRITER, WRITERS, hastened, layersIn } from "./crash.layers.ts";

const [, , folder = "", roundText = "0", kind = "disk"] = process.argv;
const round = Number(roundText);
const chance = random(1 + round);
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

process.on("unhandledRejection", (error) => {
  say(`unhandled ${String(error)}`);
  process.exit(9);
});

const db: Sync = await open(await layersIn(folder, kind as Kind, round), {
  base: folder,
  journal: JOURNAL,
  runtime: hastened,
  syncIntervalMs: 20,
});
const keys = JSON.parse(readFileSync(join(folder, "keys.json"), "utf8")) as string[];
const seen = await db.getMany<{ n: number }>(keys);
for (const key of keys) say(`saw ${key} ${seen.get(key)?.n ?? "none"}`);
say("open");

let number = round * 1_000_000;

async function attempt(key: string, n: number, kind: string, work: () => Promise<unknown>): Promise<void> {
  say(`try ${key} ${n} ${kind}`);
  try {
    await work();
    say(`ack ${key} ${n}`);
  } catch (error) {
    if (!(error instanceof SyncError) || error.code === "INTERNAL") throw error;
    say(`failed ${key} ${error.message}`);
  }
}

/** The only one who writes these keys, one after the other. */
async function writer(id: number): Promise<never> {
  for (;;) {
    const n = ++number;
    const key = `w${id}/${chance.below(KEYS_A_WRITER)}`;
    if (chance.chance(0.03)) await flush();
    const ack = chance.chance(0.02) ? { ack: "disk" } : {};
    if (chance.chance(0.15)) await attempt(key, n, "delete", () => db.delete(key, ack));
    else await attempt(key, n, "set", () => db.set(key, { n, pad: "x".repeat(chance.below(300)) }, ack));
  }
}

async function flush(): Promise<void> {
  await db.flush({ timeoutMs: 1 + chance.below(300) }).then(
    () => say("flushed"),
    () => undefined,
  );
}

/** Several of them raise the same counters. */
async function counter(): Promise<never> {
  for (;;) {
    const key = `c/${chance.below(COUNTERS)}`;
    await attempt(key, ++number, "update", () => db.update(key, (old = { n: 0 }) => ({ n: old.n + 1 })));
  }
}

await Promise.all([...Array.from({ length: WRITERS }, (_, id) => writer(id)), counter(), counter()]);
