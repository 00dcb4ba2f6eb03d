import { compareKeys } from "../../entry.ts";
import { isSidePath, keyOfPath } from "./path.ts";
import type { Naming } from "./names.ts";
import { nameOfRecordPath, parseRecord } from "./record.ts";

const WINDOW = 512;

export interface KeyDifference {
  readonly key: string;
  /** Its record differs, not just where its file stands. */
  readonly record: boolean;
}

/** The keys whose files or records differ between two commits, in the order of the keys. Null: before the first one. */
export async function difference(
  { repository, prefix }: Naming,
  from: string | null,
  to: string,
): Promise<KeyDifference[]> {
  const found = new Map<string, boolean>();
  const records: string[] = [];
  for await (const change of repository.changes(from, to, prefix)) {
    if (!isSidePath(change.path)) {
      const key = keyOfPath(change.path);
      if (key !== undefined && !found.has(key)) found.set(key, false);
    } else if (nameOfRecordPath(change.path) !== undefined) {
      records.push(change.newId ?? change.oldId ?? "");
    }
  }
  for (let at = 0; at < records.length; at += WINDOW) {
    for (const object of await repository.contents(records.slice(at, at + WINDOW))) {
      const record = object === undefined ? undefined : parseRecord(object.bytes);
      if (record !== undefined) found.set(record.key, true);
    }
  }
  return [...found].map(([key, record]) => ({ key, record })).sort((a, b) => compareKeys(a.key, b.key));
}
