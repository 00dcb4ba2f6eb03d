import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sync } from "microsync";
import { timed } from "./durations.ts";
import type { Feature } from "./features.ts";
import { git, lastCommit } from "./git.ts";
import type { Commit } from "./git.ts";

export interface Edit {
  /** What a person would clone: a folder or a URL. */
  readonly remote: string;
  readonly branch: string;
  /** The folder of the clone; what is there is removed. */
  readonly clone: string;
  readonly key: string;
  /** A commit that wrote the key, and so names its file. */
  readonly commit: Commit;
}

/** A person's commit, and how long after its push the new value stood in memory. */
export interface PersonReport {
  readonly key: string;
  readonly commit: Commit;
  readonly arrivedMs: number;
  /** The layer that answers then. */
  readonly layer: string;
  /** What the person wrote is what was read. */
  readonly agrees: boolean;
}

/** Where in the repository Sync keeps what files cannot say. */
const SIDE_FOLDER = ".microsync/";
/** How long something may take to arrive, and how often one looks. */
const ARRIVAL_MS_MAX = 30_000;
const LOOK_MS = 5;

/**
 * A person clones the repository, edits the file of a key, commits and pushes. Nothing tells Sync but its own watch, and
 * `peek` asks nothing but memory.
 */
export async function editAsPerson(
  db: Sync,
  { remote, branch, clone, key, commit: { paths } }: Edit,
): Promise<PersonReport> {
  await rm(clone, { recursive: true, force: true });
  const path = paths.find((name) => !name.startsWith(SIDE_FOLDER)) ?? "";
  await git(".", "clone", "--quiet", "--no-checkout", remote, clone);
  await git(clone, "sparse-checkout", "set", "--no-cone", `/${path}`); // one file of the 20,968 is enough
  await git(clone, "checkout", "--quiet", branch);
  const edited = { ...(await db.get<Feature>(key)), note: `edited by a person, ${new Date().toISOString()}` };

  await writeFile(join(clone, path), `${JSON.stringify(edited, null, 2)}\n`);
  const person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"];
  await git(clone, ...person, "commit", "--quiet", "--all", "--message=Say it better");
  const commit = await lastCommit(clone, branch);
  await git(clone, "push", "--quiet", "origin", `HEAD:${branch}`);

  const [, arrivedMs] = await timed(() =>
    until(() => Promise.resolve((db.peek(key) as Feature | undefined)?.["note"] === edited.note)),
  );
  const found = await db.read<Feature>(key);
  const agrees = JSON.stringify(found?.value) === JSON.stringify(edited);
  return { key, commit, arrivedMs, layer: found?.layer ?? "", agrees };
}

/** Looks again and again, but not for ever: what does not come then is reported as not having come. */
export async function until(isSo: () => Promise<boolean>, patienceMs = ARRIVAL_MS_MAX): Promise<boolean> {
  const last = performance.now() + patienceMs;
  for (;;) {
    if (await isSo()) return true;
    if (performance.now() >= last) return false;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
