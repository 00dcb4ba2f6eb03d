import { createHash } from "node:crypto";
import { SyncError } from "../../error.ts";
import type { Pointer } from "./pointer.ts";

/** The pieces as they come; the end only if together they are what the pointer says. */
export async function* checked(
  pieces: AsyncIterable<Uint8Array>,
  { oid, size }: Pointer,
  store: string,
): AsyncIterable<Uint8Array> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > size) break;
    hash.update(piece);
    yield piece;
  }
  if (bytes === size && hash.digest("hex") === oid) return;
  throw new SyncError("CORRUPT", `the large file ${oid} came with other bytes than its pointer says`, {
    store,
    operation: "read",
    cure: "restore the object on the LFS server, for example by git lfs push --all from a clone that has it",
  });
}
