import type { Timer } from "../runtime.ts";
import type { Store } from "../store.ts";
import { ConformanceError } from "./assert.ts";
import { batchChecks } from "./conformance/batches.ts";
import { callChecks } from "./conformance/calls.ts";
import { collectionChecks } from "./conformance/collection.ts";
import { conditionChecks } from "./conformance/conditions.ts";
import { contextOf } from "./conformance/context.ts";
import type { Check, Opened, Settings } from "./conformance/context.ts";
import { keyChecks } from "./conformance/keys.ts";
import { lifeChecks } from "./conformance/life.ts";
import { listChecks } from "./conformance/lists.ts";
import { mergeChecks } from "./conformance/merge.ts";
import { stateChecks } from "./conformance/states.ts";
import { supportChecks } from "./conformance/supports.ts";
import { streamChecks } from "./conformance/streams.ts";
import { valueChecks } from "./conformance/values.ts";
import { watchChecks } from "./conformance/watches.ts";
import { random } from "./random.ts";

/** What the suite needs of a test framework. vitest's functions fit as they are; for node:test see docs/testing.md. */
export interface Runner {
  describe(title: string, body: () => void): unknown;
  test(title: string, body: (context: TestContext) => Promise<void>): unknown;
  afterAll(body: () => Promise<void>): unknown;
}

/** Both vitest and node:test give a test's body an object that can say that the test was skipped. */
export interface TestContext {
  skip(note?: string): void;
}

export interface ConformanceOptions {
  /** Names the store in titles and failures. */
  readonly name: string;
  readonly runner: Runner;
  /** A new, empty store. Called a handful of times; most checks share the first one. */
  readonly open: () => Promise<Opened>;
  /** Printed with every failure. Default 1. */
  readonly seed?: number | undefined;
  /** How many cases each property is tried with; a case costs no call of its own. Default 50. */
  readonly runs?: number | undefined;
  /** Values at `supports.valueBytesMax` are tried up to this size. Default 8 MiB. */
  readonly valueBytesBound?: number | undefined;
  /** Batches at `supports.batchMax` are tried up to this number. Default 10,000. */
  readonly batchBound?: number | undefined;
  /** The store is a mirror: answers are dated by its last fetch, which may lie before the call. Default false. */
  readonly mirror?: boolean | undefined;
  /**
   * Checks that this store cannot pass, by id, and why. Each still runs, and fails if it passes: an ignore that is no
   * longer needed must go.
   */
  readonly skip?: Readonly<Record<string, string>> | undefined;
  /** How long a check may take before it counts as hanging, in (simulated) milliseconds. Default 25,000. */
  readonly patienceMs?: number | undefined;
}

const TOPICS: Readonly<Record<string, readonly Check[]>> = {
  supports: supportChecks,
  values: valueChecks,
  streams: streamChecks,
  merge: mergeChecks,
  states: stateChecks,
  keys: keyChecks,
  batches: batchChecks,
  lists: listChecks,
  watches: watchChecks,
  conditions: conditionChecks,
  collection: collectionChecks,
  calls: callChecks,
  life: lifeChecks,
};

/** Every check of the suite, for tools that list them. */
export const CHECKS: readonly Check[] = Object.values(TOPICS).flat();

const PATIENCE_MS = 25_000;
const ADVANCE_MS = 50;

/**
 * Declares the whole suite for one store: the definition of what a {@link Store} is. Leaves, wrappers, chains and
 * remote nodes are held to the same.
 */
