import {
  chmodSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import calls from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collected } from "../../src/body.ts";
import { openChain } from "../../src/config/open.ts";
import { SyncError } from "../../src/error.ts";
import type { Store } from "../../src/store.ts";
import { file } from "../../src/stores/file.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { isLow } from "../../src/version.ts";
import { entry, filesOf, get, listOf, put, scratch, textOf, tombstone } from "./file/world.ts";

let place: ReturnType<typeof scratch>;
beforeEach(() => {
  place = scratch();
});
afterEach(() => place.remove());

/** Another store on the same folder sees exactly the same, whoever looked first. */
async function agree(...stores: readonly Store[]): Promise<void> {
  const seen = await Promise.all(stores.map((store) => listOf(store)));
  for (const items of seen) expect(items.map(({ head }) => head)).toEqual(seen[0]?.map(({ head }) => head));
}

describe("what Sync writes", () => {
  it("are plain files that hold the value and nothing else", async () => {
    const store = await place.open();
    await put(
      store,
      entry("users/ada.json", 1, '{"name":"Ada"}'),
      entry("a b.txt", 2, "hello"),
      entry("a/../b", 3, "x"),
    );
    expect(filesOf(place.folder)).toEqual({
      "users/ada.json": '{"name":"Ada"}',
      "a b.txt": "hello",
      "a/%2E%2E/b": "x",
    });
    await put(store, tombstone("users/ada.json", 4));
    expect(existsSync(place.path("users"))).toBe(false); // an empty folder goes with its last file
    expect(await get(store, "users/ada.json")).toMatchObject({ state: "deleted" });
  });

  it("has a key that is also a folder inside the folder, in whatever order they come", async () => {
    const store = await place.open();
    await put(
      store,
      entry("a", 1, "file"),
      entry("a/b", 2, "inside"),
      entry("c/d", 3, "inside"),
      entry("c", 4, "file"),
    );
    expect(filesOf(place.folder)).toEqual({ "a/%value": "file", "a/b": "inside", "c/%value": "file", "c/d": "inside" });
    expect((await get(store, "a"))?.version).toBe(entry("a", 1, "").version);
  });

  it("keeps expiry and metadata beside them, over a restart", async () => {
    const held = entry("k", 1, "x", { expires: 4_000_000_000_000, meta: { "content-type": "text/plain", n: "1" } });
    const store = await place.open();
    await put(store, held);
    await store.close();
    expect(await get(await place.open(), "k")).toEqual(held);
  });
});

describe("a folder that was there before", () => {
  it("is read as it is, and nothing is written to it", async () => {
    mkdirSync(place.path("sub"));
    writeFileSync(place.path("sub/a.json"), "1");
    writeFileSync(place.path(".gitignore"), "dist");
    mkdirSync(place.path(".git"));
    writeFileSync(place.path(".git/config"), "[core]");
    const [one, two] = [await place.open(), await place.open({ readonly: true })];
    await agree(one, two);
    const items = await listOf(one);
    expect(items.map(({ key }) => key)).toEqual([".gitignore", "sub/a.json"]);
    expect(items.map(({ head }) => head && isLow(head.version))).toEqual([true, true]);
    expect(items[1]?.head?.meta).toEqual({ "content-type": "application/json" });
    expect(readdirSync(place.folder).sort()).toEqual([".git", ".gitignore", "sub"]);
  });

  it("has versions that never go down, also when an older file is put over one", async () => {
    writeFileSync(place.path("k"), "new");
    const store = await place.open();
    const before = await get(store, "k");
    writeFileSync(place.path("old"), "old");
    utimesSync(place.path("old"), 1000, 1000);
    renameSync(place.path("old"), place.path("k"));
    const after = await get(store, "k");
    expect(after?.version && before?.version && after.version > before.version).toBe(true);
    expect(await textOf(store, "k")).toBe("old");
  });

  it("loses to anything that Sync stamped, and nobody's later file does", async () => {
    writeFileSync(place.path("k"), "old");
    const store = await place.open();
    await put(store, entry("k", 1, "stamped"));
    expect(filesOf(place.folder)).toEqual({ k: "stamped" });
    writeFileSync(place.path("later"), "later");
    const later = await get(store, "later");
    expect(later && isLow(later.version)).toBe(false);
    expect((await store.write([{ entry: entry("later", 1, "stamped"), asOf: 0 }]))[0]?.status).toBe("superseded");
  });
});

