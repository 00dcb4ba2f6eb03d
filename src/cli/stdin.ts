import { SyncError } from "../error.ts";
import type { Io } from "./io.ts";

/** The largest value that is read from standard input, in bytes: it has to fit into memory. */
export const INPUT_BYTES_MAX = 1024 ** 3;

/** Standard input up to its end. @throws SyncError TOO_LARGE, ABORTED. */
export async function readAll(io: Io, bytesMax = INPUT_BYTES_MAX): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of input(io)) {
    length += chunk.length;
    if (length > bytesMax) {
      throw new SyncError("TOO_LARGE", `standard input is above ${bytesMax} bytes`, { cure: "split it" });
    }
    chunks.push(chunk);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** Standard input piece by piece; ends with ABORTED as soon as the process is told to end. */
export async function* input({ stdin, signal }: Io): AsyncGenerator<Uint8Array, void> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(new SyncError("ABORTED", "interrupted while reading standard input"));
    signal.addEventListener("abort", onAbort, { once: true });
  });
  aborted.catch(() => undefined); // it is only of interest while a read waits
  const chunks = stdin[Symbol.asyncIterator]();
  try {
    for (;;) {
      if (signal.aborted) throw new SyncError("ABORTED", "interrupted while reading standard input");
      const next = await Promise.race([chunks.next(), aborted]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
