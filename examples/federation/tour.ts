import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { timed } from "../start/durations.ts";
import { git, lastCommit } from "../start/git.ts";
import type { Commit } from "../start/git.ts";
import { until } from "../start/person.ts";
import type { OnProgress } from "../start/walk.ts";
import { Ledger, agreement, disagreeing, listedWrongly, wrongInGit } from "./ledger.ts";
import { startLevels } from "./levels.ts";
import type { Levels } from "./levels.ts";
import { cutOff, killed } from "./outage.ts";
import type { OutageReport } from "./outage.ts";

export interface TourOptions {
  readonly folder: string;
  /** The name of the repository in it. */
  readonly bare: string;
  readonly levels: Levels;
  readonly onProgress: OnProgress;
}

export interface TourReport {
  readonly nodes: readonly { readonly name: string; readonly readyMs: number }[];
  /** The first read of a key that only git has, and the second. */
  readonly cold: {
    readonly node: string;
    readonly ms: number;
    readonly cacheStatus: string;
    /** Whose memory has it afterwards. */
    readonly filled: readonly string[];
    readonly againMs: number;
    readonly againCacheStatus: string;
  };
  /** Many reads at once, at each local node, of a key that only git has. */
  readonly crowd: {
    readonly readsAtEach: number;
    readonly nodes: readonly string[];
    /** How many were answered with the value. */
    readonly answered: number;
    /** Requests that reached the regional and the global node, and what git was asked, by their own counters. */
    readonly regionReads: number;
    readonly globalReads: number;
    readonly gitReads: number;
  };
  readonly write: {
    readonly node: string;
    readonly key: string;
    /** Until it was on the local node's disk. */
    readonly ackMs: number;
    /** Until it was in git, from the beginning. */
    readonly arrivedMs: number;
    readonly commit: Commit;
    readonly agrees: boolean;
  };
  readonly person: {
    readonly key: string;
    readonly commit: Commit;
    /** Per local node, from the push until its memory had it; null: it did not come. */
    readonly arrivedMs: Readonly<Record<string, number | null>>;
  };
  readonly outages: readonly OutageReport[];
  readonly agreement: {
    readonly keys: number;
    readonly acknowledged: number;
    readonly nodes: readonly string[];
    /** Keys that some node does not answer or list as it should. */
    readonly wrongAtNodes: readonly string[];
    readonly wrongInGit: readonly string[];
  };
  /** All that had to be so. */
  readonly checks: readonly { readonly what: string; readonly isSo: boolean }[];
  readonly agrees: boolean;
  readonly ms: number;
}

const READS_AT_EACH = 100;
/** What a person had in the repository before there was any node. */
const SEEDS = ["pages/cold.txt", "pages/crowd.txt", "pages/about.txt"] as const;
const [COLD, CROWD] = SEEDS;
const EDITED = "notes/today.txt";
const PERSON = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"];
/** Nearest to the source first, as RFC 9211 has it. */
const WALK = [
  "region/global/git; hit",
  ...["region/global/lmdb", "region/global/memory", "region/lmdb", "region/memory", "lmdb", "memory"].map(
    (layer) => `${layer}; fwd=miss; stored`,
  ),
].join(", ");
const NEAR = "memory; hit";
/** What a node's memory answers by itself. */
const MEMORY = { cacheControl: "only-if-cached" };

export async function runTour(options: TourOptions): Promise<TourReport> {
  const begun = performance.now();
  const { folder, levels, onProgress } = options;
  const { all, locals, global } = levels;
  const bare = join(folder, options.bare);
  const clone = join(folder, "clone");
  const ledger = new Ledger();
  const step = (name: string, done: number) => onProgress(name, done, 7);
  step("starting the nodes", 0);
  await seed(bare, clone, ledger);
  const ready = await startLevels(levels);
  step("reading", 1);
  const cold = await readCold(levels);
  const crowd = await readAtOnce(levels);
  step("writing", 2);
  const write = await writeOne(levels, bare, ledger);
  step("editing", 3);
  const person = await edit(levels, clone, ledger);
  step("without the global node", 4);
  const outages = [await killed(levels, ledger, EDITED)];
  step("without the regional node", 5);
  outages.push(await cutOff(levels, ledger, EDITED));
  step("comparing", 6);
  await agreement(all, ledger);
  const answered = await disagreeing(all, ledger, ledger.keys);
  const wrongAtNodes = [...new Set([...answered, ...(await listedWrongly(all, ledger))])];
  const wrong = await wrongInGit(bare, clone, ledger);
  step("stopping the nodes", 7);
  const ended = await levels.stop();

  const names = locals.map(({ name }) => name);
  const checks = [
    { what: "a cold read walks all levels", isSo: cold.cacheStatus === WALK },
    { what: "it fills the memory of each", isSo: cold.filled.length === 3 },
    { what: "the second is answered by local memory", isSo: cold.againCacheStatus === NEAR },
    { what: "all reads at once are answered", isSo: crowd.answered === READS_AT_EACH * names.length },
    { what: "they are one read at the regional node each", isSo: crowd.regionReads === names.length },
    { what: `and one at ${global.name}`, isSo: crowd.globalReads === 1 && crowd.gitReads === 1 },
    { what: "a local write is in git", isSo: write.agrees },
    { what: "a person's commit is in local memory", isSo: Object.values(person.arrivedMs).every((ms) => ms !== null) },
    ...outages.flatMap(({ without, waiting, unanswered, unknown }) => [
      { what: `without ${without} writes wait in journals`, isSo: waiting > 0 },
      { what: `without ${without} what is known is answered`, isSo: unanswered === 0 },
      { what: `without ${without} nothing is called absent`, isSo: unknown.every((status) => status > 500) },
    ]),
    { what: "all nodes agree on every key", isSo: wrongAtNodes.length === 0 },
    { what: "git agrees with them", isSo: wrong.length === 0 },
    { what: "every node ends when it is told to", isSo: ended.every((status) => status === 0) },
  ];
  const nodes = [global, levels.region, ...locals].map(({ name }, i) => ({ name, readyMs: ready[i] ?? 0 }));
  const { keys, acknowledged } = ledger;
  return {
    nodes,
    cold,
    crowd,
    write,
    person,
    outages,
    agreement: {
      keys: keys.length,
      acknowledged,
      nodes: all.map(({ name }) => name),
      wrongAtNodes,
      wrongInGit: wrong,
    },
    checks,
    agrees: checks.every(({ isSo }) => isSo),
    ms: performance.now() - begun,
  };
}

