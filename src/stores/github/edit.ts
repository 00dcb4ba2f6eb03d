import type { Objects } from "./objects.ts";
import { FILE_MODE, FOLDER_MODE, EMPTY_TREE, isFolder, treeId } from "./tree.ts";
import type { Tree, TreeItem } from "./tree.ts";

/** What becomes of a file. */
export interface Edit {
  readonly path: string;
  /** Undefined: it goes. */
  readonly file: { readonly id: string; readonly size: number } | undefined;
}

interface Node {
  readonly files: Map<string, Edit["file"]>;
  readonly below: Map<string, Node>;
}

/** Gives folders by their ids. Undefined: not all of them are at hand. */
export type Folders = (
  ids: readonly string[],
) => Promise<ReadonlyMap<string, Tree>> | ReadonlyMap<string, Tree> | undefined;

/**
 * Keeps the folders as they will be after a commit: what was written need not be read again.
 * @returns false: not all that they are now was at hand, and nothing is kept.
 */
export async function learnEdited(
  objects: Objects,
  root: string | null,
  edits: readonly Edit[],
  folders: Folders,
): Promise<boolean> {
  const whole = nodeOf(edits);
  const before = await foldersOf(folders, root ?? EMPTY_TREE, whole);
  if (before === undefined) return false;
  const changed = (id: string, { files, below }: Node): string => {
    const items = new Map<string, TreeItem>(before.get(id));
    for (const [name, file] of files) if (file === undefined) items.delete(name);
    for (const [name, node] of below) {
      const folder = changed(folderId(items.get(name)), node);
      if (folder === EMPTY_TREE) items.delete(name);
      else items.set(name, { name, raw: undefined, mode: FOLDER_MODE, id: folder, size: undefined });
    }
    for (const [name, file] of files) {
      if (file !== undefined) items.set(name, { name, raw: undefined, mode: FILE_MODE, ...file });
    }
    const tree = treeId(items);
    objects.learnTree(tree, items);
    return tree;
  };
  changed(root ?? EMPTY_TREE, whole);
  return true;
}

/** Every folder with an edit in it, as it is now: level by level, all of a level together. */
async function foldersOf(folders: Folders, root: string, whole: Node): Promise<ReadonlyMap<string, Tree> | undefined> {
  const all = new Map<string, Tree>();
  for (let level = [{ id: root, node: whole }]; level.length > 0;) {
    const found = await folders([...new Set(level.map(({ id }) => id))]);
    if (found === undefined) return undefined;
    const next: typeof level = [];
    for (const { id, node } of level) {
      const tree = found.get(id);
      if (tree === undefined) continue;
      all.set(id, tree);
      for (const [name, below] of node.below) next.push({ id: folderId(tree.get(name)), node: below });
    }
    level = next;
  }
  return all;
}

function folderId(item: TreeItem | undefined): string {
  return item !== undefined && isFolder(item) ? item.id : EMPTY_TREE;
}

function nodeOf(edits: readonly Edit[]): Node {
  const root: Node = { files: new Map(), below: new Map() };
  for (const { path, file } of edits) {
    const segments = path.split("/");
    const name = segments.pop() ?? "";
    let node = root;
    for (const segment of segments) {
      let next = node.below.get(segment);
      if (next === undefined) node.below.set(segment, (next = { files: new Map(), below: new Map() }));
      node = next;
    }
    node.files.set(name, file);
  }
  return root;
}
