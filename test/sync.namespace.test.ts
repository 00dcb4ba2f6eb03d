import * as v from "valibot";
import { describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { jsonCodec } from "../src/codec.ts";
import { SyncError } from "../src/error.ts";
import { collect, world } from "./sync/world.ts";

describe("a namespace", () => {
  it("is the keys below its prefix, and nests", async () => {
    const { db } = await world();
    const users = db.namespace<string>("users/");
    const admins = users.namespace<string>("admins/");
    await users.set("ada", "Ada");
    await admins.set("bo", "Bo");
    expect(await db.get("users/ada")).toBe("Ada");
    expect(await db.get("users/admins/bo")).toBe("Bo");
    expect(await collect(users.list())).toEqual(["ada", "admins/bo"]);
    expect(await collect(users.list({ prefix: "ad", after: "ada" }))).toEqual(["admins/bo"]);
    expect((await collect(admins.entries())).map(({ key, value }) => [key, value])).toEqual([["bo", "Bo"]]);
    expect([...(await users.getMany(["ada", "x"]))]).toEqual([["ada", "Ada"]]);
    await admins.delete("bo");
    expect(await users.has("admins/bo")).toBe(false);
    expect((await users.where("ada"))[0]).toMatchObject({ head: { key: "users/ada" } });
    expect(() => db.namespace("x".repeat(600))).toThrow(SyncError);
    expect(() => db.namespace("")).toThrow(SyncError);
  });

  // Mutation: leaving out the comparison of lenses in view.ts gives one view the other's decoded value.
  it("never gives one view what another one decoded", async () => {
    const { db } = await world();
    const strict = db.namespace("n/", { schema: z.object({ n: z.number().transform((n) => n * 10) }) });
    const loose = db.namespace("n/", { codec: jsonCodec() });
    await db.set("n/k", { n: 1, extra: true });
    for (let i = 0; i < 3; i++) {
      expect(await strict.get("k")).toEqual({ n: 10 });
      expect(strict.peek("k")).toEqual({ n: 10 });
      expect(await db.get("n/k")).toEqual({ n: 1, extra: true });
      expect(await loose.get("k")).toEqual({ n: 1, extra: true });
      expect(strict.peek("k")).toEqual({ n: 10 });
      expect(db.peek("n/k")).toEqual({ n: 1, extra: true });
    }
  });
});

const schemas = {
  zod: {
    user: z.object({ name: z.string(), tags: z.array(z.string()).default([]) }),
    slow: z.object({ name: z.string().refine(async (name) => name.length > 1) }),
    date: z.object({ at: z.coerce.date() }),
  },
  valibot: {
    user: v.object({ name: v.string(), tags: v.optional(v.array(v.string()), []) }),
    slow: v.objectAsync({
      name: v.pipeAsync(
        v.string(),
        v.checkAsync(async (name) => name.length > 1),
      ),
    }),
    date: v.object({
      at: v.pipe(
        v.union([v.string(), v.date()]),
        v.transform((at) => new Date(at)),
      ),
    }),
  },
};

for (const [vendor, { user, slow, date }] of Object.entries(schemas)) {
  describe(`a schema of ${vendor}`, () => {
    it("checks what is set, and says where it does not fit without the value", async () => {
      const { db, truth } = await world();
      const users = db.namespace("users/", { schema: user });
      await users.set("ada", { name: "Ada" });
      expect(await users.get("ada")).toEqual({ name: "Ada", tags: [] });
      // The store holds what was given.
      expect(await db.get("users/ada")).toEqual({ name: "Ada" });
      truth.writes = 0;
      const call = users.set("bo", { name: "Bo", tags: ["ok", "secret", 5] } as never);
      await expect(call).rejects.toThrow(`set "users/bo": the value does not fit the ${vendor} schema at tags[2]`);
      await expect(call).rejects.toMatchObject({ code: "INVALID" });
      await call.catch((error: Error) => expect(error.message).not.toContain("secret"));
      await expect(users.setMany([["bo", 7 as never]])).rejects.toMatchObject({
        code: "INVALID",
        othersWritten: false,
      });
      expect(truth.writes).toBe(0);
    });

    it("checks what is read, once per decoded entry", async () => {
      const { db, codec } = await world();
      const users = db.namespace("users/", { schema: user });
      await db.set("users/bad", { name: 5, card: "4111" });
      const call = users.get("bad");
      await expect(call).rejects.toThrow(`read "users/bad": the value does not fit the ${vendor} schema at name`);
      await expect(call).rejects.toMatchObject({ code: "CORRUPT", key: "users/bad" });
      await call.catch((error: Error) => expect(error.message).not.toContain("4111"));
      await users.set("ok", { name: "Ok" });
      await users.get("ok");
      codec.decodes = 0;
      const first = await users.get("ok");
      expect(await users.get("ok")).toBe(first);
      expect(Object.isFrozen(first?.tags)).toBe(true);
      expect(codec.decodes).toBe(0);
    });

    it("may be asynchronous", async () => {
      const { db } = await world();
      const names = db.namespace("n/", { schema: slow });
      await names.set("a", { name: "Ada" });
      expect(await names.get("a")).toEqual({ name: "Ada" });
      expect(names.peek("a")).toEqual({ name: "Ada" });
      await expect(names.set("b", { name: "B" })).rejects.toMatchObject({ code: "INVALID" });
      await db.set("n/c", { name: "C" });
      expect(names.peek("c")).toBeUndefined();
      await expect(names.get("c")).rejects.toMatchObject({ code: "CORRUPT" });
      // The schema judges what was encoded, so a change meanwhile is neither stored nor judged.
      const value = { name: "Cy" };
      const call = names.set("d", value);
      value.name = "C";
      await call;
      expect(await names.get("d")).toEqual({ name: "Cy" });
    });

    it("copies for each reader what it makes and cannot freeze", async () => {
      const { db } = await world();
      const events = db.namespace("e/", { schema: date });
      await events.set("a", { at: "2020-01-01T00:00:00Z" });
      const first = await events.get("a");
      first?.at.setTime(0);
      expect((await events.get("a"))?.at.getUTCFullYear()).toBe(2020);
    });

    it("goes with getOrSet and update", async () => {
      const { db } = await world();
      const users = db.namespace("users/", { schema: user });
      expect(await users.getOrSet("a", () => ({ name: "A", tags: [] }))).toEqual({ name: "A", tags: [] });
      const next = await users.update("a", (before) => ({ name: `${before?.name}!` }));
      expect(next).toEqual({ name: "A!", tags: [] });
      await expect(users.update("a", () => ({ name: 5 }) as never)).rejects.toMatchObject({ code: "INVALID" });
      expect(await users.get("a")).toEqual({ name: "A!", tags: [] });
    });
  });
}

describe("the types of a schema", () => {
  it("are those of what is set and what is read", async () => {
    const { db } = await world();
    const users = db.namespace("u/", { schema: schemas.zod.user });
    expectTypeOf(await users.get("a")).toEqualTypeOf<{ name: string; tags: string[] } | undefined>();
    expectTypeOf<(typeof users)["set"]>().parameter(1).toEqualTypeOf<{ name: string; tags?: string[] | undefined }>();
    const others = db.namespace("v/", { schema: schemas.valibot.date });
    expectTypeOf(await others.get("a")).toEqualTypeOf<{ at: Date } | undefined>();
  });

  it("gives instances of classes to one reader each", async () => {
    const { db } = await world();
    const schema = z.string().transform((text) => new URL(text));
    const links = db.namespace("l/", { schema });
    await links.set("a", "https://example.org/");
    const [one, two] = [await links.get("a"), await links.get("a")];
    expect(one?.href).toBe("https://example.org/");
    expect(one).not.toBe(two);
  });
});
