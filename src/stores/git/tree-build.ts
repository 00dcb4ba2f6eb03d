import { SyncError } from "../../error.ts";
import type { Objects } from "./objects.ts";
import { newObject } from "./pack.ts";
import type { NewObject } from "./pack.ts";
import { eachEntry, mergedTree } from "./tree-body.ts";
import type { TreeChange } from "./tree-body.ts";

export interface TreeSettings {
  readonly objects: Objects;
  readonly algorithm: "sha1" | "sha256";
  /** The commit whose tree is changed. Null: it begins empty. */
  readonly parent: string | null;
  /** As in `NewCommit`: removed before the files are put, what is not there is ignored. */
  readonly deletes: readonly string[];
  readonly files: readonly { readonly path: string; readonly id: string }[];
}

/** So many folders are read at a time. */
const GROUP = 256;

/**
 * The id of a commit's tree with files removed and put. Every folder on their way is read once, the new one told to
 * `made` as soon as what is below it is known. Folders that are left without anything are gone, but for the root.
 */
export async function buildTree(
  { objects, algorithm, parent, deletes, files }: TreeSettings,
  made: (tree: NewObject) => Promise<void>,
): Promise<string> {
  const idBytes = algorithm === "sha1" ? 20 : 32;
  const root = new Folder(wantedOf(deletes, files), parent === null ? undefined : `${parent}^{tree}`, undefined, "");
  let result = "";

  /** A folder whose changes are all known, and those above that waited for it only. */
  const close = async (folder: Folder): Promise<void> => {
    const body = mergedTree(folder.body, idBytes, folder.changes);
    folder.body = NO_BYTES;
    const { above } = folder;
    const isGone = body.length === 0 && above !== undefined;
    const tree = isGone ? undefined : newObject("tree", body, algorithm);
    if (tree !== undefined && tree.id !== folder.base) await made(tree);
    if (above === undefined) {
      result = tree?.id ?? "";
      return;
    }
    above.changes.set(folder.name, tree === undefined ? null : { mode: "40000", id: tree.id });
    if (--above.open === 0) await close(above);
  };

  for (let level = [root]; level.length > 0;) {
    const next: Folder[] = [];
    for (let at = 0; at < level.length; at += GROUP) {
      const group = level.slice(at, at + GROUP);
      const bodies = await objects.contents(group.flatMap(({ base }) => base ?? []));
      let read = 0;
      for (const folder of group) {
        if (folder.base !== undefined) {
          const body = bodies[read++];
          if (body?.type !== "tree") throw new SyncError("CORRUPT", `the tree ${folder.base} cannot be read`);
          folder.body = body.bytes;
        }
        const below = foldersBelow(folder, idBytes);
        folder.open = below.length;
        next.push(...below);
        if (folder.open === 0) await close(folder);
      }
    }
    level = next;
  }
  return result;
}

const NO_BYTES = new Uint8Array();

class Folder {
  readonly wanted: Wanted;
  /** What it is now, as git names it; undefined: nothing. */
  readonly base: string | undefined;
  readonly above: Folder | undefined;
  readonly name: string;
  readonly changes = new Map<string, TreeChange | null>();
  body: Uint8Array = NO_BYTES;
  /** How many folders in it are not finished. */
  open = 0;

  constructor(wanted: Wanted, base: string | undefined, above: Folder | undefined, name: string) {
    this.wanted = wanted;
    this.base = base;
    this.above = above;
    this.name = name;
  }
}

/** By the name of an entry, as its bytes in latin1. */
type Wanted = Map<string, Want>;

/** What is to become of one name of a folder. */
interface Want {
  /** What is there now goes, with all that is below. */
  isGone: boolean;
  /** The id of the file to be put. */
  file: string | undefined;
  /** Whether a file is put somewhere below, for which it has to be a folder. */
  isNeeded: boolean;
  readonly below: Wanted;
}

function wantedOf(deletes: readonly string[], files: TreeSettings["files"]): Wanted {
  const root: Wanted = new Map();
  for (const path of deletes) for (const [want, isLast] of along(root, path)) if (isLast) want.isGone = true;
  for (const { path, id } of files) {
    for (const [want, isLast] of along(root, path)) {
      if (isLast) want.file = id;
      else want.isNeeded = true;
      if (want.isNeeded && want.file !== undefined) throw new SyncError("INTERNAL", "a path is a file and a folder");
    }
  }
  return root;
}

/** The wants of a path, from the outermost folder on. They are made if they are not there. */
function along(root: Wanted, path: string): [Want, isLast: boolean][] {
  const segments = path.split("/");
  let folder = root;
  return segments.map((segment, i) => {
    const name = Buffer.from(segment, "utf8").toString("latin1");
    let want = folder.get(name);
    if (want === undefined) {
      want = { isGone: false, file: undefined, isNeeded: false, below: new Map() };
      folder.set(name, want);
    }
    folder = want.below;
    return [want, i === segments.length - 1];
  });
}

/** Notes what becomes of the folder's own files, and returns its folders in which something changes. */
function foldersBelow(folder: Folder, idBytes: number): Folder[] {
  const { wanted, changes } = folder;
  const inside = new Map<string, Want>();
  for (const [name, want] of wanted) {
    if (want.file !== undefined) changes.set(name, { mode: "100644", id: want.file });
    else if (want.isNeeded || !want.isGone) inside.set(name, want);
    else changes.set(name, null);
  }
  if (inside.size === 0) return [];
  const there = new Map<string, string>();
  eachEntry(folder.body, idBytes, inside, (name, { mode, id }) => {
    if (mode === "40000") there.set(name, id);
  });
  const below: Folder[] = [];
  for (const [name, { isGone, isNeeded, below: wantedBelow }] of inside) {
    const base = isGone ? undefined : there.get(name);
    // Only removals lie below what is no folder: there is nothing to remove.
    if (base !== undefined || isNeeded) below.push(new Folder(wantedBelow, base, folder, name));
  }
  return below;
}
