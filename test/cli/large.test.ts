import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build, start } from "./built.ts";
import type { Built } from "./built.ts";

const MIB = 1024 * 1024;
/** More than a layer gives whole, and than is allowed to be added to a process's memory. */
const BYTES = 100 * MIB;
const GROWTH_BYTES_MAX = 64 * MIB;

let built: Built;
let folder: string;
beforeAll(async () => {
  built = await build();
  folder = await mkdtemp(join(tmpdir(), "microsync-large-cli-"));
}, 300_000);
afterAll(async () => {
  await built.remove();
  await rm(folder, { recursive: true, force: true });
});

async function sumOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}

describe("a value larger than a layer gives whole", () => {
  /** Runs the command; what it says, and the most memory that it took, in bytes. */
  const run = async (...args: string[]) => {
    const told = join(folder, "memory.txt");
    const env = { MICROSYNC_CHAIN: "memory: lmdb:./data", NODE_OPTIONS: `--import=${join(folder, "memory.mjs")}` };
    const ran = await start([built.main, ...args], { cwd: folder, env }).finished;
    return { ...ran, most: Number(await readFile(told, "utf8")) };
  };
  let idle = 0;
  let sum = "";

  beforeAll(async () => {
    const told = JSON.stringify(join(folder, "memory.txt"));
    await writeFile(
      join(folder, "memory.mjs"),
      `import { writeFileSync } from "node:fs";
      process.on("exit", () => writeFileSync(${told}, String(process.resourceUsage().maxRSS * 1024)));`,
    );
    const file = await open(join(folder, "in.bin"), "w");
    const words = new Uint32Array(MIB / 4);
    for (let at = 0; at < BYTES; at += MIB) {
      for (let i = 0; i < words.length; i++) words[i] = Math.imul(at + i, 0x9e3779b1);
      await file.write(new Uint8Array(words.buffer));
    }
    await file.close();
    sum = await sumOf(join(folder, "in.bin"));
    expect(await run("set", "big", "--file", "in.bin", "--type", "video/mp4")).toMatchObject({ status: 0, err: "" });
    expect(await run("set", "z", "last")).toMatchObject({ status: 0, err: "" });
    idle = (await run("set", "a", "first")).most;
  }, 300_000);

  // Mutation: without `readable` it is TOO_LARGE, and so is the whole export.
  it("is exported to a folder and imported from it in bounded memory, with what stands around it", async () => {
    const exported = await run("export", "out");
    expect(exported).toMatchObject({ status: 0, err: expect.stringMatching(/^exported 3 keys/) });
    expect(exported.most - idle).toBeLessThan(GROWTH_BYTES_MAX);
    expect(await sumOf(join(folder, "out", "big"))).toBe(sum);
    expect(await readFile(join(folder, "out", "a"), "utf8")).toBe("first");
    expect(await readFile(join(folder, "out", "z"), "utf8")).toBe("last");

    const imported = await run("import", "out", "copy/");
    expect(imported).toMatchObject({ status: 0, err: expect.stringMatching(/^imported 3 keys, 100/) });
    expect(imported.most - idle).toBeLessThan(GROWTH_BYTES_MAX);
    await run("get", "copy/big", "-o", "copied.bin");
    expect(await sumOf(join(folder, "copied.bin"))).toBe(sum);
    expect((await run("list", "copy/")).out).toBe("copy/a\ncopy/big\ncopy/z\n");
  }, 300_000);

  it("is exported to lines in bounded memory, below a prefix too, and comes back from them with its type", async () => {
    await mkdir(join(folder, "lines"));
    await run("set", "p/big", "--file", "in.bin", "--type", "video/mp4", "--meta", "of=it");
    await run("set", "p/z", "last");
    const exported = await run("export", "p/", "lines/all.ndjson");
    expect(exported).toMatchObject({ status: 0, err: expect.stringMatching(/^exported 2 keys/) });
    expect(exported.most - idle).toBeLessThan(GROWTH_BYTES_MAX);
    expect(await run("import", "lines/all.ndjson", "q/")).toMatchObject({ status: 0 });
    await run("get", "q/big", "-o", "lined.bin");
    expect(await sumOf(join(folder, "lined.bin"))).toBe(sum);
    expect((await run("get", "q/z")).out).toBe("last");
    const where = await run("where", "q/big", "--json");
    expect(where.out).toMatch(/"of":"it"/);
    expect(where.out).toMatch(/"content-type":"video\/mp4"/);
  }, 300_000);
});
