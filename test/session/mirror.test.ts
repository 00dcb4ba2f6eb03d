import { describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import { SessionError, diff, mirror } from "../../src/session/index.ts";
import type { MirrorOptions } from "../../src/session/index.ts";
import type { Store } from "../../src/store.ts";
import { diffOf, entry, faulty, put, store, textsOf, tombstone } from "./world.ts";

const refused = async (work: Promise<unknown>): Promise<SessionError> => {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SessionError);
  return error as SessionError;
};

async function sides(): Promise<{ from: Store; to: Store }> {
  const [from, to] = [store("from"), store("to")];
  await put(
    from,
    entry("a", 1, "a"),
    entry("b", 1, "b"),
    entry("c", 1, "c"),
    tombstone("gone", 9),
    entry("x", 1, "", { expires: 1 }),
  );
  await put(to, entry("b", 9, "newer"), entry("c", 9, "c"), entry("gone", 2), entry("only", 1), tombstone("a", 9));
  return { from, to };
}

describe("mirror", () => {
  // Mutation: Session.replacement stamps nothing anew.
  it("makes the target's values those of the source, whatever versions it has, and once is enough", async () => {
    const { from, to } = await sides();
    expect(await diffOf(from, to)).toBe("+a *b =c -gone -only");
    expect(await mirror(from, to)).toMatchObject({ keys: 5, copied: 2, same: 1, deleted: 2, failed: 0 });
    expect(await textsOf(to)).toEqual({ a: "a", b: "b", c: "c" });
    expect((await to.read(["gone"]))[0]?.entry).toEqual(tombstone("gone", 9)); // the source's own tombstone
    expect(await diffOf(from, to)).toBe("=a =b =c");
    expect(await mirror(from, to)).toMatchObject({ copied: 0, deleted: 0, same: 3 });
  });

  it("does none of it in a dry run, and tells all of it", async () => {
    const { from, to } = await sides();
    const before = await textsOf(to);
    expect(await mirror(from, to, { dryRun: true })).toMatchObject({ copied: 2, deleted: 2 });
    expect(await textsOf(to)).toEqual(before);
  });

  it("leaves alone what does not pass the filter", async () => {
    const { from, to } = await sides();
    await mirror(from, to, { exclude: ["only"] });
    expect(Object.keys(await textsOf(to))).toEqual(["a", "b", "c", "only"]);
    await put(to, entry("large", 1, "x".repeat(100)), entry("small", 1, "x"));
    await mirror(from, to, { maxBytes: 10 });
    expect(Object.keys(await textsOf(to))).toEqual(["a", "b", "c", "large"]);
  });

  // Mutation: the limit is looked at after the copying.
  it.each([
    ["50%", true],
    [4, false],
    [5, true],
    ["40%", false],
    ["100%", true],
    [0, false],
  ] as const)(
    "of ten keys deletes five with maxDelete %s: %s; or writes nothing at all",
    async (maxDelete, allowed) => {
      const [from, to] = [store(), store()];
      await put(from, ...[0, 1, 2, 3, 4, 5].map((i) => entry(`k${i}`, 2, "new")));
      await put(to, ...Array.from({ length: 10 }, (_, i) => entry(`k${i + 1}`, 1, "old")));
      const before = await textsOf(to);
      const run = mirror(from, to, { maxDelete });
      if (allowed) {
        expect(await run).toMatchObject({ deleted: 5, copied: 6 });
        expect(Object.keys(await textsOf(to))).toEqual(["k0", "k1", "k2", "k3", "k4", "k5"]);
      } else {
        expect((await refused(run)).code).toBe("CONFLICT");
        expect(await textsOf(to)).toEqual(before);
      }
    },
  );

  it.each(["51", "101%", -1, 1.5, "x%"])("refuses maxDelete %s", async (maxDelete) => {
    const run = mirror(store(), store(), { maxDelete: maxDelete as NonNullable<MirrorOptions["maxDelete"]> });
    await expect(run).rejects.toMatchObject({ code: "INVALID" });
  });

  it("never takes an empty source for one that wants everything deleted", async () => {
    const [from, to] = [store(), store()];
    await put(to, entry("a", 1));
    await put(from, tombstone("a", 5), entry("b", 1, "x", { expires: 1 }));
    expect((await refused(mirror(from, to, { maxDelete: "100%" }))).code).toBe("CONFLICT");
    expect(await mirror(from, store())).toMatchObject({ copied: 0 });
    expect(Object.keys(await textsOf(to))).toEqual(["a"]);
  });

  it("deletes nothing when a list of the source ends early, also only the last time", async () => {
    for (const good of [0, 1, 2]) {
      const [inner, to] = [store(), store()];
      await put(inner, entry("a", 1), entry("b", 1), entry("c", 1));
      await put(to, entry("b", 1), entry("c", 1), entry("d", 1));
      let lists = 0;
      const from = faulty(inner, {
        list: async function* (range, options) {
          const breaks = lists++ >= good;
          for await (const item of inner.list(range, options)) {
            if (breaks && item.kind === "entry" && item.key === "b") throw new SyncError("CORRUPT", "broken");
            yield item;
          }
        },
      });
      expect((await refused(mirror(from, to))).code).toBe("CORRUPT");
      expect(Object.keys(await textsOf(to))).toContain("d");
    }
  });

  // Mutation: Session.step deletes without asking the source.
  it("deletes nothing that the source still gives, though it is not in its lists", async () => {
    const [inner, to] = [store(), store()];
    await put(inner, entry("a", 1), entry("b", 1), entry("c", 1));
    await put(to, entry("a", 1), entry("b", 1), entry("c", 1));
    const from = faulty(inner, {
      list: async function* (range, options) {
        for await (const item of inner.list(range, options)) if (item.kind === "entry" && item.key !== "b") yield item;
      },
    });
    expect(await mirror(from, to)).toMatchObject({ deleted: 0 });
    expect(Object.keys(await textsOf(to))).toEqual(["a", "b", "c"]);
  });

  // Mutation: mirrorWith deletes whatever failed before.
  it("deletes nothing when a key failed", async () => {
    const { from, to: inner } = await sides();
    const to = faulty(inner, {
      write: async (writes, options) => {
        if (writes.some(({ entry: { key } }) => key === "a")) throw new SyncError("TOO_LARGE", "no");
        return inner.write(writes, options);
      },
    });
    const error = await refused(mirror(from, to));
    expect([error.code, error.failures.map(({ key }) => key), error.result.deleted]).toEqual(["TOO_LARGE", ["a"], 0]);
    expect(Object.keys(await textsOf(inner))).toEqual(["b", "c", "gone", "only"]);
  });

  // Mutation: Session.onlyOver adds no condition.
  it("does not go over what was written meanwhile", async () => {
    const { from, to: inner } = await sides();
    let done = false;
    const to = faulty(inner, {
      write: async (writes, options) => {
        if (!done) await put(inner, entry("b", 10, "meanwhile"));
        done = true;
        return inner.write(writes, options);
      },
    });
    const error = await refused(mirror(from, to));
    expect(error.failures).toMatchObject([{ key: "b", error: { code: "CONFLICT" } }]);
    expect((await textsOf(inner))["b"]).toBe("meanwhile");
  });

  it("writes anew what the target has collected a deletion of", async () => {
    const [from, to] = [store(), store()];
    await put(from, entry("k", 1, "old"));
    const collected = tombstone("k", 5);
    await put(to, collected);
    await to.forget([{ key: "k", version: collected.version, reason: "collected" }]);
    await mirror(from, to);
    expect(await textsOf(to)).toEqual({ k: "old" });
  });
});

