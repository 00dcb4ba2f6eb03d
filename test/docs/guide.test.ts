import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EXIT } from "../../src/cli/exit.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { moduleOf, programOf } from "./examples.ts";

const project = fileURLToPath(new URL("../..", import.meta.url));
const doc = (name: string) => readFile(join(project, "docs", name), "utf8");

const DOCUMENTS = ["guide.md", "errors.md", "session.md"];
const home = process.cwd();
let folder: string; // below the project, so that the examples find its packages
let data: string; // where they keep their data
beforeAll(async () => {
  folder = join(project, "build", `docs-${process.pid}`);
  await mkdir(folder, { recursive: true });
  data = await mkdtemp(join(tmpdir(), "microsync-docs-"));
  for (const name of DOCUMENTS) await writeFile(join(folder, `${name}.ts`), moduleOf(programOf(await doc(name))));
  const options = { extends: join(project, "tsconfig.json"), include: ["./*.ts"] };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(options));
  process.chdir(data);
});
afterAll(async () => {
  process.chdir(home);
  await rm(folder, { recursive: true, force: true });
  await rm(data, { recursive: true, force: true });
});

describe.each(DOCUMENTS)("the examples of docs/%s", (name) => {
  it("give what the text says", async () => {
    const { results } = (await import(pathToFileURL(join(folder, `${name}.ts`)).href)) as {
      readonly results: readonly (readonly [string, unknown, unknown])[];
    };
    const said = (await doc(name)).match(/; \/\/ → /g) ?? [];
    expect(results).toHaveLength(said.length);
    expect(said.length).toBeGreaterThan(0);
    for (const [line, actual, expected] of results) expect([line, actual]).toStrictEqual([line, expected]);
  });
});

it("the examples have the types that the compiler wants", async () => {
  const tsc = join(project, "node_modules", "typescript", "bin", "tsc");
  const failure: unknown = await promisify(execFile)(process.execPath, [tsc, "-p", folder]).then(
    () => undefined,
    (error: unknown) => error,
  );
  // Only what the compiler says of the examples: the sources have a check of their own.
  const output = (failure as { readonly stdout?: string } | undefined)?.stdout ?? "";
  expect(output.split("\n").filter((line) => line.includes(".md.ts"))).toEqual([]);
});

describe("docs/errors.md", () => {
  it("has a heading and the exit status for every code, and for nothing else", async () => {
    const sections = (await doc("errors.md")).split(/^## /m).slice(1);
    const found = sections.map((section) => {
      const [, code, status] = /^([A-Z_]+)\n\nExit status (\d+)\b/.exec(section) ?? [];
      return [code, Number(status)];
    });
    expect(Object.fromEntries(found)).toEqual(EXIT);
    expect(found).toHaveLength(Object.keys(EXIT).length);
  });

  it("has one status for each class", () => {
    const statuses = [0, 3, ...Object.values(EXIT)];
    expect(new Set(statuses).size).toBe(statuses.length);
    expect(statuses.every((status) => Number.isInteger(status) && status >= 0 && status < 256)).toBe(true);
  });
});

describe("docs/cli.md", () => {
  it("names every command and flag", async () => {
    const text = await doc("cli.md");
    for (const { name, options } of COMMANDS) {
      expect(text).toContain(`\`${name}`);
      for (const [flags] of options) expect(text).toContain(/--?[a-z-]+|-0/.exec(flags)?.[0]);
    }
  });
});
