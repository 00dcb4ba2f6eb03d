import { SyncError } from "../../error.ts";
import type { Blob, TreeEntry } from "../git-layout/repository.ts";
import { TEXT_FIELDS, bytesOfText } from "./objects.ts";
import type { GraphqlText, Objects } from "./objects.ts";
import type { GraphqlProblem } from "./api.ts";
import type { Answer, Pieces, Query } from "./pieces.ts";
import { entryOf, lookUp } from "./walk.ts";

/** What stands at paths of a commit. */
export interface Paths {
  /** In order; undefined where nothing does. `root` is the commit's folder. */
  lookUp(commit: string, root: string, paths: readonly string[]): Promise<(TreeEntry | undefined)[]>;
  /** The files at the paths, in order; undefined where there is none. Together they are in memory. */
  files(commit: string, root: string, paths: readonly string[]): Promise<(Blob | undefined)[]>;
}

/**
 * Folders that are in memory tell without a request. What they do not tell is asked for by its path, all of it in one
 * request or a few, or folder by folder when that takes no more: those are then in memory.
 */
export function githubPaths(objects: Objects, pieces: Pieces): Paths {
  let hasFiles = true;

  const isCheaper = (paths: readonly string[], withText: boolean): boolean => {
    const { size } = pieces;
    if (!hasFiles || size === 0) return false;
    const requests = (count: number) => Math.ceil(count / size);
    const more = withText ? requests(paths.length) : 0;
    // Each level is one request at least, so that few paths need no closer look.
    if (requests(paths.length) < depthOf(paths[0] ?? "") + more) return true;
    const folders = levelsOf(paths).reduce((sum, level) => sum + requests(level.size), 0);
    return requests(paths.length) < folders + more;
  };

  /** False: this server has no such query. */
  const ask = async (
    commit: string,
    paths: readonly string[],
    fields: string,
    take: (path: string, found: GraphqlEntry | "absent" | undefined) => void,
  ): Promise<boolean> => {
    try {
      const left = await pieces.ask(paths, byPath(commit, fields), (path, found) => take(path, found as GraphqlEntry));
      return left.length === 0;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "UNSUPPORTED") throw error;
      hasFiles = false;
      return false;
    }
  };

  /** @param texts takes the bytes that came with the answer, where they are wanted. */
  const find = async (
    commit: string,
    root: string,
    paths: readonly string[],
    texts?: Map<string, Uint8Array>,
  ): Promise<(TreeEntry | undefined)[]> => {
    const known = paths.map((path) => fromMemory(objects, root, path));
    const open = paths.filter((_, i) => known[i] === undefined);
    const found = new Map<string, TreeEntry | undefined>();
    if (open.length > 0 && isCheaper(open, texts !== undefined)) {
      const fields = texts === undefined ? "" : ` object{...on Blob{${TEXT_FIELDS}}}`;
      await ask(commit, open, fields, (path, value) => {
        if (value === "absent") found.set(path, undefined);
        else if (value !== undefined) found.set(path, entryOf({ mode: value.mode.toString(8), id: value.oid }));
        if (typeof value !== "object" || value.object == null) return;
        const bytes = bytesOfText(value.oid, value.object);
        if (bytes === undefined) return;
        texts?.set(value.oid, bytes);
        objects.learnBlob(value.oid, bytes);
      });
    }
    const left = open.filter((path) => !found.has(path));
    const walked = left.length === 0 ? [] : await lookUp(objects, root, left);
    for (const [i, path] of left.entries()) found.set(path, walked[i]);
    return paths.map((path, i) => (known[i] === undefined ? found.get(path) : (known[i]?.entry ?? undefined)));
  };

  return {
    lookUp: (commit, root, paths) => find(commit, root, paths),
    async files(commit, root, paths) {
      const texts = new Map<string, Uint8Array>();
      const entries = await find(commit, root, paths, texts);
      const ids = new Set(entries.flatMap((entry) => (entry?.type === "blob" ? [entry.id] : [])));
      const left = [...ids].filter((id) => !texts.has(id));
      const rest = await objects.blobs(left);
      for (const [i, id] of left.entries()) {
        const bytes = rest[i];
        if (bytes !== undefined) texts.set(id, bytes);
      }
      return entries.map((entry) => {
        const bytes = entry?.type === "blob" ? texts.get(entry.id) : undefined;
        return entry === undefined || bytes === undefined ? undefined : { id: entry.id, bytes };
      });
    },
  };
}

/** What the folders in memory say of a path; undefined: not enough of them are there. */
function fromMemory(objects: Objects, root: string, path: string): { entry: TreeEntry | undefined } | undefined {
  let entry: TreeEntry = { type: "tree", id: root };
  for (const name of path === "" ? [] : path.split("/")) {
    if (entry.type !== "tree") return { entry: undefined };
    const tree = objects.known(entry.id);
    if (tree === undefined) return undefined;
    const item = tree.get(name);
    if (item === undefined) return { entry: undefined };
    entry = entryOf(item);
  }
  return { entry };
}

/** How many folders lie on the way to a path, the root among them. */
function depthOf(path: string): number {
  let depth = 1;
  for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) depth++;
  return depth;
}

/** The folders on the way to the paths, by how deep they lie. */
function levelsOf(paths: readonly string[]): Set<string>[] {
  const levels: Set<string>[] = [];
  for (const path of paths) {
    let depth = 0;
    for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) {
      (levels[depth++] ??= new Set()).add(path.slice(0, slash));
    }
  }
  return [new Set([""]), ...levels];
}

interface GraphqlEntry {
  readonly mode: number;
  readonly oid: string;
  readonly object?: GraphqlText | null;
}

/** What is at the paths of a commit. Source: docs.github.com, GraphQL, `Commit.file`. */
function byPath(commit: string, fields: string): Query {
  return {
    fields(paths) {
      const files = paths.map((path, i) => `f${i}:file(path:${JSON.stringify(path)}){...F}`).join(" ");
      return `object(oid:"${commit}"){...on Commit{${files}}}`;
    },
    fragment: `TreeEntry{mode oid${fields}}`,
    found({ object }: Answer, paths, problems: readonly GraphqlProblem[]) {
      if (object == null) {
        throw new SyncError("UNAVAILABLE", `GitHub does not give the commit ${commit}, which the branch names`, {
          store: "github",
          operation: "read",
          cure: "try again; GitHub can lag behind its own writes",
        });
      }
      const absent = new Set(problems.filter(({ type }) => type === "NOT_FOUND").map(({ path }) => path?.at(-1)));
      const files = object as Answer;
      // Null for another reason, such as a file that is too large for it, is no answer.
      return paths.map((_, i) => files[`f${i}`] ?? (absent.has(`f${i}`) ? "absent" : undefined));
    },
  };
}
