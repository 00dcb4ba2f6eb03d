import { describe, expect, test } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import type { LayerOptions } from "../../src/chain/layer.ts";
import { listed, world } from "./world.ts";

/** Memory, a database that is given everything below it, and a source of truth that others write to. */
async function bootstrapped(options: { readonly keys?: number } = {}) {
  const w = await world();
  const sql = w.store("sql", { durable: true });
  const truth = w.store("truth", { durable: true, shared: true });
  const keys = Array.from({ length: options.keys ?? 3 }, (_, i) => `k${String(i).padStart(4, "0")}`);
  await truth.direct.write(keys.map((key) => w.write(w.value(key, "before"))));
  const open = (sqlOptions: LayerOptions = {}) =>
    w.open([layer(w.memory()), layer(sql, { role: "store", ...sqlOptions }), layer(truth)]);
  return { ...w, sql, truth, keys, open, openOver: w.open };
}

function isComplete(chain: { status(): { layers: readonly { name: string; complete: boolean }[] } }): boolean {
  return chain.status().layers.find(({ name }) => name.includes("sql"))?.complete ?? false;
}

describe("a layer that is given everything below it", () => {
  // Mutation: `initial` without `bootstraps.wanted` in carry.ts feeds nothing, and it is never complete.
  test("answers lists alone once it has it, also while the layers below are down", async () => {
    const w = await bootstrapped({ keys: 2_500 });
    const chain = w.open();
    await chain.ready();
    await w.runtime.settle();
    await w.runtime.advance(10);
    expect(isComplete(chain)).toBe(true);
    w.truth.down();
    // Mutation: not ending the sources at a complete layer in list.ts makes this list partial.
    expect(await listed(chain)).toEqual({ keys: w.keys, partials: [] });
    w.truth.up();
    await chain.close();
  });

  test("is merged with the layers below until then", async () => {
    const w = await bootstrapped();
    w.sql.down(["write"]);
    const chain = w.open();
    await chain.ready();
    await w.runtime.settle();
    // Mutation: telling "everything" before it was carried makes this list empty.
    expect(isComplete(chain)).toBe(false);
    expect((await listed(chain)).keys).toEqual(w.keys);
    w.sql.up();
    await w.runtime.advance(60_000);
    expect(isComplete(chain)).toBe(true);
    await chain.close();
  });

  test("is kept up to date by the watch, and is not complete while that is broken", async () => {
    const w = await bootstrapped();
    const chain = w.open();
    await chain.ready();
    await w.runtime.advance(10);
    await w.truth.write([w.write(w.value("zzz", "by another"))]);
    await w.runtime.advance(10);
    expect((await listed(chain)).keys).toEqual([...w.keys, "zzz"]);
    // Mutation: not taking it back when a watch ends in carry.ts keeps answering from what may have been left behind.
    w.truth.down(["watch"]);
    await w.truth.direct.write([w.write(w.value("unheard", "of"))]);
    await w.runtime.advance(10);
    expect(isComplete(chain)).toBe(false);
    expect((await listed(chain)).keys).toContain("unheard");
    await chain.close();
  });

  // Mutation: `bootstrap` false by default leaves the authority with what it had (rule 8).
  test("knows of what a person changed while no process was running", async () => {
    const w = await bootstrapped();
    const before = w.open();
    await before.ready();
    await w.runtime.advance(10);
    await before.close();
    const edit = w.value("k0001", "by a person");
    const sql = w.store("sql", { durable: true }, w.sql.state);
    const truth = w.store("truth", { durable: true, shared: true }, w.truth.state);
    await truth.direct.write([w.write(edit)]);
    const chain = w.openOver([layer(sql, { role: "store" }), layer(truth)]);
    await chain.ready();
    await w.runtime.advance(10);
    expect(w.sql.state.copies.get("k0001")?.entry.version).toBe(edit.version);
    await chain.close();
  });

  test("is not, when that was not wanted, and lists go on asking all", async () => {
    const w = await bootstrapped();
    const chain = w.open({ bootstrap: false });
    await chain.ready();
    await w.runtime.advance(10);
    expect([isComplete(chain), w.sql.state.copies.size]).toEqual([false, 0]);
    expect((await listed(chain)).keys).toEqual(w.keys);
    await chain.close();
  });

  test("must be a store of all keys, above stores that are watched", async () => {
    const w = await world();
    const truth = w.store("truth", { durable: true, shared: true });
    const sql = w.store("sql", { durable: true });
    const wrong = [
      [layer(sql, { role: "cache", bootstrap: true }), layer(truth)],
      [layer(sql, { role: "store", bootstrap: true, prefixes: ["a/"] }), layer(truth)],
      [layer(sql, { role: "store", bootstrap: true }), layer(truth, { watch: false })],
      [layer(truth, { bootstrap: true })],
    ];
    for (const layers of wrong) expect(() => w.open(layers)).toThrow(expect.objectContaining({ code: "INVALID" }));
  });
});
