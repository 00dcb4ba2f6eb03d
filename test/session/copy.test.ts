import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import { SessionError, copy } from "../../src/session/index.ts";
import type { PositionKeeper, SessionEvent } from "../../src/session/index.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { diffOf, entry, faulty, put, store, textsOf, tombstone } from "./world.ts";

const failure = async (work: Promise<unknown>): Promise<SessionError> => {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SessionError);
  return error as SessionError;
};

function keeper(): PositionKeeper & { text: string | undefined } {
  const kept = {
    text: undefined as string | undefined,
    load: async () => kept.text,
    save: async (text: string) => {
      kept.text = text;
    },
    clear: async () => {
      kept.text = undefined;
    },
  };
  return kept;
}

describe("copy", () => {
  it("gives the target what it lacks or has in an older version, and keeps what is newer there", async () => {
    const [from, to] = [store(), store()];
    const rich = entry("rich", 5, "r", { meta: { "content-type": "text/plain" }, expires: 4_000_000_000_000 });
    await put(from, entry("a", 1, "a"), entry("b", 5, "new"), entry("c", 1, "old"), tombstone("d", 9), rich);
    await put(to, entry("b", 2, "old"), entry("c", 7, "newer"), entry("d", 1, "there"), entry("e", 1, "only here"));
    expect(await copy(from, to)).toEqual({
      keys: 6,
      same: 0,
      copied: 3,
      deleted: 0,
      kept: 1,
      failed: 0,
      bytes: 5,
      dryRun: false,
      resumedAfter: undefined,
    });
    expect(await textsOf(to)).toEqual({ a: "a", b: "new", c: "newer", d: "there", e: "only here", rich: "r" });
    expect((await to.read(["rich"]))[0]?.entry).toEqual(rich);
    expect(await copy(from, to)).toMatchObject({ copied: 0, same: 3, kept: 1 });
  });

  it("leaves expired values where they are", async () => {
    const [from, to] = [store(), store()];
    await put(from, entry("k", 1, "x", { expires: 1 }));
    expect(await copy(from, to)).toMatchObject({ copied: 0 });
    expect(await diffOf(from, to)).toBe("");
  });

  // Mutation: dryRun does not reach Session.send.
  it("does everything but write in a dry run", async () => {
    const [from, to] = [store(), store()];
    await put(from, entry("a", 1), entry("b", 1));
    const events: SessionEvent[] = [];
    const result = await copy(from, to, { dryRun: true, onEvent: (event) => events.push(event) });
    expect(result).toMatchObject({ copied: 2, dryRun: true });
    expect(events.filter(({ kind }) => kind === "entry")).toMatchObject([
      { key: "a", action: "copied", bytes: 1, dryRun: true },
      { key: "b", action: "copied", bytes: 1, dryRun: true },
    ]);
    expect(await textsOf(to)).toEqual({});
  });

  it.each([
    [{ prefix: "a/" }, ["a/b.txt", "a/c/d.txt"]],
    [{ glob: ["a/*"] }, ["a/b.txt"]],
    [{ glob: ["**.txt"], exclude: ["a/c/**"] }, ["a/b.txt", "e.txt"]],
    [{ glob: ["?.txt", "[x].md"] }, ["[x].md", "e.txt"]],
    [{ minBytes: 3 }, ["a/c/d.txt", "e.txt"]],
    [{ minBytes: 3, maxBytes: 3 }, ["a/c/d.txt"]],
    [{ maxAgeMs: 3_600_000 }, ["e.txt"]],
    [{ minAgeMs: 3_600_000, prefix: "a" }, ["a/b.txt", "a/c/d.txt"]],
  ])("filters by %j", async (filter, keys) => {
    const [from, to] = [store(), store()];
    const recent = runtime.now() - 1000 - 1.7e12;
    await put(from, entry("a/b.txt", 1, "1"), entry("a/c/d.txt", 1, "333"), entry("e.txt", recent, "55555"));
    await put(from, entry("[x].md", 1, "1"));
    await copy(from, to, filter);
    expect(Object.keys(await textsOf(to))).toEqual(keys);
  });

  it("tells keys that fail, and does the others", async () => {
    const [from, inner] = [store(), store()];
    await put(from, ...Array.from({ length: 40 }, (_, i) => entry(`k${i}`, 1)));
    const bad = new SyncError("TOO_LARGE", "not this one");
    const to = faulty(inner, {
      write: async (writes, options) => {
        if (writes.some(({ entry: { key } }) => key === "k7")) throw bad;
        return inner.write(writes, options);
      },
    });
    const reading = faulty(from, {
      read: async (keys, options) => {
        if (keys.includes("k8")) throw new SyncError("CORRUPT", "damaged", { key: "k8" });
        return from.read(keys, options);
      },
    });
    const error = await failure(copy(reading, to));
    expect(error.failures.map(({ key, error: { code } }) => `${key} ${code}`).sort()).toEqual([
      "k7 TOO_LARGE",
      "k8 CORRUPT",
    ]);
    expect(error.result).toMatchObject({ copied: 38, failed: 2 });
    expect(Object.keys(await textsOf(inner))).toHaveLength(38);
  });

  it("does not take for the newest what the source does not know to be it", async () => {
    const [inner, to] = [store(), store()];
    await put(inner, entry("stale", 1), entry("incomplete", 1), entry("known", 1));
    const from = faulty(inner, {
      read: async (keys, options) => {
        const answers = await inner.read(keys, options);
        return answers.map((answer) => {
          const key = answer.entry?.key;
          return { ...answer, stale: key === "stale", complete: key !== "incomplete" };
        });
      },
    });
    const error = await failure(copy(from, to));
    expect(error.failures.map((each) => [each.key, each.error.code])).toEqual([
      ["incomplete", "UNAVAILABLE"],
      ["stale", "UNAVAILABLE"],
    ]);
    expect(Object.keys(await textsOf(to))).toEqual(["known"]);
  });

  it("ends when the target is away, instead of trying every key", async () => {
    const from = store();
    await put(from, ...Array.from({ length: 5000 }, (_, i) => entry(`k${i}`, 1)));
    let calls = 0;
    const to = faulty(store(), {
      write: async () => {
        calls++;
        throw new SyncError("UNAVAILABLE", "away", { retryable: true });
      },
    });
    const error = await failure(copy(from, to, { batchKeysMax: 100, parallel: 1 }));
    expect(error.code).toBe("UNAVAILABLE");
    expect(calls).toBeLessThanOrEqual(12); // three batches, each tried four times
  });

  it.each(["from", "to"] as const)("ends with the error when the list of %s fails or is partial", async (side) => {
    for (const how of ["throws", "partial"] as const) {
      const [from, to] = [store(), store()];
      await put(from, entry("a", 1), entry("b", 1), entry("c", 1));
      await put(to, entry("a", 1), entry("b", 1), entry("c", 1));
      const broken = faulty(side === "from" ? from : to, {
        list: async function* () {
          yield { kind: "entry", key: "a", tag: "", head: entry("a", 1), value: null };
          const error = new SyncError("CORRUPT", "no more");
          if (how === "throws") throw error;
          yield { kind: "partial", from: "a layer", error };
        },
      });
      const error = await failure(side === "from" ? copy(broken, to) : copy(from, broken));
      expect(error.code).toBe(how === "throws" ? "CORRUPT" : "UNAVAILABLE");
    }
  });

  it("refuses a list out of order", async () => {
    const from = faulty(store(), {
      list: async function* () {
        for (const key of ["b", "a"]) yield { kind: "entry", key, tag: "", head: entry(key, 1), value: null };
      },
    });
    expect((await failure(copy(from, store()))).code).toBe("INTERNAL");
  });

  it.each([{ parallel: 0 }, { batchBytesMax: 0.5 }, { batchKeysMax: -1 }, { minBytes: -1 }])(
    "refuses %j",
    async (options) => {
      await expect(copy(store(), store(), options)).rejects.toMatchObject({ code: "INVALID" });
    },
  );
});

