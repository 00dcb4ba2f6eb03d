import { budget } from "../../src/budget.ts";
import { chain } from "../../src/chain/chain.ts";
import type { Chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import type { Head } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Files } from "../../src/journal/files.ts";
import { inspectLog } from "../../src/journal/inspect.ts";
import { openJournal } from "../../src/journal/open.ts";
import type { Journal } from "../../src/journal/journal.ts";
import type { Runtime } from "../../src/runtime.ts";
import { sleep } from "../../src/runtime.ts";
import type { CallOptions, Store } from "../../src/store.ts";
import { memory } from "../../src/stores/memory.ts";
import { chaos } from "../../src/testing/chaos.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import type { SimulatedFiles } from "../../src/testing/files.ts";
import { referenceState, referenceStore } from "../../src/testing/reference.ts";
import type { ReferenceState } from "../../src/testing/reference.ts";
import { versionClock } from "../../src/version.ts";
import type { Version, VersionClock } from "../../src/version.ts";
import { Life } from "./mortal.ts";
import { LINK_MS_MAX } from "./server.ts";
import type { Link } from "./server.ts";
import type { World } from "./world.ts";

export const TTL_MS = { memory: 800, disk: 1_200, region: 1_500, store: 2_000 };
/** The longest that any copy counts as fresh. */
export const FRESH_MS = Math.max(...Object.values(TTL_MS));
export const GRACE_MS = 3_000;
export const NEGATIVE_MS = 500;
export const DEADLINE_MS = 150;
export const RETENTION_MS = 30_000;
/** Clocks run up to 10 s ahead after a restart, by the bound that they reserve. */
export const SKEW_MAX_MS = 20_000;
export const JOURNAL = {
  replayRecords: 2,
  segmentBytes: 1_500,
  entriesMax: 40,
  bytesMax: 30_000,
  ageMsMax: 7_000,
  waitMs: 300,
  memoryBytesMax: 400,
  keptBytesMax: 4_000,
};
export const PUSHES = { max: 8, windowMs: 2_000 };
/** Values above this are stubs in memory's and the region's eyes. */
export const SMALL_BYTES = 100;

/** What runs while a node is up. */
export interface Process {
  readonly life: Life;
  readonly runtime: Runtime;
  readonly chain: Chain;
  readonly clock: VersionClock;
  readonly journal: Journal;
  /** How many entries it sent again, whatever room there was, because a layer had gone back. */
  readonly sentAgain: () => number;
}

/** How a node's chain is made, the same over all its lives. */
export interface NodePlan {
  readonly links: readonly Link[];
  /** The node whose chain is this one's last layer. */
  readonly remote: Node | undefined;
  readonly watch: boolean;
  readonly staleWhileRefresh: boolean;
  readonly memoryEntries: number;
}

/** One machine: what it keeps over its lives, and the process that runs now. */
export class Node {
  readonly name: string;
  readonly plan: NodePlan;
  /** The private cache on its disk. */
  disk: ReferenceState = referenceState();
  files: SimulatedFiles;
  process: Process | undefined;
  /** What its process is writing, and has not been told to be on disk. */
  readonly inFlight = new Map<Version, Head>();
  private readonly leftBehind = new Map<Version, string>();
  /** When each of its processes sent a write to git, in simulated ms. */
  readonly pushes: number[][] = [];
  /** How far the clock of its next process is off; undefined: by chance. */
  nextSkewMs: number | undefined;
  /** Simulated ms at which it last said that it had missed changes. */
  missedAt = -Infinity;
  /** A process that is not up yet. */
  starting: Life | undefined;
  /** The journal of the last life, for what it reported. */
  lastJournal: Journal | undefined;
  private readonly world: World;
  private skewMs = 0;
  /** The version clock's bound as it is on disk. */
  private boundMs = 0;
  private readonly remoteLink: (Store & { readonly flush: (call?: CallOptions) => Promise<void> }) | undefined;
  /** The way to the other node, when that is a layer. */
  readonly remoteChaos: ReturnType<typeof chaos> | undefined;

  constructor(world: World, name: string, plan: NodePlan, seed: number) {
    this.world = world;
    this.name = name;
    this.plan = plan;
    this.files = simulatedFiles({ seed, runtime: world.runtime, delayMsMax: 2 });
    if (plan.remote !== undefined) {
      const facade = remoteStore(plan.remote);
      const { runtime } = world;
      const wrapped = chaos(facade, { runtime, seed: seed + 1, delayMsMax: LINK_MS_MAX, traceMax: 10 });
      this.remoteChaos = wrapped;
      this.remoteLink = Object.assign(wrapped, { flush: facade.flush });
    }
  }

  /** How far its wall clock is off, in milliseconds. */
  get offMs(): number {
    return this.skewMs;
  }

  get isUp(): boolean {
    return this.process !== undefined;
  }

