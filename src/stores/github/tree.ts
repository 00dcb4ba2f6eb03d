import { isUtf8 } from "node:buffer";
import { hash } from "node:crypto";
import { compareKeys } from "../../entry.ts";

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

export function isFolder({ mode }: Pick<TreeItem, "mode">): boolean {
  return mode === FOLDER_MODE;
}

export function isFile({ mode }: Pick<TreeItem, "mode">): boolean {
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

/** In git's order: that of the names' bytes, where a folder's name counts as ending with a slash. */
export function inOrder(tree: Tree): TreeItem[] {
  const items = [...tree.values()];
  return items.every(({ raw }) => raw === undefined) ? items.sort(byText) : items.sort(byBytes);
}

function orderName(item: TreeItem): string {
  return isFolder(item) ? `${item.name}/` : item.name;
}

function byText(a: TreeItem, b: TreeItem): number {
  return compareKeys(orderName(a), orderName(b));
}

function byBytes(a: TreeItem, b: TreeItem): number {
  return Buffer.compare(orderBytes(a), orderBytes(b));
}

/** A name that is not UTF-8 stands in `name` byte for byte. */
function orderBytes(item: TreeItem): Uint8Array {
  return Buffer.from(orderName(item), item.raw === undefined ? "utf8" : "latin1");
}

/** The object id that git gives a folder of these items. */
export function treeId(tree: Tree): string {
  const items = inOrder(tree);
  let length = 0;
  for (const { mode, name, raw } of items) length += mode.length + (raw?.length ?? Buffer.byteLength(name)) + 22;
  const head = `tree ${length}\0`;
  const bytes = Buffer.allocUnsafe(head.length + length);
  let at = bytes.write(head, "latin1");
  for (const { mode, name, raw, id } of items) {
    at += bytes.write(`${mode} `, at, "latin1");
    at += bytes.write(name, at, raw === undefined ? "utf8" : "latin1");
    bytes[at++] = 0;
    at += bytes.write(id, at, "hex");
  }
  return hash("sha1", bytes, "hex");
}

/** About what a tree takes in memory. */
export function treeBytes(tree: Tree): number {
  let bytes = 200;
  for (const { name } of tree.values()) bytes += 180 + name.length;
  return bytes;
}
