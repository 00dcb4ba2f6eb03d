import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import { ioError } from "../../src/testing/files.ts";
import { behindWorld } from "./behind-world.ts";
import { get } from "./world.ts";

const HOUR_MS = 3_600_000;

/** A journal with one dead letter. */
async function withLetter() {
  const w = await behindWorld({ git: { flushIntervalMs: 0 } });
  const chain = await w.start();
  const error = new SyncError("INVALID", "git takes no key of that name", { store: "git" });
  w.store("git").failNth(1, { verb: "write", error });
  await w.set(chain, "k", "1");
  await w.runtime.advance(30_000);
  return { w, chain };
}

// Mutation: they are read one after the other in lane.ts: a batch is sent long after it was paid for.
it("values that are sent are read from the log eight at a time", async () => {
  const w = await behindWorld({ journal: { memoryBytesMax: 0 } });
  const chain = await w.start();
  w.store("sql").down(["write"]);
  w.store("git").down(["write"]);
  await w.during(Promise.all(Array.from({ length: 20 }, (_, i) => w.set(chain, `k${i}`, "x"))));
  const files = w.files();
  const read = files.read.bind(files);
  let underWay = 0;
  let most = 0;
  files.read = async (...place) => {
    most = Math.max(most, ++underWay);
    return read(...place).finally(() => underWay--);
  };
  for (const name of ["sql", "git"] as const) w.store(name).up();
  await w.runtime.advance(60_000);
  expect(w.sent["sql"]?.at(-1)?.keys.length).toBe(20);
  expect(most).toBe(8);
  await w.during(chain.close());
});

describe("a disk that fails under the journal", () => {
  // Mutations: `begin` takes no floor from what is pending; what the journal has counts for a ghost where it cannot be read.
  it.each([false, true])(
    "never makes an own write unwritten that cannot be read from it, forgetful: %s",
    async (forgetful) => {
      const w = await behindWorld({
        memoryEntriesMax: 1,
        journal: { memoryBytesMax: 0 },
        ...(forgetful ? { gitSupports: { durable: false } } : {}),
      });
      const chain = await w.start();
      await w.during(w.set(chain, "k", "older", "all"));
      w.store("sql").down(["write"]);
      w.store("git").down(["write"]);
      await w.during(w.set(chain, "k", "newer"));
      await w.during(w.set(chain, "other", "x")); // takes its place in memory
      await w.runtime.advance(HOUR_MS); // no floor is kept for so long
      const files = w.files();
      const read = files.read.bind(files);
      files.read = () => Promise.reject(ioError("EIO"));
      await expect(get(chain, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
      expect(w.reports).toContainEqual(expect.objectContaining({ kind: "journal", key: "k" }));
      files.read = read;
      expect(await get(chain, "k")).toBe("newer");
    },
  );

  // Mutations: the letter stays listed when its file is gone, so that it cannot be dropped any more; it is not listed
  // while its file is there; what failed is not said.
  it.each([
    ["the removal", false, "EIO"],
    ["the removal, after its effect", true, undefined],
    ["the folder's sync", true, "EIO"],
  ])("leaves a dead letter that is given up whole, or takes it away: %s", async (step, isGone, code) => {
    const { w, chain } = await withLetter();
    const letter = chain.journal?.letters[0];
    const drop = () => chain.journal?.drop(letter?.id ?? "");
    const files = w.files();
    const remove = files.remove.bind(files);
    if (step.startsWith("the removal")) {
      files.remove = async (name) => {
        files.remove = remove;
        if (isGone) await remove(name);
        throw ioError("EIO");
      };
    } else files.failAt(files.operations + 2);
    expect(await drop()?.then(undefined, ({ cause }: { cause: Error }) => cause.message)).toBe(code);
    expect(chain.journal?.letters).toEqual(isGone ? [] : [letter]);
    expect((await files.list()).some((name) => name === letter?.id)).toBe(!isGone);
    if (!isGone) await drop();
    expect(chain.journal?.letters).toEqual([]);
    await w.during(chain.flush());
  });

  // Mutation: `body` does not look whether the file is there: the letter could be neither sent again nor dropped.
  it("ends a dead letter that it took away without a word, once somebody asks for it", async () => {
    const { w, chain } = await withLetter();
    const id = chain.journal?.letters[0]?.id ?? "";
    const files = w.files();
    const [remove, list] = [files.remove.bind(files), files.list.bind(files)];
    files.remove = (name) => remove(name).then(() => Promise.reject(ioError("EIO")));
    files.list = () => Promise.reject(ioError("EIO"));
    await expect(chain.journal?.drop(id)).rejects.toThrow("EIO");
    expect(chain.journal?.letters).toHaveLength(1);
    Object.assign(files, { remove, list });
    await expect(chain.journal?.retry(id)).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(chain.journal?.letters).toEqual([]);
    await w.during(chain.flush());
  });

  // Mutation: the floor from before is not raised again: this node's own older write is answered.
  it("takes a write of memory back to what was known before it", async () => {
    const w = await behindWorld({ sql: { flushIntervalMs: 2 * HOUR_MS, watch: false } });
    const chain = await w.start();
    await w.during(w.set(chain, "k", "own"));
    const newer = w.value("k", "of another node");
    w.states["sql"]?.copies.set("k", { entry: newer, asOf: w.runtime.now() });
    await w.runtime.advance(10);
    expect(await get(chain, "k", { maxAgeMs: 0 })).toBe("of another node");
    w.files().failAt(w.files().operations + 1);
    await w.set(chain, "k", "not written", "memory");
    await w.runtime.advance(100);
    expect(w.reports).toContainEqual(expect.objectContaining({ kind: "write-failed", layer: "journal", key: "k" }));
    for (const name of ["sql", "git"] as const) w.store(name).down();
    await expect(get(chain, "k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    for (const name of ["sql", "git"] as const) w.store(name).up();
    await w.runtime.advance(60_000);
    expect(await get(chain, "k")).toBe("of another node");
  });
});