  /** Starts a process on what the last one left. Resolves never when it dies meanwhile. */
  async start(): Promise<void> {
    const { world } = this;
    const life = new Life();
    this.starting = life;
    this.skewMs = this.nextSkewMs ?? world.chance.below(2 * world.skewMs + 1) - world.skewMs;
    const runtime = life.runtime(world.runtime, this.skewMs);
    const files = life.files(watched(this.files, () => this.crashed(life)));
    if (this.leftBehind.size > 0) await this.inspect(files);
    if (life.isOver) return;
    const clock = await versionClock({ runtime, skewMaxMs: SKEW_MAX_MS, bound: this.bound(life) });
    const journal = await openJournal({ files, runtime, ...JOURNAL });
    const { name } = this;
    const process: Omit<Process, "sentAgain"> = {
      life,
      runtime,
      clock,
      journal,
      chain: chain(this.layers(life, runtime), {
        runtime,
        clock,
        name,
        journal,
        negativeTtlMs: NEGATIVE_MS,
        retentionMs: RETENTION_MS,
        skewMaxMs: SKEW_MAX_MS,
        syncIntervalMs: 40,
        collectIntervalMs: 0,
        onReport: ({ kind, layer: where, key, message }) => {
          if (kind === "write-failed" && where === "journal" && key !== undefined) world.facts.gaveUp(name, key);
          if (kind === "relist") this.missedAt = world.runtime.monotonic();
          world.log(`${name} reports ${kind} of ${where} ${key ?? ""}: ${message}`);
        },
      }),
    };
    if (life.isOver) return;
    this.starting = undefined;
    this.process = { ...process, sentAgain: countSentAgain(journal) };
    this.lastJournal = journal;
    // What an undecided write may have come to makes all that is from before suspect.
    if (journal.undecided.size > 0) this.missedAt = world.runtime.monotonic();
    world.log(`${name} is up, its clock is off by ${this.skewMs} ms`);
  }

  /** The process ends now; with `power`, what its disk had not synced may be gone too. */
  crash(power: boolean): void {
    const { process, world } = this;
    const life = process?.life ?? this.starting;
    if (life === undefined) return;
    world.log(`${this.name} ${power ? "loses its power" : "is killed"}`);
    this.files = power ? this.files.powerLoss() : this.files.kill();
    this.ended(life);
  }

  /** The power failed in the middle of an operation of the disk. */
  private crashed(life: Life): void {
    if (life.isOver) return;
    this.world.log(`${this.name} loses its power while it writes`);
    this.files = this.files.powerLoss();
    this.ended(life);
  }

  private ended(life: Life): void {
    life.end();
    this.noteLeftBehind();
    this.process = undefined;
    this.starting = undefined;
    this.world.onCrash(this);
  }

  /** Journal first: what other machines, or the disk, had of a write when its process died, its journal has too. */
  private async inspect(files: Files): Promise<void> {
    const { name, leftBehind, world } = this;
    const recorded = new Set<Version>();
    for await (const found of inspectLog(files)) {
      if (found.kind === "record" && found.record.head !== null) recorded.add(found.record.head.version);
    }
    for (const [version, places] of leftBehind) {
      if (recorded.has(version)) continue;
      world.facts.bad("ahead of the journal", `${places} has ${version} of ${name}, its journal not`);
    }
    leftBehind.clear();
  }

  /** Where versions were that its process was still writing when it died. */
  private noteLeftBehind(): void {
    const { world, disk, inFlight, leftBehind } = this;
    for (const { key, version } of inFlight.values()) {
      const has = (state: ReferenceState) => state.copies.get(key)?.entry.version === version;
      const places = [...world.stores, world.region].filter(({ state }) => has(state)).map((server) => server.name);
      if (has(disk)) places.push("disk");
      // What every store had may have left the journal.
      const isEverywhere = world.stores.every((store) => has(store.state));
      if (places.length > 0 && !isEverywhere) leftBehind.set(version, places.join(", "));
    }
    inFlight.clear();
  }

  private bound(life: Life) {
    return {
      load: () => Promise.resolve(this.boundMs),
      store: async (ms: number) => {
        await life.async(() => sleep(this.world.runtime, this.world.chance.below(5)));
        this.boundMs = ms;
      },
    };
  }

  private layers(life: Life, runtime: Runtime): LayerSpec[] {
    const { plan, world } = this;
    const { watch, staleWhileRefresh, memoryEntries } = plan;
    const times = {
      graceMs: GRACE_MS,
      deadlineMs: DEADLINE_MS,
      breakerMs: 300,
      breakerFailures: 4,
      watchIntervalMs: 200,
    };
    const small = { valueBytesMax: SMALL_BYTES };
    const specs = [layer(memory({ runtime, entriesMax: memoryEntries }), { ...times, ...small, ttlMs: TTL_MS.memory })];
    const disk = referenceStore({ runtime, name: "disk", state: this.disk, supports: { durable: true } });
    specs.push(layer(life.store(disk, world.runtime, this.skewMs), { ...times, name: "disk", ttlMs: TTL_MS.disk }));
    for (const link of plan.links) {
      const store = life.store(link, world.runtime, this.skewMs);
      if (link.server === "region") {
        specs.push(layer(store, { ...times, ...small, name: "region", ttlMs: TTL_MS.region, staleWhileRefresh }));
        continue;
      }
      const limit = { name: "pushes", ...PUSHES, weights: { push: 1 } };
      if (link.server === "git") count(store, world.runtime, this.pushes);
      const pays = link.server === "git" ? { budget: budget({ runtime, name: "git", limits: [limit] }) } : {};
      const own = { name: link.server, role: "store" as const, ttlMs: TTL_MS.store, watch };
      specs.push(layer(store, { ...times, ...own, ...pays, flushEntriesMax: world.flushEntriesMax }));
    }
    const { remoteLink } = this;
    if (remoteLink !== undefined) {
      const flush = (call?: CallOptions) => life.async(() => remoteLink.flush(call));
      const store = Object.assign(life.store(remoteLink, world.runtime, this.skewMs, true), { flush });
      specs.push(
        layer(store, { ...times, name: "remote", role: "store", ttlMs: TTL_MS.store, watch, deadlineMs: 600 }),
      );
    }
    return specs;
  }
}

