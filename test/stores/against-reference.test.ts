import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { random, referenceStore, simulatedRuntime } from "microsync/testing";
import type { Random } from "microsync/testing";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Forget, Store, Write } from "../../src/store.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { memory } from "../../src/stores/memory.ts";
import { formatVersion } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";

/**
 * memory and lmdb beside the reference store: the same random calls, the same results, answers and lists, and the same
 * changes told. Few keys and few versions, so that everything meets everything: stubs, tombstones, expired entries, one
 * version with two contents, conditions, renewals, forgetting, watermarks.
 */
const RUNS = 16;
const STEPS = 40;
const folder = mkdtempSync(join(tmpdir(), "microsync-reference-"));
afterAll(() => rmSync(folder, { recursive: true }));

const STORES: readonly [string, (runtime: Runtime, run: number) => Promise<Store>][] = [
  ["memory", async (runtime) => memory({ runtime })],
  ["lmdb", (runtime, run) => lmdb(join(folder, String(run)), { runtime })],
];

describe.each(STORES)("%s", (_, open) => {
  it("does what the reference store does", { timeout: 120_000 }, async () => {
    for (let run = 0; run < RUNS; run++) {
      const runtime = simulatedRuntime({ seed: run, drain: () => new Promise((resolve) => setImmediate(resolve)) });
      const [store, model] = [await open(runtime, run), referenceStore({ runtime })];
      const chance = random(1000 + run);
      for (let step = 0; step < STEPS; step++) {
        const where = `run ${run}, step ${step}`;
        if (chance.chance(0.15)) {
          const items = Array.from({ length: 1 + chance.below(3) }, () => forgotten(chance));
          await store.forget(items);
          await model.forget(items);
        } else {
          const writes = Array.from({ length: 1 + chance.below(4) }, () => write(chance, runtime.now()));
          expect(text(await store.write(writes)), where).toBe(text(await model.write(writes)));
        }
        expect(await stateOf(store), where).toBe(await stateOf(model));
      }
      expect(await told(store), `run ${run}`).toEqual(await told(model));
      await store.close();
    }
  });
});

const KEYS = ["a", "a/b", "é", "\u{1f600}", "\u{e000}"];

function version(chance: Random): Version {
  return formatVersion(1.7e12 + chance.below(6), 0, "0".repeat(16));
}

function write(chance: Random, now: number): Write {
  const state = chance.pick(["value", "value", "value", "deleted", "stub"] as const);
  const value = state === "value" ? new Uint8Array(chance.pick([0, 1, 1, 40])).fill(chance.below(2)) : null;
  const expires = chance.pick([null, null, null, now - 1000, now + 1000]);
  const meta = state === "value" && chance.chance(0.3) ? { by: chance.pick(["x", "y"]) } : NO_META;
  const entry: Entry = { key: chance.pick(KEYS), state, value, version: version(chance), expires, meta };
  const condition = chance.chance(0.25) ? chance.pick(["absent" as const, version(chance)]) : undefined;
  return { entry, asOf: now - chance.below(5), if: condition };
}

function forgotten(chance: Random): Forget {
  return { key: chance.pick(KEYS), version: version(chance), reason: chance.chance(0.2) ? "collected" : "ghost" };
}

async function stateOf(store: Store): Promise<string> {
  const answers = await store.read(KEYS);
  const listed: unknown[] = [];
  for await (const item of store.list({ prefix: "" }, { detail: "values" })) {
    if (item.kind === "entry") listed.push([item.key, item.head?.version, item.head?.state, item.value]);
  }
  return text([answers.map(({ entry, asOf }) => [entry, entry && asOf]), listed]);
}

async function told(store: Store): Promise<unknown> {
  const changes: unknown[] = [];
  for await (const change of store.watch({ prefix: "" })) {
    if (change.kind === "current") break;
    if (change.kind === "change") changes.push([change.key, change.head?.version, change.head?.state]);
  }
  return changes.sort((a, b) => (String(a) < String(b) ? -1 : 1));
}

/** For comparing: the same text for the same content, cheaply. */
function text(value: unknown): string {
  const plain = (_: string, part: unknown): unknown => {
    if (part instanceof Uint8Array) return Buffer.from(part).toString("hex");
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return JSON.stringify(value, plain, 1);
}
