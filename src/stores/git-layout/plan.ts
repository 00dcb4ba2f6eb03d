import { SyncError } from "../../error.ts";
import { attributesOf } from "./attributes.ts";
import { foldersOf, insidePath, isLiteral, keyOfPath, literalPath, pathOfKey } from "./path.ts";
import type { SideRecord } from "./record.ts";
import { encodeRecord, recordName, recordPath } from "./record.ts";
import { inRepository } from "./names.ts";
import type { Naming } from "./names.ts";
import type { NewFile } from "./repository.ts";
import { locate, look, placesAt } from "./snapshot.ts";
import type { Known, Located, View } from "./snapshot.ts";

/** What is to become of one key. */
export interface KeyChange {
  readonly key: string;
  /** Its new record; null removes it, and the file with it. */
  readonly record: SideRecord | null;
  /** The bytes of the file; undefined when the object is in the repository already. */
  readonly bytes: Uint8Array | undefined;
  /** What there is now. */
  readonly known: Known;
  /** Only the record changes: the file is a person's, and stays as it is. */
  readonly recordOnly: boolean;
}

export interface Plan {
  readonly deletes: string[];
  readonly files: NewFile[];
  /** Keys that cannot be written, and why. They are not in the plan. */
  readonly failures: ReadonlyMap<string, SyncError>;
}

/**
 * The files to remove and to put, so that every key has its file where the path rule says. Looks only at the keys
 * given and at the folders above them.
 */
export async function plan(naming: Naming, view: View, changes: readonly KeyChange[]): Promise<Plan> {
  const failures = new Map<string, SyncError>();
  const deletes = new Set<string>();
  const files = new Map<string, Omit<NewFile, "path">>();
  const text = (path: string, content: string) => files.set(path, { content: utf8(content) });
  const marks = { add: new Set<string>(), remove: new Set<string>() };

  const withFiles = changes.filter((change) => !change.recordOnly);
  const targets = await targetsOf(naming, view, withFiles, failures);
  for (const change of changes) {
    const { key, record, bytes, known, recordOnly } = change;
    if (failures.has(key)) continue;
    const name = recordName(key);
    const state = record?.state;
    if (state !== undefined && record !== null) text(recordPath(name, state), encodeRecord(record));
    const other = state === "value" ? "deleted" : "value";
    const recordMoves = (known.recorded === "value") !== (state === "value");
    if (recordOnly) deletes.add(recordPath(name, other));
    else if (known.recorded !== undefined && (record === null || recordMoves)) {
      deletes.add(recordPath(name, known.recorded));
    }
    if (recordOnly) continue;
    const target = targets.get(key);
    if (record?.state !== "value") {
      for (const place of target?.occupied ?? []) deletes.add(place);
    } else if (target !== undefined) {
      for (const place of target.leaves) deletes.add(place);
      if (target.sameFile !== record.blob) {
        const id = record.blob ?? "";
        files.set(target.path, bytes === undefined ? { content: id } : { content: bytes, id });
      }
    }
  }
  for (const change of withFiles) {
    if (failures.has(change.key)) continue;
    const target = targets.get(change.key);
    for (const path of target?.occupied ?? []) if (change.known.storage === "lfs") marks.remove.add(path);
    if (target !== undefined && change.record?.storage === "lfs") marks.add.add(target.path);
  }
  const moves = await movesOf(naming, view, [...targets.values()], { deletes, written: files, failures });
  for (const { from, to, blob, record, isLarge } of moves) {
    if (isLarge) {
      marks.remove.add(from);
      marks.add.add(to);
    }
    deletes.add(from);
    files.set(to, { content: blob });
    if (record !== undefined) text(recordPath(recordName(record.key), "value"), encodeRecord(record));
  }
  for (const [path, lines] of await attributesOf(naming, view.commit, marks)) {
    if (lines === "") deletes.add(path);
    else text(path, lines);
  }
  const at = (path: string) => inRepository(naming.prefix, path);
  return {
    deletes: [...deletes].filter((path) => !files.has(path)).map(at),
    files: [...files].map(([path, file]) => ({ path: at(path), ...file })),
    failures,
  };
}

const encoder = new TextEncoder();

function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

