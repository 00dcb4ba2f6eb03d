import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Runtime } from "../../src/runtime.ts";
import { FolderLock } from "../../src/stores/file/lock.ts";
import { systemRuntime } from "../../src/system.ts";
import { watchCalls } from "./file/calls.ts";
import { entry, filesOf, get, put, scratch, textOf, tombstone } from "./file/world.ts";
import { gate } from "./s3/world.ts";

let place: ReturnType<typeof scratch>;
let restore = () => {};
beforeEach(() => {
  place = scratch();
});
afterEach(async () => {
  restore();
  await place.remove();
});

describe("the order of the calls that make a write last", () => {
  // Mutations: each `sync` in commit.ts, disk.ts taken out; the file put into its place before its record.
  it("is: the value, its name, the record, its name, the place; each synced before the next", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "before"));
    const told: string[] = [];
    restore = await watchCalls((call) => told.push(call));
    await put(store, entry("k", 2, "after"));
    restore();
    const folder = basename(place.folder);
    const own = told.map((call) => call.replaceAll(folder, "ROOT"));
    expect(own.slice(0, 6)).toEqual([
      "open staged/VALUE",
      "appendFile staged/VALUE",
      "sync staged/VALUE",
      "link locks/HOLDER locks/lock",
      "sync file/staged",
      "open staged/RECORD",
    ]);
    expect(own.slice(6, 9)).toEqual(["writeFile staged/RECORD", "sync staged/RECORD", "rename staged/RECORD XX/KEY"]);
    expect(own.slice(9, 11).sort()).toEqual(["sync entries/XX", "sync file/entries"]);
    expect(own[11]).toBe("rename staged/VALUE ROOT/k");
    expect(own[12]).toMatch(/^sync [^/]*\/ROOT$/);
    expect(own.slice(13, 14)).toEqual(["unlink locks/lock"]);
  });

  it("has no waits for the disk where nothing need last", async () => {
    const store = await place.open({ durable: false });
    await put(store, entry("k", 1, "before"));
    const told: string[] = [];
    restore = await watchCalls((call) => told.push(call));
    await put(store, entry("k", 2, "after"), tombstone("l", 2));
    expect(told.filter((call) => call.startsWith("sync"))).toEqual([]);
  });
});

describe("what a person does meanwhile", () => {
  // Mutation: `clear` removes whatever stands there by then.
  it("to the file of a key that is being deleted stays", async () => {
    const store = await place.open({ durable: false });
    await put(store, entry("k", 1, "before"));
    const theirs = [() => writeFileSync(place.path("k"), "theirs, and newer")];
    restore = await watchCalls((call) => {
      if (call.startsWith("rename staged/RECORD")) theirs.pop()?.(); // the tombstone is about to count
    });
    await put(store, tombstone("k", 2));
    restore();
    expect(theirs).toEqual([]);
    expect(filesOf(place.folder)).toEqual({ k: "theirs, and newer" });
    expect(await textOf(store, "k")).toBe("theirs, and newer");
  });

  // Mutation: whether it is still the same file is not looked at after the last piece.
  it.each([undefined, { start: 1 }])("to a file that is read in pieces is no value: %j", async (range) => {
    writeFileSync(place.path("k"), "a".repeat(200_000));
    const store = await place.open({ valueBytesMax: 1000, readonly: true });
    const [answer] = await store.read(["k"]);
    expect([answer?.body?.size, answer?.body?.sha256]).toEqual([200_000, undefined]);
    const reading = async () => {
      let isFirst = true;
      for await (const piece of answer?.body?.content(range) ?? []) {
        if (isFirst) writeFileSync(place.path("k"), "b".repeat(200_000 + piece.length));
        isFirst = false;
      }
    };
    await expect(reading()).rejects.toMatchObject({ code: "CORRUPT" });
  });

  // Mutation: the checksum of a record is not compared.
  it("to a record that still reads as one is told as damage", async () => {
    const store = await place.open({ durable: false });
    await put(store, entry("k", 1, "x"));
    await store.close();
    const path = readdirSync(place.path(".microsync/file/entries"), { recursive: true, encoding: "utf8" })
      .map((name) => place.path(".microsync/file/entries", name))
      .find((name) => statSync(name).isFile());
    if (path === undefined) throw new Error("there is no record");
    const { version } = entry("k", 1, "x");
    const text = readFileSync(path, "utf8");
    expect(text).toContain(version);
    writeFileSync(path, text.replace(version, entry("k", 2, "x").version));
    const again = await place.open({ durable: false });
    await expect(again.read(["k"])).rejects.toMatchObject({ code: "CORRUPT" });
  });
});

