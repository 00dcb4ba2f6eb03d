import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { file } from "../../src/stores/file.ts";
import { random } from "../../src/testing/random.ts";
import { compiled } from "./compiled.ts";
import { entryAt, keysOf, numberOf } from "./file/crash.ts";
import { filesOf, get, put, scratch, textOf } from "./file/world.ts";

let program: string;
const place = scratch();
beforeAll(() => {
  program = compiled("test/stores/file.child.ts", "file");
});
afterAll(() => place.remove());

/** Runs a child and gives its lines. */
function child(args: readonly string[], end: "SIGKILL" | "well"): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const lines: string[] = [];
    createInterface({ input: running.stdout }).on("line", (line) => lines.push(line));
    running.on("error", reject);
    running.on("close", (code, signal) => {
      if (end === "well" ? code === 0 : signal === end) resolve(lines);
      else reject(new Error(`the child ended with ${code} ${signal}`));
    });
  });
}

describe("killed in the middle of writes, 30 times", () => {
  // Mutations: no `staged` in the record; the file put into its place before the record; no lock taken over.
  it(
    "has every acknowledged entry, each whole, under the version it was written with",
    { timeout: 300_000 },
    async () => {
      const chance = random(7);
      const acknowledged = new Map<string, number>();
      let next = 1;
      for (let round = 0; round < 30; round++) {
        for (const line of await child(
          ["acks", place.folder, `${next},${1 + chance.below(round % 2 === 0 ? 50 : 100)},${round}`],
          "SIGKILL",
        )) {
          const [, at = "", key = ""] = /^(\d+) (.*)$/s.exec(line) ?? [];
          acknowledged.set(key, Number(at));
        }
        const store = await place.open();
        for (const key of keysOf(round)) {
          const found = await get(store, key);
          const at = found === undefined ? 0 : numberOf(found.version);
          expect(at).toBeGreaterThanOrEqual(acknowledged.get(key) ?? 0);
          if (found !== undefined) expect(found).toEqual(entryAt(key, at));
          next = Math.max(next, at + 1);
        }
        await store.close();
      }
      // Whoever writes next puts everything into its place, and nothing is left of the dead.
      const store = await place.open();
      await put(store, entryAt("last", 5));
      const keys = Array.from({ length: 15 }, (_, i) => keysOf(2 * i)).flat();
      for (const key of keys) await textOf(store, key);
      await store.close();
      const texts = Object.values(filesOf(place.folder)).sort();
      const again = await place.open({ readonly: true });
      const held = await Promise.all([...keys, "last"].map((key) => get(again, key)));
      expect(texts).toEqual(
        held.flatMap((found) => (found?.value ? [new TextDecoder().decode(found.value)] : [])).sort(),
      );
      expect(readdirSync(place.path(".microsync/file/staged"))).toEqual([]);
      expect(readdirSync(place.path(".microsync/file/locks"))).toEqual([]);
    },
  );
});

describe("killed in its very first write", () => {
  it.each([1, 2, 3, 4, 6, 8, 10, 12])(
    "before call %i, leaves a folder that others take up",
    { timeout: 300_000 },
    async (dieAt) => {
      const folder = place.path(`first${dieAt}`);
      await child(["acks", folder, `2,${dieAt},0`], "SIGKILL");
      const store = await file(folder, {});
      for (const key of keysOf(0)) {
        const found = await get(store, key);
        if (found !== undefined) expect(found).toEqual(entryAt(key, 2));
      }
      await put(store, ...keysOf(0).map((key) => entryAt(key, 3)));
      for (const key of keysOf(0)) expect(await get(store, key)).toEqual(entryAt(key, 3));
      await store.close();
    },
  );
});

describe("several processes on one folder", () => {
  // Mutation: FolderLock.hold takes no lock.
  it("lose no step of a counter, and keep the newest of what they offer", { timeout: 300_000 }, async () => {
    const folder = place.path("race");
    const all = await Promise.all([1, 2, 3].map((id) => child(["race", folder, `${id},15`], "well")));
    const store = await file(folder, {});
    expect(await textOf(store, "counter")).toBe("45");
    const newest = new Map<string, string>();
    for (const line of all.flat().filter((text) => text !== "end")) {
      const [key = "", version = ""] = line.split(" ");
      if (version > (newest.get(key) ?? "")) newest.set(key, version);
    }
    for (const [key, version] of newest) expect((await get(store, key))?.version).toBe(version);
    await store.close();
  });
});
