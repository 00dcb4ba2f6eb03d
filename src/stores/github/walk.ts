import type { PathChange, TreeEntry, TreeFile } from "../git-layout/repository.ts";
import type { Objects } from "./objects.ts";
import { EMPTY_TREE, inOrder, isFile, isFolder } from "./tree.ts";
import type { Tree, TreeItem } from "./tree.ts";

/** From so many unknown folders on, one request for all below is cheaper than one for those. */
const WHOLE_FROM = 8;

/** What stands at each path below a folder, in order. Each folder on the way is read once, level by level. */
export async function lookUp(
  objects: Objects,
  root: string,
  paths: readonly string[],
): Promise<(TreeEntry | undefined)[]> {
  const found: (TreeEntry | undefined)[] = paths.map(() => undefined);
  let level = new Map<string, { at: number; left: string[] }[]>();
  const want = (into: typeof level, id: string, at: number, left: string[]) => {
    const list = into.get(id);
    if (list === undefined) into.set(id, [{ at, left }]);
    else list.push({ at, left });
  };
  for (const [i, path] of paths.entries()) {
    if (path === "") found[i] = { type: "tree", id: root };
    else want(level, root, i, path.split("/"));
  }
  while (level.size > 0) {
    const trees = await objects.trees([...level.keys()]);
    const next: typeof level = new Map();
    for (const [id, wanted] of level) {
      const tree = trees.get(id);
      for (const { at, left } of wanted) {
        const [name = "", ...below] = left;
        const item = tree?.get(name);
        if (item === undefined) continue;
        if (below.length === 0) found[at] = entryOf(item);
        else if (isFolder(item)) want(next, item.id, at, below);
      }
    }
    level = next;
  }
  return found;
}

export function entryOf(item: Pick<TreeItem, "mode" | "id">): TreeEntry {
  return { type: isFolder(item) ? "tree" : isFile(item) ? "blob" : "other", id: item.id };
}

/** Every regular file below a folder, in the byte order of the paths. */
export async function* filesBelow(objects: Objects, root: string): AsyncIterable<TreeFile> {
  const known = new Map<string, Tree>();
  let askedWhole = false;
  for (let level = [root]; level.length > 0;) {
    const unknown = level.filter((id) => objects.known(id) === undefined);
    if (!askedWhole && (unknown.length >= WHOLE_FROM || unknown.includes(root))) {
      askedWhole = true;
      await objects.whole(root);
    }
    const trees = await objects.trees(level);
    const next = new Set<string>();
    for (const [id, tree] of trees) {
      known.set(id, tree);
      for (const item of tree.values()) if (isFolder(item) && !known.has(item.id)) next.add(item.id);
    }
    level = [...next];
  }
  yield* filesOf(known, root, "");
}

function* filesOf(known: ReadonlyMap<string, Tree>, id: string, under: string): Iterable<TreeFile> {
  for (const item of inOrder(known.get(id) ?? new Map())) {
    if (item.raw !== undefined) continue;
    if (isFolder(item)) yield* filesOf(known, item.id, `${under}${item.name}/`);
    else if (isFile(item)) yield { path: under + item.name, id: item.id };
  }
}

/** Two folders to be compared; null: there was none. */
export interface Pair {
  readonly from: string | null;
  readonly to: string | null;
}

/** What differs in each pair of folders: all pairs at once, level by level, and only where ids differ. */
export async function differences(
  objects: Objects,
  pairs: readonly Pair[],
  onBadPath: (path: string) => void,
): Promise<PathChange[][]> {
  const changes: PathChange[][] = pairs.map(() => []);
  let level = pairs.map(({ from, to }, i) => ({ i, under: "", from: from ?? EMPTY_TREE, to: to ?? EMPTY_TREE }));
  while (level.length > 0) {
    const differing = level.filter(({ from, to }) => from !== to);
    const trees = await objects.trees([...new Set(differing.flatMap(({ from, to }) => [from, to]))]);
    const next: typeof level = [];
    for (const { i, under, from, to } of differing) {
      const before = trees.get(from) ?? new Map<string, TreeItem>();
      const after = trees.get(to) ?? new Map<string, TreeItem>();
      for (const name of new Set([...before.keys(), ...after.keys()])) {
        const [old, now] = [before.get(name), after.get(name)];
        if (old?.id === now?.id && old?.mode === now?.mode) continue;
        const [oldFolder, newFolder] = [folderId(old), folderId(now)];
        const path = under + (now?.name ?? old?.name ?? "");
        if ((now ?? old)?.raw !== undefined) {
          onBadPath(path);
          continue;
        }
        if (oldFolder !== undefined || newFolder !== undefined) {
          next.push({ i, under: `${path}/`, from: oldFolder ?? EMPTY_TREE, to: newFolder ?? EMPTY_TREE });
        }
        const change = changeOf(path, old, now);
        if (change !== undefined) changes[i]?.push(change);
      }
    }
    level = next;
  }
  return changes;
}

function folderId(item: TreeItem | undefined): string | undefined {
  return item !== undefined && isFolder(item) ? item.id : undefined;
}

function changeOf(path: string, old: TreeItem | undefined, now: TreeItem | undefined): PathChange | undefined {
  const before = old === undefined || isFolder(old) ? undefined : old;
  const after = now === undefined || isFolder(now) ? undefined : now;
  if (before === undefined && after === undefined) return undefined;
  return {
    path,
    oldId: before !== undefined && isFile(before) ? before.id : null,
    newId: after !== undefined && isFile(after) ? after.id : null,
    oldOther: before !== undefined && !isFile(before),
    newOther: after !== undefined && !isFile(after),
  };
}
