import { describe, expect, it } from "vitest";
import { jsonCodec } from "../src/codec.ts";
import { SyncError } from "../src/error.ts";
import type { SlotIndex } from "../src/slot.ts";
import { world } from "./sync/world.ts";
import type { World, WorldOptions } from "./sync/world.ts";

/** The hot path: what a hit in memory may skip, and what not. Every case is tried on the root and through a namespace. */
const VIEWS = [
  ["the root", ""],
  ["a namespace", "users/"],
] as const;

async function hot(prefix: string, options: WorldOptions = {}): Promise<World> {
  const made = await world(options);
  const db = prefix === "" ? made.db : made.db.namespace(prefix);
  return { ...made, db };
}

/** Read until everything that a hit keeps is kept. */
async function warm({ db }: World, key: string): Promise<void> {
  for (let i = 0; i < 4; i++) await db.get(key);
}

describe.each(VIEWS)("a hit in memory, %s", (_, prefix) => {
  // Mutation: a hit that makes something each time (`giveLater` without keeping the promise).
  it("is the same frozen value and the same promise for everybody, where it can be shared", async () => {
    const one = await hot(prefix);
    await one.db.set("k", { a: [1] });
    await warm(one, "k");
    const promise = one.db.get("k");
    expect(one.db.get("k")).toBe(promise);
    expect(one.db.getOrSet("k", () => 5)).toBe(promise);
    expect(await promise).toBe(one.db.peek("k"));
    expect(Object.isFrozen(await promise)).toBe(true);
    expect([...(await one.db.getMany(["k"])).values()][0]).toBe(await promise);
  });

  // Mutation: `giveLater` shares whatever it is.
  it("is a copy for each reader, where it cannot", async () => {
    const one = await hot(prefix);
    await one.db.set("k", new Map([["a", 1]]));
    await warm(one, "k");
    const first = (await one.db.get<Map<string, number>>("k"))!;
    first.set("a", 2);
    (one.db.peek("k") as Map<string, number>).set("a", 3);
    (await one.db.getMany<Map<string, number>>(["k"])).get("k")?.set("a", 4);
    expect(await one.db.get("k")).toEqual(new Map([["a", 1]]));
  });

  // Mutations: no check of the deadline in `mayAnswer`; a deadline that leaves out `expires`, or the layer's ttl.
  it("ends with the value's expiry and with the layer's ttl", async () => {
    const one = await hot(prefix);
    await one.db.set("short", 1, { ttlMs: 50 });
    await one.db.set("long", 2);
    await warm(one, "short");
    await warm(one, "long");
    await one.runtime.advance(49);
    expect(one.db.peek("short")).toBe(1);
    await one.runtime.advance(1);
    expect(one.db.peek("short")).toBeUndefined();
    expect(await one.db.get("short")).toBeUndefined();
    expect(one.db.peek("long")).toBe(2);
    await one.runtime.advance(60_000);
    expect(one.db.peek("long")).toBeUndefined();
    one.truth.reads = 0;
    expect(await one.db.get("long")).toBe(2);
    expect(one.truth.reads).toBe(1);
  });

  // Mutation: memory does not retire what it replaces, renews or removes (`drop`, `renew`): the index goes on with it.
  it("is never of what was replaced, deleted, renewed or forgotten", async () => {
    const one = await hot(prefix);
    await one.db.set("k", 1);
    await warm(one, "k");
    await one.db.set("k", 2);
    expect(one.db.peek("k")).toBe(2);
    expect(await one.db.get("k")).toBe(2);
    await warm(one, "k");
    await one.runtime.advance(59_999);
    await one.db.get("k", { freshness: "authority" }); // known to be the newest as of now
    await warm(one, "k");
    await one.runtime.advance(30_000);
    one.truth.reads = 0;
    expect([one.db.peek("k"), one.truth.reads]).toEqual([2, 0]);
    await one.db.get("k", { freshness: "authority" });
    expect(one.db.peek("k")).toBe(2);
    await one.db.set("k", 3);
    expect(one.db.peek("k")).toBe(3);
    await one.db.set("k", 2);
    await warm(one, "k");
    await one.memory.forget([{ key: `${prefix}k`, version: (await one.db.read("k"))!.version, reason: "ghost" }]);
    expect(one.db.peek("k")).toBeUndefined();
    expect(await one.db.get("k")).toBe(2);
    await warm(one, "k");
    await one.db.delete("k");
    expect(one.db.peek("k")).toBeUndefined();
    expect(await one.db.get("k")).toBeUndefined();
  });

  // Mutation: `close` of memory leaves its slots as they are.
  it("is refused once it is closed", async () => {
    const one = await hot(prefix);
    await one.db.set("k", 1);
    await warm(one, "k");
    await one.db.close();
    expect(one.db.peek("k")).toBeUndefined();
    await expect(one.db.get("k")).rejects.toMatchObject({ code: "CLOSED" });
    await expect(one.db.getMany(["k"])).rejects.toMatchObject({ code: "CLOSED" });
    await expect(one.db.getOrSet("k", () => 1)).rejects.toMatchObject({ code: "CLOSED" });
  });

  // Mutation: `get` and `getOrSet` throw in place of rejecting, or take what is no key.
  it("rejects what is no key, and never throws", async () => {
    const { db } = await hot(prefix);
    for (const key of ["\ud800", "x".repeat(600), 5, undefined, null, Symbol("k"), {}] as never[]) {
      const calls = [db.get(key), db.getOrSet(key, () => 1), db.getMany([key])];
      for (const call of calls) await expect(call).rejects.toBeInstanceOf(SyncError);
      expect(db.peek(key)).toBeUndefined();
    }
  });

  // Mutation: `lookAgain` without `slots.hit`: what is read by its namespace would be evicted as if nobody read it.
  it("counts in the layer and in memory", async () => {
    const one = await hot(prefix);
    await one.db.set("k", 1);
    await warm(one, "k");
    const [before, held] = [one.chain.status().layers[0]!.hits, one.memory.stats().hits];
    for (let i = 0; i < 10; i++) await one.db.get("k");
    one.db.peek("k");
    expect(one.chain.status().layers[0]!.hits - before).toBe(11);
    expect(one.memory.stats().hits - held).toBe(11);
  });
});

