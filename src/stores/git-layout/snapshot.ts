import type { Head } from "../../entry.ts";
import { NO_META } from "../../entry.ts";
import { VERSION_ZERO, isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { touchVersion } from "./history.ts";
import type { History } from "./history.ts";
import { metaOfKey } from "./kind.ts";
import { inRepository } from "./names.ts";
import type { Naming } from "./names.ts";
import { SIDE_FOLDER, placesOfKey } from "./path.ts";
import { WATERMARK_PATH, parseRecord, recordName, recordPath } from "./record.ts";
import type { SideRecord } from "./record.ts";
import type { Blob, TreeEntry } from "./repository.ts";

/** The branch at a commit whose changes by persons all have a version, if only a provisional one. */
export interface View {
  readonly commit: string | null;
  /** Speaks of `commit`. It goes on changing with the branch: what is taken from it is taken before anything is awaited. */
  readonly history: History;
  /** Changes by persons that are not adopted yet, by key. Usually none. */
  readonly pending: ReadonlyMap<string, Pending>;
  /** The collection watermark. */
  readonly watermark: Version;
  /** Whether there is a side tree at all. */
  readonly side: boolean;
  /** See `Branch.look`. */
  readonly stamp: number;
}

/** What is known of one key in a view. */
export interface Known {
  /** Undefined: there is nothing. */
  readonly head: Head | undefined;
  /** The object id of its value. */
  readonly blob: string | null;
  /** Changes when the stored copy does. */
  readonly tag: string;
  /** Where its record is; undefined when it has none. */
  readonly recorded: SideRecord["state"] | undefined;
  /** See `SideRecord.storage`. */
  readonly storage?: SideRecord["storage"];
}

/** A change by a person that is shown with a provisional version. */
export interface Pending extends Known {
  /** Above everything the key ever was. */
  readonly base: Version;
  /** The first digits of the commit that made the change. */
  readonly node: string;
}

export const NOTHING: Known = { head: undefined, blob: null, tag: "", recorded: undefined };

/** What the view knows of each key, in order, without values. */
export async function look(naming: Naming, view: View, keys: readonly string[]): Promise<Known[]> {
  const { commit, side, history } = view;
  if (commit === null) return keys.map(() => NOTHING);
  const touches = keys.map((key) => history.touches.get(key));
  const pending = keys.map((key) => view.pending.get(key));
  const found: (Known | undefined)[] = pending.slice();
  if (side) {
    const open = indexesOf(found);
    const records = await recordsAt(
      naming,
      commit,
      open.map((i) => recordName(keys[i] ?? "")),
    );
    for (const [n, record] of records.entries()) if (record !== undefined) found[open[n] ?? 0] = record;
  }
  const present: number[] = [];
  for (const i of indexesOf(found)) {
    const touch = touches[i];
    if (touch === undefined) continue;
    if (touch.state === "present") present.push(i);
    else found[i] = lowKnown(keys[i] ?? "", touchVersion(touch), null);
  }
  const files = await locate(
    naming,
    view,
    present.map((i) => keys[i] ?? ""),
  );
  for (const [n, i] of present.entries()) {
    const touch = touches[i];
    const file = files[n];
    // The view went on while the file was looked for, or the file is a link now: the next look will say.
    if (touch === undefined || file === undefined) continue;
    found[i] = lowKnown(keys[i] ?? "", touchVersion(touch), file.id);
  }
  return found.map((known) => known ?? NOTHING);
}

function indexesOf(found: readonly (Known | undefined)[]): number[] {
  const open: number[] = [];
  for (const [i, known] of found.entries()) if (known === undefined) open.push(i);
  return open;
}

/** The tag of a key without a record: what it stands at, and what that is. */
export function lowTag(version: Version, blob: string | null): string {
  return `${version}.${blob?.slice(0, 16) ?? ""}`;
}

function lowKnown(key: string, version: Version, blob: string | null): Known {
  const state = blob === null ? "deleted" : "value";
  const head: Head = { key, state, version, expires: null, meta: blob === null ? NO_META : metaOfKey(key) };
  return { head, blob, tag: lowTag(version, blob), recorded: undefined };
}

/** What the records of these names say, in order; undefined where there is none, or none that can be read. */
async function recordsAt(naming: Naming, commit: string, names: readonly string[]): Promise<(Known | undefined)[]> {
  const live = await filesAtPaths(
    naming,
    commit,
    names.map((name) => recordPath(name, "value")),
  );
  const absent = names.flatMap((_, i) => (live[i] === undefined ? [i] : []));
  const dead = await filesAtPaths(
    naming,
    commit,
    absent.map((i) => recordPath(names[i] ?? "", "deleted")),
  );
  for (const [n, i] of absent.entries()) live[i] = dead[n];
  return live.map((object) => {
    const record = object === undefined ? undefined : parseRecord(object.bytes);
    return record === undefined || object === undefined ? undefined : knownOf(record, object.id);
  });
}

/** The files at these paths of the store, in order. */
export function filesAtPaths(
  { repository, prefix }: Naming,
  commit: string,
  paths: readonly string[],
): Promise<(Blob | undefined)[]> {
  return repository.filesAt(
    commit,
    paths.map((path) => inRepository(prefix, path)),
  );
}

export function knownOf(record: SideRecord, recordId: string): Known {
  const { key, state, version, blob, expires, meta, storage } = record;
  const head = state === "none" ? undefined : { key, state, version, expires, meta };
  return { head, blob, tag: recordId.slice(0, 20), recorded: state, ...(storage === undefined ? {} : { storage }) };
}

export interface Located {
  readonly path: string;
  readonly id: string;
}

/** What stands at a place of a key. */
export interface Place {
  readonly path: string;
  readonly entry: TreeEntry | undefined;
  /** Whether it is a file, which a symbolic link or a submodule is not. */
  readonly isFile: boolean;
}

/** What stands at each place of each key, in the order in which they count. */
export async function placesAt(
  naming: Naming,
  { commit, history }: Pick<View, "commit" | "history">,
  keys: readonly string[],
): Promise<Place[][]> {
  const places = keys.map(placesOfKey);
  const paths = places.flat().map((path) => inRepository(naming.prefix, path));
  const entries = commit === null ? [] : await naming.repository.lookUp(commit, paths);
  let at = 0;
  return places.map((paths) =>
    paths.map((path) => {
      const entry = entries[at++];
      return { path, entry, isFile: entry?.type === "blob" && !history.others.has(path) };
    }),
  );
}

/** The file of each key: the first of its places that holds one. */
export async function locate(
  naming: Naming,
  view: Pick<View, "commit" | "history">,
  keys: readonly string[],
): Promise<(Located | undefined)[]> {
  const places = await placesAt(naming, view, keys);
  return places.map((here) => {
    const file = here.find(({ isFile }) => isFile);
    return file?.entry === undefined ? undefined : { path: file.path, id: file.entry.id };
  });
}

/** What a commit says of the side tree itself. */
export async function sideAt(
  { repository, prefix }: Naming,
  commit: string,
): Promise<{ side: boolean; watermark: Version }> {
  const [tree] = await repository.lookUp(commit, [inRepository(prefix, SIDE_FOLDER)]);
  if (tree?.type !== "tree") return { side: false, watermark: VERSION_ZERO };
  const [watermark] = await repository.filesAt(commit, [inRepository(prefix, WATERMARK_PATH)]);
  return { side: true, watermark: watermark === undefined ? VERSION_ZERO : watermarkOf(watermark.bytes) };
}

export function watermarkOf(bytes: Uint8Array): Version {
  const text = new TextDecoder().decode(bytes).trim();
  return isVersion(text) ? text : VERSION_ZERO;
}