describe("an interrupted copy", () => {
  it("finishes what is under way, keeps how far it came, and goes on there; what was before is looked at again", async () => {
    const [from, inner] = [store(), store()];
    const keys = Array.from({ length: 100 }, (_, i) => `k${String(i).padStart(3, "0")}`);
    await put(from, ...keys.map((key) => entry(key, 1)));
    const control = new AbortController();
    let writes = 0;
    const to = faulty(inner, {
      write: async (batch, options) => {
        if (++writes === 3) control.abort();
        return inner.write(batch, options);
      },
    });
    const position = keeper();
    const options = { position, batchKeysMax: 10, parallel: 1 };
    const error = await failure(copy(from, to, { ...options, signal: control.signal }));
    expect(error.code).toBe("ABORTED");
    expect(error.result.copied).toBe(30);
    expect(Object.keys(await textsOf(inner))).toEqual(keys.slice(0, 30));
    expect(position.text).toContain(keys[29]);

    await put(from, entry("k005", 9, "changed meanwhile"));
    const order: string[] = [];
    const onEvent = (event: SessionEvent) => event.kind === "entry" && order.push(event.key);
    const result = await copy(from, to, { ...options, onEvent });
    expect(result).toMatchObject({ copied: 71, same: 29, resumedAfter: keys[29] });
    expect([order[0], order.at(-1)]).toEqual(["k030", "k005"]);
    expect(position.text).toBeUndefined();
    expect(await diffOf(from, to)).toBe(keys.map((key) => `=${key}`).join(" "));
  });

  // Mutation: Flow.run moves the position past a batch that failed.
  it("does not count as done what failed", async () => {
    const [from, inner] = [store(), store()];
    const keys = Array.from({ length: 50 }, (_, i) => `k${String(i).padStart(3, "0")}`);
    await put(from, ...keys.map((key) => entry(key, 1)));
    const control = new AbortController();
    const to = faulty(inner, {
      write: async (batch, options) => {
        if (batch.some(({ entry: { key } }) => key === "k035")) control.abort();
        if (batch.some(({ entry: { key } }) => key === "k025")) throw new SyncError("CORRUPT", "no");
        return inner.write(batch, options);
      },
    });
    const position = keeper();
    await failure(copy(from, to, { position, batchKeysMax: 10, parallel: 1, signal: control.signal }));
    expect(position.text).toContain("k019");
  });

  it("begins at the beginning with the position of another filter, or with half a position", async () => {
    const [from, to] = [store(), store()];
    await put(from, entry("a", 1), entry("b", 1));
    const position = keeper();
    for (const text of [JSON.stringify({ id: "another", after: "a" }), '{"id']) {
      position.text = text;
      expect(await copy(from, to, { position })).toMatchObject({ resumedAfter: undefined });
    }
  });
});

describe("batches", () => {
  // Mutation: Pace.keys() gives keysMax.
  it("are bounded by bytes, and so many are under way at once", async () => {
    const [from, inner] = [store(), store()];
    await put(from, ...Array.from({ length: 300 }, (_, i) => entry(`k${i}`, 1, "x".repeat(1000))));
    let [now, most, largest] = [0, 0, 0];
    const to = faulty(inner, {
      write: async (batch, options) => {
        most = Math.max(most, ++now);
        largest = Math.max(
          largest,
          batch.reduce((sum, { entry: { value } }) => sum + (value?.length ?? 0), 0),
        );
        const results = await inner.write(batch, options);
        await new Promise<void>((resolve) => runtime.timer(1, resolve));
        now--;
        return results;
      },
    });
    await copy(from, to, { batchBytesMax: 20_000, parallel: 3 });
    expect(most).toBe(3);
    expect(largest).toBeGreaterThan(15_000);
    expect(largest).toBeLessThanOrEqual(20_000);
  });
});
