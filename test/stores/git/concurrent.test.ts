import { describe, expect, test } from "vitest";
import { nextVersion, one, value, writes } from "./entries.ts";
import { scratch } from "./place.ts";

/**
 * Readers and a writer of one store at the same time. What a reader saw of the branch before a commit of the same store
 * must not take the store back to it, nor count as a rewritten branch.
 * Mutation: following what was seen before an own commit (`view` in branch.ts), or keeping the result of a fetch that a
 * push of our own overtook (mirror.ts), makes these fail.
 */
describe.each([
  ["in place", "git:./truth.git#main"],
  ["through a mirror", "file"],
])("a store that is read and written at once, %s", (_, url) => {
  // A fixed number of fetches and pushes, each as long as the machine needs.
  test("never goes back behind its own commits", { timeout: 120_000 }, async () => {
    const place = scratch();
    place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
    const store = await place.open(url === "file" ? `git:file://${place.path("truth.git")}#main` : url);
    await store.write(writes([value("k", "0")]));
    const over = new AbortController();
    let relists = 0;
    const watched = (async () => {
      for await (const change of store.watch({ prefix: "" }, { intervalMs: 1, signal: over.signal })) {
        if (change.kind === "relist") relists++;
      }
    })().catch(() => undefined);
    const written = new AbortController();
    const readers = [1, 2, 3, 4].map(async () => {
      while (!written.signal.aborted) await store.read(["k"], { maxAgeMs: 0 });
    });
    const behind: string[] = [];
    for (let i = 0; i < 40; i++) {
      const version = nextVersion();
      await store.write(writes([value("k", String(i), version)]));
      const { entry } = await one(store, "k");
      if (entry === undefined || entry.version < version) behind.push(`after ${i}: ${entry?.version}`);
    }
    written.abort();
    await Promise.all(readers);
    over.abort();
    await watched;
    expect({ behind, relists }).toEqual({ behind: [], relists: 0 });
    await place.remove();
  });

  // Mutation: the same. The reader sees the other's commit while the write on top of it is under way.
  test("takes somebody else's commit and its own on top of it for what they are", { timeout: 60_000 }, async () => {
    const place = scratch();
    place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
    const reports: string[] = [];
    const where = url === "file" ? `git:file://${place.path("truth.git")}#main` : url;
    const store = await place.open(where, { onReport: ({ kind }) => reports.push(kind) });
    const other = await place.open("git:./truth.git#main");
    for (let i = 0; i < 5; i++) {
      await other.write(writes([value("other", String(i))]));
      const [written, answer] = await Promise.all([
        store.write(writes([value("own", String(i))])),
        one(store, "other"),
      ]);
      expect([written[0]?.status, new TextDecoder().decode(answer.entry?.value ?? undefined)]).toEqual([
        "stored",
        String(i),
      ]);
      const [own] = await store.read(["own"], { maxAgeMs: 60_000 });
      expect(new TextDecoder().decode(own?.entry?.value ?? undefined)).toBe(String(i));
    }
    expect(reports).toEqual([]);
    await place.remove();
  });
});