describe("a namespace's index", () => {
  const indexOf = (view: unknown) => (view as { readonly index: SlotIndex }).index;

  // Mutation: no `retire` in `drop` keeps every slot that ever was; not counting it keeps more than the limit.
  it("holds what memory holds, is counted there, and goes with it", async () => {
    const { db, memory } = await world({ memory: { bytesMax: 64 * 1024 } });
    const users = db.namespace("users/");
    for (let i = 0; i < 400; i++) {
      await users.set(`key ${i}`, { i });
      for (let j = 0; j < 3; j++) await users.get(`key ${i}`);
    }
    const { entries, bytes, bytesMax, evictions } = memory.stats();
    expect(evictions).toBeGreaterThan(200);
    expect(indexOf(users).size).toBeGreaterThan(0);
    expect(indexOf(users).size).toBeLessThanOrEqual(entries);
    expect(bytes).toBeLessThanOrEqual(bytesMax);
    const { decodedBytes } = memory.stats();
    const [key] = [...indexOf(users).keys()].slice(-1);
    await users.delete(key as string);
    expect(decodedBytes - memory.stats().decodedBytes).toBeGreaterThan(200);
    expect(indexOf(users).has(key as string)).toBe(false);
  });

  it("is shared by all namespaces of its prefix, and a key may be in one only", async () => {
    const { db } = await world();
    const [a, again, ab] = [db.namespace("a/"), db.namespace("a/"), db.namespace("a/b/")];
    await a.set("b/c", 1);
    for (let i = 0; i < 4; i++)
      expect([await a.get("b/c"), await again.get("b/c"), await ab.get("c")]).toEqual([1, 1, 1]);
    expect(indexOf(a)).toBe(indexOf(again));
    expect([indexOf(a).size, indexOf(ab).size]).toEqual([1, 0]);
    await ab.set("c", 2);
    for (let i = 0; i < 4; i++) expect([await a.get("b/c"), await ab.get("c")]).toEqual([2, 2]);
  });

  // Mutation: a hit that does not compare lenses.
  it("gives each codec its own", async () => {
    const { db } = await world();
    const plain = db.namespace("n/");
    const other = db.namespace("n/", {
      codec: { ...jsonCodec(), decode: () => ({ value: "other", sharing: "shared", bytes: 10 }) },
    });
    await plain.set("k", "value");
    for (let i = 0; i < 4; i++) expect([await plain.get("k"), await other.get("k")]).toEqual(["value", "other"]);
    expect([...(await plain.getMany(["k"])).values()]).toEqual(["value"]);
  });

  it("is left out beyond a number of prefixes, which are answered all the same", async () => {
    const { db } = await world();
    for (let i = 0; i < 1_000; i++) db.namespace(`n${i}/`);
    const last = db.namespace("last/");
    expect(indexOf(last)).toBeUndefined();
    await last.set("k", 1);
    for (let i = 0; i < 3; i++) expect([await last.get("k"), last.peek("k")]).toEqual([1, 1]);
  });
});
