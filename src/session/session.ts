import { BODY_BYTES_MIN } from "../body.ts";
import { NO_META } from "../entry.ts";
import type { Head } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions, ReadOptions, Store, Write, WriteResult } from "../store.ts";
import type { Version } from "../version.ts";
import { retry } from "../wrappers/retry.ts";
import { isSameContent, readMany, sizeOf } from "./content.ts";
import type { Reading, Value } from "./content.ts";
import { sieve } from "./filter.ts";
import type { Sieve } from "./filter.ts";
import { Flow, Pace } from "./flow.ts";
import { pairs } from "./pairs.ts";
import type { Pair, Span } from "./pairs.ts";
import { sendAll, writeOf } from "./send.ts";
import type { Action, CopyOptions, Phase, SessionFailure, SessionResult } from "./types.ts";
import { SessionError } from "./types.ts";
import { live } from "./verdict.ts";

/** Something to do about a key. */
export interface Task {
  readonly pair: Pair;
  readonly kind: "copy" | "equal" | "delete";
}

/** What a task comes to: a write, with what it is told as; or nothing to do, or a failure. */
type Step =
  | {
      readonly write: Write;
      readonly action: "copied" | "deleted";
      readonly restamp: (() => Promise<Write>) | undefined;
    }
  | { readonly action: Action; readonly error?: SyncError };

export interface Stamping {
  /** A version above another one. */
  stamp(above: Version | undefined): Promise<Version>;
}

type Defaults = "parallel" | "batchBytesMax" | "batchKeysMax" | "prefix" | "runtime";
type Settled = CopyOptions & Required<{ readonly [K in Defaults]: NonNullable<CopyOptions[K]> }>;

const PARALLEL = 4;
const BATCH_BYTES_MAX = 16 * 1024 * 1024;
const BATCH_KEYS_MAX = 1000;
const FAILURES_KEPT_MAX = 1000;
/** So many batches in a row of which nothing got through end the session: the store is away. */
const LOST_BATCHES_MAX = 3;
const SAVE_INTERVAL_MS = 1000;
/** How many keys' sizes are asked for at once, where a filter needs them. */
const SIZES_AT_ONCE = 100;

/** What `copy`, `mirror` and `diff` share: two stores, what is counted, and the way of a batch. */
export class Session {
  readonly verb: string;
  readonly from: Store;
  readonly to: Store;
  readonly options: Settled;
  readonly runtime: Runtime;
  readonly now: number;
  readonly stats = { keys: 0, same: 0, copied: 0, deleted: 0, kept: 0, failed: 0, bytes: 0 };
  readonly failures: SessionFailure[] = [];
  /** How many keys there are, once they were counted. */
  total: number | undefined = undefined;
  private readonly sieve: Sieve;
  private readonly pace: Pace;
  private readonly stamping: Stamping | undefined;
  private lostBatches = 0;
  private savedAt: number;
  private resumedAfter: string | undefined = undefined;