/** @returns how many entries came back into the queues, beyond what there is room for. */
function countSentAgain(journal: Journal): () => number {
  const resend = journal.resend.bind(journal);
  // After a crash the cursors may lie behind what layers have taken.
  let entries = Math.max(0, journal.status().entries - JOURNAL.entriesMax);
  let underWay = 0;
  journal.resend = async (lane) => {
    underWay++;
    const count = await resend(lane);
    underWay--;
    entries += count;
    return count;
  };
  return () => (underWay > 0 ? Infinity : entries);
}

/** Notes the writes that one process sends. */
function count(store: Store, runtime: Runtime, pushes: number[][]): void {
  const mine: number[] = [];
  pushes.push(mine);
  const write = store.write.bind(store);
  store.write = (writes, options) => {
    mine.push(runtime.monotonic());
    return write(writes, options);
  };
}

/** A node's chain as others reach it: whichever process runs, and a broken connection when it ends. */
function remoteStore(node: Node): Store & { readonly flush: (call?: CallOptions) => Promise<void> } {
  const isDown = (operation: string) =>
    new SyncError("UNAVAILABLE", "the node is down", { store: node.name, operation });
  const ask = async <T>(operation: string, make: (to: Chain) => Promise<T>): Promise<T> => {
    const { process } = node;
    if (process === undefined) throw isDown(operation);
    return new Promise<T>((resolve, reject) => {
      const forget = process.life.onEnd(() => reject(isDown(operation)));
      make(process.chain).then(resolve, reject).finally(forget);
    });
  };
  async function* items<T>(operation: string, open: (to: Chain) => AsyncIterable<T>): AsyncIterable<T> {
    const { process } = node;
    if (process === undefined) throw isDown(operation);
    const iterator = open(process.chain)[Symbol.asyncIterator]();
    try {
      for (;;) {
        if (node.process !== process) throw isDown(operation);
        const next = await ask(operation, () => iterator.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      if (node.process === process) iterator.return?.().catch(() => undefined);
    }
  }
  const { supports } = node.process?.chain ?? { supports: undefined };
  if (supports === undefined) throw new Error(`${node.name} has to be up first`);
  return {
    name: node.name,
    supports,
    read: async (keys, options) => {
      const { offMs } = node;
      const answers = await ask("read", (to) => to.read(keys, options));
      return answers.map((answer) => ({ ...answer, asOf: answer.asOf - offMs }));
    },
    write: (writes, options) => {
      const dated = writes.map((write) => ({ ...write, asOf: write.asOf + node.offMs }));
      return ask("write", (to) => to.write(dated, options));
    },
    forget: (given, options) => ask("forget", (to) => to.forget(given, options)),
    list: (range, options) => items("list", (to) => to.list(range, options)),
    watch: (range, options) => items("watch", (to) => to.watch(range, options)),
    flush: (call) => ask("flush", (to) => to.flush(call)),
    close: () => Promise.resolve(),
  };
}

/** Files that tell when the machine lost its power in the middle of an operation. */
function watched(files: SimulatedFiles, gone: () => void): Files {
  const tell = <T>(work: Promise<T>): Promise<T> => {
    work.catch(() => {
      if (files.ended) gone();
    });
    return work;
  };
  return {
    name: files.name,
    list: () => tell(files.list()),
    size: (name) => tell(files.size(name)),
    read: (...args) => tell(files.read(...args)),
    create: (name) => tell(files.create(name).then(opened)),
    open: (name) => tell(files.open(name).then(opened)),
    rename: (from, to) => tell(files.rename(from, to)),
    remove: (name) => tell(files.remove(name)),
    syncFolder: () => tell(files.syncFolder()),
    claim: () => tell(files.claim()),
    sha256: () => files.sha256(),
    crc32: files.crc32,
  };

  function opened(file: Awaited<ReturnType<Files["open"]>>): typeof file {
    return {
      append: (bytes) => tell(file.append(bytes)),
      appendSynced: (bytes) => tell(file.appendSynced(bytes)),
      sync: () => tell(file.sync()),
      truncate: (length) => tell(file.truncate(length)),
      close: () => tell(file.close()),
    };
  }
}
