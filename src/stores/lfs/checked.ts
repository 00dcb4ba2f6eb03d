import { createHash } from "node:crypto";
import { wrongBytes } from "../../body.ts";
import { SyncError } from "../../error.ts";
import type { Part } from "./files.ts";
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

/** The pieces of a part as they come; the end only if together they are as long as it. */
export async function* checkedPart(
  pieces: AsyncIterable<Uint8Array>,
  { from, to }: Part,
  store: string,
): AsyncIterable<Uint8Array> {
  let left = to - from;
  for await (const piece of pieces) {
    left -= piece.length;
    if (left < 0) break;
    yield piece;
  }
  if (left !== 0) throw wrongBytes({ store });
}
