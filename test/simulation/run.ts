import { isDead } from "../../src/entry.ts";
import type { Head } from "../../src/entry.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import { ALL_KEYS, Clients, MIXED, PLAIN, REGISTERS } from "./clients.ts";
import { isBehind } from "./facts.ts";
import type { Violation } from "./facts.ts";
import { Faults } from "./faults.ts";
import { explain } from "./linearizable.ts";
import type { Operation } from "./linearizable.ts";
import { JOURNAL, PUSHES } from "./node.ts";
import type { Node } from "./node.ts";
import { outcomeWithin } from "./patience.ts";
import { PRELOADED, World } from "./world.ts";
import type { Topology } from "./world.ts";

export interface Run {
  readonly seed: number;
  readonly topology: Topology;
  readonly violations: readonly Violation[];
  /** Of all that happened: equal for equal runs. */
  readonly hash: number;
  readonly answers: number;
  readonly counts: ReadonlyMap<string, number>;
}

const STEPS = 150;
/** Longer than any pause, backoff and retention. */
const QUIET_MS = 100_000;

/** Chaos, heal, quiet, check. */
export async function run(seed: number, topology: Topology, trace?: (line: string) => void): Promise<Run> {
  let hash = 0x811c9dc5;
  const world = new World(seed, topology, (line) => {
    for (let i = 0; i < line.length; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
    trace?.(line);
  });
  const faults = new Faults(world);
  const clients = new Clients(world);
  const onRejection = (error: unknown) => world.facts.bad("unhandled", String(error));
  process.on("unhandledRejection", onRejection);
  try {
    await world.preload();
    await world.open();
    await chaos(world, faults, clients);
    await heal(world, faults);
    await check(world, clients);
  } finally {
    process.off("unhandledRejection", onRejection);
  }
  const { answers } = clients;
  const counts = new Map([...clients.counts, ...faults.counts]);
  return { seed, topology, violations: world.facts.violations, hash: hash >>> 0, answers, counts };
}

async function chaos(world: World, faults: Faults, clients: Clients): Promise<void> {
  const { chance, runtime } = world;
  for (const link of world.links) link.usual();
  const isLong = chance.chance(0.25);
  for (let step = 0; step < STEPS; step++) {
    const node = chance.pick(world.nodes);
    const roll = chance.below(100);
    const key = chance.chance(0.15) ? MIXED : chance.pick(PLAIN);
    if (roll < 25) clients.set(node, key);
    else if (roll < 65) clients.get(node, chance.chance(0.1) ? PRELOADED : key);
    else if (roll < 78) clients.step(node, chance.chance(0.3) ? MIXED : chance.pick(REGISTERS));
    else if (roll < 82) clients.flush(node);
    else if (roll < 85) clients.list(node);
    else if (roll < 86) clients.burst(node);
    else faults.strike();
    await faults.pass();
    const jump = chance.chance(0.04) ? (isLong ? 12_000 : 3_000) : 60;
    await runtime.advance(chance.chance(0.3) ? 0 : chance.below(jump));
    bounds(world);
  }
}

/** Queues and disks stay within what they were given. */
function bounds({ nodes, facts }: World): void {
  for (const { name, process } of nodes) {
    if (process === undefined) continue;
    const { entries, bytes, diskBytes } = process.journal.status();
    const again = process.sentAgain();
    if (entries > JOURNAL.entriesMax + again) facts.bad("out of bounds", `${name}'s journal has ${entries} entries`);
    if (again > 0) continue;
    if (bytes > JOURNAL.bytesMax) facts.bad("out of bounds", `${name}'s journal has ${bytes} bytes that wait`);
    const most = JOURNAL.bytesMax + JOURNAL.keptBytesMax + 4 * JOURNAL.segmentBytes;
    if (diskBytes > most) facts.bad("out of bounds", `${name}'s journal takes ${diskBytes} bytes of its disk`);
  }
}

async function heal(world: World, faults: Faults): Promise<void> {
  const { runtime, facts, nodes } = world;
  world.log("--- heal");
  faults.heal();
  for (let i = 0; i < 50 && nodes.some(({ isUp }) => !isUp); i++) {
    faults.comeBack();
    await runtime.advance(200);
  }
  for (const { name, isUp } of nodes) if (!isUp) facts.bad("no start", `${name} does not come up`);
  await retryLetters(world);
  await runtime.advance(QUIET_MS / 2);
  await retryLetters(world);
  world.log("--- quiet");
  await runtime.advance(QUIET_MS / 2);
  for (const { name, isUp } of nodes) if (!isUp) facts.bad("no start", `${name} went down for no reason`);
}

/** What was refused is taken now; what is in the conflict list is given up. */
async function retryLetters(world: World): Promise<void> {
  world.noteLetters();
  for (const { process, name } of world.nodes) {
    for (const { id, list, head } of process?.journal.letters ?? []) {
      world.log(`${name} ${list === "dead" ? "retries" : "drops"} ${id} ${head.version}`);
      const work = list === "dead" ? process?.journal.retry(id) : process?.journal.drop(id);
      if (work === undefined) continue;
      const outcome = await outcomeWithin(world.runtime, work, 200, 2);
      // An error of the disk that was still due, for there is another try; and a newer write may have ended it meanwhile.
      const isOfDisk = outcome.kind === "failed" && String(outcome.error).includes("EIO");
      const isEnded = !process?.journal.letters.some((letter) => letter.id === id);
      if (outcome.kind === "failed" && !isOfDisk && !isEnded) {
        world.facts.bad("letter", `${name} ${id}: ${String(outcome.error)}`);
      }
    }
  }
}

async function check(world: World, clients: Clients): Promise<void> {
  const { runtime, facts, nodes } = world;
  world.log("--- check");
  for (const { process, what } of clients.pending.values()) {
    if (!process.life.isOver) facts.bad("never ended", what);
  }
  // What a layer refuses only now is dealt with before the last flush.
  for (const { process } of nodes) process?.chain.flush().catch((error: unknown) => world.log(String(error)));
  await runtime.advance(5_000);
  await retryLetters(world);
  for (const node of nodes) await settled(world, `${node.name} flushes`, node.process?.chain.flush());
  await runtime.advance(1_000);
  for (const key of ALL_KEYS) await agreement(world, clients, key);
  for (const key of REGISTERS) {
    const initial = key === PRELOADED ? (world.truth.history.get(key)?.[0]?.head?.version ?? "") : "";
    const history = (clients.registers.get(key) ?? []).filter((operation) => operation !== undefined);
    if (key === PRELOADED) history.push(...broughtUp(world, initial, history[0]?.client ?? ""));
    const problem = explain(history, initial);
    if (problem !== undefined) facts.bad("not linearizable", `${key}: ${problem}`);
  }
  pushes(world);
  for (const { name, process } of nodes) {
    await settled(world, `${name} closes`, process?.chain.close());
    const left = process?.journal.status().entries ?? 0;
    if (left > 0) facts.bad("not drained", `${name} closed with ${left} entries left`);
  }
}

/**
 * What was always there, and is older than what the authority has collected, is brought up as a write of that moment: a
 * version that no client wrote.
 */
function broughtUp({ facts, authority }: World, expected: string, client: string): Operation[] {
  const heads = (authority.history.get(PRELOADED) ?? []).flatMap(({ head }) => (head === undefined ? [] : [head]));
  const versions = new Set(heads.map(({ version }) => version).filter((version) => !facts.stampedAt.has(version)));
  return [...versions].map((version) => {
    return { client, called: 0, returned: Infinity, what: { kind: "cas", expected, version } };
  });
}

/** Waits for something that must succeed. */
async function settled(world: World, what: string, work: Promise<unknown> | undefined): Promise<void> {
  if (work === undefined) return;
  const outcome = await outcomeWithin(world.runtime, work, 60_000, 1_000);
  if (outcome.kind === "failed") world.facts.bad("does not settle", `${what}: ${String(outcome.error)}`);
  if (outcome.kind === "late") world.facts.bad("never ended", what);
}

/** All stores and all nodes have the same of a key, and nothing less than was acknowledged. */
async function agreement(world: World, clients: Clients, key: string): Promise<void> {
  const { stores, facts, runtime, nodes, authority } = world;
  world.noteLetters();
  const isReported = [...facts.reported].length > 0;
  let owed: Head | undefined;
  for (const head of facts.acknowledged()) {
    if (head.key === key && (owed === undefined || head.version > owed.version)) owed = head;
  }
  const copies = stores.map((store) => store.entryOf(key));
  const now = runtime.now();
  const [first] = copies;
  for (const [i, entry] of copies.entries()) {
    const isSame = entry?.version === first?.version || (isNone(entry, now) && isNone(first, now));
    // Without a watch nobody tells the others what git had before, and what they have collected may be newer.
    const isAlone = key === PRELOADED && first === undefined && (!world.watch || isTooOld(world, entry));
    if (!isSame && !isReported && !isAlone) {
      const has = copies.map((copy) => copy?.version ?? "nothing").join(" and ");
      facts.bad("no agreement", `the stores have ${has} of ${key}`);
    }
    if (!isBehind(entry, owed, now, authority.newestAt(key, Infinity))) continue;
    const back = isNone(owed, now) ? "deleted is back" : "lost";
    facts.bad(back, `${stores[i]?.name} has ${entry?.version ?? "nothing"} of ${key}, acknowledged ${owed?.version}`);
  }
  for (const node of nodes) {
    for (const kind of ["cached", "authority"] as const) {
      const { process } = node;
      if (process === undefined) continue;
      const read = clients.read(node, process, key, { kind, maxAgeMs: 0 });
      const outcome = await outcomeWithin(runtime, read, 2_000, 100);
      const answer = outcome.kind === "done" ? outcome.value : undefined;
      const only = isTooOld(world, world.truth.entryOf(key)) ? world.truth : authority;
      compare(world, node, key, kind, answer, key === PRELOADED ? only : authority);
    }
  }
}

function compare(
  { facts, runtime }: World,
  node: Node,
  key: string,
  kind: string,
  answer: Awaited<ReturnType<Clients["read"]>>,
  authority: World["authority"],
): void {
  if (answer === undefined) {
    facts.bad("no answer", `at the end ${node.name} has no ${kind} answer for ${key}`);
    return;
  }
  const now = runtime.now();
  const version = authority.versionOf(key);
  const bothNone = isNone(answer.entry, now) && isNone(authority.entryOf(key), now);
  const isSame = (answer.entry?.version ?? VERSION_ZERO) === version || bothNone;
  if (isSame && !answer.stale) return;
  const has = `${answer.entry?.version ?? "nothing"}${answer.stale ? " (stale)" : ""}`;
  facts.bad("no agreement", `at the end ${node.name} answers ${has} of ${key}, ${authority.name} has ${version}`);
}

/** Whether the authority takes this for something that was collected, having never had it. */
function isTooOld({ authority }: World, head: Head | undefined): boolean {
  if (head === undefined || authority.newestAt(head.key, Infinity) !== undefined) return false;
  return authority.state.watermark >= head.version;
}

function isNone(head: Head | undefined, now: number): boolean {
  return head === undefined || isDead(head, now);
}

/** No window of any position has more pushes than the budget allows. What is paid is sent when its bodies are read. */
function pushes({ nodes, facts }: World): void {
  for (const writes of nodes.flatMap((node) => node.pushes)) {
    for (const [i, atMs] of writes.entries()) {
      const first = writes[i - PUSHES.max];
      if (first === undefined || atMs - first >= PUSHES.windowMs - 50) continue;
      facts.bad("over budget", `${PUSHES.max + 1} pushes to git within ${Math.round(atMs - first)} ms`);
      return;
    }
  }
}