describe("what a person does", () => {
  // Mutation: judge() trusts the record of a file whose mark differs.
  it("an edit is a newer version, the same for everybody, with the metadata and without the expiry", async () => {
    const [one, two, three] = [await place.open(), await place.open(), await place.open({ readonly: true })];
    const held = entry("k", 1, "x", { expires: 4_000_000_000_000, meta: { "content-type": "text/plain", n: "1" } });
    await put(one, held);
    writeFileSync(place.path("k"), "edited");
    const found = await get(one, "k");
    expect(found).toMatchObject({ state: "value", expires: null, meta: held.meta });
    expect(found && found.version > held.version).toBe(true);
    await agree(one, two, three);
    expect(await textOf(two, "k")).toBe("edited");
    expect((await one.write([{ entry: held, asOf: 0 }]))[0]).toEqual({ status: "superseded", by: found?.version });
  });

  it("an edit of the same size within the same tick of the clock is seen by whoever reads it", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "aaaa"));
    const { atime, mtime } = statSync(place.path("k"));
    writeFileSync(place.path("k"), "bbbb");
    utimesSync(place.path("k"), atime, mtime);
    expect(await textOf(store, "k")).toBe("bbbb");
  });

  it("a deletion is a tombstone above what was there, and a file put back is a value above that", async () => {
    const [one, two] = [await place.open(), await place.open()];
    await put(one, entry("d/k", 1, "x"));
    writeFileSync(place.path("d/k"), "edited");
    const edited = await get(one, "d/k");
    rmSync(place.path("d"), { recursive: true });
    const gone = await get(two, "d/k");
    expect(gone).toMatchObject({ state: "deleted" });
    expect(gone && edited && gone.version > edited.version).toBe(true);
    await agree(one, two);
    mkdirSync(place.path("d"));
    writeFileSync(place.path("d/k"), "back");
    const back = await get(one, "d/k");
    expect(back && gone && back.version > gone.version).toBe(true);
    expect(await textOf(two, "d/k")).toBe("back");
  });

  // Mutation: settle() does nothing.
  it("is recorded once somebody saw it, so that nothing that happens later changes it", async () => {
    const store = await place.open();
    await put(store, entry("d/k", 1, "x"), entry("d/l", 1, "x"));
    rmSync(place.path("d/k"));
    const gone = await get(store, "d/k");
    await store.close(); // what it saw is recorded then
    writeFileSync(place.path("d/other"), "moves the folder's time");
    expect((await get(await place.open(), "d/k"))?.version).toBe(gone?.version);
  });

  it("a copy, a touch and a change of rights are no edits", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "x", { expires: 4_000_000_000_000 }));
    utimesSync(place.path("k"), 1000, 1000);
    chmodSync(place.path("k"), 0o600);
    expect(await get(store, "k")).toEqual(entry("k", 1, "x", { expires: 4_000_000_000_000 }));
    const copy = mkdtempSync(join(tmpdir(), "microsync-file-copy-"));
    cpSync(place.folder, copy, { recursive: true });
    const other = await file(copy, { runtime });
    expect(await get(other, "k")).toEqual(entry("k", 1, "x", { expires: 4_000_000_000_000 }));
    await other.close();
    rmSync(copy, { recursive: true });
  });

  it("is told by a watch", async () => {
    const store = await place.open();
    await put(store, entry("a", 1, "x"), entry("b", 1, "x"));
    const told: string[] = [];
    for await (const change of store.watch({ prefix: "" }, { intervalMs: 5 })) {
      if (change.kind === "change") told.push(`${change.key} ${change.head?.state ?? "gone"}`);
      if (change.kind === "current") {
        writeFileSync(place.path("a"), "edited");
        rmSync(place.path("b"));
        writeFileSync(place.path("c"), "new");
      }
      if (told.length === 5) break;
    }
    expect(told.slice(2).sort()).toEqual(["a value", "b deleted", "c value"]);
  });

  it("deleting the hidden folder makes every file one that Sync never wrote", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "x"));
    await store.close();
    rmSync(place.path(".microsync"), { recursive: true });
    const found = await get(await place.open(), "k");
    expect(found && isLow(found.version)).toBe(true);
  });
});

describe("the hidden folder, removed while a store is open,", () => {
  // Mutation: Side.create believes what it saw once.
  it("is made anew by the next write", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "x"), entry("l", 1, "x"));
    rmSync(place.path(".microsync"), { recursive: true });
    await put(store, entry("k", 2, "y"));
    expect(await get(store, "k")).toEqual(entry("k", 2, "y"));
    expect(await textOf(store, "l")).toBe("x");
  });
});

