import { appendFileSync, readFileSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collected } from "../../src/body.ts";
import type { Store } from "../../src/store.ts";
import { TICK_MS } from "../../src/stores/file/disk.ts";
import { entry, listOf, put, scratch, textOf } from "./file/world.ts";
import { standing } from "./file/times.ts";
import type { Times } from "./file/times.ts";

let place: ReturnType<typeof scratch>;
let times: Times | undefined;
beforeEach(() => {
  place = scratch();
});
afterEach(async () => {
  times?.restore();
  times = undefined;
  await place.remove();
});

async function versionOf(store: Store, key: string): Promise<string> {
  const item = (await listOf(store)).find((found) => found.key === key);
  return item?.head?.version ?? "none";
}

function recordOf(): string {
  const [folder = ""] = readdirSync(place.path(".microsync/file/entries"));
  const [name = ""] = readdirSync(place.path(".microsync/file/entries", folder));
  return place.path(".microsync/file/entries", folder, name);
}

// Mutation: a version is made of a file's time before the tick of that time is over: a second change in it would have the same.
it("a file that a person has just changed gets its version when the tick is over", async () => {
  times = await standing();
  const store = await place.open({ runtime: times.runtime });
  await put(store, entry("other", 1, "x"));
  times.changedMs = times.nowMs - 5;
  writeFileSync(place.path("k"), "aaaa");
  expect(await textOf(store, "k")).toBe("aaaa");
  expect(times.nowMs - times.changedMs).toBeGreaterThanOrEqual(TICK_MS);
});

describe("an edit of the same size and with the same mtime", () => {
  // Mutation: judge() compares no ctime.
  it("is seen by lists, streams and writes, right after a write", async () => {
    times = await standing();
    const store = await place.open({ runtime: times.runtime, valueBytesMax: 8 });
    const stamped = entry("k", 1, "aaaa");
    const large = Array.from("abc", (c) => ({ ...entry(c, 1, ""), state: "stub", value: null }) as const);
    await put(store, stamped, entry("l", 1, "aaaa"));
    for (const item of large) {
      const content = async function* () {
        yield new Uint8Array(100).fill(1);
      };
      const body = { size: 100, sha256: undefined, content };
      expect(await store.write([{ entry: item, body, asOf: 0 }])).toEqual([{ status: "stored" }]);
    }
    for (const key of ["k", "l"]) writeFileSync(place.path(key), "bbbb");
    for (const key of ["a", "b", "c"]) writeFileSync(place.path(key), new Uint8Array(100).fill(2));
    expect((await store.write([{ entry: stamped, asOf: 0 }]))[0]?.status).toBe("superseded");
    expect((await versionOf(store, "l")) > stamped.version).toBe(true);
    const [answer] = await store.read(["a"]);
    expect(answer?.body && (await collected(answer.body))).toEqual(new Uint8Array(100).fill(2));
  });

  it("is seen after a file was touched and recorded, with the times of the disk", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "aaaa"));
    utimesSync(place.path("k"), 1000, 1000);
    expect(await versionOf(store, "k")).toBe(entry("k", 1, "").version);
    await store.close();
    writeFileSync(place.path("k"), "bbbb");
    utimesSync(place.path("k"), 1000, 1000);
    const again = await place.open();
    expect((await versionOf(again, "k")) > entry("k", 1, "").version).toBe(true);
    expect(await textOf(again, "k")).toBe("bbbb");
  });

  // Mutations: isSettledAt() is always true; it knows no coarse ticks; contentOf() asks for the time afterwards.
  it.each([
    ["the tick of the clock", 1_750_000_000_500, 5],
    ["the second, where times are whole seconds", 1_750_000_000_000, 900],
  ])("is seen within %s, whoever looked before", async (_, changedMs, ageMs) => {
    times = await standing();
    times.changedMs = changedMs;
    times.nowMs = changedMs + ageMs;
    const { runtime } = times;
    const [one, two] = [await place.open({ runtime }), await place.open({ runtime, readonly: true })];
    await put(one, entry("k", 1, "aaaa"));
    for (const store of [one, two]) expect(await versionOf(store, "k")).toBe(entry("k", 1, "").version);
    await one.close(); // what it saw is recorded then
    writeFileSync(place.path("k"), "bbbb");
    times.nowMs = changedMs + 10_000;
    for (const store of [two, await place.open({ runtime })]) {
      expect((await versionOf(store, "k")) > entry("k", 1, "").version).toBe(true);
    }
  });

  // Mutation: what is remembered of a file is not of its times.
  it("is seen when the file was trusted before, whoever trusted it", async () => {
    times = await standing();
    const { runtime } = times;
    const [one, two] = [await place.open({ runtime }), await place.open({ runtime, readonly: true })];
    await put(one, entry("k", 1, "aaaa"));
    for (const store of [two, one]) expect(await versionOf(store, "k")).toBe(entry("k", 1, "").version);
    await one.close();
    writeFileSync(place.path("k"), "bbbb");
    times.changedMs += 1;
    for (const store of [two, await place.open({ runtime })]) {
      expect((await versionOf(store, "k")) > entry("k", 1, "").version).toBe(true);
    }
  });
});

describe("the content of a file that nobody changed", () => {
  /** Lists by a store of its own, and how often that looked into the file. */
  async function opened({ runtime, opened: paths }: Times, options = {}): Promise<number> {
    paths.length = 0;
    const store = await place.open({ runtime, ...options });
    for (let i = 0; i < 2; i++) expect(await versionOf(store, "k")).toBe(entry("k", 1, "").version);
    await store.close();
    return paths.filter((path) => path === place.path("k")).length;
  }

  // Mutations: noteSeen() notes nothing; the content is not remembered; only the first note of a record counts.
  it("is looked at once, by one store for all, and once more after a change of rights", async () => {
    times = await standing();
    const store = await place.open({ runtime: times.runtime });
    await put(store, entry("k", 1, "aaaa"));
    await store.close();
    expect(await opened(times, { readonly: true })).toBe(1); // it may not note it
    expect([await opened(times), await opened(times)]).toEqual([1, 0]);
    times.changedMs += 100;
    expect([await opened(times), await opened(times)]).toEqual([1, 0]);
    expect(readFileSync(recordOf(), "utf8").split("\n")).toHaveLength(3);
  });

  it("is looked at again where the note of it is torn, and nothing else is lost", async () => {
    times = await standing();
    const store = await place.open({ runtime: times.runtime });
    await put(store, entry("k", 1, "aaaa"));
    await store.close();
    appendFileSync(recordOf(), "0123");
    expect([await opened(times), await opened(times)]).toEqual([1, 0]);
    const [line = ""] = readFileSync(recordOf(), "utf8").split("\n");
    writeFileSync(recordOf(), `${line}\n00000000 seen ${times.changedMs}000000\n`);
    expect([await opened(times), await opened(times)]).toEqual([1, 0]);
  });
});
