import { expect, it } from "vitest";
import { random, referenceState, simulatedFiles } from "microsync/testing";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { world } from "../chain/world.ts";

/** What a burst of writes over few keys costs a layer: as many batches as its intervals allow, each key once in each. */
const WRITES = 20_000;
const KEYS = 500;
const INTERVAL_MS = 1000;
const DELAY_MS_MAX = 5000;

it(`${WRITES.toLocaleString("en")} writes over ${KEYS} keys reach a layer in the batches that its intervals allow`, async () => {
  const w = await world();
  const state = referenceState();
  const git = w.store("git", { durable: true, shared: true, conditional: false, stubs: false }, state);
  const sizes: number[] = [];
  const write = git.write.bind(git);
  Object.assign(git, {
    write(...args: Parameters<typeof write>) {
      const keys = args[0].map(({ entry }) => entry.key);
      expect(new Set(keys).size).toBe(keys.length);
      sizes.push(keys.length);
      return write(...args);
    },
  });
  const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime: w.runtime, segmentBytes: 200_000 });
  const options = { flushIntervalMs: INTERVAL_MS, flushDelayMsMax: DELAY_MS_MAX };
  const chain = w.open([layer(w.memory()), layer(git, options)], { journal });
  const chance = random(1);
  const last = new Map<string, string>();
  const begun = w.runtime.monotonic();
  // Without a pause as long as the interval: what is sent is sent because the oldest has waited for its longest.
  for (let i = 0; i < WRITES; i += 100) {
    const writes = Array.from({ length: 100 }, (_, j) => {
      const key = `k/${chance.below(KEYS)}`;
      last.set(key, String(i + j));
      return w.write(w.value(key, String(i + j)));
    });
    await chain.write(writes);
    await w.runtime.advance(100);
  }
  const tookMs = w.runtime.monotonic() - begun;
  expect(sizes.length).toBeLessThanOrEqual(Math.ceil(tookMs / DELAY_MS_MAX));
  expect(sizes.length).toBeGreaterThan(0);
  await w.runtime.advance(INTERVAL_MS); // a pause
  expect(sizes.length).toBeLessThanOrEqual(Math.ceil(tookMs / DELAY_MS_MAX) + 1);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(KEYS);
  const texts = [...state.copies].map(([key, { entry }]) => [key, new TextDecoder().decode(entry.value ?? undefined)]);
  expect(new Map(texts as [string, string][])).toEqual(last);
  expect(chain.status().journal?.entries).toBe(0);
  const closed = chain.close();
  await w.runtime.advance(100);
  await closed;
});
