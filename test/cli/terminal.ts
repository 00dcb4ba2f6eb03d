import { OutputClosed } from "../../src/cli/io.ts";
import type { Io } from "../../src/cli/io.ts";
import { run } from "../../src/cli/run.ts";
import { systemRuntime } from "../../src/system.ts";

export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Uint8Array;
}

export interface TerminalOptions {
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array>;
  readonly env?: Readonly<Record<string, string>>;
  readonly isTTY?: boolean;
  readonly signal?: AbortSignal;
  /** Called with each piece of standard output. */
  readonly onOut?: (text: string) => void;
  /** Standard output is closed after so many writes. */
  readonly writesMax?: number;
}

/** Runs the command line in this process, in a folder. */
export async function microsync(folder: string, args: readonly string[], options: TerminalOptions = {}): Promise<Ran> {
  const { stdin = "", env = {}, isTTY = false, signal = new AbortController().signal, writesMax = Infinity } = options;
  const out: Uint8Array[] = [];
  const err: string[] = [];
  const bytesOf = (data: string | Uint8Array) => (typeof data === "string" ? new TextEncoder().encode(data) : data);
  const io: Io = {
    stdin:
      typeof stdin === "string" || stdin instanceof Uint8Array
        ? (async function* () {
            yield bytesOf(stdin);
          })()
        : stdin,
    stdinIsTTY: isTTY,
    stdout: {
      isTTY,
      columns: 80,
      async write(data) {
        if (out.length >= writesMax) throw new OutputClosed();
        out.push(bytesOf(data).slice());
        options.onOut?.(Buffer.from(bytesOf(data)).toString("utf8"));
      },
    },
    stderr: {
      isTTY,
      columns: 80,
      async write(data) {
        err.push(Buffer.from(bytesOf(data)).toString("utf8"));
      },
    },
    env,
    folder,
    signal,
    runtime: systemRuntime,
  };
  const status = await run(args, io, "1.2.3");
  const bytes = Buffer.concat(out);
  return { status, out: bytes.toString("utf8"), err: err.join(""), bytes };
}

/** The lines of JSON in a text. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