  /** @param stamping What is stamped anew goes over newer values: of a mirror only. */
  constructor(verb: string, from: Store, to: Store, options: CopyOptions & { runtime: Runtime }, stamping?: Stamping) {
    const {
      parallel = PARALLEL,
      batchBytesMax = BATCH_BYTES_MAX,
      batchKeysMax = BATCH_KEYS_MAX,
      prefix = "",
    } = options;
    for (const [name, value] of Object.entries({ parallel, batchBytesMax, batchKeysMax })) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new SyncError("INVALID", `option ${name} is a whole number of 1 or more`, { operation: verb });
    }
    this.verb = verb;
    this.runtime = options.runtime;
    this.from = retry(from, options);
    this.to = retry(to, options);
    this.options = { ...options, parallel, batchBytesMax, batchKeysMax, prefix };
    this.now = this.runtime.now();
    this.sieve = sieve(options);
    const keysMax = Math.min(batchKeysMax, from.supports.batchMax, to.supports.batchMax);
    this.pace = new Pace(keysMax, batchBytesMax);
    this.stamping = stamping;
    this.savedAt = this.runtime.monotonic();
  }

  // ---- Looking. ----

  /** What both sides list, as far as it passes the filter; sizes are asked for where it needs them. */
  async *pairs(span: Span): AsyncGenerator<Pair, void> {
    const { passesSize } = this.sieve;
    const all = pairs(this.from, this.to, span, { signal: this.options.signal });
    let waiting: Pair[] = [];
    for await (const pair of all) {
      const head = live(pair.from, this.now) ?? live(pair.to, this.now);
      if (head === undefined || !this.sieve.passes(pair.key, head, this.now)) continue;
      if (passesSize === undefined) {
        yield pair;
        continue;
      }
      if (waiting.push(pair) < SIZES_AT_ONCE) continue;
      yield* await this.ofSize(waiting, passesSize);
      waiting = [];
    }
    if (passesSize !== undefined) yield* await this.ofSize(waiting, passesSize);
  }

  private async ofSize(waiting: readonly Pair[], passes: (bytes: number) => boolean): Promise<Pair[]> {
    const isFrom = ({ from }: Pair) => live(from, this.now) !== undefined;
    const heads = (store: Store, wanted: readonly Pair[]) =>
      readMany(store, versionsOf(wanted), () => ({ ...this.call(), wholeBytesMax: 0 }), this.now);
    const inFrom = await heads(this.from, waiting.filter(isFrom));
    const inTo = await heads(
      this.to,
      waiting.filter((pair) => !isFrom(pair)),
    );
    return waiting.filter(({ key }) => {
      const reading = inFrom.get(key) ?? inTo.get(key);
      // What could not be read is met again, and told, by whoever does something about the key.
      return reading === undefined || reading === "none" || reading instanceof SyncError || passes(sizeOf(reading));
    });
  }

  call(): CallOptions {
    const { timeoutMs } = this.options;
    return timeoutMs === undefined ? {} : { deadline: this.runtime.monotonic() + timeoutMs };
  }

  read(store: Store, pairsWanted: readonly Pair[]): Promise<Map<string, Reading>> {
    const options = (): ReadOptions => ({ ...this.call(), wholeBytesMax: BODY_BYTES_MIN });
    return readMany(store, versionsOf(pairsWanted), options, this.now);
  }

  // ---- Doing. ----

  /** Goes through the spans and does what `taskOf` says, in batches. @returns whether nothing stood in the way. */
  async pass(
    spans: readonly Span[],
    phase: Phase,
    taskOf: (pair: Pair) => Task["kind"] | undefined | Promise<undefined>,
    onPosition?: (after: string | undefined) => Promise<void>,
  ): Promise<void> {
    for (const span of spans) {
      const flow: Flow<Task> = new Flow<Task>({
        parallel: this.options.parallel,
        batchKeys: () => this.pace.keys(),
        work: (tasks) => this.work(tasks),
        onBatch: async () => {
          await this.tell(phase);
          const isDue = this.runtime.monotonic() - this.savedAt >= SAVE_INTERVAL_MS;
          if (isDue && flow.position !== undefined) await save();
        },
      });
      const save = async () => {
        this.savedAt = this.runtime.monotonic();
        await onPosition?.(flow.position ?? span.after);
      };
      try {
        for await (const pair of this.pairs(span)) {
          if (this.options.signal?.aborted === true) throw new SyncError("ABORTED", "interrupted");
          this.stats.keys++;
          const told = taskOf(pair);
          const kind = told instanceof Promise ? await told : told;
          await flow.add(pair.key, kind === undefined ? undefined : { pair, kind });
        }
        await flow.end();
      } catch (error) {
        await flow.settled();
        await save();
        throw error;
      }
      await this.tell(phase);
    }
  }

  async tell(phase: Phase): Promise<void> {
    await this.options.onEvent?.({ kind: "progress", phase, stats: { ...this.stats }, total: this.total });
  }

  /** False when some key failed. @throws SyncError when the stores are away. */
  private async work(tasks: readonly Task[]): Promise<boolean> {
    const before = this.stats.failed;
    const pairsOf = (...kinds: readonly Task["kind"][]) =>
      tasks.filter(({ kind }) => kinds.includes(kind)).map(({ pair }) => pair);
    const [source, target] = await Promise.all([
      this.read(this.from, pairsOf("copy", "equal", "delete")),
      this.read(this.to, pairsOf("equal")),
    ]);
    this.pace.saw(largestOf(source.values()));
    const steps: [Task, Step][] = [];
    for (const task of tasks) {
      const { key } = task.pair;
      steps.push([task, await this.step(task, source.get(key) ?? "none", target.get(key) ?? "none")]);
    }
    await this.send(steps);
    const failed = this.stats.failed - before;
    const last = this.failures.at(-1)?.error;
    this.lostBatches = failed === tasks.length && last?.retryable === true ? this.lostBatches + 1 : 0;
    if (this.lostBatches >= LOST_BATCHES_MAX && last !== undefined) throw last;
    return failed === 0;
  }

  /** What is to be written, by what was read just now; the lists may be older. */
  private async step({ kind, pair }: Task, source: Reading, target: Reading): Promise<Step> {
    try {
      if (source instanceof SyncError) throw source;
      if (kind === "delete") {
        // The list said so; the source itself has to say so too before anything is deleted.
        return source === "none" ? await this.deletion(pair) : { action: "same" };
      }
      if (source === "none") return { action: "same" }; // gone meanwhile: the next session sees it
      if (kind === "equal") {
        if (target instanceof SyncError) throw target;
        if (target !== "none" && (await isSameContent(source, target, this.call()))) return { action: "same" };
      }
      return await this.replacement(pair, source);
    } catch (error) {
      return { action: "failed", error: asSyncError(error, { key: pair.key }) };
    }
  }

  private async replacement({ to }: Pair, value: Value): Promise<Step> {
    const isOver = this.stamping !== undefined && to !== undefined && to.version >= value.entry.version;
    const version = isOver ? await this.stamping?.stamp(to.version) : undefined;
    const write = await writeOf(this.to, value, this.call(), version);
    const { stamping } = this;
    const restamp =
      stamping === undefined
        ? undefined
        : async () => writeOf(this.to, value, this.call(), await stamping.stamp(value.entry.version));
    return { write: isOver ? this.onlyOver(to, write) : write, action: "copied", restamp };
  }

  private async deletion({ key, from, to }: Pair): Promise<Step> {
    if (to === undefined || this.stamping === undefined) return { action: "same" };
    const isTold = from !== undefined && from.state === "deleted" && from.version > to.version;
    const version = isTold ? from.version : await this.stamping.stamp(to.version);
    const entry = { key, state: "deleted", value: null, version, expires: null, meta: NO_META } as const;
    const write = this.onlyOver(to, { entry, asOf: this.runtime.now() });
    return { write, action: "deleted", restamp: undefined };
  }

  /** A write that holds only while the target has what was seen there: what came since stays. */
  private onlyOver(to: Head, write: Write): Write {
    return this.to.supports.conditional ? { ...write, if: to.version } : write;
  }

  private async send(steps: readonly (readonly [Task, Step])[]): Promise<void> {
    const sending: { readonly key: string; readonly step: Extract<Step, { write: Write }> }[] = [];
    for (const [{ pair }, step] of steps) {
      if ("write" in step) sending.push({ key: pair.key, step });
      else await this.count(pair.key, step.action, 0, step.error);
    }
    const writes = sending.map(({ step }) => step.write);
    const { dryRun = false, batchBytesMax } = this.options;
    const results = dryRun
      ? writes.map((): WriteResult => ({ status: "stored" }))
      : await sendAll(this.to, writes, () => this.call(), batchBytesMax);
    for (const [i, { key, step }] of sending.entries()) {
      let result = results[i];
      if (result?.status === "too-old" && step.restamp !== undefined) result = await this.sendAnew(key, step.restamp);
      const bytes = step.action === "copied" ? (step.write.body?.size ?? step.write.entry.value?.length ?? 0) : 0;
      const [action, error] = this.outcome(key, step.action, result);
      await this.count(key, action, bytes, error);
    }
  }

  private async sendAnew(key: string, restamp: () => Promise<Write>): Promise<WriteResult | undefined> {
    try {
      const [result] = await sendAll(this.to, [await restamp()], () => this.call(), this.options.batchBytesMax);
      return result;
    } catch (error) {
      return { status: "failed", error: asSyncError(error, { key }) };
    }
  }

  private outcome(
    key: string,
    wanted: "copied" | "deleted",
    result: WriteResult | undefined,
  ): readonly [Exclude<Action, "same">, SyncError?] {
    const details = { store: this.to.name, operation: "write", key };
    if (result?.status === "stored") return [wanted];
    if (result?.status === "failed") return ["failed", result.error];
    if (result?.status === "superseded" && this.stamping === undefined) return ["kept"];
    if (result?.status === "too-old") {
      const cure = "mirror writes it anew; or set the key again if it should exist";
      return [
        "failed",
        new SyncError("TOO_OLD", "the target may have collected a later deletion", { ...details, cure }),
      ];
    }
    const cure = "run it again";
    return ["failed", new SyncError("CONFLICT", "the target's value changed meanwhile", { ...details, cure })];
  }

  private async count(key: string, action: Action, bytes: number, error: SyncError | undefined): Promise<void> {
    this.stats[action]++;
    if (action === "copied") this.stats.bytes += bytes;
    if (error !== undefined && this.failures.length < FAILURES_KEPT_MAX) this.failures.push({ key, error });
    const { dryRun = false, onEvent } = this.options;
    if (action !== "same") await onEvent?.({ kind: "entry", key, action, bytes, dryRun, error });
  }

  /** For keys that need no looking into. */
  countSame(): void {
    this.stats.same++;
  }

  async keep(key: string): Promise<undefined> {
    await this.count(key, "kept", 0, undefined);
    return undefined;
  }

  // ---- Beginning and ending. ----

  /** The parts of the range in the order they are done: behind where an interrupted session had come, then up to there. */
  async spans(): Promise<readonly Span[]> {
    const { prefix, position, dryRun = false } = this.options;
    const saved = dryRun ? undefined : await position?.load();
    const after = saved === undefined ? undefined : this.readPosition(saved);
    this.resumedAfter = after;
    if (after === undefined) return [{ prefix, after: undefined, until: undefined }];
    return [
      { prefix, after, until: undefined },
      { prefix, after: undefined, until: after },
    ];
  }

  async save(after: string | undefined): Promise<void> {
    const { position, dryRun = false } = this.options;
    if (!dryRun && after !== undefined) await position?.save(JSON.stringify({ id: this.id(), after }));
  }

  private readPosition(text: string): string | undefined {
    try {
      const { id, after } = JSON.parse(text) as { readonly id?: unknown; readonly after?: unknown };
      return id === this.id() && typeof after === "string" ? after : undefined;
    } catch {
      return undefined; // half a file: beginning at the beginning is right too
    }
  }

  private id(): string {
    return JSON.stringify([this.verb, this.options.prefix, this.sieve.id]);
  }

  result(): SessionResult {
    return { ...this.stats, dryRun: this.options.dryRun ?? false, resumedAfter: this.resumedAfter };
  }

  /** @throws SessionError when something failed. */
  async end(): Promise<SessionResult> {
    // Everything was looked at: what failed is found again from the beginning.
    if (this.options.dryRun !== true) await this.options.position?.clear();
    const [first] = this.failures;
    if (first !== undefined) throw this.failure(first.error);
    return this.result();
  }

  /** What ended the session, with what it had done until then. */
  failure(cause: unknown): SessionError {
    if (cause instanceof SessionError) return cause;
    return new SessionError(asSyncError(cause), this.result(), this.failures, this.verb);
  }
}

function versionsOf(wanted: readonly Pair[]): Map<string, Version | undefined> {
  return new Map(wanted.map(({ key, from, to }) => [key, from?.version ?? to?.version]));
}

function largestOf(readings: Iterable<Reading>): number {
  let largest = 0;
  for (const reading of readings) {
    if (reading === "none" || reading instanceof SyncError || reading.body !== undefined) continue;
    largest = Math.max(largest, sizeOf(reading));
  }
  return largest;
}
