import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { file } from "../../src/stores/file.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { random } from "../../src/testing/random.ts";
import { compiled } from "../stores/compiled.ts";
import { diffOf, entry, put, textsOf } from "./world.ts";

const KILLS = 50;
const FILES = 50;

let program: string;
let folder: string;
beforeAll(() => {
  program = compiled("test/session/kill.child.ts", "session");
  folder = mkdtempSync(join(tmpdir(), "microsync-kill-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Whether the child came to its end; false when it was killed. */
function child(...args: readonly string[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "ignore", "inherit"] });
    running.on("error", reject);
    running.on("close", (code, signal) => {
      if (code === 0 || signal === "SIGKILL") resolve(code === 0);
      else reject(new Error(`the child ended with ${code} ${signal}`));
    });
  });
}

describe(`a mirror that is killed ${KILLS} times at random moments`, () => {
  // Mutations: a position that is saved before its batch is done, without the part before it; deletions before the rest.
  it("comes to the same end as one that was let be, whenever it is started again", { timeout: 300_000 }, async () => {
    const chance = random(3);
    const source = join(folder, "from");
    mkdirSync(source);
    let [kills, targets] = [0, 0];
    while (kills < KILLS) {
      // Each time something else is changed, so that what a killed run left is not all there is to do.
      for (let i = 0; i < FILES; i++) {
        if (chance.below(3) > 0) writeFileSync(join(source, `k${i}`), `${targets} ${chance.below(1000)}`);
        else rmSync(join(source, `k${i}`), { force: true });
      }
      writeFileSync(join(source, "always"), "there");
      const [target, position] = [join(folder, `to${targets}`), join(folder, `position${targets++}`)];
      const before = await lmdb(target, { runtime });
      const others = Array.from({ length: 20 }, (_, i) => entry(`${i % 2 === 0 ? "k" : "other"}${i}`, 1, "before"));
      await put(before, ...others);
      await before.close();

      for (let ended = false; !ended;) {
        const dieAt = kills < KILLS ? 1 + chance.below(12) : 0;
        ended = await child(source, target, position, String(dieAt));
        if (!ended) kills++;
      }
      const [from, to] = [await file(source, { runtime, readonly: true }), await lmdb(target, { runtime })];
      expect(await textsOf(to)).toEqual(await textsOf(from));
      expect(await diffOf(from, to)).not.toMatch(/[-+*!]/);
      await from.close();
      await to.close();
    }
  });
});
