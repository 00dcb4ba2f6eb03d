import { describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import type { ChainOptions } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import type { Store, Supports } from "../../src/store.ts";
import { syncOver } from "../../src/sync.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { chaos, referenceState, referenceStore, simulatedFiles } from "../../src/testing/index.ts";
import type { ReferenceState, SimulatedFiles } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import { failure } from "../stores/s3/world.ts";
import { MIB, SIZE, expected, gathered, pieces } from "./pieces.ts";

interface World {
  readonly disk?: SimulatedFiles;
  readonly journaled?: boolean;
  readonly truth?: Partial<Supports>;
  readonly states?: readonly [ReferenceState, ReferenceState];
  readonly bytesMax?: number;
  /** No layer but memory takes any write. */
  readonly down?: boolean;
  readonly options?: Partial<ChainOptions>;
}

async function world({
  disk = simulatedFiles({ seed: 1 }),
  journaled = false,
  truth,
  states,
  bytesMax,
  down = false,
  options,
}: World = {}) {
  const [near, deep] = states ?? [referenceState(), referenceState()];
  const shared = { shared: true, durable: true, asOf: "known", ...truth } as const;
  const stores = {
    cache: referenceStore({ runtime, name: "cache", state: near }),
    truth: referenceStore({ runtime, name: "truth", state: deep, supports: shared }),
  };
  const taking = (store: Store): Store => {
    if (!down) return store;
    const held = chaos(store, { runtime, seed: 1 });
    held.down(["write"]);
    return held;
  };
  const clock = await versionClock({ runtime });
  const journal = journaled ? await openJournal({ files: disk, runtime, bytesMax }) : undefined;
  const made = chain(
    [
      layer(memory({ runtime }), { name: "memory" }),
      layer(taking(stores.cache), { name: "cache" }),
      layer(taking(stores.truth), { name: "truth", flushIntervalMs: 3_600_000, flushDelayMsMax: 3_600_000 }),
    ],
    { runtime, clock, journal, ...(journaled ? {} : { spool: disk }), collectIntervalMs: 0, drainMs: 0, ...options },
  );
  return { db: syncOver(made), stores, disk, states: [near, deep] as const };
}

const has = async (store: Store, key = "k") => {
  const [answer] = await store.read([key], { wholeBytesMax: 0 });
  return answer?.body === undefined ? answer?.entry?.state : "value";
};
const bodies = async (disk: SimulatedFiles) => (await disk.list()).filter((name) => name.startsWith("body-"));

describe("setStream and getStream", () => {
  it("make a short stream a value like any", async () => {
    const { db, disk } = await world();
    const created = disk.operations;
    await db.setStream("k", pieces(1000), { contentType: "text/plain; charset=utf-8", meta: { a: "b" } });
    expect(disk.operations).toBe(created);
    expect(await db.get("k")).toBe("\0".repeat(1000));
    expect((await db.read("k"))?.meta).toEqual({ a: "b", "content-type": "text/plain; charset=utf-8" });
    expect((await gathered((await db.getStream("k", { range: { start: 990 } }))?.stream)).length).toBe(10);
  });

  // Mutations: forLayer gives bodies to everybody; the spool keeps its files.
  it("write every layer that takes streams, leave stubs in the others, and keep no file behind", async () => {
    const { db, stores, disk } = await world();
    const { version } = await db.setStream("k", pieces());
    expect(await bodies(disk)).toEqual([]);
    expect((await db.where("k")).map((each) => (each.state === "has" ? each.head.state : each.state))).toEqual([
      "stub",
      "value",
      "value",
    ]);
    const found = await db.getStream("k");
    expect([found?.size, found?.version, found?.layer]).toEqual([SIZE, version, "cache"]);
    expect((await gathered(found?.stream)).equals(await expected())).toBe(true);
    expect(await has(stores.truth)).toBe("value");
    const part = await db.getStream("k", { range: { start: 99_999, end: 100_001 } });
    expect([part?.start, part?.end, [...(await gathered(part?.stream))]]).toEqual([99_999, 100_001, [0, 1]]);
  });

  it("give a value that is not too large for memory to get as well, and say what to do about one that is", async () => {
    const { db } = await world({ options: { wholeBytesMax: SIZE } });
    await db.setStream("k", pieces());
    expect(Buffer.from((await db.get("k")) as Uint8Array).equals(await expected())).toBe(true);
    const { db: small } = await world({ options: { wholeBytesMax: SIZE - 1 } });
    await small.setStream("k", pieces());
    const { code, cure } = await failure(() => small.get("k"));
    expect([code, cure]).toEqual(["TOO_LARGE", expect.stringContaining("getStream")]);
    expect(await small.has("k")).toBe(true);
    expect((await failure(() => gathered2(small.entries()))).code).toBe("TOO_LARGE");
  });

  // Mutation: filling() gives the body of the layer below as it is.
  it("fill the nearer layers while all of a value is read, and leave a stub when it is not", async () => {
    const { db, stores } = await world();
    await db.setStream("k", pieces());
    const { version = "" as never } = (await db.getStream("k")) ?? {};
    await stores.cache.forget([{ key: "k", version, reason: "ghost" }]);
    await gathered((await db.getStream("k", { range: { start: 10, end: SIZE } }))?.stream);
    expect(await has(stores.cache)).toBe("stub");
    for await (const piece of (await db.getStream("k"))?.stream ?? []) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect(await has(stores.cache)).toBe("stub");
    const found = await db.getStream("k");
    expect(found?.layer).toBe("truth");
    expect((await gathered(found?.stream)).equals(await expected())).toBe(true);
    await db.flush();
    expect(await has(stores.cache)).toBe("value");
    expect((await db.getStream("k"))?.layer).toBe("cache");
  });

  it.each([false, true])(
    "store nothing of a source that breaks, or whose writer gives up (journal: %s)",
    async (journaled) => {
      const { db, stores, disk } = await world({ journaled });
      await expect(db.setStream("k", pieces(SIZE, MIB + 500_000))).rejects.toThrow("the source broke");
      const control = new AbortController();
      let asked = 0;
      const hanging: AsyncIterable<Uint8Array> = {
        [Symbol.asyncIterator]: () => ({
          next() {
            if (++asked < 30) return Promise.resolve({ done: false, value: new Uint8Array(100_000) });
            control.abort();
            return new Promise(() => {});
          },
        }),
      };
      expect((await failure(() => db.setStream("k", hanging, { signal: control.signal }))).code).toBe("ABORTED");
      expect(await bodies(disk)).toEqual([]);
      expect([await has(stores.cache), await has(stores.truth)]).toEqual([undefined, undefined]);
      expect(await db.getStream("k")).toBeUndefined();
    },
  );

  it("decide conditions", async () => {
    const { db } = await world();
    const { version } = await db.setStream("k", pieces(), { ifAbsent: true });
    expect((await failure(() => db.setStream("k", pieces(), { ifAbsent: true }))).code).toBe("CONFLICT");
    await db.setStream("k", pieces(SIZE + 1), { ifVersion: version });
    expect((await db.getStream("k"))?.size).toBe(SIZE + 1);
  });

  it("gather what a source of truth without streams takes whole, up to 16 MiB, and refuse more", async () => {
    const { db } = await world({ truth: { streamBytesMax: 0 } });
    await db.setStream("k", pieces());
    expect(Buffer.from((await db.get("k")) as Uint8Array).equals(await expected())).toBe(true);
    expect((await failure(() => db.setStream("big", pieces(16 * MIB + 1)))).code).toBe("TOO_LARGE");
  });

  it("refuse what is malformed", async () => {
    const { db } = await world();
    const texts = (async function* () {
      yield "text" as unknown as Uint8Array;
    })();
    expect((await failure(() => db.setStream("k", texts))).code).toBe("INVALID");
    expect((await failure(() => db.getStream("k", { range: { start: 5, end: 4 } }))).code).toBe("INVALID");
  });

  it("take a ReadableStream that cannot be iterated", async () => {
    const { db } = await world();
    const source = pieces();
    const reader = {
      read: async () => {
        const { done = false, value } = await source.next();
        return { done, value: value ?? undefined };
      },
      cancel: () => Promise.resolve(),
    };
    await db.setStream("k", { getReader: () => reader });
    expect((await db.getStream("k"))?.size).toBe(SIZE);
  });
});

async function gathered2(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) expect(item).toBeDefined();
}

