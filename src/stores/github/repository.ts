import type { Blob, PassageOptions, Repository, Step } from "../git-layout/repository.ts";
import { isSigned } from "../git-layout/trailers.ts";
import type { CommitInfo, Commits } from "./commits.ts";
import type { Objects } from "./objects.ts";
import type { Paths } from "./paths.ts";
import { differences, filesBelow, lookUp } from "./walk.ts";

/** So many commits' folders are compared at once: each level of them is one request. */
const WINDOW = 50;

/** A repository that is read by GitHub's API. */
export function githubRepository(objects: Objects, paths: Paths, commits: Commits): Repository {
  let isCold = true;

  /** The folder of the whole commit. The first one ever is fetched with all that is in it, in one request. */
  const rootOf = async (commit: string): Promise<string | undefined> => {
    const tree = (await commits.info(commit))?.tree;
    if (tree !== undefined && isCold) {
      isCold = false;
      if (objects.known(tree) === undefined) await objects.whole(tree);
    }
    return tree;
  };
  const contents = async (ids: readonly string[]): Promise<(Blob | undefined)[]> => {
    const found = await objects.blobs(ids);
    return found.map((bytes, i) => (bytes === undefined ? undefined : { id: ids[i] ?? "", bytes }));
  };
  const folderIn = async (root: string | undefined, folder: string): Promise<string | null> => {
    if (root === undefined) return null;
    const [found] = await lookUp(objects, root, [folder]);
    return found?.type === "tree" ? found.id : null;
  };

  async function* passage({ from, to, prefix, onBadPath }: PassageOptions): AsyncIterable<Step> {
    await rootOf(to);
    const line = await commits.line(from, to);
    for (let at = 0; at < line.length; at += WINDOW) {
      const window = line.slice(at, at + WINDOW);
      const parents: (CommitInfo | undefined)[] = [];
      for (const { parent } of window) parents.push(parent === null ? undefined : await commits.info(parent));
      const roots = [...window.map(({ tree }) => tree), ...parents.map((parent) => parent?.tree)];
      const folders = await foldersIn(roots, prefix);
      const pairs = window.map((_, i) => ({ to: folders[i] ?? null, from: folders[window.length + i] ?? null }));
      const changes = await differences(objects, pairs, onBadPath);
      for (const [i, commit] of window.entries()) yield stepOf(commit, prefix, changes[i] ?? []);
    }
  }

  /** The same folder in many commits, level by level. */
  async function foldersIn(roots: readonly (string | undefined)[], prefix: string): Promise<(string | null)[]> {
    let ids: (string | null)[] = roots.map((root) => root ?? null);
    for (const name of prefix === "" ? [] : prefix.split("/")) {
      const trees = await objects.trees([...new Set(ids.filter((id) => id !== null))]);
      ids = ids.map((id) => {
        const item = id === null ? undefined : trees.get(id)?.get(name);
        return item?.mode === "40000" ? item.id : null;
      });
    }
    return ids;
  }

  return {
    algorithm: "sha1",
    async lookUp(commit, at) {
      const root = await rootOf(commit);
      return root === undefined ? at.map(() => undefined) : paths.lookUp(commit, root, at);
    },
    async filesAt(commit, at) {
      const root = await rootOf(commit);
      return root === undefined ? at.map(() => undefined) : paths.files(commit, root, at);
    },
    contents,
    sizes: (ids) => Promise.resolve(ids.map((id) => objects.sizeOf(id) ?? 0)),
    async *files(commit, folder) {
      const root = await folderIn(await rootOf(commit), folder);
      if (root !== null) yield* filesBelow(objects, root);
    },
    passage,
    async *changes(from, to, prefix) {
      const roots = [from === null ? undefined : await rootOf(from), await rootOf(to)];
      const [before = null, after = null] = await foldersIn(roots, prefix);
      const [changes = []] = await differences(objects, [{ from: before, to: after }], () => {});
      yield* changes;
    },
    isAncestor: (commit, of) => commits.isAncestor(commit, of),
  };
}

function stepOf({ id, parent, trailers }: CommitInfo, prefix: string, changes: Step["changes"]): Step {
  const signed = [trailers.get("sync-parent") ?? "", trailers.get("sync-prefix") ?? ""] as const;
  return { commit: id, parent, bySync: isSigned(parent, prefix, ...signed), changes };
}
