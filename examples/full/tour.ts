import { join } from "node:path";
import type { Sync } from "microsync";
import { timed } from "../start/durations.ts";
import { loadFeatures } from "../start/features.ts";
import type { Feature, Features } from "../start/features.ts";
import { git, lastCommit } from "../start/git.ts";
import type { Commit } from "../start/git.ts";
import { editAsPerson, until } from "../start/person.ts";
import type { PersonReport } from "../start/person.ts";
import { addLines, linesOf, shuffled, walk } from "../start/walk.ts";
import type { LayerLine, OnProgress, Walk } from "../start/walk.ts";
import { PREFIX, chains } from "./chains.ts";
import type { Chains } from "./chains.ts";
import { mirror } from "./mirror.ts";
import { everywhere, outage, outageKeys } from "./outage.ts";
import type { OutageReport } from "./outage.ts";
import { BRANCH } from "./servers.ts";
import type { Servers } from "./servers.ts";

export interface TourOptions {
  /** Where the node keeps its journals, its clock and its mirror of the repository. */
  readonly folder: string;
  readonly servers: Servers;
  /** At most so many features; the data set has 20,968. */
  readonly keysMax: number;
  /** How many keys of each walk are read one after the other, at most. */
  readonly singlesMax?: number;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

export interface TourReport {
  readonly source: string;
  readonly keys: number;
  readonly servers: readonly { readonly name: string; readonly version: string; readonly readyMs: number }[];
  /** How the repository was filled, which nothing else had yet. */
  readonly fill: { readonly commits: number; readonly ms: number };
  readonly walks: readonly Walk[];
  readonly layers: readonly LayerLine[];
  /** Everything in the bucket beside it. */
  readonly mirror: { readonly keys: number; readonly ms: number };
  /** A write, the commit as which it arrived, and whether every store has it. */
  readonly write: { readonly key: string; readonly ms: number; readonly commit: Commit; readonly everywhere: boolean };
  readonly person: PersonReport & { readonly everywhere: boolean };
  readonly outages: readonly OutageReport[];
  /** Each store asked alone at the end, key by key. */
  readonly checks: readonly Check[];
  /** All that had to be so was so. */
  readonly agrees: boolean;
  readonly ms: number;
}

export interface Check {
  readonly store: string;
  readonly keys: number;
  /** Keys whose value is missing or another one. */
  readonly wrong: number;
}

/** One write call, and so one commit. */
const BATCH = 3_000;
const REQUEST = 1_000;
const OUTAGE_WRITES_MAX = 100;
const ARRIVAL_MS_MAX = 60_000;

export async function runTour(options: TourOptions): Promise<TourReport> {
  const begun = performance.now();
  const { folder, servers, keysMax, onProgress, signal } = options;
  const features = loadFeatures(keysMax);
  const keys = shuffled(features.all.map(([key]) => key));
  const all = chains(folder, servers);
  const fill = await fillTruth(all, servers, features, onProgress);
  signal.throwIfAborted();
  const { walks, lines, db } = await readFromEach(all, servers, keys, options);

  try {
    const expected = new Map<string, unknown>(features.all);
    const beside = await all.beside();
    const carrying = mirror(db, beside);
    try {
      const [, mirrorMs] = await timed(async () => {
        const look = setInterval(() => onProgress("filling S3 beside it", carrying.carried, keys.length), 100);
        await carrying.ready().finally(() => clearInterval(look));
        await beside.flush();
      });
      const [key = "", other = ""] = keys;
      const write = await writeOne(db, servers, key);
      const layers = addLines(lines, linesOf(db));
      const person = await beEdited(db, servers, join(folder, "clone"), write);
      expected.set(key, await db.get(key));
      const survived: Omit<OutageReport, "lost">[] = [];
      const writes = Math.min(OUTAGE_WRITES_MAX, keys.length);
      for (const server of Object.values(servers)) {
        signal.throwIfAborted();
        onProgress(`without ${server.name}`, survived.length, Object.values(servers).length);
        survived.push(await outage({ server, db, beside, writes, known: other, signal }));
        for (const name of outageKeys(server.name, writes)) expected.set(name, await db.get(name));
      }
      await until(async () => sameText(await beside.get(key), expected.get(key)), ARRIVAL_MS_MAX);
      await carrying.stop();
      await Promise.all([db.close(), beside.close()]);
      const { checks, wrong } = await checkAll(all, expected, onProgress);
      const outages = survived.map((each): OutageReport => {
        return { ...each, lost: outageKeys(each.server, writes).filter((name) => wrong.has(name)).length };
      });
      const agrees = person.agrees && person.everywhere && write.everywhere && checks.every(({ wrong }) => wrong === 0);
      return {
        source: features.source,
        keys: keys.length,
        servers: Object.values(servers).map(({ name, version, readyMs }) => ({ name, version, readyMs })),
        fill,
        walks,
        layers,
        mirror: { keys: keys.length, ms: mirrorMs },
        write,
        person,
        outages,
        checks,
        agrees,
        ms: performance.now() - begun,
      };
    } finally {
      await carrying.stop().catch(() => undefined); // what ended it has been thrown where it was waited for
      await beside.close();
    }
  } finally {
    await db.close();
  }
}

async function fillTruth(all: Chains, servers: Servers, { all: items }: Features, onProgress: OnProgress) {
  const begun = performance.now();
  const db = await all.alone("git");
  try {
    for (let from = 0; from < items.length; from += BATCH) {
      onProgress("filling git", from, items.length);
      await db.setMany(items.slice(from, from + BATCH));
    }
  } finally {
    await db.close();
  }
  const commits = Number(await git(servers.git.bare, "rev-list", "--count", BRANCH));
  return { commits, ms: performance.now() - begun };
}

/**
 * Reads all keys from each layer in turn, the deepest first, each time through a process that has just started. At first
 * git alone has them; a read fills what it passed. Etcd is emptied once, so that PostgreSQL is asked.
 * @returns the chain that is left open, with a journal.
 */
async function readFromEach(all: Chains, { etcd }: Servers, keys: readonly string[], options: TourOptions) {
  const { onProgress, singlesMax, signal } = options;

  const walks: Walk[] = [];
  let lines: readonly LayerLine[] | undefined;
  const walkOnce = async (db: Sync, from: string) => {
    signal.throwIfAborted();
    walks.push(...(await walk(db, from, keys, onProgress, singlesMax)));
  };
  const walkThrough = async (from: string) => {
    const db = await all.whole(false);
    try {
      await walkOnce(db, from);
    } finally {
      await db.close();
    }
    const now = linesOf(db);
    lines = lines === undefined ? now : addLines(lines, now);
  };
  await walkThrough(all.truth);
  etcd.cluster.ctl("del", "--prefix", `${PREFIX}/`);
  await walkThrough("postgres");
  const db = await all.whole(true);
  try {
    await walkOnce(db, "etcd");
    await walkOnce(db, "memory");
    return { walks, lines: lines ?? [], db };
  } catch (error) {
    await db.close();
    throw error;
  }
}

async function writeOne(db: Sync, { git: host }: Servers, key: string): Promise<TourReport["write"]> {
  const feature = await db.get<Feature>(key);
  const [, ms] = await timed(() => db.set(key, { ...feature, note: "written by Sync" }, { ack: "all" }));
  return { key, ms, commit: await lastCommit(host.bare, BRANCH), everywhere: await everywhere(db, key) };
}

async function beEdited(db: Sync, { git: host }: Servers, clone: string, write: TourReport["write"]) {
  const person = await editAsPerson(db, { remote: host.remote, branch: BRANCH, clone, ...write });
  const arrived = await until(() => everywhere(db, write.key), ARRIVAL_MS_MAX);
  return { ...person, everywhere: arrived };
}

/** Every key of every store that keeps everything, asked alone, past all that stands before it. */
async function checkAll(all: Chains, expected: ReadonlyMap<string, unknown>, onProgress: OnProgress) {
  const checks: Check[] = [];
  const wrong = new Set<string>();
  for (const store of ["postgres", "git", "s3"] as const) {
    const db = await all.alone(store);
    try {
      const keys = await findWrong(db, store, expected, onProgress);
      checks.push({ store, keys: expected.size, wrong: keys.length });
      for (const key of keys) wrong.add(key);
    } finally {
      await db.close();
    }
  }
  return { checks, wrong };
}

async function findWrong(db: Sync, store: string, expected: ReadonlyMap<string, unknown>, onProgress: OnProgress) {
  const keys = [...expected.keys()];
  const wrong: string[] = [];
  for (let from = 0; from < keys.length; from += REQUEST) {
    onProgress(`checking ${store}`, from, keys.length);
    const part = keys.slice(from, from + REQUEST);
    const found = await db.getMany(part);
    wrong.push(...part.filter((key) => !sameText(found.get(key), expected.get(key))));
  }
  return wrong;
}

function sameText(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
