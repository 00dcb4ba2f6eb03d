import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import { parsePointer } from "../lfs/pointer.ts";
import type { Naming } from "./names.ts";
import type { Known } from "./snapshot.ts";

/** The files of what is known, by their ids. All of them are in memory at once: see {@link groupsBySize}. */
export async function filesOf(
  { store, repository }: Naming,
  knowns: readonly Known[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const wanted = knowns.flatMap(({ head, blob }) => (head === undefined || blob === null ? [] : [{ blob, head }]));
  const ids = [...new Set(wanted.map(({ blob }) => blob))];
  const found = await repository.contents(ids);
  const files = new Map<string, Uint8Array>();
  for (const [i, object] of found.entries()) if (object !== undefined) files.set(ids[i] ?? "", object.bytes);
  const missing = wanted.find(({ blob }) => !files.has(blob));
  if (missing === undefined) return files;
  throw new SyncError("CORRUPT", `the object ${missing.blob} is not in the repository`, {
    store,
    key: missing.head.key,
    cure: "run git fsck in the repository, and restore the object from another clone",
  });
}

/** The value that a file stands for: itself, or the large file that it points to. */
export async function valueOf(
  naming: Naming,
  { head, storage }: Known,
  file: Uint8Array,
  options: CallOptions = {},
): Promise<Uint8Array> {
  const { large } = naming;
  const pointer = large === undefined || storage === "plain" ? undefined : parsePointer(file);
  if (pointer === undefined || large === undefined) return file;
  if (pointer.size > VALUE_BYTES_MAX) {
    throw new SyncError(
      "TOO_LARGE",
      `the large file has ${pointer.size} bytes, a value has ${VALUE_BYTES_MAX} at most`,
      {
        store: naming.store,
        operation: "read",
        ...(head === undefined ? {} : { key: head.key }),
        cure: "read it with the git lfs client",
      },
    );
  }
  const value = new Uint8Array(pointer.size);
  let at = 0;
  for await (const piece of large.files.download(pointer, options)) {
    value.set(piece, at);
    at += piece.length;
  }
  return value;
}

/** Entries of what is known, with their values. All of them are in memory at once. */
export async function valuesOf(
  naming: Naming,
  knowns: readonly Known[],
  options: CallOptions = {},
): Promise<(Entry | undefined)[]> {
  const files = await filesOf(naming, knowns);
  const entries: (Entry | undefined)[] = knowns.map(() => undefined);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < knowns.length; i = next++) {
      const known = knowns[i];
      if (known?.head === undefined) continue;
      const file = known.blob === null ? undefined : files.get(known.blob);
      entries[i] = { ...known.head, value: file === undefined ? null : await valueOf(naming, known, file, options) };
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, knowns.length) }, worker));
  return entries;
}

/** Large files that are fetched at a time. */
const PARALLEL = 4;
/** What one array can surely hold. */
const VALUE_BYTES_MAX = 2 ** 31 - 1;

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
