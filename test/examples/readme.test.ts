import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { read, root } from "../project.ts";

function block(language: string): string {
  const [, text] = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(read("README.md")) ?? [];
  if (text === undefined) throw new Error(`README has no block of ${language}`);
  return text;
}

describe("README", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "microsync-readme-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  // Runs the built package (`npm run build`), which the file finds by its name because it lies inside the project.
  // Mutation: any change of the words in either block, or of what the calls in it do.
  it("shows an example that prints what it says", () => {
    const git = (...args: string[]) => spawnSync("git", args, { cwd: folder, encoding: "utf8" });
    expect(git("init", "--quiet", "--bare", "truth.git").status).toBe(0);
    mkdirSync(resolve(root, "build/readme"), { recursive: true });
    const script = resolve(root, "build/readme/example.js");
    writeFileSync(script, block("js"));
    const { stdout, stderr } = spawnSync(process.execPath, [script], { cwd: folder, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(stdout).toBe(block("text"));
    expect(git("-C", "truth.git", "rev-list", "--count", "--all").stdout).toBe("2\n");
  });

  it("gives the two commands that need nothing but Node and git", () => {
    expect(read("README.md")).toMatch(/^npm ci && npm start$/m);
    expect(read("README.md")).toMatch(/^npm ci && npm test$/m);
  });

  it("is about twenty lines of code at most", () => {
    expect(block("js").split("\n").length).toBeLessThan(22);
  });
});
