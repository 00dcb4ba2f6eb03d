import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { collected } from "../../src/body.ts";
import type { Body } from "../../src/body.ts";
import { stubOf } from "../../src/entry.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import type { Store, Write } from "../../src/store.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { failure, tombstone, value, version } from "./s3/world.ts";

const root = mkdtempSync(join(tmpdir(), "microsync-lmdb-streams-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let places = 0;
const place = () => join(root, String(++places));
const files = (folder: string) => readdirSync(join(folder, "bodies"));
const bodyOf = (text: string): Body => ({
  size: text.length,
  sha256: undefined,
  async *content() {
    await Promise.resolve();
    yield new TextEncoder().encode(text);
  },
});
const streamed = (key: string, at: number, text: string): Write => {
  return { entry: stubOf(value(key, version(at), "")), asOf: 0, body: bodyOf(text) };
};
const apart = async (store: Store, key = "k") => (await store.read([key], { wholeBytesMax: 0 }))[0]?.body;

describe("files beside the database", () => {
  // Mutations: forgetBody() pushes no file; commit() removes none; removeUnnamed() does nothing.
  it("go when their value is replaced, deleted, forgotten, or came too late", async () => {
    const folder = place();
    const store = await lmdb(folder, { runtime });
    await store.write([streamed("k", 1, "one")]);
    const [first] = files(folder);
    await store.write([streamed("k", 2, "two")]);
    expect(files(folder)).toHaveLength(1);
    expect(files(folder)).not.toContain(first);
    await store.write([streamed("k", 1, "late")]);
    await store.write([streamed("k", 2, "again")]);
    expect(files(folder)).toHaveLength(1);
    expect(new TextDecoder().decode(await collected((await apart(store)) as Body))).toBe("two");
    await store.write([{ entry: tombstone("k", version(3)), asOf: 0 }]);
    expect(files(folder)).toEqual([]);
    await store.write([streamed("k", 4, "four"), streamed("k", 5, "five")]);
    expect(files(folder)).toHaveLength(1);
    await store.forget([{ key: "k", version: version(5), reason: "collected" }]);
    expect(files(folder)).toEqual([]);
    await store.close();
  });

  it("go with the oldest entries, and count against bytesMax", async () => {
    const folder = place();
    const store = await lmdb(folder, { runtime, bytesMax: 1024 * 1024 });
    for (let i = 0; i < 30; i++) await store.write([streamed(`k${i}`, i, "x".repeat(100_000))]);
    await store.close();
    expect(files(folder).length).toBeLessThan(15);
  });

  it("are kept for a reader who has begun; one who has not is told that the version is gone", async () => {
    const store = await lmdb(place(), { runtime });
    const text = "a".repeat(100_000);
    await store.write([streamed("k", 1, text)]);
    const [begun, late] = [await apart(store), await apart(store)];
    let bytes = 0;
    for await (const piece of begun?.content() ?? []) {
      if (bytes === 0) await store.write([streamed("k", 2, "b")]);
      bytes += piece.length;
    }
    expect(bytes).toBe(text.length);
    expect((await failure(() => collected(late as Body))).code).toBe("NOT_FOUND");
    await store.close();
  });

  it("that are damaged are an error, never other bytes", async () => {
    const folder = place();
    const store = await lmdb(folder, { runtime });
    await store.write([streamed("k", 1, "a".repeat(1000))]);
    const path = join(folder, "bodies", files(folder)[0] ?? "");
    const bytes = readFileSync(path);
    bytes[500] = 0;
    writeFileSync(path, bytes);
    expect((await failure(() => store.read(["k"]))).code).toBe("CORRUPT");
    writeFileSync(path, bytes.subarray(0, 900));
    expect((await failure(async () => collected((await apart(store)) as Body))).code).toBe("CORRUPT");
    await store.close();
  });

  // Mutation: sweep() removes nothing, or everything.
  it("that a process left when it died go when the folder is opened next; those of living ones and of rows stay", async () => {
    const folder = place();
    const store = await lmdb(folder, { runtime });
    await store.write([streamed("k", 1, "one")]);
    await store.close();
    const [named = ""] = files(folder);
    mkdirSync(join(folder, "bodies"), { recursive: true });
    const { pid } = spawnSync(process.execPath, ["--version"]);
    const id = "0123456789abcdef01234567";
    const left = [`${pid}-${id}`, `${pid}-${id}.part`, `${process.pid}-${id}`];
    const living = `${process.ppid}-${id}`;
    for (const name of [...left, living, "notes.txt"]) writeFileSync(join(folder, "bodies", name), "x");
    const again = await lmdb(folder, { runtime });
    expect(files(folder).sort()).toEqual([named, living, "notes.txt"].sort());
    expect(new TextDecoder().decode(await collected((await apart(again)) as Body))).toBe("one");
    await again.close();
  });
});