describe("with a journal, a large value", () => {
  it("is answered from its file until every layer has it, and goes then", async () => {
    const { db, stores, disk } = await world({ journaled: true });
    await db.setStream("k", pieces());
    expect(await has(stores.truth)).toBeUndefined();
    expect(await bodies(disk)).toHaveLength(1);
    expect(db.status().journal?.bytes).toBeGreaterThan(SIZE);
    const found = await db.getStream("k");
    expect(found?.layer).toBe("journal");
    expect((await gathered(found?.stream)).equals(await expected())).toBe(true);
    await db.flush();
    expect(await has(stores.truth)).toBe("value");
    await db.close();
    expect(await bodies(disk)).toEqual([]);
  });

  // Mutations: the file is not synced before the record; restore forgets the note; the sweep takes what is needed.
  it("that was acknowledged is there after a power loss, and reaches the layers then", async () => {
    const first = await world({ journaled: true });
    await first.db.setStream("k", pieces());
    const disk = first.disk.powerLoss();
    const second = await world({ journaled: true, disk });
    expect(await has(second.stores.truth)).toBeUndefined();
    expect((await gathered((await second.db.getStream("k"))?.stream)).equals(await expected())).toBe(true);
    await second.db.flush();
    expect(
      (await gathered((await second.stores.truth.read(["k"], { wholeBytesMax: 0 }))[0]?.body?.content())).equals(
        await expected(),
      ),
    ).toBe(true);
    await second.db.close();
    expect(await bodies(disk)).toEqual([]);
  });

  // Mutations: the folder is not synced before the record; a start holds no file for what it takes up.
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "outlives a power loss and starts at which nothing was sent (seed %i)",
    async (seed) => {
      const first = await world({ journaled: true, disk: simulatedFiles({ seed }), down: true });
      await first.db.set("before", 1); // the segment and its name are on disk
      await first.db.setStream("k", pieces(MIB + 5));
      const disk = first.disk.powerLoss();
      for (let starts = 0; starts < 2; starts++) {
        const { db } = await world({ journaled: true, disk, down: true });
        expect((await gathered((await db.getStream("k"))?.stream)).equals(await expected(MIB + 5))).toBe(true);
        await db.close();
      }
    },
  );

  it("that a newer one replaces before it was sent leaves no file", async () => {
    const { db, disk, stores } = await world({ journaled: true });
    await db.setStream("k", pieces());
    await db.setStream("k", pieces(SIZE + 5));
    await db.flush();
    expect((await stores.truth.read(["k"], { wholeBytesMax: 0 }))[0]?.body?.size).toBe(SIZE + 5);
    await db.close();
    expect(await bodies(disk)).toEqual([]);
  });

  it("that the journal has no room for is refused, and leaves nothing", async () => {
    const { db, disk } = await world({ journaled: true, bytesMax: SIZE - 1 });
    expect((await failure(() => db.setStream("k", pieces()))).code).toBe("OVERLOADED");
    expect(await bodies(disk)).toEqual([]);
    await db.setStream("k", pieces(SIZE - 1000));
    expect((await db.getStream("k"))?.size).toBe(SIZE - 1000);
  });
});
