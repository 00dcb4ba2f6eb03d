import { outcomeOf } from "../chain/world.ts";
import { chain } from "../../src/chain/chain.ts";
import type { Chain, Report } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { failed } from "../../src/store.ts";
import type { Store, Supports, Write } from "../../src/store.ts";
import { referenceState, referenceStore, simulatedFiles, simulatedRuntime } from "../../src/testing/index.ts";
import type { ReferenceState, SimulatedFiles } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";
import { Violation } from "./world.ts";

/** The store of record refuses keys that begin so, for good: they become dead letters. */
export const REFUSED = "refused/";
const STEP_MS = 50;
const PATIENCE_STEPS = 2_000;
const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What is certain of a key, and what may be there in its place. */
interface Known {
  /** The last acknowledged text; undefined: none, or a tombstone. */
  sure: string | undefined;
  /** Later ones, in their order. */
  readonly maybe: (string | undefined)[];
}

/**
 * Processes that come one after the other over one folder and the same layers: a cache of this machine, a store of record
 * that decides conditions, and one below it. Whatever happened to the folder, what must be true of it all.
 */
export class Lives {
  files: SimulatedFiles;
  readonly states: Readonly<Record<"cache" | "sql" | "git", ReferenceState>>;
  readonly reports: Report[] = [];
  private readonly seed: number;
  private readonly known = new Map<string, Known>();
  private now = 1_700_000_000_000;
  private count = 0;

  constructor(seed: number, trouble: (files: SimulatedFiles) => void) {
    this.seed = seed;
    this.files = simulatedFiles({ seed });
    this.states = { cache: referenceState(), sql: referenceState(), git: referenceState() };
    trouble(this.files);
  }

  get size(): number {
    return this.known.size;
  }

  /** The next process. Single failures of the disk at its start are tried again. */
  async begin(): Promise<Life> {
    const { seed, files } = this;
    const runtime = simulatedRuntime({ seed: seed + 1000 * ++this.count, startMs: this.now, drain });
    const clock = await versionClock({ runtime });
    const isOver = () => files.ended;
    const store = (name: "cache" | "sql" | "git", supports: Partial<Supports>) =>
      mortal(
        referenceStore({ runtime, name, supports: { durable: true, ...supports }, state: this.states[name] }),
        isOver,
      );
    const journal = await patient(() =>
      openJournal({ files, runtime, segmentBytes: 1200, keptBytesMax: 3000, entriesMax: 1000 }),
    );
    const opened = chain(
      [
        layer(memory({ runtime })),
        layer(store("cache", { shared: false })),
        layer(refusing(store("sql", { shared: true })), { role: "store" }),
        layer(store("git", { shared: true, conditional: false, stubs: false })),
      ],
      { runtime, clock, journal, onReport: (report) => void this.reports.push(report), drainMs: 1000 },
    );
    return new Life(this, opened, async (ms) => {
      await runtime.advance(ms);
      this.now = Math.max(this.now, runtime.now() + 1);
    });
  }

  of(key: string): Known {
    let known = this.known.get(key);
    if (known === undefined) this.known.set(key, (known = { sure: undefined, maybe: [] }));
    return known;
  }

  keys(): string[] {
    return [...this.known.keys()];
  }

  /** Somebody saw this: it must be certain or possible, and is certain from now on. */
  saw(key: string, text: string | undefined, where: string): void {
    const known = this.of(key);
    if (text === known.sure) return;
    const at = known.maybe.indexOf(text);
    if (at === -1) {
      const may = [known.sure, ...known.maybe].map((each) => each ?? "nothing").join(" or ");
      throw new Violation(`${where} shows ${key} as ${text ?? "nothing"}: it is lost that it is ${may}`);
    }
    known.sure = text;
    known.maybe.splice(0, at + 1);
  }
}

/** One process. */
export class Life {
  readonly chain: Chain;
  private readonly lives: Lives;
  private readonly advance: (ms: number) => Promise<void>;

  constructor(lives: Lives, opened: Chain, advance: (ms: number) => Promise<void>) {
    this.lives = lives;
    this.chain = opened;
    this.advance = advance;
  }

  get isOver(): boolean {
    return this.lives.files.ended;
  }

  /** Lets time pass until it has come to something. */
  async drive<T>(work: Promise<T>): Promise<T> {
    const outcome = outcomeOf(work);
    await this.advance(0);
    for (let step = 0; !outcome.done; step++) {
      if (step === PATIENCE_STEPS) throw new Violation("it never comes to anything");
      await this.advance(STEP_MS);
    }
    return work;
  }

