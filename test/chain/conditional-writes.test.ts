import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";

import { RECORD, full, get, world } from "./world.ts";

describe("a conditional write", () => {
  // Mutation: writeFirst does not call fillFromBelow.
  it("sees what only a layer below the authority has", async () => {
    const w = await full();
    const v1 = w.value("k", "v1");
    await w.git.direct.write([w.write(v1)]);
    const [refused] = await w.db.write([w.write(w.value("k", "mine"), "absent")]);
    expect(refused).toMatchObject({ status: "conflict", current: { version: v1.version } });
    expect(await w.db.write([w.write(w.value("k", "v2"), v1.version)])).toEqual([{ status: "stored" }]);
    expect(await get(w.git.direct, "k")).toBe("v2");
    await w.db.close();
  });

  // Mutation: fillFromBelow ignores an error of the walk, or of its write.
  it("is not decided while the layers below, or the bringing up, fail", async () => {
    const w = await full();
    await w.git.direct.write([w.write(w.value("k", "v1"))]);
    w.git.down(["read"]);
    const [result] = await w.db.write([w.write(w.value("k", "mine"), "absent")]);
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    w.git.up();
    w.sql.down(["write"]);
    const [again] = await w.db.write([w.write(w.value("k", "mine"), "absent")]);
    expect(again).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });

  // Mutation: fillFromBelow gives the authority the value as it is.
  it("sees what is below though it is too large for the authority", async () => {
    const w = await world();
    const sql = w.store("sql", { ...RECORD, valueBytesMax: 10 });
    const git = w.store("git", { ...RECORD, conditional: false });
    await git.direct.write([w.write(w.value("k", "much too large for sql"))]);
    const db = w.open([layer(sql, { role: "store", watch: false }), layer(git, { watch: false })]);
    expect(await db.write([w.write(w.value("k", "mine"), "absent")])).toMatchObject([{ status: "conflict" }]);
    await db.close();
  });

  // Mutation: plan sends conditional writes to the deepest store.
  it("has one winner when two processes race", async () => {
    const w = await full();
    const [a, b] = [await w.process(w.layers()), await w.process(w.layers())];
    const write = (text: string) => [w.write(w.value("k", text), "absent")];
    const results = (await Promise.all([a.write(write("a")), b.write(write("b"))])).flat();
    expect(results.map(({ status }) => status).sort()).toEqual(["conflict", "stored"]);
    const winner = results[0]?.status === "stored" ? "a" : "b";
    for (const process of [a, b]) expect(await get(process, "k", { authority: true })).toBe(winner);
    await Promise.all([a.close(), b.close(), w.db.close()]);
  });

  // Mutation: writeBatch does not send again.
  it("whose answer was lost is asked for again, and is stored once", async () => {
    const w = await full();
    w.sql.failNth(1, { verb: "write", point: "after" });
    expect(await w.db.write([w.write(w.value("k", "v1"), "absent")])).toEqual([{ status: "stored" }]);
    expect(w.sql.calls("write")).toBe(2);
    await w.db.close();
  });

  // Mutation: undecided (write.ts) gives the error as it is.
  it("whose answer stays lost is INDETERMINATE", async () => {
    const w = await full();
    w.sql.failNth(1, { verb: "write", point: "after" });
    w.sql.failNth(2, { verb: "write", point: "after" });
    const [result] = await w.db.write([w.write(w.value("k", "v1"), "absent")]);
    expect(result).toMatchObject({ status: "failed", error: { code: "INDETERMINATE", retryable: false } });
    await w.db.close();
  });

  // Mutation: writeBatch takes the second answer for the truth: `update` would then run its function twice.
  it("whose answer was lost is INDETERMINATE when the next answer is a newer version", async () => {
    const w = await full();
    const mine = w.value("k", "mine");
    const theirs = w.value("k", "theirs");
    w.sql.failNth(1, { verb: "write", point: "after" });
    w.sql.failNth(2, { verb: "write" });
    const write = w.sql.write.bind(w.sql);
    let sent = 0;
    w.sql.write = async (writes, options) => {
      if (++sent === 2) await w.sql.direct.write([w.write(theirs)]);
      return sent === 2 ? w.sql.direct.write(writes) : write(writes, options);
    };
    const [result] = await w.db.write([w.write(mine, "absent")]);
    expect(result).toMatchObject({ status: "failed", error: { code: "INDETERMINATE" } });
    await w.db.close();
  });

  // Mutation: isUndecided calls every conflict undecided.
  it("whose answer was lost is a conflict when an older version is there", async () => {
    const w = await full();
    await w.sql.direct.write([w.write(w.value("k", "older"))]);
    w.sql.failNth(1, { verb: "write" });
    expect(await w.db.write([w.write(w.value("k", "mine"), "absent")])).toMatchObject([{ status: "conflict" }]);
    await w.db.close();
  });

  // Mutation: writeBatch does not look at the breaker.
  it("that was never sent is not INDETERMINATE", async () => {
    const w = await world();
    const sql = w.store("sql", RECORD);
    const db = w.open([layer(w.memory()), layer(sql, { breakerFailures: 1, watch: false })]);
    sql.down();
    await db.write([w.write(w.value("k", "v1"))]);
    const [result] = await db.write([w.write(w.value("k", "v2"), "absent")]);
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    await db.close();
  });

  // Mutation: writeNext lets a deeper store's newer version undo what the authority decided.
  it("that the authority stored is stored, though a deeper store has a newer version", async () => {
    const w = await full();
    const v1 = w.value("k", "v1");
    await w.sql.direct.write([w.write(v1)]);
    const v2 = w.value("k", "v2");
    await w.git.direct.write([w.write(w.value("k", "a person's"))]);
    expect(await w.db.write([w.write(v2, v1.version)])).toEqual([{ status: "stored" }]);
    await w.db.close();
  });

  // Mutation: incomplete (write.ts) says retryable for conditional writes too.
  it("that only the authority has is not to be made anew, and flush carries it on", async () => {
    const w = await full();
    w.git.down(["write"]);
    const [result] = await w.db.write([w.write(w.value("k", "v1"), "absent")]);
    expect(result).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE", retryable: false } });
    w.git.up();
    await w.db.flush();
    expect(await get(w.git.direct, "k")).toBe("v1");
    await w.db.close();
  });
});
