import { mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The exit status for wrong options. */
export const USAGE = 2;
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** An end that is no defect: what to say, and the exit status. */
export class Ended extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** Ends with the first of these signals, saying what is done then; later ones do not hinder the tidying up. */
export function interruption(tidying: string) {
  const controller = new AbortController();
  for (const [name, status] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      if (!controller.signal.aborted) process.stderr.write(`${tidying}\n`);
      controller.abort(new Ended("interrupted", status));
    });
  }
  const { signal } = controller;
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  aborted.catch(() => undefined);
  return { signal, aborted };
}

/** The folder of `--dir`, which has nothing in it, or else a temporary one. */
export function openFolder(dir: string | undefined, prefix: string): string {
  if (dir === undefined) return mkdtempSync(join(tmpdir(), prefix));
  const folder = resolve(dir);
  mkdirSync(folder, { recursive: true });
  if (readdirSync(folder).length > 0) throw new Ended(`--dir ${dir} is not empty`, USAGE);
  return folder;
}
