import { describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { coarseClock, exactClock } from "../../src/runtime.ts";
import type { Runtime } from "../../src/runtime.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { referenceStore } from "../../src/testing/index.ts";
import { stampOf, world } from "./world.ts";

const LAG_MS = 900;
const TTL_MS = 20_000;
const SKEW_MAX_MS = 1_000;

/** Memory over a store, behind a journal, in a process whose coarse clock lags as it is told. */
async function lagging(skewMaxMs: number) {
  const w = await world();
  const lag = { ms: LAG_MS };
  const runtime: Runtime = { ...w.runtime, coarse: exactClock(() => w.runtime.now() - lag.ms) };
  const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
  const store = referenceStore({ runtime, name: "sql", supports: { shared: true, durable: true } });
  const layers = [layer(w.memory(), { ttlMs: TTL_MS, graceMs: 0 }), layer(store, { name: "sql", watch: false })];
  const options = { runtime, clock: w.clock, journal, skewMaxMs, negativeTtlMs: 0, collectIntervalMs: 0 };
  return { ...w, lag, chain: chain(layers, options) };
}

describe("where the coarse clock lags behind", () => {
  // Mutation: it alone decides.
  it("a version of now is not taken for one of the future", async () => {
    const w = await lagging(0);
    expect(await w.chain.write([w.write(w.value("k", "1"))])).toEqual([{ status: "stored" }]);
    await w.runtime.advance(60_000);
    await w.chain.close();
  });

  // Mutation: what the gate let through is no hit.
  it("hits are counted that no reading was made for", async () => {
    const w = await lagging(0);
    await w.chain.write([w.write(w.value("k", "1"))]);
    const { runtime } = w;
    const timer: Runtime["timer"] = (delayMs, fn) => runtime.timer(delayMs, fn, true);
    const coarse = coarseClock(() => runtime.now(), timer);
    const other = chain([layer(w.memory(), {})], { runtime: { ...runtime, coarse }, clock: w.clock });
    await other.write([w.write(w.value("k", "1"))]);
    for (let i = 0; i < 300; i++) expect(other.look("k")).toBeDefined();
    expect(other.status().layers[0]?.hits).toBe(300);
    await Promise.all([w.runtime.advance(60_000), w.chain.close(), other.close()]);
  });

  // Mutation: floors live as long as copies, and no longer.
  it("what this process knows of a key lives as long as its copies", async () => {
    const w = await lagging(SKEW_MAX_MS);
    const older = w.value("k", "1", { version: stampOf(w.clock) });
    const newer = w.value("k", "2", { version: stampOf(w.clock) });
    await w.chain.write([w.write(newer)]);
    await w.chain.flush();
    w.lag.ms = 0;
    await w.runtime.advance(TTL_MS + SKEW_MAX_MS - 1);
    expect(await w.chain.write([w.write(older)])).toEqual([{ status: "superseded", by: newer.version }]);
    await w.runtime.advance(60_000);
    await w.chain.close();
  });
});
