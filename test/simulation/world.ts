import { random } from "../../src/testing/random.ts";
import type { Random } from "../../src/testing/random.ts";
import { simulatedRuntime } from "../../src/testing/runtime.ts";
import type { SimulatedRuntime } from "../../src/testing/runtime.ts";
import { NO_META } from "../../src/entry.ts";
import type { Entry, Head } from "../../src/entry.ts";
import { VERSION_ZERO, formatVersion, versionMs } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";
import { Facts, SKEW_MS } from "./facts.ts";
import { DEADLINE_MS, Node } from "./node.ts";
import type { NodePlan } from "./node.ts";
import { Server } from "./server.ts";
import type { Link } from "./server.ts";

/**
 * full: three nodes [memory, disk | region (a cache), sql (decides), git (the truth)]. simple: three nodes
 * [memory, disk | git]. fed: two full nodes and an edge [memory, disk | the first node].
 */
export type Topology = "full" | "simple" | "fed";
export const TOPOLOGIES: readonly Topology[] = ["full", "simple", "fed"];

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
const PERSON = "00000000000000ff";
/** What only git has before anything begins. */
export const PRELOADED = "pre";

/** What is not left to chance. */
export interface Fixed {
  readonly watch?: boolean;
  /** All clocks are right. */
  readonly isExact?: boolean;
  readonly memoryEntries?: number;
}

/** One simulated federation: its time, its shared stores, its nodes, and what is known of them from outside. */
export class World {
  readonly seed: number;
  readonly topology: Topology;
  readonly runtime: SimulatedRuntime;
  readonly chance: Random;
  readonly facts: Facts;
  readonly region: Server;
  /** The shared stores of record, the one that decides first. */
  readonly stores: readonly Server[];
  readonly nodes: readonly Node[];
  readonly links: readonly Link[];
  readonly watch: boolean;
  readonly skewMs: number;
  readonly flushEntriesMax: number;
  isHealed = false;
  /** Every answer comes so late, for scenarios. */
  lateMs: number | undefined;
  onCrash: (node: Node) => void = () => undefined;
  private readonly sink: ((line: string) => void) | undefined;

  constructor(seed: number, topology: Topology, sink?: (line: string) => void, fixed: Fixed = {}) {
    this.seed = seed;
    this.topology = topology;
    this.sink = sink;
    this.runtime = simulatedRuntime({ seed, drain });
    const chance = random(seed ^ 0x5eed);
    this.chance = chance;
    this.facts = new Facts(seed, () => this.runtime.monotonic(), this.log);
    const isWatched = chance.chance(0.6);
    this.watch = fixed.watch ?? isWatched;
    const isExact = chance.chance(0.2);
    this.skewMs = (fixed.isExact ?? isExact) ? 0 : SKEW_MS;
    this.flushEntriesMax = chance.pick([2, 5, 100]);
    const events = {
      log: this.log,
      bad: (kind: string, what: string) => this.facts.bad(kind, what),
      onCommit: (server: Server, key: string, head: Head | undefined) => this.order(server, key, head),
    };
    const asOf = chance.pick(["stored", "known"] as const);
    this.region = new Server(this.runtime, "region", { shared: true }, events);
    const sql = new Server(this.runtime, "sql", { durable: true, shared: true, asOf }, events);
    const conditional = topology === "simple";
    const gitAsOf = chance.pick(["stored", "known"] as const);
    const supports = { durable: true, shared: true, stubs: false, conditional, asOf: gitAsOf };
    const git = new Server(this.runtime, "git", supports, events);
    this.stores = topology === "simple" ? [git] : [sql, git];
    const servers = topology === "simple" ? [git] : [this.region, sql, git];
    const links: Link[] = [];
    const nodes: Node[] = [];
    const count = topology === "fed" ? 2 : 3;
    const plan = (own: readonly Link[], remote: Node | undefined): NodePlan => ({
      links: own,
      remote,
      watch: this.watch,
      staleWhileRefresh: chance.chance(0.3),
      memoryEntries: fixed.memoryEntries ?? chance.pick([1, 2, 100]),
    });
    for (let i = 0; i < count; i++) {
      const own = servers.map((server, n) => server.link(seed * 100 + i * 10 + n, this.slowness));
      links.push(...own);
      nodes.push(new Node(this, "ABC"[i] ?? "?", plan(own, undefined), seed * 1000 + i));
    }
    this.links = links;
    this.nodes = nodes;
  }

