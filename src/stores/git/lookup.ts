import type { TreeEntry } from "../git-layout/repository.ts";
import type { Objects } from "./objects.ts";
import { eachEntry } from "./tree-body.ts";

/** Up to so many paths, each is asked for by itself; above, every folder on their way is read once instead. */
const ONE_BY_ONE_MAX = 8;

/**
 * What stands at each path at a commit, in order; undefined where nothing does.
 *
 * Git looks a path up by reading every folder above it, so that 10,000 look-ups in one folder of 10,000 files would
 * read a hundred million entries. Here each folder is read once, level by level, all of one level in one question.
 */
export async function lookUp(
  objects: Objects,
  algorithm: "sha1" | "sha256",
  commit: string,
  paths: readonly string[],
): Promise<(TreeEntry | undefined)[]> {
  if (paths.length <= ONE_BY_ONE_MAX) {
    const infos = await objects.infos(paths.map((path) => `${commit}:${path}`));
    return infos.map((info) => {
      if (info?.type === "blob" || info?.type === "tree") return { type: info.type, id: info.id };
      return undefined;
    });
  }
  const found: (TreeEntry | undefined)[] = paths.map(() => undefined);
  let level: Folder[] = [{ name: `${commit}:`, wanted: pathsBelow(paths) }];
  const idBytes = algorithm === "sha1" ? 20 : 32;
  while (level.length > 0) {
    const next: Folder[] = [];
    for (const group of inGroups(level)) {
      const trees = await objects.contents(group.map(({ name }) => name));
      for (const [i, { wanted }] of group.entries()) {
        const tree = trees[i];
        if (tree?.type !== "tree") continue;
        eachEntry(tree.bytes, idBytes, wanted, (name, { mode, id }) => {
          const want = wanted.get(name);
          const type = mode === "40000" ? "tree" : mode.startsWith("100") ? "blob" : "other";
          for (const at of want?.at ?? []) found[at] = { type, id };
          if (type === "tree" && want !== undefined && want.below.size > 0) next.push({ name: id, wanted: want.below });
        });
      }
    }
    level = next;
  }
  return found;
}

interface Folder {
  /** As git names it. */
  readonly name: string;
  readonly wanted: Wanted;
}

/** By the name of an entry, as its bytes in latin1. */
type Wanted = Map<string, Want>;

interface Want {
  /** Which paths end here. */
  readonly at: number[];
  readonly below: Wanted;
}

function pathsBelow(paths: readonly string[]): Wanted {
  const root: Wanted = new Map();
  for (const [i, path] of paths.entries()) {
    let folder = root;
    let want: Want | undefined;
    for (const segment of path.split("/")) {
      const name = Buffer.from(segment, "utf8").toString("latin1");
      want = folder.get(name);
      if (want === undefined) folder.set(name, (want = { at: [], below: new Map() }));
      folder = want.below;
    }
    want?.at.push(i);
  }
  return root;
}

/** Folders of one level, so many at a time that their bytes together stay small. */
function inGroups(folders: readonly Folder[]): (readonly Folder[])[] {
  const groups: Folder[][] = [];
  for (let at = 0; at < folders.length; at += 512) groups.push(folders.slice(at, at + 512));
  return groups;
}
