import { boundsOf, isPart } from "../../body.ts";
import type { Body } from "../../body.ts";
import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import { oneChunk } from "../lfs/files.ts";
import { parsePointer } from "../lfs/pointer.ts";
import type { Pointer } from "../lfs/pointer.ts";
import type { LargeFiles, Naming } from "./names.ts";
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

/** The large file that a file points to; undefined where the file is the value itself. */
export function pointerIn({ large }: Naming, { storage }: Known, file: Uint8Array): Pointer | undefined {
  return large === undefined || storage === "plain" ? undefined : parsePointer(file);
}

/** A large file as it comes from where large files are. */
function bodyOf(large: LargeFiles, pointer: Pointer): Body {
  const { oid, size } = pointer;
  return {
    size,
    sha256: oid,
    content(range, options = {}) {
      const { from, to } = boundsOf(range, size);
      return isPart(range, size)
        ? large.files.download(pointer, options, { from, to })
        : large.files.download(pointer, options);
    },
  };
}

function bodyAtHand(value: Uint8Array): Body {
  return {
    size: value.length,
    sha256: undefined,
    content(range) {
      const { from, to } = boundsOf(range, value.length);
      return oneChunk(value.slice(from, to));
    },
  };
}

/** The value that a file stands for: itself, or the large file that it points to. */
export async function valueOf(
  naming: Naming,
  known: Known,
  file: Uint8Array,
  options: CallOptions = {},
): Promise<Uint8Array> {
  const { large } = naming;
  const { head } = known;
  const pointer = pointerIn(naming, known, file);
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

/** An entry with its value, or a stub with the body that it stands for. */
export interface Held {
  readonly entry: Entry;
  readonly body?: Body | undefined;
}

/** Entries of what is known, with their values, but for those of more bytes. All of them are in memory at once. */
export async function valuesOf(
  naming: Naming,
  knowns: readonly Known[],
  options: CallOptions,
  wholeBytesMax: number,
): Promise<(Held | undefined)[]> {
  const files = await filesOf(naming, knowns);
  const held: (Held | undefined)[] = knowns.map(() => undefined);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < knowns.length; i = next++) {
      const known = knowns[i];
      if (known?.head === undefined) continue;
      const file = known.blob === null ? undefined : files.get(known.blob);
      const pointer = file === undefined ? undefined : pointerIn(naming, known, file);
      if (pointer !== undefined && naming.large !== undefined && pointer.size > wholeBytesMax) {
        const entry = { ...known.head, state: "stub", value: null } as const;
        held[i] = { entry, body: bodyOf(naming.large, pointer) };
        continue;
      }
      const isWhole = file === undefined || pointer === undefined;
      const value = isWhole ? (file ?? null) : await valueOf(naming, known, file, options);
      // A file of git itself comes whole, whatever is asked for; its reader gets it in the form that was asked for.
      if (value !== null && naming.large !== undefined && value.length > wholeBytesMax) {
        held[i] = { entry: { ...known.head, state: "stub", value: null }, body: bodyAtHand(value) };
        continue;
      }
      // Written out: to spread a head costs as much as all else that is done for a key here.
      const { key, state, version, expires, meta } = known.head;
      held[i] = { entry: { key, state, value, version, expires, meta } };
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, knowns.length) }, worker));
  return held;
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
