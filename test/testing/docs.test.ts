import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as node from "node:test";
import { afterAll, describe, expect, it } from "vitest";
import { CHECKS } from "../../src/testing/index.ts";
import type { Runner } from "../../src/testing/index.ts";
import { moduleOf, programOf } from "../docs/examples.ts";

type Results = readonly (readonly [line: string, actual: unknown, expected: unknown])[];

const project = fileURLToPath(new URL("../..", import.meta.url));
const page = await readFile(join(project, "docs/testing.md"), "utf8");
const folder = join(project, "build", `testing-docs-${process.pid}`); // inside the project, so that packages are found
await mkdir(folder, { recursive: true });
const file = join(folder, "testing.md.ts");
await writeFile(file, moduleOf(programOf(page)));
// The page declares a suite, so it is loaded while tests are being declared.
const { results } = (await import(pathToFileURL(file).href)) as { readonly results: Results };

afterAll(() => rm(folder, { recursive: true, force: true }));

describe("docs/testing.md", () => {
  it("gives what it says", () => {
    expect(results).toHaveLength((page.match(/; \/\/ → /g) ?? []).length);
    expect(results.length).toBeGreaterThan(5);
    for (const [line, actual, expected] of results) expect([line, actual]).toStrictEqual([line, expected]);
  });

  it("lists every check of the suite, and no other", () => {
    const listed = [...page.matchAll(/^- `([a-z]+\/[a-z-]+)`: (.*)$/gm)].map(([, id, title]) => [id, title]);
    expect(listed).toEqual(CHECKS.map(({ id, title }) => [id, title]));
  });

  it("names a runner for node:test that the suite takes", () => {
    // What is shown is that the types fit; node's own tests cannot run inside these.
    const runner: Runner = { describe: node.describe, test: node.test, afterAll: node.after };
    expect(Object.values(runner).every((member) => typeof member === "function")).toBe(true);
  });
});
