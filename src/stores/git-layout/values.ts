import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { Naming } from "./names.ts";
import type { Known } from "./snapshot.ts";

/** Entries of what is known, with their values. All of them are in memory at once: see {@link groupsBySize}. */
export async function valuesOf(
  { store, repository }: Naming,
  knowns: readonly Known[],
): Promise<(Entry | undefined)[]> {
  const ids = [...new Set(knowns.flatMap(({ head, blob }) => (head === undefined || blob === null ? [] : [blob])))];
  const found = await repository.contents(ids);
  const bytes = new Map<string, Uint8Array>();
  for (const [i, object] of found.entries()) if (object !== undefined) bytes.set(ids[i] ?? "", object.bytes);
  return knowns.map(({ head, blob }) => {
    if (head === undefined) return undefined;
    if (blob === null) return { ...head, value: null };
    const value = bytes.get(blob);
    if (value === undefined) {
      throw new SyncError("CORRUPT", `the object ${blob} is not in the repository`, {
        store,
        key: head.key,
        cure: "run git fsck in the repository, and restore the object from another clone",
      });
    }
    return { ...head, value };
  });
}

/** Cuts a sequence of values into groups of at most so many bytes, so that a list holds one of them at a time. */
export async function groupsBySize(
  { repository }: Naming,
  knowns: readonly Known[],
  bytesMax: number,
): Promise<(readonly Known[])[]> {
  const sizes = await repository.sizes(knowns.map(({ blob }) => blob ?? ""));
  const groups: Known[][] = [[]];
  let bytes = 0;
  for (const [i, known] of knowns.entries()) {
    const size = known.blob === null ? 0 : (sizes[i] ?? 0);
    if (bytes > 0 && bytes + size > bytesMax) {
      groups.push([]);
      bytes = 0;
    }
    bytes += size;
    groups.at(-1)?.push(known);
  }
  return groups;
}
