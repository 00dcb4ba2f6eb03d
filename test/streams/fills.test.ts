import { describe, expect, it } from "vitest";
import type { Body } from "../../src/body.ts";
import { chain } from "../../src/chain/chain.ts";
import type { ChainOptions, Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { NO_META } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { openJournal } from "../../src/journal/open.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { CallOptions, Store } from "../../src/store.ts";
import { syncOver } from "../../src/sync.ts";
import { systemRuntime } from "../../src/system.ts";
import { referenceStore, simulatedFiles } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import { failure, gate } from "../stores/s3/world.ts";
import { MIB, SIZE, expected, gathered, pieces } from "./pieces.ts";

/** What goes wrong while a large value is read, and while layers are filled with it. */
/** Of the layers, and of nothing else. */
const DEADLINE_MS = 77_777;

const forget = async (store: Store, key = "k") => {
  const [answer] = await store.read([key], { wholeBytesMax: 0 });
  if (answer?.entry !== undefined) await store.forget([{ key, version: answer.entry.version, reason: "ghost" }]);
};

/** A cache above a source of truth; what the cache is given and gives may go wrong. */
async function world(options: Partial<ChainOptions> = {}, isJournaled = false) {
  const faults: {
    /** In place of taking a body. */
    take?: (body: Body, call: CallOptions | undefined) => Promise<unknown>;
    /** In place of giving one. */
    give?: (body: Body) => AsyncIterable<Uint8Array>;
  } = {};
  const standing = new Set<() => void>();
  const runtime: Runtime = {
    ...systemRuntime,
    timer(delayMs, fn, background) {
      if (delayMs !== DEADLINE_MS) return systemRuntime.timer(delayMs, fn, background);
      standing.add(fn);
      return { cancel: () => standing.delete(fn), hold: () => undefined };
    },
  };
  const inner = referenceStore({ runtime, name: "cache" });
  const cache: Store = Object.assign(Object.create(inner) as Store, {
    async write(...[writes, call]: Parameters<Store["write"]>) {
      const { take } = faults;
      for (const { body } of writes) if (body !== undefined && take !== undefined) await take(body, call);
      return inner.write(writes, call);
    },
    async read(...[keys, call]: Parameters<Store["read"]>) {
      const answers = await inner.read(keys, call);
      const { give } = faults;
      if (give === undefined) return answers;
      return answers.map((answer) => {
        const { body } = answer;
        return body === undefined ? answer : { ...answer, body: { ...body, content: () => give(body) } };
      });
    },
  });
  const supports = { shared: true, durable: true, asOf: "known" } as const;
  const truth = referenceStore({ runtime, name: "truth", supports });
  const reports: Report[] = [];
  const disk = simulatedFiles({ seed: 1 });
  const place = isJournaled ? { journal: await openJournal({ files: disk, runtime }) } : { spool: disk };
  const late = { flushIntervalMs: 3_600_000, flushDelayMsMax: 3_600_000 };
  const made = chain(
    [layer(cache, { deadlineMs: DEADLINE_MS }), layer(truth, isJournaled ? { deadlineMs: DEADLINE_MS, ...late } : {})],
    {
      runtime,
      clock: await versionClock({ runtime }),
      ...place,
      collectIntervalMs: 0,
      drainMs: 0,
      onReport: (report) => reports.push(report),
      ...options,
    },
  );
  /** The time for which a fill may stand still is over, until something is said of it. */
  const standsStill = async () => {
    while (reports.length === 0) {
      for (const fn of standing) fn();
      await new Promise(setImmediate);
    }
  };
  return { faults, inner, truth, reports, disk, standsStill, chain: made, db: syncOver(made) };
}
const isHeld = async (store: Store) => (await store.read(["k"], { wholeBytesMax: 0 }))[0]?.body !== undefined;
const untilAborted = (call: CallOptions | undefined) =>
  new Promise((_, reject) => {
    call?.signal?.addEventListener("abort", () => reject(new Error("it was given up")), { once: true });
  });

describe("a fill", () => {
  // Mutation: no end of standing still: the reader would wait for the layer for ever.
  it("of a layer that takes no more of it is given up, and its reader goes on", async () => {
    const { db, faults, inner, reports, standsStill } = await world();
    await db.setStream("k", pieces());
    await forget(inner);
    const taken = gate();
    faults.take = async (body, call) => {
      for await (const piece of body.content(undefined, call)) {
        void piece;
        taken.open();
        await untilAborted(call);
      }
    };
    const reading = gathered((await db.getStream("k"))?.stream);
    await taken.opened;
    await standsStill();
    expect((await reading).equals(await expected())).toBe(true);
    expect(reports).toMatchObject([
      { kind: "fill-failed", layer: "cache", message: expect.stringContaining("no more") },
    ]);
    expect(await isHeld(inner)).toBe(false);
  });

  // Mutation: the same of a reader who stands still: the layer would be held by him for ever.
  it("by a reader who stands still is given up, and he may go on", async () => {
    const { db, inner, reports, standsStill } = await world();
    await db.setStream("k", pieces());
    await forget(inner);
    const iterator = (await db.getStream("k"))?.stream[Symbol.asyncIterator]();
    const got = [(await iterator?.next())?.value as Uint8Array];
    await standsStill();
    expect(reports).toMatchObject([{ kind: "fill-failed", message: expect.stringContaining("too slowly") }]);
    for (let next = await iterator?.next(); next?.done === false; next = await iterator?.next()) got.push(next.value);
    expect(Buffer.concat(got).equals(await expected())).toBe(true);
    expect(await isHeld(inner)).toBe(false);
  });

  // Mutation: whoever leaves ends the fill as if that were all.
  it("by a reader who leaves stores nothing, and is nobody's failure", async () => {
    const { db, inner, reports } = await world();
    await db.setStream("k", pieces());
    await forget(inner);
    for await (const piece of (await db.getStream("k"))?.stream ?? []) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    await db.close();
    expect(await isHeld(inner)).toBe(false);
    expect(reports).toEqual([]);
  });
});

describe("a large value that goes", () => {
  const gone = () => new SyncError("NOT_FOUND", "it is gone", { store: "cache" });

  // Mutation: what the first layer says is the end of it.
  it("before its first byte is read from whoever has it now", async () => {
    const { db, faults, inner } = await world();
    await db.setStream("k", pieces());
    faults.give = async function* () {
      await forget(inner);
      yield* []; // nothing
      throw gone();
    };
    const found = await db.getStream("k", { range: { start: 5 } });
    expect(found?.layer).toBe("cache");
    expect((await gathered(found?.stream)).equals((await expected()).subarray(5))).toBe(true);
  });

  // Mutation: begun again although a part was given.
  it("in the middle is an error, and nothing of it is given twice", async () => {
    const { db, faults } = await world();
    await db.setStream("k", pieces());
    faults.give = async function* (body) {
      delete faults.give;
      for await (const piece of body.content()) {
        yield piece;
        throw gone();
      }
    };
    let bytes = 0;
    const reading = async () => {
      for await (const piece of (await db.getStream("k"))?.stream ?? []) bytes += piece.length;
    };
    expect((await failure(reading)).code).toBe("NOT_FOUND");
    expect(bytes).toBeLessThan(SIZE);
  });

  // Mutation: another version taken for the one that was told.
  it("because it was replaced is UNAVAILABLE: its bytes would not be those of the version that was told", async () => {
    const { db, faults } = await world();
    await db.setStream("k", pieces());
    faults.give = async function* () {
      delete faults.give;
      await db.setStream("k", pieces(SIZE + 5));
      yield* [];
      throw gone();
    };
    const found = await db.getStream("k");
    expect((await failure(() => gathered(found?.stream))).code).toBe("UNAVAILABLE");
    expect((await db.getStream("k"))?.size).toBe(SIZE + 5);
  });
});

describe("the place for values on their way", () => {
  // Mutation: no bound of the spool.
  it("is bounded: what is larger is refused, and leaves nothing", async () => {
    const { db, disk } = await world({ spoolBytesMax: SIZE - 1 });
    expect((await failure(() => db.setStream("k", pieces()))).code).toBe("OVERLOADED");
    expect(await disk.list()).toEqual([]);
    await db.setStream("k", pieces(SIZE - 1));
    expect((await db.getStream("k"))?.size).toBe(SIZE - 1);
  });

  // Mutation: what is in the journal is brought whole whatever is asked for.
  it("gives it in pieces to who asks for that", async () => {
    const { db, chain: made } = await world({}, true);
    await db.setStream("k", pieces());
    const [answer] = await made.read(["k"], { wholeBytesMax: MIB });
    expect([answer?.from, answer?.entry?.state, answer?.body?.size]).toEqual(["journal", "stub", SIZE]);
    for await (const item of made.list({ prefix: "" }, { detail: "values", wholeBytesMax: MIB })) {
      expect(item).toMatchObject({ key: "k", value: null });
    }
    const [whole] = await made.read(["k"], { wholeBytesMax: SIZE });
    expect([whole?.entry?.value?.length, whole?.body]).toEqual([SIZE, undefined]);
  });

  // Mutations: size or sum not compared with what was said.
  it.each([
    ["sum", { sha256: "0".repeat(64) }],
    ["size", { size: SIZE + 1 }],
  ])("takes none of another %s than it was said to have", async (_, lie) => {
    const { chain: made, disk } = await world({}, true);
    const version = await (await versionClock({ runtime: systemRuntime })).stamp();
    const entry = { key: "k", state: "stub", value: null, version, expires: null, meta: NO_META } as const;
    const body: Body = { size: SIZE, sha256: undefined, content: () => pieces(), ...lie };
    const told: unknown = await made
      .write([{ entry, asOf: 0, body }])
      .then(([result]) => (result?.status === "failed" ? result.error : result))
      .catch((error: unknown) => error);
    expect(told).toMatchObject({ code: "CORRUPT" });
    expect((await made.read(["k"]))[0]?.entry).toBeUndefined();
    await made.close();
    expect((await disk.list()).filter((name) => name.startsWith("body-"))).toEqual([]);
  });
});
