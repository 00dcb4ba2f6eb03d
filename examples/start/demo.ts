import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { jsonCodec, open } from "microsync";
import type { Sync } from "microsync";
import { timed } from "./durations.ts";
import { loadFeatures } from "./features.ts";
import type { Feature, Features } from "./features.ts";
import { git, lastCommit } from "./git.ts";
import type { Commit } from "./git.ts";
import { editAsPerson } from "./person.ts";
import type { PersonReport } from "./person.ts";
import { addLines, linesOf, shuffled, walk } from "./walk.ts";
import type { LayerLine, OnProgress, Walk } from "./walk.ts";

export interface DemoOptions {
  /** Where the repository, the disk layer and the person's clone are. */
  readonly folder: string;
  /** At most so many features; the data set has 20,968. */
  readonly keysMax: number;
  /** Told how far a long step is. */
  readonly onProgress: OnProgress;
}

export interface DemoReport {
  readonly source: string;
  readonly keys: number;
  /** How the repository was filled; nothing was to be done when an earlier run had filled it. */
  readonly fill: { readonly reused: boolean; readonly commits: number; readonly ms: number };
  readonly walks: readonly Walk[];
  readonly layers: readonly LayerLine[];
  /** A write, and the commit as which it arrived. */
  readonly write: { readonly key: string; readonly ms: number; readonly commit: Commit };
  /** A person's commit, and how long after its push the new value stood in memory. */
  readonly person: PersonReport;
  readonly ms: number;
}

const BRANCH = "main";
const TRUTH = "truth.git";
const DISK = "disk";
const GIT = `git:./${TRUTH}#${BRANCH}?deadline=2m&watchInterval=200ms`;
/** What lies in front of it. A copy stays fresh for an hour here, since the watch tells of every change at once. */
const NEAR = ["memory:?bytesMax=512mb&ttl=1h", `lmdb:./${DISK}?ttl=1h`];
/** One write call, and so one commit. */
const BATCH = 3_000;
/** What the repository was filled with. Written last, so that it is there only when everything else is. */
const MARK = "demo/filled-with";

export async function runDemo({ folder, keysMax, onProgress }: DemoOptions): Promise<DemoReport> {
  const begun = performance.now();
  const features = loadFeatures(keysMax);
  const truth = join(folder, TRUTH);
  await prepare(folder, truth);
  const fill = await fillTruth(folder, features, onProgress);

  // The disk layer begins empty, as on a machine that has never read any of this.
  await rm(join(folder, DISK), { recursive: true, force: true });
  const keys = shuffled(features.all.map(([key]) => key));
  const walks: Walk[] = [];

  let db = await openIn(folder, ...NEAR, GIT);
  walks.push(...(await walk(db, "git", keys, onProgress)));
  await db.close();
  const lines = linesOf(db);

  db = await openIn(folder, ...NEAR, GIT);
  try {
    walks.push(...(await walk(db, "disk", keys, onProgress)));
    walks.push(...(await walk(db, "memory", keys, onProgress)));
    const [key = ""] = keys;
    const write = await writeOne(db, truth, key);
    const layers = addLines(lines, linesOf(db));
    const person = await editAsPerson(db, { remote: truth, branch: BRANCH, clone: join(folder, "clone"), ...write });
    return {
      source: features.source,
      keys: keys.length,
      fill,
      walks,
      layers,
      write,
      person,
      ms: performance.now() - begun,
    };
  } finally {
    await db.close();
  }
}

function openIn(folder: string, ...urls: readonly string[]): Promise<Sync> {
  // Indented, so that the files are pleasant to read and a person's edit is a small difference.
  return open(urls, { base: folder, clock: "clock", codec: jsonCodec({ indent: 2 }) });
}

/** A bare repository, as on any git server. */
async function prepare(folder: string, truth: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const exists = await access(truth).then(
    () => true,
    () => false,
  );
  if (!exists) await git(folder, "init", "--quiet", "--bare", `--initial-branch=${BRANCH}`, TRUTH);
}

async function fillTruth(folder: string, features: Features, onProgress: OnProgress) {
  const begun = performance.now();
  const { all } = features;
  const wanted = `${features.source}, ${all.length} keys`;
  const countCommits = async () => Number(await git(join(folder, TRUTH), "rev-list", "--count", "--all"));
  const before = await countCommits();
  const db = await openIn(folder, GIT);
  try {
    const reused = (await db.get<string>(MARK)) === wanted;
    if (!reused) {
      for (let from = 0; from < all.length; from += BATCH) {
        onProgress("filling git", from, all.length);
        await db.setMany(all.slice(from, from + BATCH));
      }
      await db.set(MARK, wanted);
    }
    return { reused, commits: (await countCommits()) - before, ms: performance.now() - begun };
  } finally {
    await db.close();
  }
}

async function writeOne(db: Sync, truth: string, key: string): Promise<DemoReport["write"]> {
  const feature = await db.get<Feature>(key);
  const [, ms] = await timed(() => db.set(key, { ...feature, note: "written by Sync" }));
  return { key, ms, commit: await lastCommit(truth, BRANCH) };
}
