import { expect, it } from "vitest";
import { ioError, referenceState, simulatedFiles } from "microsync/testing";
import type { SimulatedFiles } from "microsync/testing";
import { layer } from "../../src/chain/layer.ts";
import type { Files, OpenFile } from "../../src/journal/files.ts";
import { openJournal } from "../../src/journal/open.ts";
import { get, world } from "../chain/world.ts";

/** What a chain makes of a disk that fails or is full. The same at every operation: power.chain.test.ts. */
async function over(files: Files, w: Awaited<ReturnType<typeof world>>, state = referenceState()) {
  const sql = w.store("sql", { durable: true, shared: true }, state);
  sql.down(["write"]);
  const journal = await openJournal({ files, runtime: w.runtime });
  const chain = await w.process([layer(w.memory()), layer(sql)], { journal });
  const write = async (key: string, text = key) => (await chain.write([w.write(w.value(key, text))]))[0];
  return { sql, state, chain, write };
}

/** The files, whose syncs of segments fail while `failing.syncs` says so, and who was written to in the end. */
function tripping(inner: SimulatedFiles, failing: { syncs: boolean; appends: string[] }): Files {
  const file = (name: string, opened: OpenFile): OpenFile => ({
    async appendSynced(bytes) {
      await this.append(bytes);
      await this.sync();
    },
    append(bytes) {
      if (name.endsWith(".log")) failing.appends.push(name);
      return opened.append(bytes);
    },
    async sync() {
      if (failing.syncs && name.endsWith(".log")) inner.failAt(inner.operations + 1, ioError("EIO"));
      await opened.sync();
    },
    truncate: (length) => opened.truncate(length),
    close: () => opened.close(),
  });
  return {
    name: inner.name,
    list: () => inner.list(),
    size: (name) => inner.size(name),
    read: (...args) => inner.read(...args),
    create: async (name) => file(name, await inner.create(name)),
    open: async (name) => file(name, await inner.open(name)),
    rename: (from, to) => inner.rename(from, to),
    remove: (name) => inner.remove(name),
    syncFolder: () => inner.syncFolder(),
    claim: () => inner.claim(),
    sha256: () => inner.sha256(),
    crc32: inner.crc32,
  };
}

it("refuses a write whose sync failed, never writes to that file again, and goes on in another one", async () => {
  const w = await world();
  const files = simulatedFiles({ seed: 1 });
  const failing = { syncs: false, appends: [] as string[] };
  const { write } = await over(tripping(files, failing), w);
  expect(await write("before")).toEqual({ status: "stored" });
  const distrusted = failing.appends.at(-1);
  failing.syncs = true;
  expect(await write("refused")).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE", retryable: true } });
  expect(failing.appends.at(-1)).toBe(distrusted);
  failing.syncs = false;
  failing.appends.length = 0;
  expect(await write("after")).toEqual({ status: "stored" });
  expect(await write("later")).toEqual({ status: "stored" });
  expect(failing.appends.length).toBeGreaterThan(0);
  expect(failing.appends).not.toContain(distrusted);

  const again = await over(files.powerLoss(), w);
  for (const key of ["before", "after", "later"]) expect(await get(again.chain, key)).toBe(key);
  expect(again.chain.status().journal?.entries).toBe(3);
});

it("refuses a write on a full disk, keeps what was before it, and goes on when there is room", async () => {
  const w = await world();
  const files = simulatedFiles({ seed: 1, capacityBytes: 4000 });
  const { chain, write, sql, state } = await over(files, w);
  const kept: string[] = [];
  let refusal;
  for (let i = 0; refusal === undefined; i++) {
    const result = await write(`k/${i}`, "x".repeat(300));
    if (result?.status === "stored") kept.push(`k/${i}`);
    else refusal = result;
  }
  expect(kept.length).toBeGreaterThan(4);
  expect(refusal).toMatchObject({
    status: "failed",
    error: {
      code: "UNAVAILABLE",
      retryable: true,
      cure: expect.stringContaining("when the disk takes writes") as string,
    },
  });
  for (const key of kept) expect(await get(chain, key)).toBe("x".repeat(300));
  files.capacityBytes = 100_000;
  expect(await write("again")).toEqual({ status: "stored" });
  sql.up();
  const flushed = chain.flush();
  await w.runtime.advance(1000);
  await flushed;
  expect([...state.copies.keys()].sort()).toEqual(["again", ...kept].sort());
});
