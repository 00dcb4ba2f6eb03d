import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";

/** One name in a folder. */
export interface TreeItem {
  readonly name: string;
  /** The name's bytes where they are not UTF-8. */
  readonly raw: Uint8Array | undefined;
  /** As git writes it: `100644`, `40000`, … */
  readonly mode: string;
  readonly id: string;
  /** Of a file, in bytes, where it is known. */
  readonly size: number | undefined;
}

/** A folder, by the names in it. Names that are not UTF-8 stand under their bytes behind a NUL. */
export type Tree = ReadonlyMap<string, TreeItem>;

export const FOLDER_MODE = "40000";
export const FILE_MODE = "100644";
export const EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

export function isFolder({ mode }: TreeItem): boolean {
  return mode === FOLDER_MODE;
}

export function isFile({ mode }: TreeItem): boolean {
  return mode.startsWith("100");
}

export function treeItem(name: Uint8Array, mode: string, id: string, size: number | undefined): TreeItem {
  const text = Buffer.from(name.buffer, name.byteOffset, name.byteLength);
  const raw = isUtf8(name) ? undefined : name;
  return {
    name: raw === undefined ? text.toString("utf8") : text.toString("latin1"),
    raw,
    mode: mode.replace(/^0+/, ""),
    id,
    size,
  };
}

export function treeOf(items: Iterable<TreeItem>): Tree {
  const tree = new Map<string, TreeItem>();
  for (const item of items) tree.set(item.raw === undefined ? item.name : `\0${item.name}`, item);
  return tree;
}

function bytesOfName({ name, raw }: TreeItem): Uint8Array {
  return raw ?? Buffer.from(name, "utf8");
}

/** In git's order, where a folder's name counts as ending with a slash. */
export function inOrder(tree: Tree): TreeItem[] {
  const slash = Buffer.of(47);
  const keyed = [...tree.values()].map((item) => {
    const name = bytesOfName(item);
    return { item, key: isFolder(item) ? Buffer.concat([name, slash]) : name };
  });
  return keyed.sort((a, b) => Buffer.compare(a.key, b.key)).map(({ item }) => item);
}

/** The object id that git gives a folder of these items. */
export function treeId(tree: Tree): string {
  const parts = inOrder(tree).flatMap((item) => [
    Buffer.from(`${item.mode} `),
    bytesOfName(item),
    Buffer.from([0]),
    Buffer.from(item.id, "hex"),
  ]);
  const body = Buffer.concat(parts);
  return createHash("sha1").update(`tree ${body.length}\0`).update(body).digest("hex");
}

/** About what a tree takes in memory. */
export function treeBytes(tree: Tree): number {
  let bytes = 200;
  for (const { name } of tree.values()) bytes += 180 + name.length;
  return bytes;
}
