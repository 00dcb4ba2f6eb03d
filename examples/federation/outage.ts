import { timed } from "../start/durations.ts";
import { until } from "../start/person.ts";
import { agreement } from "./ledger.ts";
import type { Ledger } from "./ledger.ts";
import type { Levels } from "./levels.ts";
import type { NodeProcess, Written } from "./node.ts";

/** What happened while a node was away, and how all came together again. */
export interface OutageReport {
  readonly without: string;
  /** Writes and deletions meanwhile, all of them acknowledged. */
  readonly writes: number;
  /** Until the last of them was. */
  readonly ackMs: number;
  /** Reads meanwhile, at the local nodes, of what they had, that were not answered as they should be. */
  readonly unanswered: number;
  /** For all of those reads, made at once. */
  readonly readMs: number;
  /** What the local nodes answered about a key that they had never heard of: 503 or 504, for it may be further down. */
  readonly unknown: readonly number[];
  /** Entries that waited in the journals of the nodes that answered. */
  readonly waiting: number;
  /** From when all were there again, until all answered the same. */
  readonly agreedMs: number;
}

/** How many keys each node writes alone, how many all write at once, and how many are deleted. */
const OWN = 20;
const CONTESTED = 5;
const DELETED = 5;
/** How long a local node may try to find out about a key that it never heard of. */
const UNKNOWN_MS = 1_000;
/** How long it may take until all is where it belongs. */
const PATIENCE_MS = 60_000;

/** The global node is killed as a crash does it, and started again on the same data and port. */
export async function killed(levels: Levels, ledger: Ledger, known: string): Promise<OutageReport> {
  const { global, locals, region } = levels;
  const name = global.name;
  await prepare(levels, ledger, name);
  await global.kill();
  const meanwhile = await writeMeanwhile(locals, name, ledger);
  const read = await readMeanwhile(locals, name, ledger, known);
  const waiting = await waitingIn([...locals, region]);
  await global.start();
  return { without: name, ...meanwhile, ...read, waiting, agreedMs: await cameTogether(levels, ledger) };
}

/**
 * The regional node takes connections and answers none. The global node is written to as well, and killed as soon as it
 * has acknowledged, so that its journal alone may have the last writes.
 */
export async function cutOff(levels: Levels, ledger: Ledger, known: string): Promise<OutageReport> {
  const { global, locals, region } = levels;
  const name = region.name;
  await prepare(levels, ledger, name);
  region.cutOff();
  const meanwhile = await writeMeanwhile([...locals, global], name, ledger);
  await global.kill();
  const read = await readMeanwhile(locals, name, ledger, known);
  const waiting = await waitingIn(locals);
  await global.start();
  region.heal();
  return { without: name, ...meanwhile, ...read, waiting, agreedMs: await cameTogether(levels, ledger) };
}

function keysOf(outage: string, kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `without/${outage}/${kind}-${i}.txt`);
}

/** Every node has what is written over and deleted later. */
async function prepare({ locals: [local], all }: Levels, ledger: Ledger, outage: string): Promise<void> {
  const keys = [...keysOf(outage, "contested", CONTESTED), ...keysOf(outage, "deleted", DELETED)];
  for (const written of await Promise.all(keys.map((key) => local.write(key, "before\n")))) ledger.add(written);
  await local.flush();
  await Promise.all(all.flatMap((node) => keys.map((key) => node.read(key))));
}

async function writeMeanwhile(nodes: readonly NodeProcess[], outage: string, ledger: Ledger) {
  const [written, ackMs] = await timed(() => Promise.all(nodes.flatMap((node) => writesAt(node, outage))));
  for (const each of written) ledger.add(each);
  return { writes: written.length, ackMs };
}

function writesAt(node: NodeProcess, outage: string): Promise<Written>[] {
  const keys = [...keysOf(outage, node.name, OWN), ...keysOf(outage, "contested", CONTESTED)];
  const writes = keys.map((key) => node.write(key, `written at ${node.name}\n`));
  const deletions = keysOf(outage, "deleted", DELETED).map((key) => node.delete(key));
  return [...writes, ...deletions];
}

/** What a local node had or wrote itself; and what it cannot know. */
async function readMeanwhile(locals: Levels["locals"], outage: string, ledger: Ledger, known: string) {
  const readAt = async (local: NodeProcess, key: string) => (await local.read(key)).text === ledger.textOf(key);
  const [right, ms] = await timed(() =>
    Promise.all(
      locals.flatMap((local) => [known, ...keysOf(outage, local.name, OWN)].map((key) => readAt(local, key))),
    ),
  );
  const asked = await Promise.all(
    locals.map((local) => local.read(`without/${outage}/nobody.txt`, { timeoutMs: UNKNOWN_MS })),
  );
  const unanswered = right.filter((isRight) => !isRight).length;
  return { unanswered, readMs: ms, unknown: asked.map(({ status }) => status) };
}

async function waitingIn(nodes: readonly NodeProcess[]): Promise<number> {
  let sum = 0;
  // From above, so that what is just being sent down is counted.
  for (const node of nodes) sum += await node.metric("microsync_journal_entries");
  return sum;
}

/** Everything is in every layer below, and every node has heard of it. @returns after how many milliseconds. */
async function cameTogether({ all }: Levels, ledger: Ledger): Promise<number> {
  const [, ms] = await timed(async () => {
    for (const node of all) await flushed(node);
    await agreement(all, ledger);
  });
  return ms;
}

/** A flush ends at once when a layer fails; here it is known to be coming back. */
async function flushed(node: NodeProcess): Promise<void> {
  let reason: unknown;
  const isThere = await until(async () => {
    reason = await node.flush().then(
      () => undefined,
      (error: unknown) => error,
    );
    node.throwIfInterrupted();
    return reason === undefined;
  }, PATIENCE_MS);
  if (!isThere) throw reason;
}
