import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { syncOver } from "../../src/sync.ts";
import type { Store } from "../../src/store.ts";
import { behindWorld } from "./behind-world.ts";
import type { BehindWorldOptions } from "./behind-world.ts";
import { RECORD, get, outcomeOf, world } from "./world.ts";
import type { World } from "./world.ts";

/** The deepest layer has what the one that decides never had, and that one has collected something newer since. */
async function uncover(w: Pick<World, "value">, sql: Store, put: (entry: ReturnType<World["value"]>) => void) {
  const old = w.value("k", "old");
  put({ ...old, meta: { "content-type": "text/plain; charset=utf-8" } });
  const gone = w.value("gone", "");
  await sql.forget([{ key: "gone", version: gone.version, reason: "collected" }]);
  return old;
}

async function withJournal(options: BehindWorldOptions = {}) {
  const w = await behindWorld(options);
  const chain = await w.start();
  const old = await uncover(w, w.store("sql"), (entry) => {
    w.states["git"]?.copies.set("k", { entry, asOf: w.runtime.now() });
  });
  const has = () => [w.states["sql"], w.states["git"]].map((state) => state?.copies.get("k")?.entry);
  const during = <T>(work: Promise<T>) => w.during(work);
  return { w, chain, old, has, during, sql: w.store("sql") };
}

async function withoutJournal() {
  const w = await world();
  const [sql, git] = [w.store("sql", RECORD), w.store("git", { ...RECORD, conditional: false })];
  const chain = w.open([layer(w.memory()), layer(sql, { role: "store" }), layer(git)]);
  const old = await uncover(w, sql.direct, (entry) => {
    git.state.copies.set("k", { entry, asOf: w.runtime.now() });
  });
  const has = () => [sql, git].map(({ state }) => state.copies.get("k")?.entry);
  const during = async <T>(work: Promise<T>): Promise<T> => {
    const outcome = outcomeOf(work);
    while (!outcome.done) await w.runtime.advance(50);
    return work;
  };
  return { w, chain, old, has, during, sql };
}

describe.each([
  ["with a journal", () => withJournal()],
  ["without one", withoutJournal],
])("a value that only a layer below has, older than what the deciding one has collected, %s", (_, begun) => {
  // Mutations: what is refused as too old is left; it is written without a condition; the other layers are not given it.
  it("is there for a condition, and can be updated", async () => {
    const { w, chain, old, has, during } = await begun();
    const [absent] = await during(chain.write([w.write(w.value("k", "mine"), "absent")]));
    expect(absent).toMatchObject({ status: "conflict", current: { key: "k" } });
    expect(await get(chain, "k")).toBe("old");
    await during(chain.flush());
    const [inSql, inGit] = has();
    expect(inSql?.version).toBe(inGit?.version);
    expect((inSql?.version ?? "") > old.version).toBe(true);
    const db = syncOver(chain);
    await during(db.update<string>("k", (value) => `${value}, and new`));
    expect(await db.get("k")).toBe("old, and new");
    await during(db.flush());
    const texts = has().map((entry) => new TextDecoder().decode(entry?.value ?? undefined));
    expect(texts).toEqual(["old, and new", "old, and new"]);
    await during(chain.close());
  });

  it("is updated at once", async () => {
    const { chain, during } = await begun();
    const db = syncOver(chain);
    await during(db.update<string>("k", (value) => `${value}, and new`));
    expect(await db.get("k")).toBe("old, and new");
    await during(chain.close());
  });

  it("does not go over what another node writes meanwhile", async () => {
    const { w, chain, during, sql } = await begun();
    const other = w.value("k", "of another node");
    const write = sql.write.bind(sql);
    sql.write = (writes, call) => {
      const isAnew = writes.some(({ entry, if: condition }) => condition === "absent" && entry.version > other.version);
      if (isAnew) sql.state.copies.set("k", { entry: other, asOf: w.runtime.now() });
      return write(writes, call);
    };
    await during(chain.write([w.write(w.value("other", "x"), "absent"), w.write(w.value("k", "mine"), "absent")]));
    expect(sql.state.copies.get("k")?.entry.version).toBe(other.version);
    await during(chain.close());
  });
});

// Mutation: it is written to the layer that decides first, and then to the journal.
it("a value is not written anew to the layer that decides where the journal could not give it to the others", async () => {
  const { w, chain, has, during } = await withJournal({ journal: { entriesMax: 2, waitMs: 0 } });
  w.store("git").down(["write"]);
  for (const key of ["fills", "the journal"]) await during(w.set(chain, key, "1"));
  const [result] = await during(chain.write([w.write(w.value("k", "mine"), "absent")]));
  expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE", retryable: true } });
  expect(has().map((entry) => entry?.version !== undefined)).toEqual([false, true]);
  w.store("git").up();
  await during(chain.flush());
  await during(syncOver(chain).update<string>("k", (value) => `${value}, and new`));
  await during(chain.flush());
  const texts = has().map((entry) => new TextDecoder().decode(entry?.value ?? undefined));
  expect(texts).toEqual(["old, and new", "old, and new"]);
  await during(chain.close());
});

// Mutation: a stub is written anew like a value, over which the authority would stand alone.
it("a large value of which the deciding layer can have a stub alone is no less there: the condition is refused", async () => {
  const w = await world();
  const [sql, git] = [
    w.store("sql", { ...RECORD, valueBytesMax: 10 }),
    w.store("git", { ...RECORD, conditional: false }),
  ];
  const chain = w.open([layer(w.memory()), layer(sql, { role: "store" }), layer(git)]);
  const large = w.value("k", "x".repeat(100));
  git.state.copies.set("k", { entry: large, asOf: w.runtime.now() });
  await sql.direct.forget([{ key: "gone", version: w.value("gone", "").version, reason: "collected" }]);
  const [result] = await chain.write([w.write(w.value("k", "mine"), "absent")]);
  expect(result).toMatchObject({ status: "failed", error: { code: "TOO_OLD" } });
  expect([sql.state.copies.get("k"), await get(chain, "k")]).toEqual([undefined, "x".repeat(100)]);
  await chain.close();
});
