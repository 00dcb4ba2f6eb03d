import { execFile, spawn } from "node:child_process";
import { access, copyFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const project = fileURLToPath(new URL("../..", import.meta.url));

/** The command as it is shipped: compiled, beside the manifest, with the project's modules in reach. */
export interface Built {
  readonly main: string;
  readonly index: string;
  remove(): Promise<void>;
}

export async function build(): Promise<Built> {
  const folder = join(project, "build", `cli-${process.pid}`);
  await mkdir(folder, { recursive: true });
  await copyFile(join(project, "package.json"), join(folder, "package.json"));
  const tsc = join(project, "node_modules", "typescript", "bin", "tsc");
  const args = ["-p", join(project, "tsconfig.build.json"), "--outDir", join(folder, "dist"), "--declaration", "false"];
  const main = join(folder, "dist", "cli", "main.js");
  try {
    await promisify(execFile)(process.execPath, [tsc, ...args, "--declarationMap", "false", "--sourceMap", "false"]);
  } catch (error) {
    // The types have a check of their own (`npm run types`); what counts here is that there is a program.
    await access(main).catch(async () => {
      await rm(folder, { recursive: true, force: true });
      throw error;
    });
  }
  return {
    main,
    index: join(folder, "dist", "index.js"),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

export interface Finished {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Starts Node; `finished` resolves when it has ended. */
export function start(
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: Record<string, string> },
) {
  const child = spawn(process.execPath, args, { cwd: options.cwd, env: { ...process.env, ...options.env } });
  let out = "";
  let err = "";
  child.stdout.on("data", (data: Buffer) => (out += data.toString("utf8")));
  child.stderr.on("data", (data: Buffer) => (err += data.toString("utf8")));
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, out, err }));
  });
  return { child, finished };
}
