import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import { blobId } from "../git-layout/record.ts";
import type { CallOptions } from "../../store.ts";
import type { Api } from "./api.ts";
import { json } from "./api.ts";
import { statusError } from "./failures.ts";
import { kept } from "./kept.ts";
import type { Pieces, Query } from "./pieces.ts";
import { EMPTY_TREE, treeBytes, treeId, treeItem, treeOf } from "./tree.ts";
import type { Tree, TreeItem } from "./tree.ts";

/** Reads folders and files by their ids, many in one request, and keeps them: an id names one content for ever. */
export interface Objects {
  /** By id. Together they are in memory. @throws SyncError UNAVAILABLE when one is not there. */
  trees(ids: readonly string[]): Promise<ReadonlyMap<string, Tree>>;
  /** In order; undefined where there is no such file. Together they are in memory. */
  blobs(ids: readonly string[]): Promise<(Uint8Array | undefined)[]>;
  /** Fetches a folder and all below it in one request, as far as GitHub gives that. */
  whole(id: string): Promise<void>;
  /** The folder, if it is in memory. */
  known(id: string): Tree | undefined;
  sizeOf(blob: string): number | undefined;
  /** What is known without asking, because it was just written. */
  learnTree(id: string, tree: Tree): void;
  learnBlob(id: string, bytes: Uint8Array): void;
}

export interface ObjectsSettings {
  readonly api: Api;
  readonly pieces: Pieces;
  readonly owner: string;
  readonly repo: string;
  /** For folders, and as much again for files. */
  readonly keptBytesMax: number;
}

/** GraphQL cuts texts that are longer. */
const TEXT_BYTES_MAX = 400 * 1024;
/** What is fetched by itself is fetched by so many requests at a time. */
const PARALLEL = 4;
const SIZES_MAX = 200_000;
const NO_OPTIONS: CallOptions = {};
const ID = /^[0-9a-f]{40}$/;
const NO_ITEMS: Tree = new Map();
/** What is asked of a file whose bytes are wanted. */
export const TEXT_FIELDS = "text isTruncated";

export function githubObjects({ api, pieces, owner, repo, keptBytesMax }: ObjectsSettings): Objects {
  const trees = kept<Tree>(keptBytesMax, treeBytes);
  const blobs = kept<Uint8Array>(keptBytesMax, (bytes) => bytes.length + 200);
  const sizes = new Map<string, number>();
  const base = `/repos/${owner}/${repo}/git`;
  /** The empty one is known without anybody having it: not every server keeps one. */
  const treeKnown = (id: string): Tree | undefined => (id === EMPTY_TREE ? NO_ITEMS : trees.get(id));

  const learnTree = (id: string, tree: Tree) => {
    trees.put(id, tree);
    for (const { id: blob, size } of tree.values()) {
      if (size === undefined) continue;
      if (sizes.size >= SIZES_MAX) sizes.clear(); // they only say how to cut requests
      sizes.set(blob, size);
    }
  };

  const restTree = async (id: string, recursive: boolean): Promise<RestTree | undefined> => {
    const answer = await api.rest(
      { method: "GET", path: `${base}/trees/${id}${recursive ? "?recursive=1" : ""}` },
      NO_OPTIONS,
    );
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw statusError(answer, "read");
    return json(answer) as RestTree;
  };

  const raw = async (id: string): Promise<Uint8Array | undefined> => {
    const call = { method: "GET", path: `${base}/blobs/${id}`, accept: "application/vnd.github.raw+json" } as const;
    const answer = await api.rest(call, NO_OPTIONS);
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw statusError(answer, "read");
    if (blobId(answer.bytes, "sha1") === id) return answer.bytes;
    // A server that does not know the raw form answers with the other one.
    const bytes = inJson(answer.bytes);
    if (bytes !== undefined && blobId(bytes, "sha1") === id) return bytes;
    throw new SyncError("CORRUPT", `the object ${id} came with other bytes than its id says`, {
      store: "github",
      operation: "read",
      cure: "check what stands between this machine and GitHub",
    });
  };

  return {
    known: treeKnown,
    sizeOf: (blob) => sizes.get(blob),
    learnTree,
    learnBlob(id, bytes) {
      blobs.put(id, bytes);
      sizes.set(id, bytes.length);
    },
    async trees(ids) {
      const found = new Map<string, Tree>();
      const missing = new Set<string>();
      for (const id of ids) {
        const tree = treeKnown(id);
        if (tree !== undefined) found.set(id, tree);
        else if (ID.test(id)) missing.add(id);
      }
      const keep = (id: string, items: Iterable<TreeItem>) => {
        const tree = treeOf(items);
        learnTree(id, tree);
        found.set(id, tree);
      };
      const rest = await pieces.ask([...missing], byId(TREE_FIELDS), (id, value) => {
        const { entries } = (value ?? {}) as { entries?: readonly GraphqlItem[] };
        if (entries !== undefined) keep(id, entries.map(fromGraphql));
      });
      await inParallel(rest, PARALLEL, async (id) => {
        const tree = await restTree(id, false);
        if (tree !== undefined) keep(id, tree.tree.map(fromRest));
      });
      const absent = ids.find((id) => !found.has(id));
      if (absent === undefined) return found;
      throw new SyncError("UNAVAILABLE", `GitHub does not give the folder ${absent}, which a commit names`, {
        store: "github",
        operation: "read",
        cure: "try again; GitHub can lag behind its own writes",
      });
    },
    async blobs(ids) {
      const found = new Map<string, Uint8Array>();
      const missing = new Set<string>();
      for (const id of ids) {
        const bytes = blobs.get(id);
        if (bytes !== undefined) found.set(id, bytes);
        else if (ID.test(id)) missing.add(id);
      }
      const keep = (id: string, bytes: Uint8Array) => {
        blobs.put(id, bytes);
        found.set(id, bytes);
      };
      const sizeOf = (id: string) => sizes.get(id) ?? 0;
      const alone: string[] = [];
      const texts: string[] = [];
      for (const id of missing) (missing.size === 1 || sizeOf(id) > TEXT_BYTES_MAX ? alone : texts).push(id);
      const take = (id: string, value: unknown) => {
        if (value === undefined) return;
        const bytes = bytesOfText(id, value as GraphqlText);
        if (bytes === undefined) alone.push(id);
        else keep(id, bytes);
      };
      const rest = await pieces.ask(texts, byId(BLOB_FIELDS), take, sizeOf);
      await inParallel([...alone, ...rest], PARALLEL, async (id) => {
        const bytes = await raw(id);
        if (bytes !== undefined) keep(id, bytes);
      });
      return ids.map((id) => found.get(id));
    },
    async whole(id) {
      const answer = await restTree(id, true);
      if (answer === undefined) return;
      const folders = new Map<string, TreeItem[]>([["", []]]);
      const idOf = new Map([["", id]]);
      for (const item of answer.tree) {
        const slash = item.path.lastIndexOf("/");
        const folder = slash < 0 ? "" : item.path.slice(0, slash);
        const entry = fromRest({ ...item, path: item.path.slice(slash + 1) });
        const list = folders.get(folder);
        if (list === undefined) folders.set(folder, [entry]);
        else list.push(entry);
        if (item.type === "tree") idOf.set(item.path, item.sha);
      }
      // What was cut short, or has names that JSON cannot carry, has another id than it should.
      for (const [folder, items] of folders) {
        const tree = treeOf(items);
        const known = idOf.get(folder);
        if (known !== undefined && treeId(tree) === known) learnTree(known, tree);
      }
    },
  };
}