async function seed(bare: string, clone: string, ledger: Ledger): Promise<void> {
  await git(".", "init", "--quiet", "--bare", "--initial-branch=main", bare);
  await git(".", "clone", "--quiet", bare, clone);
  for (const key of SEEDS) await commitFile(clone, ledger, key, `${key}, as it was before\n`);
  await push(clone, "Pages");
}

async function commitFile(clone: string, ledger: Ledger, key: string, text: string): Promise<void> {
  await mkdir(dirname(join(clone, key)), { recursive: true });
  await writeFile(join(clone, key), text);
  await git(clone, "add", key);
  ledger.commit(key, text);
}

async function push(clone: string, message: string): Promise<Commit> {
  await git(clone, ...PERSON, "commit", "--quiet", `--message=${message}`);
  const commit = await lastCommit(clone, "HEAD");
  await git(clone, "push", "--quiet", "origin", "HEAD:main");
  return commit;
}

async function readCold({ locals: [local], region, global }: Levels): Promise<TourReport["cold"]> {
  const [first, ms] = await timed(() => local.read(COLD));
  const [second, againMs] = await timed(() => local.read(COLD));
  const nodes = [local, region, global];
  const near = await Promise.all(nodes.map((node) => node.read(COLD, MEMORY)));
  const filled = nodes.filter((_, i) => near[i]?.text === first.text).map(({ name }) => name);
  const { cacheStatus } = first;
  return { node: local.name, ms, cacheStatus, filled, againMs, againCacheStatus: second.cacheStatus };
}

async function readAtOnce({ locals, region, global }: Levels): Promise<TourReport["crowd"]> {
  const asked = { route: "/v1/batch", method: "POST" };
  const look = async () => ({
    region: await region.metric("microsync_http_requests_total", asked),
    global: await global.metric("microsync_http_requests_total", asked),
    git: await global.metric("microsync_layer_calls_total", { layer: "git" }),
  });
  const before = await look();
  const reads = locals.flatMap((local) => Array.from({ length: READS_AT_EACH }, () => local.read(CROWD)));
  const found = await Promise.all(reads);
  const after = await look();
  return {
    readsAtEach: READS_AT_EACH,
    nodes: locals.map(({ name }) => name),
    answered: found.filter(({ text }) => text?.startsWith(CROWD)).length,
    regionReads: after.region - before.region,
    globalReads: after.global - before.global,
    gitReads: after.git - before.git,
  };
}

async function writeOne(
  { locals: [local, other] }: Levels,
  bare: string,
  ledger: Ledger,
): Promise<TourReport["write"]> {
  const text = "written at a local node\n";
  const begun = performance.now();
  const [written, ackMs] = await timed(() => local.write(EDITED, text));
  ledger.add(written);
  await local.flush();
  const arrivedMs = performance.now() - begun;
  const commit = await lastCommit(bare, "main");
  const committed = await git(bare, "show", `main:${EDITED}`);
  const agrees = commit.paths.includes(EDITED) && `${committed}\n` === text && (await other.read(EDITED)).text === text;
  return { node: local.name, key: EDITED, ackMs, arrivedMs, commit, agrees };
}

/** Nothing tells the nodes but their own feeds, and nothing but memory is asked. */
async function edit({ locals }: Levels, clone: string, ledger: Ledger): Promise<TourReport["person"]> {
  const text = "edited by a person\n";
  await git(clone, "pull", "--quiet");
  await commitFile(clone, ledger, EDITED, text);
  const commit = await push(clone, "Say it better");
  const arrivals = locals.map(async (local) => {
    const [isThere, ms] = await timed(() => until(async () => (await local.read(EDITED, MEMORY)).text === text));
    return [local.name, isThere ? ms : null] as const;
  });
  return { key: EDITED, commit, arrivedMs: Object.fromEntries(await Promise.all(arrivals)) };
}
