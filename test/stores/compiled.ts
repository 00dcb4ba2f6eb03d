import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { root } from "../project.ts";

const OPTIONS =
  "--ignoreConfig --noCheck --target es2023 --lib es2023,es2024.string --types node --module nodenext --skipLibCheck --rewriteRelativeImportExtensions";

/**
 * Compiles a program of the tests with what it imports of src, for a child process, into the ignored folder build.
 * @returns the path of what `node` can run.
 */
export function compiled(program: string, name: string): string {
  const outDir = resolve(root, "build", `test-${name}`);
  const tsc = resolve(root, "node_modules/typescript/bin/tsc");
  const options = [...OPTIONS.split(" "), "--rootDir", root, "--outDir", outDir];
  execFileSync(process.execPath, [tsc, ...options, resolve(root, program)], { stdio: "pipe" });
  return resolve(outDir, program.replace(/\.ts$/, ".js"));
}
