/** A tree is a sequence of `MODE NAME\0ID`, the id as bytes. Names here are their bytes in latin1. */

export interface TreeChange {
  readonly mode: string;
  readonly id: string;
}

const NUL = 0;
const SPACE = 32;
const ONE = 49;
const FOLDER = "40000";

interface Span {
  /** Where the entry begins, its name does, its name ends, and the next entry begins. */
  readonly at: number;
  readonly name: number;
  readonly end: number;
  readonly next: number;
}

/** Tells the entries whose names are asked for, and stops when there can be no more of them. */
export function eachEntry(
  tree: Uint8Array,
  idBytes: number,
  names: ReadonlyMap<string, unknown>,
  take: (name: string, entry: TreeChange) => void,
): void {
  const bytes = Buffer.from(tree.buffer, tree.byteOffset, tree.byteLength);
  let left = names.size;
  for (let span = spanAt(bytes, 0, idBytes); span !== undefined && left > 0; span = spanAt(bytes, span.next, idBytes)) {
    const name = bytes.toString("latin1", span.name, span.end);
    if (!names.has(name)) continue;
    take(name, { mode: modeOf(bytes, span), id: bytes.toString("hex", span.end + 1, span.next) });
    left--;
  }
}

/** A tree with entries put, replaced, and taken out (null), in git's order. What stays does so byte by byte. */
export function mergedTree(
  tree: Uint8Array,
  idBytes: number,
  changes: ReadonlyMap<string, TreeChange | null>,
): Uint8Array {
  const bytes = Buffer.from(tree.buffer, tree.byteOffset, tree.byteLength);
  const added = addedOf(changes);
  const parts: Uint8Array[] = [];
  let next = 0; // of those added
  let kept = 0; // what is before has been taken over, or left out
  let last = "";
  for (let span = spanAt(bytes, 0, idBytes); span !== undefined; span = spanAt(bytes, span.next, idBytes)) {
    const name = bytes.toString("latin1", span.name, span.end);
    const key = isFolder(bytes, span) ? `${name}/` : name;
    if (key < last) return mergedTree(sorted(bytes, idBytes), idBytes, changes); // somebody's broken tree
    last = key;
    const isLeft = changes.has(name);
    const first = added[next];
    if (!isLeft && (first === undefined || first.key >= key)) continue;
    parts.push(bytes.subarray(kept, span.at));
    for (let add = first; add !== undefined && add.key < key; add = added[++next]) parts.push(add.bytes);
    kept = isLeft ? span.next : span.at;
  }
  parts.push(bytes.subarray(kept), ...added.slice(next).map((add) => add.bytes));
  return Buffer.concat(parts);
}

function spanAt(bytes: Buffer, at: number, idBytes: number): Span | undefined {
  if (at >= bytes.length) return undefined;
  const space = bytes.indexOf(SPACE, at);
  const end = bytes.indexOf(NUL, space);
  const next = end + 1 + idBytes;
  return space < 0 || end < 0 || next > bytes.length ? undefined : { at, name: space + 1, end, next };
}

/** By its mode: all others begin with a 1. */
function isFolder(bytes: Buffer, { at }: Span): boolean {
  return bytes[at] !== ONE;
}

/** As git writes it now: some old tools wrote a zero before it. */
function modeOf(bytes: Buffer, { at, name }: Span): string {
  return bytes.toString("latin1", at, name - 1).replace(/^0+/, "");
}

/** Git sorts the name of a folder as if a slash stood at its end. */
function addedOf(changes: ReadonlyMap<string, TreeChange | null>): { readonly key: string; readonly bytes: Buffer }[] {
  const added: { key: string; bytes: Buffer }[] = [];
  for (const [name, change] of changes) {
    if (change === null) continue;
    const head = Buffer.from(`${change.mode} ${name}\0`, "latin1");
    const key = change.mode === FOLDER ? `${name}/` : name;
    added.push({ key, bytes: Buffer.concat([head, Buffer.from(change.id, "hex")]) });
  }
  return added.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function sorted(bytes: Buffer, idBytes: number): Buffer {
  const entries: { key: string; bytes: Buffer }[] = [];
  for (let span = spanAt(bytes, 0, idBytes); span !== undefined; span = spanAt(bytes, span.next, idBytes)) {
    const name = bytes.toString("latin1", span.name, span.end);
    const key = isFolder(bytes, span) ? `${name}/` : name;
    entries.push({ key, bytes: bytes.subarray(span.at, span.next) });
  }
  return Buffer.concat(entries.sort((a, b) => (a.key < b.key ? -1 : 1)).map((entry) => entry.bytes));
}
