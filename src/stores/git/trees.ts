import { isUtf8 } from "node:buffer";
import type { PathChange, TreeFile } from "../git-layout/repository.ts";
import type { Git } from "./command.ts";
import { changeOf, isOther, tokens } from "./passage.ts";

/** The tree of nothing. Git knows both without having them. */
const EMPTY_TREE = {
  sha1: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
  sha256: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
};

/** See `Repository.files`. */
export async function* filesAt(git: Git, commit: string, folder: string): AsyncIterable<TreeFile> {
  const scope = folder === "" ? [] : ["--", `:(literal)${folder}/`];
  const skip = folder === "" ? 0 : folder.length + 1;
  for await (const token of tokens(git.stream(["ls-tree", "-r", "-z", "--full-tree", commit, ...scope]))) {
    const tab = token.indexOf(9);
    const [mode = "", , id = ""] = token.toString("latin1", 0, tab).split(" ");
    const path = token.subarray(tab + 1);
    if (isOther(mode) || !isUtf8(path)) continue;
    yield { path: path.toString("utf8").slice(skip), id };
  }
}

/** See `Repository.changes`. */
export async function* changesBetween(
  git: Git,
  algorithm: "sha1" | "sha256",
  from: string | null,
  to: string,
  prefix: string,
): AsyncIterable<PathChange> {
  const under = prefix === "" ? "" : `${prefix}/`;
  const scope = prefix === "" ? [] : ["--", `:(literal)${prefix}/`];
  const what = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev"];
  let meta: string | undefined;
  for await (const token of tokens(git.stream([...what, from ?? EMPTY_TREE[algorithm], to, ...scope]))) {
    if (meta === undefined) {
      meta = token.toString("latin1");
      continue;
    }
    // Paths that belong to no key were told when the log was read.
    const change = changeOf(meta, token, under, () => {});
    meta = undefined;
    if (change !== undefined) yield change;
  }
}