export function conformance(options: ConformanceOptions): void {
  const { name, runner, skip = {}, seed = 1 } = options;
  const unknown = Object.keys(skip).filter((id) => !CHECKS.some((check) => check.id === id));
  if (unknown.length > 0) throw new Error(`skip names checks that do not exist: ${unknown.join(", ")}`);
  const bench = new Bench(options);
  runner.describe(`${name} is a Store`, () => {
    runner.afterAll(() => bench.close());
    for (const [topic, checks] of Object.entries(TOPICS)) {
      runner.describe(topic, () => {
        for (const check of checks) {
          const reason = skip[check.id];
          const title = `${check.title} [${check.id}]${reason === undefined ? "" : ` (ignored: ${reason})`}`;
          runner.test(title, async (context) => {
            const outcome = await bench.run(check);
            if (outcome.kind === "unfit") return context.skip(outcome.reason);
            if (reason === undefined && outcome.kind === "failed") {
              const { error } = outcome;
              const what = error instanceof Error ? error.message : String(error);
              throw new ConformanceError(`${bench.storeName} (seed ${seed}) ${check.id}: ${what}`, { cause: error });
            }
            if (reason !== undefined && outcome.kind === "passed") {
              throw new ConformanceError(`${bench.storeName}: ${check.id} passes; remove it from skip ("${reason}")`);
            }
          });
        }
      });
    }
  });
}

type Outcome =
  | { readonly kind: "passed" }
  | { readonly kind: "failed"; readonly error: unknown }
  | { readonly kind: "unfit"; readonly reason: string };

/** Opens what the checks need, runs them, and closes it again. */
class Bench {
  private readonly options: ConformanceOptions;
  private readonly settings: Settings;
  private shared: Promise<Opened> | undefined;
  private prefixes = 0;
  storeName: string;

  constructor(options: ConformanceOptions) {
    const { seed = 1, runs = 50, valueBytesBound = 8 * 1024 * 1024, batchBound = 10_000, mirror = false } = options;
    this.options = options;
    this.settings = { seed, runs, valueBytesBound, batchBound, mirror };
    this.storeName = options.name;
  }

  async run(check: Check): Promise<Outcome> {
    const others: Opened[] = []; // in the order of opening; closed the other way round
    try {
      this.shared ??= this.options.open();
      const opened = await this.shared;
      this.storeName = opened.store.name;
      const reason = check.unless?.(opened, this.settings);
      if (reason !== undefined) return { kind: "unfit", reason };
      const chance = random(this.settings.seed ^ hash(check.id));
      const t = contextOf(opened, this.settings, chance, {
        prefix: () => `${this.prefixes++}-${chance.next().toString(36)}/`,
        fresh: async () => {
          const other = await this.options.open();
          others.push(other);
          return other;
        },
        reopen: async (before) => {
          if (before.reopen === undefined) throw new ConformanceError("the check needs `reopen`");
          await before.store.close();
          const other: Opened = { ...before, store: await before.reopen(), close: undefined };
          others.push(other);
          return other;
        },
      });
      await this.within(check.run(t), opened, others);
      return { kind: "passed" };
    } catch (error) {
      return { kind: "failed", error };
    } finally {
      for (const other of others.toReversed()) await closeAll(other);
    }
  }

  async close(): Promise<void> {
    if (this.shared !== undefined) await closeAll(await this.shared);
  }

  /** Rejects when `work` hangs; drives simulated time while it is under way. */
  private async within(work: Promise<void>, main: Opened, others: readonly Opened[]): Promise<void> {
    const { patienceMs = PATIENCE_MS } = this.options;
    const hangs = () => new ConformanceError(`the check still waits after ${patienceMs} ms`);
    if (main.advance === undefined) {
      let timer: Timer | undefined;
      const late = new Promise<void>((_, reject) => {
        timer = main.runtime.timer(patienceMs, () => reject(hangs()));
      });
      return Promise.race([work, late]).finally(() => timer?.cancel());
    }
    const progress = { settled: false };
    const settle = () => {
      progress.settled = true;
    };
    work.then(settle, settle);
    for (let spentMs = 0; spentMs < patienceMs; spentMs += ADVANCE_MS) {
      for (const opened of [main, ...others]) await opened.advance?.(ADVANCE_MS);
      if (progress.settled) return work;
    }
    throw hangs();
  }
}

async function closeAll({ store, close }: { store: Store; close?: Opened["close"] }): Promise<void> {
  await store.close();
  await close?.();
}

/** FNV-1a, so that each check draws its own numbers whatever runs before it. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
