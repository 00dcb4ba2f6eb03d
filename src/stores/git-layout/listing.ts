import { compareKeys } from "../../entry.ts";
import type { Runtime } from "../../runtime.ts";
import type { ListOptions, Listed, Range } from "../../store.ts";
import type { Branch } from "./branch.ts";
import { touchVersion } from "./history.ts";
import { inRepository } from "./names.ts";
import type { Naming } from "./names.ts";
import { isLiteral, isSidePath, keyOfPath, pathOfKey } from "./path.ts";
import { parseRecord, recordName } from "./record.ts";
import { lowTag } from "./snapshot.ts";
import type { View } from "./snapshot.ts";
import { recordIdsAt } from "./side.ts";
import { filesOf, groupsBySize, pointerIn, valueOf } from "./values.ts";

export interface Listing {
  readonly branch: Branch;
  readonly runtime: Runtime;
  /** Throws when the call should not go on. */
  readonly check: () => void;
  /** Lets the caller go when the call should not go on. */
  readonly stop: <T>(work: Promise<T>) => Promise<T>;
}

const WINDOW_KEYS = 512;
const VALUES_BYTES_MAX = 8 * 1024 * 1024;

/** Holds the keys of the range in memory, not their records or values. */
export async function* list(
  { branch, runtime, check, stop }: Listing,
  { prefix }: Range,
  { detail = "keys", after, limit = Infinity, wholeBytesMax = Infinity }: ListOptions,
): AsyncIterable<Listed> {
  if (limit <= 0) return;
  const { view } = await stop(branch.view(runtime.now()));
  const fits = (key: string) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0);
  const tags = await stop(keysOf(branch, view, prefix, fits));
  const keys = [...tags.keys()].sort(compareKeys);
  let left = limit;
  if (detail === "keys") {
    for (const key of keys) {
      check();
      yield { kind: "entry", key, tag: tags.get(key) ?? "", head: null, value: null };
      if (--left <= 0) return;
    }
    return;
  }
  for (let at = 0; at < keys.length; at += WINDOW_KEYS) {
    check();
    const window = keys.slice(at, at + Math.min(WINDOW_KEYS, left));
    const found = (await stop(branch.look(view, window))).filter(({ head }) => head !== undefined);
    const { naming } = branch;
    const groups = detail === "values" ? await stop(groupsBySize(naming, found, VALUES_BYTES_MAX)) : [found];
    for (const group of groups) {
      const files = detail === "values" ? await stop(filesOf(naming, group)) : undefined;
      for (const known of group) {
        const { head, tag, blob } = known;
        if (head === undefined) continue;
        check();
        const file = blob === null ? undefined : files?.get(blob);
        // A large value is in memory alone.
        const size = file === undefined ? 0 : (pointerIn(naming, known, file)?.size ?? file.length);
        const isLarger = naming.large !== undefined && size > wholeBytesMax;
        const value = file === undefined || isLarger ? null : await stop(valueOf(naming, known, file));
        yield { kind: "entry", key: head.key, tag, head, value };
        if (--left <= 0) return;
      }
    }
  }
}

/** Every key of the range that has an entry, and its tag. */
async function keysOf(
  branch: Branch,
  view: View,
  prefix: string,
  fits: (key: string) => boolean,
): Promise<Map<string, string>> {
  const tags = new Map<string, string>();
  const { commit, history, side } = view;
  if (commit === null) return tags;
  const { naming } = branch;
  // Taken before anything is awaited, as the view asks for.
  const touches = [...history.touches].filter(([key]) => fits(key));
  const pending = [...view.pending].filter(([key]) => fits(key));

  const live = side ? await recordIdsAt(naming, commit, "value") : undefined;
  const dead = side ? await recordIdsAt(naming, commit, "deleted") : undefined;
  const low = new Map(touches);
  const literal = new Set<string>();
  const folder = folderOf(prefix);
  for await (const file of naming.repository.files(commit, inRepository(naming.prefix, folder))) {
    const { id } = file;
    const path = folder === "" ? file.path : `${folder}/${file.path}`;
    if (isSidePath(path)) continue;
    const key = keyOfPath(path);
    if (key === undefined || !fits(key)) continue;
    if (isLiteral(path)) {
      if (tags.has(key)) continue; // a file at the key's own place counts
      literal.add(key);
    } else if (tags.has(key) && !literal.has(key)) continue;
    const recorded = live?.get(recordName(key));
    const touch = low.get(key);
    if (recorded !== undefined) tags.set(key, recorded.slice(0, 20));
    else if (touch?.state === "present") tags.set(key, lowTag(touchVersion(touch), id));
  }
  for (const [key, touch] of touches) {
    if (touch.state === "deleted" && !tags.has(key) && dead?.has(recordName(key)) !== true) {
      tags.set(key, lowTag(touchVersion(touch), null));
    }
  }
  if (dead !== undefined) await addDeletions(naming, [...dead.values()], fits, tags);
  for (const [key, { tag }] of pending) tags.set(key, tag);
  return tags;
}

async function addDeletions(
  { repository }: Naming,
  ids: readonly string[],
  fits: (key: string) => boolean,
  tags: Map<string, string>,
): Promise<void> {
  for (let at = 0; at < ids.length; at += WINDOW_KEYS) {
    const window = ids.slice(at, at + WINDOW_KEYS);
    for (const object of await repository.contents(window)) {
      const record = object === undefined ? undefined : parseRecord(object.bytes);
      if (object === undefined || record?.state !== "deleted" || !fits(record.key)) continue;
      tags.set(record.key, object.id.slice(0, 20));
    }
  }
}

/** The innermost folder that holds every file of the range; "" when files of it may stand elsewhere. */
function folderOf(prefix: string): string {
  const slash = prefix.lastIndexOf("/");
  if (slash < 0) return "";
  const folder = prefix.slice(0, slash);
  // A name that is escaped may also stand literally, in another folder.
  return folder !== "" && pathOfKey(folder) === folder ? folder : "";
}
