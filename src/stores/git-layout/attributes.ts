import { ATTRIBUTES, withAttributes } from "../lfs/attributes.ts";
import type { Naming } from "./names.ts";
import { filesAtPaths } from "./snapshot.ts";

/** Files that become pointers to large ones, and files that are none any more or go, by their paths. */
export interface Marks {
  readonly add: ReadonlySet<string>;
  readonly remove: ReadonlySet<string>;
}

/**
 * The `.gitattributes` that change, by their paths: one in each folder that holds a pointer, so that a change costs
 * by the large values of its own folder and not by all there are. "" : there is nothing left to say.
 */
export async function attributesOf(
  naming: Naming,
  commit: string | null,
  { add, remove }: Marks,
): Promise<ReadonlyMap<string, string>> {
  const folders = new Map<string, { add: Set<string>; remove: Set<string> }>();
  const take = (paths: ReadonlySet<string>, which: "add" | "remove") => {
    for (const path of paths) {
      const slash = path.lastIndexOf("/");
      const at = slash < 0 ? ATTRIBUTES : `${path.slice(0, slash)}/${ATTRIBUTES}`;
      let names = folders.get(at);
      if (names === undefined) folders.set(at, (names = { add: new Set(), remove: new Set() }));
      names[which].add(path.slice(slash + 1));
    }
  };
  take(remove, "remove");
  take(add, "add");
  const changed = new Map<string, string>();
  const paths = [...folders.keys()];
  const found = commit === null || paths.length === 0 ? [] : await filesAtPaths(naming, commit, paths);
  for (const [i, path] of paths.entries()) {
    const names = folders.get(path);
    const bytes = found[i]?.bytes;
    const before = bytes === undefined ? "" : new TextDecoder().decode(bytes);
    const after = names === undefined ? before : withAttributes(before, names.add, names.remove);
    if (after !== before) changed.set(path, after);
  }
  return changed;
}
