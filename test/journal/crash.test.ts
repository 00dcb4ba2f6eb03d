import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { open } from "../../src/config/open.ts";
import type { Store } from "../../src/store.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { git } from "../../src/stores/git/index.ts";
import { systemRuntime } from "../../src/system.ts";
import { random } from "../../src/testing/random.ts";
import { compiled } from "../stores/compiled.ts";
import type { Kind } from "./crash.layers.ts";
import { JOURNAL, diskIn, layersIn } from "./crash.layers.ts";
import { Told } from "./crash.model.ts";

/** SIGKILL at random moments, hundreds of times: what was acknowledged is there at once, and reaches every layer. */
const SEED = 5;
const FOLDERS: readonly { readonly kind: Kind; readonly kills: number }[] = [
  { kind: "disk", kills: 150 },
  { kind: "git", kills: 60 },
];

let program: string;
const folder = mkdtempSync(join(tmpdir(), "microsync-crash-"));
beforeAll(() => {
  program = compiled("test/journal/crash.child.ts", "crash");
});
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

type When = { readonly lines: number; readonly delayMs: number };

/** One life: killed so long after it said so many lines. @returns whether it got to writing. */
async function live(place: string, kind: Kind, round: number, told: Told, when: When): Promise<boolean> {
  writeFileSync(join(place, "keys.json"), JSON.stringify(told.names));
  const child = spawn(process.execPath, [program, place, String(round), kind], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<string | null>((resolve) => child.on("close", (_code, signal) => resolve(signal)));
  let lines = 0;
  let wrote = false;
  const kill = () => setTimeout(() => child.kill("SIGKILL"), when.delayMs);
  if (when.lines === 0) kill();
  for await (const line of createInterface(child.stdout)) {
    told.hear(line);
    if (line === "open") wrote = true;
    if (++lines === when.lines) kill();
  }
  const signal = await ended;
  if (signal !== "SIGKILL") told.wrong.push(`round ${round} ended by itself`);
  return wrote;
}

describe("a process that is killed", () => {
  it.concurrent.each(FOLDERS)(
    `loses nothing acknowledged in front of $kind, over $kills kills (seed ${SEED})`,
    { timeout: 1_200_000 },
    async ({ kind, kills }) => {
      const place = mkdtempSync(join(folder, `${kind}-`));
      const chance = random(SEED);
      const told = new Told();
      let written = 0;
      for (let round = 1; round <= kills; round++) {
        // One in four dies anywhere in its start or soon after; the others while they write.
        const early = chance.chance(0.25);
        const lines = early ? 0 : told.names.length + 1 + chance.below(150);
        const when = { lines, delayMs: early ? 100 + chance.below(500) : chance.below(30) };
        if (await live(place, kind, round, told, when)) written++;
        expect(told.wrong, `seed ${SEED}, round ${round}`).toEqual([]);
      }
      const db = await open(await layersIn(place, kind, undefined), { base: place, journal: JOURNAL });
      const values = await db.getMany<{ n: number }>(told.names);
      for (const key of told.names) told.saw(key, values.get(key)?.n, "the last reader");
      await db.flush();
      expect(db.status().journal).toMatchObject({ entries: 0, deadLetters: 0, conflicts: 0, undecided: 0 });
      await db.close();
      await everyLayer(place, kind, told);
      expect(told.wrong).toEqual([]);
      expect(told.acknowledged).toBeGreaterThan(20 * written);
      // Git is slow enough that a flush in front of it may not live to see its end.
      if (kind === "disk") expect(told.flushes).toBeGreaterThan(0);
    },
  );
});

/** Asks each layer itself, past the chain. */
async function everyLayer(place: string, kind: Kind, told: Told): Promise<void> {
  const runtime = systemRuntime;
  const layers: (readonly [string, Store])[] = [
    ["disk", await diskIn(place)],
    ["cache", await lmdb(join(place, "cache"), { runtime })],
  ];
  if (kind === "git") {
    const store = await git("git:./truth.git", { runtime, folder: place, cacheFolder: join(place, "other") });
    layers.push(["git", store]);
  }
  for (const [name, store] of layers) {
    const answers = await store.read(told.names);
    for (const [i, key] of told.names.entries()) {
      const entry = answers[i]?.entry;
      if (name === "cache" && (entry === undefined || entry.state === "stub")) continue; // it may forget
      const text = entry?.value === null || entry === undefined ? undefined : new TextDecoder().decode(entry.value);
      told.saw(key, text === undefined ? undefined : (JSON.parse(text) as { n: number }).n, name);
    }
    await store.close();
  }
}