describe("diff", () => {
  it("tells each key by a symbol, in order, and what could not be compared", async () => {
    const { from, to: inner } = await sides();
    const to = faulty(inner, {
      read: async (keys, options) => {
        if (keys.includes("b")) throw new SyncError("CORRUPT", "damaged");
        return inner.read(keys, options);
      },
    });
    expect(await diffOf(from, to)).toBe("+a !b =c -gone -only");
  });

  it("compares by version alone, or by content alone, where it is told to", async () => {
    const [from, to] = [store(), store()];
    await put(
      from,
      entry("same version", 1, "a"),
      entry("same content", 1, "c"),
      entry("meta", 1, "m", { meta: { a: "1" } }),
    );
    await put(to, entry("same version", 1, "a"), entry("same content", 2, "c"), entry("meta", 2, "m"));
    expect(await diffOf(from, to)).toBe("*meta =same content =same version");
    expect(await diffOf(from, to, { compare: "version" })).toBe("*meta *same content =same version");
    const damaged = faulty(to, {
      read: async (keys, options) => {
        const answers = await to.read(keys, options);
        return answers.map((answer) => {
          if (answer.entry?.key !== "same version") return answer;
          return { ...answer, entry: { ...answer.entry, value: new Uint8Array([1]) } };
        });
      },
    });
    expect(await diffOf(from, damaged)).toBe("*meta =same content =same version");
    expect(await diffOf(from, damaged, { compare: "content" })).toBe("*meta =same content *same version");
  });

  it("throws when a list fails, after what it knows", async () => {
    const from = store();
    await put(from, entry("a", 1));
    const broken = faulty(store(), {
      list: async function* () {
        yield { kind: "entry", key: "b", tag: "", head: entry("b", 1), value: null };
        throw new SyncError("UNAVAILABLE", "away", { retryable: false });
      },
    });
    const told: string[] = [];
    const work = async () => {
      for await (const { key } of diff(from, broken)) told.push(key);
    };
    await expect(work()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(told).toEqual(["a", "b"]);
  });
});
