import type { ChildProcess } from "node:child_process";

/** What a process is written, in large pieces, no faster than it reads. Whether it still does, its end tells. */
export interface Feed {
  write(piece: string | Uint8Array): Promise<void>;
  /** Everything written has left this process, or waits in a pipe. */
  flush(): Promise<void>;
}

/** Small pieces go together: a system call costs more than copying them. */
const PIECE_BYTES = 256 * 1024;

export function feed({ stdin }: ChildProcess): Feed {
  let pieces: Uint8Array[] = [];
  let bytes = 0;

  const flush = async () => {
    const all = Buffer.concat(pieces);
    pieces = [];
    bytes = 0;
    if (stdin === null || !stdin.writable || stdin.write(all)) return;
    await new Promise<void>((resolve) => {
      const go = () => {
        stdin.off("drain", go).off("close", go).off("error", go);
        resolve();
      };
      stdin.once("drain", go).once("close", go).once("error", go);
    });
  };

  return {
    flush,
    async write(piece) {
      const added = typeof piece === "string" ? Buffer.from(piece, "utf8") : piece;
      pieces.push(added);
      bytes += added.length;
      if (bytes > PIECE_BYTES) await flush();
    },
  };
}
