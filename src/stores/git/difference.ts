import { compareKeys } from "../../entry.ts";
import { changeOf, tokens } from "./passage.ts";
import { isSidePath, keyOfPath } from "./path.ts";
import type { Place } from "./place.ts";
import { nameOfRecordPath, parseRecord } from "./record.ts";

/** The tree of nothing. Git knows both without having them. */
const EMPTY_TREE = {
  sha1: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
  sha256: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
};
const WINDOW = 512;

export interface KeyDifference {
  readonly key: string;
  /** Its record differs, not just where its file stands. */
  readonly record: boolean;
}

/** The keys whose files or records differ between two commits, in the order of the keys. Null: before the first one. */
export async function difference(
  { git, objects, algorithm }: Place,
  prefix: string,
  from: string | null,
  to: string,
): Promise<KeyDifference[]> {
  const found = new Map<string, boolean>();
  const records: string[] = [];
  const under = prefix === "" ? "" : `${prefix}/`;
  const scope = prefix === "" ? [] : ["--", `:(literal)${prefix}/`];
  const args = [
    "diff-tree",
    "-r",
    "-z",
    "--raw",
    "--no-renames",
    "--no-abbrev",
    from ?? EMPTY_TREE[algorithm],
    to,
    ...scope,
  ];
  let meta: string | undefined;
  for await (const token of tokens(git.stream(args))) {
    if (meta === undefined) {
      meta = token.toString("latin1");
      continue;
    }
    // Paths that belong to no key were told when the log was read.
    const change = changeOf(meta, token, under, () => {});
    meta = undefined;
    if (change === undefined) continue;
    if (!isSidePath(change.path)) {
      const key = keyOfPath(change.path);
      if (key !== undefined && !found.has(key)) found.set(key, false);
    } else if (nameOfRecordPath(change.path) !== undefined) {
      records.push(change.newId ?? change.oldId ?? "");
    }
  }
  for (let at = 0; at < records.length; at += WINDOW) {
    for (const object of await objects.contents(records.slice(at, at + WINDOW))) {
      const record = object === undefined ? undefined : parseRecord(object.bytes);
      if (record !== undefined) found.set(record.key, true);
    }
  }
  return [...found].map(([key, record]) => ({ key, record })).sort((a, b) => compareKeys(a.key, b.key));
}