interface Target {
  readonly key: string;
  readonly path: string;
  /** The object id of the file that stands there already. */
  readonly sameFile: string | undefined;
  /** Places of this key to be emptied, because its file goes elsewhere. */
  readonly leaves: readonly string[];
  /** Every place where a file of this key stands. */
  readonly occupied: readonly string[];
  /** Folders that have to be there, and are not known to be. */
  readonly folders: readonly string[];
}

async function targetsOf(
  naming: Naming,
  view: View,
  changes: readonly KeyChange[],
  failures: Map<string, SyncError>,
): Promise<Map<string, Target>> {
  // Folders that the values of this very batch need.
  const needed = new Set<string>();
  for (const { key, record } of changes) {
    if (record?.state === "value") for (const folder of foldersOf(pathOfKey(key))) needed.add(folder);
  }
  const { others } = view.history;
  const places = await placesAt(
    naming,
    view,
    changes.map(({ key }) => key),
  );
  const targets = new Map<string, Target>();
  for (const [i, { key, record }] of changes.entries()) {
    const here = places[i] ?? [];
    const files = here.filter(({ isFile }) => isFile);
    const occupied = files.map(({ path }) => path);
    const own = pathOfKey(key);
    const inside = insidePath(own);
    if (record?.state === "value" && (others.has(own) || others.has(inside))) {
      failures.set(key, notAFile(naming.store, key, "the key's own path"));
      continue;
    }
    const isFolder = here[0]?.entry?.type === "tree" || needed.has(own);
    const current = files[0];
    let path = isFolder ? inside : own;
    if (current !== undefined && current.path === literalPath(key)) path = current.path;
    const stays = current?.path === path;
    targets.set(key, {
      key,
      path,
      sameFile: stays ? current.entry?.id : undefined,
      leaves: occupied.filter((place) => place !== path && place === current?.path),
      occupied,
      folders: stays || record?.state !== "value" ? [] : foldersOf(path),
    });
  }
  return targets;
}

interface Move {
  readonly from: string;
  readonly to: string;
  readonly blob: string;
  /** The record that a file without one is given, so that its move is no change of it. */
  readonly record: SideRecord | undefined;
  /** It is a pointer to a large file. */
  readonly isLarge: boolean;
}

/** Files of other keys that stand where this plan needs a folder: they go inside it. */
async function movesOf(
  naming: Naming,
  view: View,
  targets: readonly Target[],
  done: {
    readonly deletes: ReadonlySet<string>;
    readonly written: Map<string, unknown>;
    readonly failures: Map<string, SyncError>;
  },
): Promise<Move[]> {
  const { commit } = view;
  const folders = [...new Set(targets.flatMap((target) => target.folders))].filter((path) => !done.deletes.has(path));
  if (commit === null || folders.length === 0) return [];
  const found = await naming.repository.lookUp(
    commit,
    folders.map((path) => inRepository(naming.prefix, path)),
  );
  const inTheWay = folders.filter((path, i) => found[i]?.type === "blob" || view.history.others.has(path));
  const movable = inTheWay.filter((path) => !view.history.others.has(path) && !isLiteral(path));
  for (const path of inTheWay.filter((path) => !movable.includes(path))) {
    for (const target of targets.filter(({ folders }) => folders.includes(path))) {
      done.failures.set(target.key, notAFile(naming.store, target.key, JSON.stringify(path)));
      done.written.delete(target.path);
      done.written.delete(recordPath(recordName(target.key), "value"));
    }
  }
  const keys = movable.map((path) => keyOfPath(path) ?? path);
  const knowns = await look(naming, view, keys);
  const located: readonly (Located | undefined)[] = await locate(naming, view, keys);
  return movable.flatMap((from, i) => {
    const known = knowns[i];
    const blob = located[i]?.id;
    if (known?.head === undefined || blob === undefined) return [];
    const { key, version, expires, meta } = known.head;
    const record =
      known.recorded === undefined ? ({ key, state: "value", version, blob, expires, meta } as const) : undefined;
    return [{ from, to: insidePath(from), blob, record, isLarge: known.storage === "lfs" }];
  });
}

function notAFile(store: string, key: string, where: string): SyncError {
  return new SyncError("INVALID", `a symbolic link, a submodule or a foreign file stands at ${where}`, {
    store,
    operation: "write",
    key,
    cure: "move it away in the repository, or use another key",
  });
}
