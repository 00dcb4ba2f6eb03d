import type { Repository, Step } from "../git-layout/repository.ts";
import type { Git } from "./command.ts";
import { lookUp } from "./lookup.ts";
import type { Objects } from "./objects.ts";
import { passage } from "./passage.ts";
import { changesBetween, filesAt } from "./trees.ts";

/** So many files are cheaper asked for by their paths. */
const FEW = 8;

/** A repository on this machine, read by system git. */
export function gitRepository(git: Git, objects: Objects, algorithm: "sha1" | "sha256"): Repository {
  const find = (commit: string, paths: readonly string[]) => lookUp(objects, algorithm, commit, paths);
  return {
    algorithm,
    lookUp: find,
    async filesAt(commit, paths) {
      // Few are asked for in one round trip, many folder by folder.
      if (paths.length <= FEW) return objects.contents(paths.map((path) => `${commit}:${path}`));
      const entries = await find(commit, paths);
      const there = entries.flatMap((entry, i) => (entry?.type === "blob" ? [{ id: entry.id, i }] : []));
      const found = await objects.contents(there.map(({ id }) => id));
      const files = paths.map((): (typeof found)[number] => undefined);
      for (const [n, { i }] of there.entries()) files[i] = found[n];
      return files;
    },
    contents: (ids) => objects.contents(ids),
    async sizes(ids) {
      return (await objects.infos(ids)).map((info) => info?.size ?? 0);
    },
    files: (commit, folder) => filesAt(git, commit, folder),
    async *passage(options): AsyncIterable<Step> {
      let told = false;
      try {
        for await (const step of passage(git, options)) {
          told = true;
          yield step;
        }
      } catch (error) {
        // A commit that the remote does not have any more may be missing here too.
        const [from] = options.from === null ? [] : await objects.infos([options.from]);
        if (told || options.from === null || from !== undefined) throw error;
      }
    },
    changes: (from, to, prefix) => changesBetween(git, algorithm, from, to, prefix),
    async isAncestor(commit, of) {
      const { code } = await git.run(["merge-base", "--is-ancestor", commit, of]);
      return code === 0;
    },
  };
}
