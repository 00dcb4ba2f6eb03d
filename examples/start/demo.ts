import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { jsonCodec, open } from "microsync";
import type { Sync } from "microsync";
import { summarise, timed } from "./durations.ts";
import type { Durations } from "./durations.ts";
import { loadFeatures } from "./features.ts";
import type { Feature, Features } from "./features.ts";
import { git, lastCommit } from "./git.ts";
import type { Commit } from "./git.ts";

export interface DemoOptions {
  /** Where the repository, the disk layer and the person's clone are. */
  readonly folder: string;
  /** At most so many features; the data set has 20,968. */
  readonly keysMax: number;
  /** Told how far a long step is. */
  readonly onProgress: (step: string, done: number, total: number) => void;
}

/** How one walk over many keys went; the durations are those of its calls. */
export interface Walk extends Durations {
  /** Where the values were: nowhere near, on disk, in memory. */
  readonly from: string;
  readonly atATime: number;
  readonly keys: number;
  /** Which layer answered for how many of the keys. */
  readonly hits: Readonly<Record<string, number>>;
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
  readonly person: {
    readonly key: string;
    readonly commit: Commit;
    readonly arrivedMs: number;
    /** The layer that answers then. */
    readonly layer: string;
    /** What the person wrote is what was read. */
    readonly agrees: boolean;
  };
  readonly ms: number;
}

export interface LayerLine {
  readonly name: string;
  readonly hits: number;
  readonly misses: number;
  readonly fills: number;
  readonly writes: number;
  readonly calls: number;
  readonly callMs: number;
}

const BRANCH = "main";
const TRUTH = "truth.git";
const DISK = "disk";
/** Where in the repository Sync keeps what files cannot say. */
const SIDE_FOLDER = ".microsync/";
const GIT = `git:./${TRUTH}#${BRANCH}?deadline=2m&watchInterval=200ms`;
/** What lies in front of it. A copy stays fresh for an hour here, since the watch tells of every change at once. */
const NEAR = ["memory:?bytesMax=512mb&ttl=1h", `lmdb:./${DISK}?ttl=1h`];
/** How long a person's commit may take to arrive, and how often the demo looks. */
const ARRIVAL_MS_MAX = 30_000;
const LOOK_MS = 5;
/** One write call, and so one commit. */
const BATCH = 3_000;
/** How many keys are read one after the other, and how many of the rest in one request. */
const SINGLES_MAX = 4_000;
const REQUEST = 1_000;
const SHOWN_EACH = 100;
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
    const person = await beEdited(db, truth, join(folder, "clone"), write);
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

async function fillTruth(folder: string, features: Features, onProgress: DemoOptions["onProgress"]) {
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

/** Reads every key once: some one after the other, as a program that waits for each would, the rest in big requests. */
async function walk(
  db: Sync,
  from: string,
  keys: readonly string[],
  onProgress: DemoOptions["onProgress"],
): Promise<Walk[]> {
  const singles = Math.min(SINGLES_MAX, Math.ceil(keys.length / 2));
  const parts: readonly (readonly [atATime: number, keys: readonly string[]])[] = [
    [1, keys.slice(0, singles)],
    [REQUEST, keys.slice(singles)],
  ];
  const walks: Walk[] = [];
  let done = 0;
  for (const [atATime, part] of parts) {
    const before = linesOf(db);
    const samples: number[] = [];
    for (let at = 0; at < part.length; at += atATime) {
      if (done % SHOWN_EACH === 0 || atATime > 1) onProgress(`reading from ${from}`, done, keys.length);
      const wanted = part.slice(at, at + atATime);
      const [found, ms] = await timed(() => (atATime === 1 ? hasOne(db, wanted[0] ?? "") : countMany(db, wanted)));
      if (found !== wanted.length) throw new Error(`${wanted.length - found} keys have no value`);
      samples.push(ms);
      done += wanted.length;
    }
    const hits = linesOf(db).map(({ name, hits }, i) => [name, hits - (before[i]?.hits ?? 0)] as const);
    const answered = Object.fromEntries(hits.filter(([, n]) => n > 0));
    walks.push({ from, atATime, keys: part.length, ...summarise(samples), hits: answered });
  }
  return walks;
}

async function hasOne(db: Sync, key: string): Promise<number> {
  return (await db.get(key)) === undefined ? 0 : 1;
}

async function countMany(db: Sync, keys: readonly string[]): Promise<number> {
  return (await db.getMany(keys)).size;
}

async function writeOne(db: Sync, truth: string, key: string): Promise<DemoReport["write"]> {
  const feature = await db.get<Feature>(key);
  const [, ms] = await timed(() => db.set(key, { ...feature, note: "written by Sync" }));
  return { key, ms, commit: await lastCommit(truth, BRANCH) };
}

/**
 * A person clones the repository, edits the file of a key, commits and pushes. Nothing tells Sync but its own watch, and
 * `peek` asks nothing but memory.
 */
async function beEdited(
  db: Sync,
  truth: string,
  clone: string,
  { key, commit: { paths } }: DemoReport["write"],
): Promise<DemoReport["person"]> {
  await rm(clone, { recursive: true, force: true });
  const path = paths.find((name) => !name.startsWith(SIDE_FOLDER)) ?? "";
  await git(truth, "clone", "--quiet", "--no-checkout", truth, clone);
  await git(clone, "sparse-checkout", "set", "--no-cone", `/${path}`); // one file of the 20,968 is enough
  await git(clone, "checkout", "--quiet", BRANCH);
  const edited = { ...(await db.get<Feature>(key)), note: `edited by a person, ${new Date().toISOString()}` };

  await writeFile(join(clone, path), `${JSON.stringify(edited, null, 2)}\n`);
  const person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"];
  await git(clone, ...person, "commit", "--quiet", "--all", "--message=Say it better");
  const commit = await lastCommit(clone, BRANCH);
  await git(clone, "push", "--quiet", "origin", `HEAD:${BRANCH}`);

  const [, arrivedMs] = await timed(() => until(() => (db.peek(key) as Feature | undefined)?.["note"] === edited.note));
  const found = await db.read<Feature>(key);
  const agrees = JSON.stringify(found?.value) === JSON.stringify(edited);
  return { key, commit, arrivedMs, layer: found?.layer ?? "", agrees };
}

/** Looks again and again, but not for ever: what does not come then is reported as not having come. */
async function until(isSo: () => boolean): Promise<void> {
  const last = performance.now() + ARRIVAL_MS_MAX;
  while (!isSo() && performance.now() < last) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}

function linesOf(db: Sync): LayerLine[] {
  return db.status().layers.map(({ name, hits, misses, fills, writes, calls, callMs }) => {
    return { name, hits, misses, fills, writes, calls, callMs };
  });
}

function addLines(a: readonly LayerLine[], b: readonly LayerLine[]): LayerLine[] {
  return b.map((line, i) => ({
    name: line.name,
    hits: line.hits + (a[i]?.hits ?? 0),
    misses: line.misses + (a[i]?.misses ?? 0),
    fills: line.fills + (a[i]?.fills ?? 0),
    writes: line.writes + (a[i]?.writes ?? 0),
    calls: line.calls + (a[i]?.calls ?? 0),
    callMs: line.callMs + (a[i]?.callMs ?? 0),
  }));
}

/** The same order in every run, in which neighbours of the data set are far apart. */
function shuffled(keys: readonly string[]): string[] {
  const order = [...keys];
  let state = 1;
  for (let i = order.length - 1; i > 0; i--) {
    state = (state * 48_271) % 0x7fff_ffff;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j] ?? "", order[i] ?? ""];
  }
  return order;
}
