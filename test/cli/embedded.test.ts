import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { jsonLines, microsync } from "./terminal.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "microsync-embedded-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const PERSON = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
const git = async (...args: string[]) => (await promisify(execFile)("git", [...PERSON, ...args])).stdout.trim();

it("the embedded chain, from an empty folder to a person's commit and back", async () => {
  const run = (...args: string[]) => microsync(folder, args);
  const truth = join(folder, "truth.git");

  // Nothing is said of a chain, and there is no repository yet: nothing is left behind.
  expect(await run("set", "users/ada", "Ada")).toMatchObject({ status: 6, out: "" });
  expect(await readdir(folder)).toEqual([]);

  await git("init", "--quiet", "--bare", "--initial-branch=main", truth);
  await run("set", "users/ada", "Ada");
  await run("set", "users/ada/pets", '["cat"]', "--as", "json");
  expect(await git(`--git-dir=${truth}`, "show", "main:users/ada/%value")).toBe("Ada");
  expect(await git(`--git-dir=${truth}`, "show", "main:users/ada/pets")).toBe('["cat"]');

  const clone = join(folder, "clone");
  await git("clone", "--quiet", truth, clone);
  await writeFile(join(clone, "users", "bo.json"), '{"name":"Bo"}');
  await rm(join(clone, "users", "ada", "pets"));
  await git("-C", clone, "add", "--all");
  await git("-C", clone, "commit", "--quiet", "-m", "a person's edit");
  await git("-C", clone, "push", "--quiet");

  expect((await run("get", "users/bo.json")).out).toBe('{"name":"Bo"}');
  expect((await run("get", "users/ada/pets", "--fresh", "authority")).status).toBe(3);
  expect((await run("list")).out).toBe("users/ada\nusers/bo.json\n");
  const where = jsonLines((await run("where", "users/bo.json", "--json")).out);
  expect(where.map(({ layer, state }) => [layer, state])).toEqual([
    ["memory", "absent"],
    ["lmdb", "value"],
    ["git", "value"],
  ]);

  await mkdir(join(folder, "out"));
  expect((await run("export", "users/", "out")).status).toBe(0);
  expect(await readFile(join(folder, "out", "ada"), "utf8")).toBe("Ada");
  expect(await readFile(join(folder, "out", "bo.json"), "utf8")).toBe('{"name":"Bo"}');
});
