import { isUtf8 } from "node:buffer";
import type { PassageOptions, PathChange, Step } from "../git-layout/repository.ts";
import { isSigned } from "../git-layout/trailers.ts";
import type { Git } from "./command.ts";

const NUL = 0;
const FORMAT =
  "%x01%H %P %x02%(trailers:key=Sync-Parent,valueonly,separator=%x2C)%x02%(trailers:key=Sync-Prefix,valueonly,separator=%x2C)";

/** The branch's commits along first parents, the newest first, in one pass of `git log`. */
export async function* passage(git: Git, { from, to, prefix, onBadPath }: PassageOptions): AsyncIterable<Step> {
  const args = [
    "log",
    "--first-parent",
    "--diff-merges=first-parent",
    "--raw",
    "-r",
    "-z",
    "--no-renames",
    "--no-abbrev",
  ];
  args.push(
    "--no-relative",
    "--ignore-submodules=none",
    "--no-notes",
    "--no-color",
    "--no-decorate",
    `--format=${FORMAT}`,
  );
  args.push("--end-of-options", from === null ? to : `${from}..${to}`, "--");
  const under = prefix === "" ? "" : `${prefix}/`;
  let step: (Step & { changes: PathChange[] }) | undefined;
  let meta: string | undefined;
  for await (const token of tokens(git.stream(args))) {
    if (meta !== undefined) {
      const change = changeOf(meta, token, under, onBadPath);
      if (change !== undefined) step?.changes.push(change);
      meta = undefined;
    } else if (token[0] === 1) {
      if (step !== undefined) yield step;
      step = stepOf(token.toString("utf8", 1), prefix);
    } else {
      const text = token.toString("latin1").trimStart();
      if (text.startsWith(":")) meta = text;
    }
  }
  if (step !== undefined) yield step;
}

function stepOf(header: string, prefix: string): Step & { changes: PathChange[] } {
  const [ids = "", signedParent = "", signedPrefix = ""] = header.split("\u0002");
  const [commit = "", parent = null] = ids.trim().split(" ");
  const bySync = isSigned(parent, prefix, signedParent, signedPrefix);
  return { commit, parent, bySync, changes: [] };
}

/** `:100644 100644 OLD NEW M` and a path; undefined for what is not the store's. */
export function changeOf(
  meta: string,
  path: Buffer,
  under: string,
  onBadPath: (path: string) => void,
): PathChange | undefined {
  const [oldMode = "", newMode = "", oldId = "", newId = ""] = meta.slice(1).split(" ");
  if (!isUtf8(path)) {
    onBadPath(path.toString("latin1"));
    return undefined;
  }
  const full = path.toString("utf8");
  if (!full.startsWith(under)) return undefined;
  const oldOther = isOther(oldMode);
  const newOther = isOther(newMode);
  return {
    path: full.slice(under.length),
    oldId: /^0+$/.test(oldId) || oldOther ? null : oldId,
    newId: /^0+$/.test(newId) || newOther ? null : newId,
    oldOther,
    newOther,
  };
}

/** A mode that is neither "nothing" nor a regular file. */
export function isOther(mode: string): boolean {
  return mode !== "000000" && !mode.startsWith("100");
}

/** The parts of a stream that are separated by NUL. */
export async function* tokens(stream: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = all.indexOf(NUL); end >= 0; end = all.indexOf(NUL, start)) {
      yield all.subarray(start, end);
      start = end + 1;
    }
    rest = Buffer.from(all.subarray(start));
  }
  if (rest.length > 0) yield rest;
}
