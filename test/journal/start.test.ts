import { expect, it } from "vitest";
import { simulatedFiles } from "microsync/testing";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { referenceState } from "../../src/testing/index.ts";
import { get, world } from "../chain/world.ts";

/** What a new process knows at once. */
const PENDING = 100_000;

it(
  `shows ${PENDING.toLocaleString("en")} pending values before any of them is sent, and asks no layer for them`,
  { timeout: 120_000 },
  async () => {
    const w = await world();
    const files = simulatedFiles({ seed: 1 });
    const state = referenceState();
    const first = w.store("sql", { durable: true, shared: true }, state);
    first.down(["write"]);
    const before = w.open([layer(w.memory()), layer(first)], {
      journal: await openJournal({ files, runtime: w.runtime }),
    });
    for (let from = 0; from < PENDING; from += 10_000) {
      const writes = Array.from({ length: 10_000 }, (_, i) => w.write(w.value(`k/${from + i}`, `v${from + i}`)));
      for (const result of await before.write(writes)) expect(result.status).toBe("stored");
    }

    const sql = w.store("sql", { durable: true, shared: true }, state);
    sql.down(["write"]);
    const journal = await openJournal({ files: files.kill(), runtime: w.runtime });
    const after = await w.process([layer(w.memory()), layer(sql)], { journal });
    sql.hang({ verbs: ["read"] });
    expect(after.status().journal).toMatchObject({ entries: PENDING });
    for (const i of [0, 4_711, PENDING - 1]) expect(await get(after, `k/${i}`)).toBe(`v${i}`);
    const some = Array.from({ length: 1000 }, (_, i) => `k/${i * 97}`);
    const answers = await after.read(some);
    expect(answers.map(({ entry }) => new TextDecoder().decode(entry?.value ?? undefined))).toEqual(
      some.map((key) => `v${key.slice(2)}`),
    );
    expect(sql.calls("read")).toBe(0);
    expect(state.copies.size).toBe(0);

    // And they go to the layer in batches, in the order in which they were written.
    sql.up();
    sql.resume();
    const flushed = after.flush();
    await w.runtime.advance(1000);
    await flushed;
    expect(state.copies.size).toBe(PENDING);
    expect(sql.calls("write")).toBeLessThanOrEqual(PENDING / 1000 + 2);
  },
);

it("shows an acknowledged conditional write after a kill, whatever an older copy says and the layers do", async () => {
  const w = await world();
  const files = simulatedFiles({ seed: 1 });
  const states = { cache: referenceState(), sql: referenceState() };
  const open = async (on: typeof files) => {
    const cache = w.store("cache", { durable: true, shared: false }, states.cache);
    const sql = w.store("sql", { durable: true, shared: true }, states.sql);
    const journal = await openJournal({ files: on, runtime: w.runtime });
    const layers = [layer(w.memory()), layer(cache), layer(sql, { role: "store" })];
    return { cache, sql, chain: await w.process(layers, { journal }) };
  };
  const first = await open(files);
  const old = w.value("k", "old");
  await first.chain.write([w.write(old)], { ack: "all" });
  first.cache.hang({ verbs: ["write"] });
  const [result] = await first.chain.write([w.write(w.value("k", "new"), old.version)]);
  expect(result?.status).toBe("stored");
  const after = files.kill();

  const second = await open(after);
  second.sql.down();
  expect(await get(second.chain, "k")).toBe("new");
});