describe("a chain with such a folder", () => {
  it("takes its options from the URL, and leaves nothing behind when it cannot be opened", async () => {
    const base = place.folder;
    await expect(openChain(["file:./new/folder", "git:./missing"], { base })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(openChain("file:./new?create=false", { base })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(openChain("file:", { base })).rejects.toMatchObject({ code: "INVALID" });
    expect(readdirSync(base)).toEqual([]);
    const chain = await openChain("memory: file:./data?durable=false", { base, clock: false });
    expect(chain.layers.map(({ role, store }) => [role, store.supports.durable])).toEqual([
      ["cache", false],
      ["store", false],
    ]);
    await chain.close();
    const readonly = await openChain("file:./data?readonly=true", { base, clock: false });
    expect((await readonly.write([{ entry: entry("k", 1, "x"), asOf: 0 }]))[0]).toMatchObject({
      status: "failed",
      error: { code: "READONLY" },
    });
    await readonly.close();
  });
});

describe("links", () => {
  it("are no files, and nothing is read or written through them", async () => {
    const outside = mkdtempSync(join(tmpdir(), "microsync-outside-"));
    writeFileSync(join(outside, "secret"), "s");
    symlinkSync(outside, place.path("out"));
    symlinkSync(join(outside, "secret"), place.path("file"));
    const store = await place.open();
    expect(await listOf(store)).toEqual([]);
    for (const key of ["out/secret", "file"]) expect(await get(store, key)).toBeUndefined();
    const writes = [entry("out/new", 1, "x"), entry("file", 1, "x"), entry("good", 1, "x")];
    const results = await store.write(writes.map((item) => ({ entry: item, asOf: 0 })));
    expect(results.map(({ status }) => status)).toEqual(["failed", "failed", "stored"]);
    expect(results[0]).toMatchObject({ error: { code: "UNSUPPORTED" } });
    expect(readdirSync(outside)).toEqual(["secret"]);
    rmSync(outside, { recursive: true });
  });
});

describe("a file system that takes names for the same that differ in case", () => {
  // Here a second name of a file shows that it is one, and a realpath of another spelling what it has.
  it("keeps what it has of another spelling, and says so", async () => {
    const first = await place.open();
    await put(first, entry("README", 1, "x"), entry("dir/k", 1, "x"));
    await first.close();
    linkSync(place.path(".microsync/file/format"), place.path(".microsync/file/FORMAT"));
    const store = await place.open();
    await put(store, entry("README", 2, "y"), entry("dir/l", 2, "y"), entry("dir/k", 2, "y"));
    expect(filesOf(place.folder)).toEqual({ README: "y", "dir/k": "y", "dir/l": "y" });

    writeFileSync(place.path("notes"), "of another key");
    const before = calls.realpath;
    calls.realpath = (async (path: string) => {
      const spelled = await before(path);
      return spelled.replace("notes", "NOTES").replace("/dir", "/DIR");
    }) as typeof calls.realpath;
    syncBuiltinESMExports();
    try {
      const writes = [entry("notes", 3, "z"), entry("dir/m", 3, "z"), entry("other", 3, "z")];
      const results = await store.write(writes.map((item) => ({ entry: item, asOf: 0 })));
      expect(results.map(({ status }) => status)).toEqual(["failed", "failed", "stored"]);
      expect(results[0]).toMatchObject({ error: { code: "UNSUPPORTED" } });
    } finally {
      calls.realpath = before;
      syncBuiltinESMExports();
    }
    const files = { README: "y", "dir/k": "y", "dir/l": "y", notes: "of another key", other: "z" };
    expect(filesOf(place.folder)).toEqual(files);
  });
});

describe("large values", () => {
  it("come and go in pieces, and their files too", async () => {
    const store = await place.open({ valueBytesMax: 1000 });
    writeFileSync(place.path("big"), new Uint8Array(200_000).fill(7));
    const [answer] = await store.read(["big"]);
    expect(answer?.entry?.state).toBe("stub");
    expect(answer?.body?.size).toBe(200_000);
    expect(answer?.body && (await collected(answer.body))).toEqual(new Uint8Array(200_000).fill(7));
    writeFileSync(place.path("big"), "replaced");
    const failure: unknown = await (answer?.body && collected(answer.body).catch((error: unknown) => error));
    expect(failure).toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("damage", () => {
  it("of a record is an error that names it, and a write replaces it", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "x"));
    const [folder = ""] = readdirSync(place.path(".microsync/file/entries"));
    const [name = ""] = readdirSync(place.path(".microsync/file/entries", folder));
    const path = place.path(".microsync/file/entries", folder, name);
    writeFileSync(path, "00000000 {}\n");
    const error: unknown = await store.read(["k"]).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SyncError);
    expect(error).toMatchObject({ code: "CORRUPT" });
    expect(String(error)).toContain(name);
    await put(store, entry("k", 2, "y"));
    expect(await textOf(store, "k")).toBe("y");
  });

  it("a folder of a later format is refused, and left as it is", async () => {
    const store = await place.open();
    await put(store, entry("k", 1, "x"));
    writeFileSync(place.path(".microsync/file/format"), "microsync file 2 1\n");
    await expect(file(place.folder, { runtime })).rejects.toMatchObject({ code: "CORRUPT" });
  });

  it("a file in the way, and a folder that is not there", async () => {
    writeFileSync(place.path("f"), "x");
    await expect(file(place.path("f"), { runtime })).rejects.toMatchObject({ code: "INVALID" });
    await expect(file(place.path("f/g"), { runtime })).rejects.toMatchObject({ code: "INVALID" });
    await expect(file(place.path("g"), { runtime, create: false })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(readdirSync(place.folder)).toEqual(["f"]);
  });
});
