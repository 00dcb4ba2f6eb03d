import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { boundsOf, isPart, wrongBytes } from "../../body.ts";
import type { Body } from "../../body.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { checkCall } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { factsFrom } from "./disk.ts";
import type { FileFacts } from "./disk.ts";
import { fileFailure, isMissing } from "./failures.ts";

const PIECE_BYTES = 64 * 1024;

/** Where the bytes of a value are. */
export interface Source {
  readonly file: FileFacts;
  /** Undefined where nobody has looked at the content yet. */
  readonly sha256: string | undefined;
}

export interface Bytes {
  readonly value: Uint8Array;
  readonly sha256: string;
}

/** All bytes of a file; undefined when it is not that file any more, or changed while it was read. */
export async function bytesOf(file: FileFacts): Promise<Bytes | undefined> {
  return withFile(file, async (handle, isSame) => {
    const value = new Uint8Array(file.size);
    let at = 0;
    while (at < value.length) {
      const { bytesRead } = await handle.read(value, at, value.length - at, at);
      if (bytesRead === 0) return undefined;
      at += bytesRead;
    }
    if (!(await isSame())) return undefined;
    return { value, sha256: createHash("sha256").update(value).digest("hex") };
  });
}

/** SHA-256 of a file's content, which is not held in memory; undefined as in {@link bytesOf}. */
export async function hashOf(file: FileFacts): Promise<string | undefined> {
  return withFile(file, async (handle, isSame) => {
    const hash = createHash("sha256");
    for (let at = 0; at < file.size;) {
      const { bytesRead, buffer } = await handle.read(new Uint8Array(PIECE_BYTES), 0, PIECE_BYTES, at);
      if (bytesRead === 0) return undefined;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    return (await isSame()) ? hash.digest("hex") : undefined;
  });
}

async function withFile<T>(
  file: FileFacts,
  work: (handle: FileHandle, isSame: () => Promise<boolean>) => Promise<T | undefined>,
): Promise<T | undefined> {
  const handle = await openSame(file);
  if (handle === undefined) return undefined;
  try {
    return await work(handle, () => isStill(handle, file));
  } finally {
    await handle.close();
  }
}

async function openSame(file: FileFacts): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file.path, "r");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  if (await isStill(handle, file)) return handle;
  await handle.close();
  return undefined;
}

async function isStill(handle: FileHandle, file: FileFacts): Promise<boolean> {
  return factsFrom(file.path, await handle.stat({ bigint: true })).mark === file.mark;
}

/** The value of a file piece by piece. Who reads it has the file open, so it may be replaced meanwhile. */
export function bodyOf({ file, sha256 }: Source, key: string, runtime: Runtime, store: string): Body {
  const { size } = file;
  return {
    size,
    sha256,
    content: (range, options = {}) => {
      const { from, to } = boundsOf(range, size);
      return pieces(from, to, isPart(range, size) ? undefined : sha256, options);
    },
  };

  async function* pieces(from: number, to: number, sum: string | undefined, options: CallOptions) {
    const hash = createHash("sha256");
    const handle = await openSame(file).catch((error: unknown) => {
      throw fileFailure(error, { store, operation: "read", key });
    });
    if (handle === undefined) {
      const cure = "read the key again";
      throw new SyncError("NOT_FOUND", "the value was replaced", { store, operation: "read", key, cure });
    }
    try {
      for (let at = from; at < to;) {
        checkCall(runtime, options, store, "read");
        const wanted = Math.min(PIECE_BYTES, to - at);
        const { bytesRead, buffer } = await handle.read(new Uint8Array(wanted), 0, wanted, at);
        if (bytesRead === 0) throw wrongBytes({ store, key });
        at += bytesRead;
        const piece = buffer.subarray(0, bytesRead);
        hash.update(piece);
        yield piece;
      }
      // Somebody who wrote into the file while it was read has made a mixture of it.
      if (!(await isStill(handle, file))) throw wrongBytes({ store, key });
      if (sum !== undefined && hash.digest("hex") !== sum) throw wrongBytes({ store, key });
    } finally {
      await handle.close();
    }
  }
}