describe("a disk that takes no more, at any call", () => {
  const before = [entry("d", 1, "file"), entry("e", 1, "gone soon"), entry("g/h", 1, "stays")];
  const after = [entry("d/x", 2, "moves d"), tombstone("e", 2), entry("f", 2, "new"), entry("g/h", 2, "newer")];
  const all = [entry("d", 1, "file"), ...after];

  // Mutations: `apply` places before it records; `stage` leaves what it could not write.
  it(
    "leaves every entry as it was or as it is to be, says which are not stored, and takes them afterwards",
    { timeout: 300_000 },
    async () => {
      for (let failing = 1; ; failing++) {
        const mine = scratch();
        const store = await mine.open({ durable: false });
        await put(store, ...before);
        let calls = 0;
        restore = await watchCalls(() => {
          if (++calls === failing) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
        });
        let acknowledged: readonly Entry[] = [];
        try {
          const results = await store.write(after.map((item) => ({ entry: item, asOf: 0 })));
          acknowledged = after.filter((_, i) => results[i]?.status === "stored");
        } catch (error) {
          expect(error).toBeInstanceOf(SyncError);
          expect(error).toMatchObject({ code: "UNAVAILABLE" });
        }
        restore();
        await store.close();

        const again = await mine.open({ durable: false });
        for (const item of all) {
          const found = await get(again, item.key);
          const old = before.find(({ key }) => key === item.key);
          const isNew = acknowledged.includes(item) || found?.version === item.version;
          expect(found, `${item.key} when call ${failing} failed`).toEqual(isNew ? item : old);
        }
        for (const item of after) await again.write([{ entry: item, asOf: 0 }]);
        for (const item of all) expect(await get(again, item.key)).toEqual(item);
        await again.close();
        expect(filesOf(mine.folder)).toEqual({ "d/%value": "file", "d/x": "moves d", f: "new", "g/h": "newer" });
        await mine.remove();
        if (calls < failing) break;
      }
    },
  );
});

// Mutation: the lock is waited for without end.
it("a lock that nobody lets go of is told with who has it, and can be had afterwards", async () => {
  let laterMs = 0;
  const hasty: Runtime = {
    ...systemRuntime,
    monotonic: () => systemRuntime.monotonic() + laterMs,
    timer(_, fn, background) {
      laterMs += 1_000;
      return systemRuntime.timer(0, fn, background);
    },
  };
  const [one, other] = [systemRuntime, hasty].map((runtime) => new FolderLock(place.path("locks"), runtime, "file"));
  const over = gate();
  const holds = gate();
  const holding = one?.hold({}, "write", () => {
    holds.open();
    return over.opened;
  });
  await holds.opened;
  const refused: unknown = await other?.hold({}, "write", () => Promise.resolve()).catch((error: unknown) => error);
  const message = expect.stringContaining(`process ${process.pid} of `);
  expect(refused).toMatchObject({ code: "UNAVAILABLE", retryable: true, message });
  over.open();
  await holding;
  expect(await other?.hold({}, "write", () => Promise.resolve("held"))).toBe("held");
  await Promise.all([one?.close(), other?.close()]);
});

describe("a lock that cannot be removed when it is let go", () => {
  // Mutations: FolderLock.take does not know its own; a closed store of a living process counts as open.
  it("is its holder's to take again, and after that is closed anybody's", async () => {
    const store = await place.open({ durable: false });
    await put(store, entry("k", 1, "x"));
    restore = await watchCalls((call) => {
      if (call === "unlink locks/lock") throw Object.assign(new Error("not permitted"), { code: "EPERM" });
    });
    const refused = store.write([{ entry: entry("k", 2, "x"), asOf: 0 }]);
    await expect(refused).rejects.toMatchObject({ code: "UNAUTHORISED" });
    restore();
    await put(store, entry("k", 3, "x"));
    restore = await watchCalls((call) => {
      if (call === "unlink locks/lock") throw Object.assign(new Error("not permitted"), { code: "EPERM" });
    });
    await store.write([{ entry: entry("k", 4, "x"), asOf: 0 }]).catch(() => undefined);
    restore();
    await store.close();
    await put(await place.open({ durable: false }), entry("k", 5, "x"));
  });
});
