import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { read, root } from "./project.ts";

/** That the lint and the compiler refuse what they are there to refuse: each is run on a file that does it. */
const TEMPTATIONS: readonly (readonly [code: string, cure: string])[] = [
  ["Date.now()", "Runtime.now()"],
  ["Math.random()", "Runtime.random()"],
  ["performance.now()", "Runtime.monotonic()"],
  ["setTimeout(() => undefined, 1)", "Runtime.timer()"],
  ["setInterval(() => undefined, 1)", "Runtime.timer()"],
  ["setImmediate(() => undefined)", "Runtime.timer()"],
  ["crypto.randomUUID()", "Runtime.random()"],
  ["globalThis.crypto", "as a parameter"],
  ['fetch("x")', "as a parameter"],
  ["process.pid", "as a parameter"],
  ['Buffer.from("x")', "Uint8Array"],
  ["AbortSignal.timeout(1)", "Runtime.timer()"],
  ['console.log("x")', "throw it"],
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-guards-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

function run(script: string, ...args: string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [resolve(root, script), ...args], {
    cwd: folder,
    encoding: "utf8",
  });
  return { status, output: `${stdout}\n${stderr}` };
}

describe("the lint", () => {
  // Mutation: any of the restrictions taken out of .oxlintrc.json.
  it("refuses the platform in the core and names what to use", () => {
    put(".oxlintrc.json", read(".oxlintrc.json"));
    TEMPTATIONS.forEach(([code], index) => put(`src/chain/t${index}.ts`, `export const t = () => ${code};\n`));
    put("src/chain/node.ts", 'export { readFileSync } from "node:fs";\n');
    put("src/chain/lazy.ts", 'export const os = () => import("node:os");\n');
    put("src/chain/clean.ts", "export const t = (runtime: { now(): number }) => runtime.now();\n");
    const { status, output } = run("node_modules/oxlint/bin/oxlint", "--format=json");
    expect(status).toBe(1);
    const { diagnostics } = JSON.parse(output) as {
      diagnostics: { filename: string; message: string; help?: string }[];
    };
    const told = (file: string) =>
      diagnostics
        .filter(({ filename }) => filename.replaceAll("\\\\", "/").endsWith(file))
        .map(({ message, help }) => `${message} ${help ?? ""}`)
        .join("\n");
    TEMPTATIONS.forEach(([code, cure], index) =>
      expect([code, told(`/t${index}.ts`)]).toEqual([code, expect.stringContaining(cure)]),
    );
    expect(told("/node.ts")).toContain("restricted");
    expect(told("/lazy.ts")).toContain("restricted");
    expect(told("/clean.ts")).toBe("");
  });
});

describe("the compiler", () => {
  // Mutation: `types: []` or the list of libraries taken out of tsconfig.core.json.
  it("knows no platform in the core", () => {
    const config = JSON.parse(read("tsconfig.core.json").replace(/^\s*\/\/.*$/gm, "")) as Record<string, unknown>;
    const names = TEMPTATIONS.filter(([code]) => !/^(?:Date|Math)\b/.test(code));
    put("types/core/platform.d.ts", read("types/core/platform.d.ts"));
    put("tsconfig.json", read("tsconfig.json"));
    put("tsconfig.core.json", JSON.stringify({ ...config, include: ["types/core", "core"], exclude: [] }));
    names.forEach(([code], index) => put(`core/t${index}.ts`, `export const t = () => ${code};\n`));
    const { status, output } = run("node_modules/typescript/bin/tsc", "-p", "tsconfig.core.json");
    expect(status).not.toBe(0);
    const refused = names.filter((_, index) => output.includes(`core/t${index}.ts`));
    expect(refused).toEqual(names);
  });
});