  /** Which of the shared stores decides. */
  get authority(): Server {
    return this.stores[0] as Server;
  }

  get truth(): Server {
    return this.stores.at(-1) as Server;
  }

  /** The highest version of a key that any store has had. */
  newestVersion(key: string): Version {
    const versions = this.stores.map((store) => store.newestAt(key, Infinity)?.version ?? VERSION_ZERO);
    return versions.reduce((a, b) => (a > b ? a : b));
  }

  /** Everything is up, and git has something from before. */
  async open(): Promise<void> {
    const begun = this.nodes.map((node) => node.start());
    await this.runtime.advance(50);
    await Promise.all(begun);
    if (this.topology === "fed") {
      const { chance, watch } = this;
      const own = { staleWhileRefresh: chance.chance(0.3), memoryEntries: chance.pick([1, 2, 100]) };
      const remote = this.nodes[0];
      const edge = new Node(this, "E", { links: [], remote, watch, ...own }, this.seed * 1000 + 9);
      (this.nodes as Node[]).push(edge);
      const up = edge.start();
      await this.runtime.advance(50);
      await up;
    }
  }

  /** Before anything else: a repository has a history. */
  async preload(): Promise<void> {
    const atMs = this.runtime.now() - 100_000;
    await this.person(PRELOADED, "imported", atMs);
  }

  /** Somebody changes a key in the truth itself. @returns undefined when there is nothing to change. */
  async person(key: string, text: string | null, atMs: number): Promise<Entry | undefined> {
    const before = this.truth.versionOf(key);
    const value = text === null ? null : new TextEncoder().encode(text);
    const version = formatVersion(Math.max(atMs, versionMs(before) + 1), 0, PERSON);
    const state = value === null ? ("deleted" as const) : ("value" as const);
    const entry: Entry = { key, state, value, version, expires: null, meta: NO_META };
    const [result] = await this.truth.direct.write([{ entry, asOf: atMs }]);
    if (result?.status !== "stored") return undefined;
    this.facts.content(entry);
    this.log(`PERSON ${state} ${key} ${version}`);
    return entry;
  }

  readonly log = (line: string): void => {
    this.sink?.(`${String(this.runtime.monotonic()).padStart(8)} ${line}`);
  };

  /** What shared layers have in their turn: the authority first when it is written, last when it is collected. */
  private order(server: Server, key: string, head: Head | undefined): void {
    const { authority, truth, facts } = this;
    if (head !== undefined && server !== authority && !head.version.endsWith(PERSON)) {
      const newest = authority.newestAt(key, Infinity)?.version ?? VERSION_ZERO;
      const what = `${server.name} has ${head.version} of ${key}, ${authority.name} has had ${newest}`;
      if (newest < head.version) facts.bad("ahead of the authority", what);
    }
    if (head === undefined && server === authority && server !== truth && truth.entryOf(key) !== undefined) {
      const what = `${server.name} has collected ${key}, ${truth.name} still has ${truth.versionOf(key)}`;
      const isOlder = truth.versionOf(key) <= authority.state.watermark;
      if (isOlder) facts.bad("collected from above", what);
    }
  }

  /** How late an answer comes, in milliseconds, though the data was looked at when it was asked. */
  private readonly slowness = (): number => {
    if (this.lateMs !== undefined) return this.lateMs;
    if (this.isHealed || !this.chance.chance(0.3)) return 0;
    return this.chance.below(DEADLINE_MS);
  };

  /** What journals have reported as undeliverable. */
  noteLetters(): void {
    for (const { lastJournal } of this.nodes) {
      for (const { list, head } of lastJournal?.letters ?? []) {
        if (list === "conflict") this.facts.report(head);
      }
    }
  }
}
