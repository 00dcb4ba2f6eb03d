import type { NewCommit } from "../git-layout/repository.ts";
import type { Git } from "./command.ts";
import type { Objects } from "./objects.ts";
import { addPack, newObject, packed } from "./pack.ts";
import type { NewObject } from "./pack.ts";
import { buildTree } from "./tree-build.ts";

export interface PackerSettings {
  readonly git: Git;
  readonly objects: Objects;
  readonly algorithm: "sha1" | "sha256";
}

/**
 * Makes one commit as one pack, and says its id when all of it is on disk. What it costs grows with the files changed and
 * with the sizes of the folders that they lie in, each of which is read once.
 *
 * `git fast-import` looks every name of those folders up in 4,451 lists, so that its time grows with the square of
 * how many names there are.
 */
export async function commitAsPack(
  { git, objects, algorithm }: PackerSettings,
  { parent, message, author, timeMs, deletes, files }: NewCommit,
): Promise<string> {
  const blobs = new Map<string, NewObject>();
  const placed = files.map(({ path, content, id }) => {
    if (typeof content === "string") return { path, id: content };
    const blob =
      id === undefined ? newObject("blob", content, algorithm) : ({ id, type: "blob", bytes: content } as const);
    blobs.set(blob.id, blob);
    return { path, id: blob.id };
  });
  // A pack begins with how many objects it has, so the folders wait until all of them are known.
  const trees = new Map<string, Buffer>();
  const tree = await buildTree({ objects, algorithm, parent, deletes, files: placed }, async (made) => {
    if (!trees.has(made.id)) trees.set(made.id, await packed(made));
  });
  const who = `${author} ${Math.floor(timeMs / 1000)} +0000`;
  const lines = [`tree ${tree}`, ...(parent === null ? [] : [`parent ${parent}`]), `author ${who}`, `committer ${who}`];
  const commit = newObject("commit", Buffer.from(`${lines.join("\n")}\n\n${message}`), algorithm);
  const entries = async function* () {
    yield await packed(commit);
    yield* trees.values();
    for (const blob of blobs.values()) yield await packed(blob);
  };
  await addPack(git, algorithm, 1 + trees.size + blobs.size, entries());
  return commit.id;
}