  pass(ms: number): Promise<void> {
    return this.advance(ms);
  }

  /** Writes a text, or a tombstone, and notes what became of it. */
  async write(key: string, text: string | undefined, options: { ack?: string; if?: Write["if"] } = {}): Promise<void> {
    const { clock, runtime } = this.chain;
    const { ack, if: condition } = options;
    const value = text === undefined ? null : new TextEncoder().encode(text);
    const version = await clock.stamp(condition === "absent" ? undefined : condition);
    const entry: Entry = {
      key,
      state: value === null ? "deleted" : "value",
      value,
      version,
      expires: null,
      meta: NO_META,
    };
    const known = this.lives.of(key);
    const write =
      condition === undefined ? { entry, asOf: runtime.now() } : { entry, asOf: runtime.now(), if: condition };
    known.maybe.push(text);
    try {
      const [result] = await this.drive(this.chain.write([write], { ack }));
      if (result?.status === "conflict") return; // it may still come out that an earlier attempt was there
      if (result?.status === "stored" && ack !== "memory") this.lives.saw(key, text, "its own writer");
    } catch (error) {
      this.unlessOver(error);
    }
  }

  /** Raises a number by one on condition of what the deciding layer has. */
  async raise(key: string): Promise<void> {
    try {
      const [answer] = await this.drive(this.chain.read([key], { authority: true }));
      const before = answer?.entry;
      if (answer?.stale === true) return;
      const text = before?.value === null || before === undefined ? "0" : new TextDecoder().decode(before.value);
      const condition: "absent" | Version = before === undefined ? "absent" : before.version;
      await this.write(key, String(Number(text) + 1), { if: condition });
    } catch (error) {
      this.unlessOver(error);
    }
  }

  async flush(): Promise<void> {
    try {
      await this.drive(this.chain.flush());
    } catch (error) {
      this.unlessOver(error);
    }
  }

  /** Everything acknowledged is readable now. */
  async verify(): Promise<void> {
    const keys = this.lives.keys();
    // A disk that once fails to give a body back is asked again.
    const answers = await patient(() => this.drive(this.chain.read(keys)));
    if (this.isOver) return;
    for (const [i, key] of keys.entries()) {
      const value = answers[i]?.entry?.value;
      this.lives.saw(
        key,
        value === null || value === undefined ? undefined : new TextDecoder().decode(value),
        "a reader",
      );
    }
  }

  async close(): Promise<void> {
    try {
      await this.drive(this.chain.close());
    } catch (error) {
      this.unlessOver(error);
    }
    if (!this.isOver) this.lives.files = this.lives.files.kill(); // what a failed closing leaves open
  }

  /** Failures are what this is about; a defect is not. */
  private unlessOver(error: unknown): void {
    if (error instanceof SyncError && error.code !== "INTERNAL") return;
    throw error;
  }
}

/** Nothing of a process that has ended reaches anybody. */
function mortal(inner: Store, isOver: () => boolean): Store {
  const live = <T>(work: () => T): T => {
    if (isOver()) throw new SyncError("UNAVAILABLE", "the process has ended", { store: inner.name });
    return work();
  };
  return {
    name: inner.name,
    supports: inner.supports,
    read: async (keys, options) => live(() => inner.read(keys, options)),
    write: async (writes, options) => live(() => inner.write(writes, options)),
    forget: async (items, options) => live(() => inner.forget(items, options)),
    list: (range, options) => live(() => inner.list(range, options)),
    watch: (range, options) => live(() => inner.watch(range, options)),
    close: () => inner.close(),
  };
}

function refusing(inner: Store): Store {
  return {
    ...inner,
    async write(writes, options) {
      const results = await inner.write(
        writes.filter(({ entry }) => !entry.key.startsWith(REFUSED)),
        options,
      );
      return writes.map(({ entry: { key } }) =>
        key.startsWith(REFUSED)
          ? failed(new SyncError("INVALID", "such keys are refused", { store: inner.name, key }))
          : (results.shift() ?? failed(new SyncError("INTERNAL", "no result"))),
      );
    },
  };
}

/** Tries again as long as single failures of the disk are in the way. */
export async function patient<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 3 || !(error instanceof SyncError && error.retryable)) throw error;
    }
  }
}
