import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import { root } from "../project.ts";

export interface Begun {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

/**
 * A built program, whose temporary files go into a folder of its own, so that what it leaves behind is seen.
 *
 * @param begun Everything that was started is added, for whoever tidies up.
 */
export function starter(main: string, folder: () => string, begun: Begun[]) {
  return (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const child = spawn(process.execPath, [resolve(root, main), ...args], {
      env: { ...process.env, NO_COLOR: "", TMPDIR: folder(), ...env },
    });
    const said = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said.stderr += text));
    const ended = new Promise<{ status: number | null; stdout: string; stderr: string }>((done) => {
      child.once("close", (status) => done({ status, ...said }));
    });
    begun.push({ child, ended });
    return { child, ended };
  };
}