const TREE_FIELDS = "Tree{entries{nameRaw mode oid size}}";
const BLOB_FIELDS = `Blob{${TEXT_FIELDS}}`;

/** Objects by their ids. */
function byId(fields: string): Query {
  return {
    fields: (ids) => ids.map((id, i) => `o${i}:object(oid:"${id}"){...F}`).join(" "),
    fragment: fields,
    found: (repository, ids) => ids.map((_, i) => repository[`o${i}`] ?? undefined),
  };
}

/** What a query for {@link TEXT_FIELDS} of a file says. */
export interface GraphqlText {
  readonly text?: string | null;
  readonly isTruncated?: boolean;
}

const encoder = new TextEncoder();

/** The file's bytes. Only one that is text comes whole this way: undefined says that it did not, by its id. */
export function bytesOfText(id: string, { text, isTruncated }: GraphqlText): Uint8Array | undefined {
  if (typeof text !== "string" || isTruncated === true) return undefined;
  const bytes = encoder.encode(text);
  return blobId(bytes, "sha1") === id ? bytes : undefined;
}

interface RestItem {
  readonly path: string;
  readonly mode: string;
  readonly type: string;
  readonly sha: string;
  readonly size?: number | undefined;
}

interface RestTree {
  readonly tree: readonly RestItem[];
}

interface GraphqlItem {
  readonly nameRaw: string;
  readonly mode: number;
  readonly oid: string;
  readonly size: number;
}

function fromRest({ path, mode, sha, size }: RestItem): TreeItem {
  return treeItem(Buffer.from(path, "utf8"), mode, sha, size);
}

function fromGraphql({ nameRaw, mode, oid, size }: GraphqlItem): TreeItem {
  const octal = mode.toString(8);
  return treeItem(Buffer.from(nameRaw, "base64"), octal, oid, octal.startsWith("100") ? size : undefined);
}

function inJson(bytes: Uint8Array): Uint8Array | undefined {
  try {
    const { content, encoding } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return encoding === "base64" && typeof content === "string" ? Buffer.from(content, "base64") : undefined;
  } catch {
    return undefined; // then it is no such answer, and its reader says so
  }
}
