import type { Runtime } from "../runtime.ts";

/** Where words and values go. */
export interface Output {
  /** A person looks at it. */
  readonly isTTY: boolean;
  /** Its width in characters; undefined when it has none. */
  readonly columns: number | undefined;
  /** Resolves when more may be written. @throws OutputClosed when nobody reads any more. */
  write(data: string | Uint8Array): Promise<void>;
}

/** All that the command line touches of the process: passed in, so that tests run it without one. */
export interface Io {
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly stdinIsTTY: boolean;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
  /** Aborted when the process is told to end. */
  readonly signal: AbortSignal;
  readonly runtime: Runtime;
}

/** Whoever read our output has had enough: not an error. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}
