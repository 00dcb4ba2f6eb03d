import { SyncError } from "../error.ts";
import { sleep } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import type {
  Answer,
  CallOptions,
  Change,
  Forget,
  ListOptions,
  Listed,
  Range,
  ReadOptions,
  Store,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../store.ts";
import { Gate, within } from "./gate.ts";
import { random } from "./random.ts";
import type { Random } from "./random.ts";

export type Verb = "read" | "write" | "forget" | "list" | "watch";

const VERBS: readonly Verb[] = ["read", "write", "forget", "list", "watch"];

/** How likely each misfortune is, 0 to 1, per call (for `midway`: per item). Default 0. */
export interface ChaosRates {
  /** Fails, and nothing was done. */
  readonly before?: number | undefined;
  /** Fails, but it was done: the answer was lost. */
  readonly after?: number | undefined;
  /** Comes late, by up to `delayMsMax`. */
  readonly delay?: number | undefined;
  /** Is held until its signal or deadline, or `resume`; without any of them, for good. */
  readonly hang?: number | undefined;
  /** A list or watch fails between two items. */
  readonly midway?: number | undefined;
  /** A watch says "relist" in place of an item. */
  readonly relist?: number | undefined;
}

export interface ChaosOptions {
  readonly runtime: Runtime;
  readonly seed: number;
  readonly rates?: ChaosRates | undefined;
  /** Which verbs chance may hit. Default all. */
  readonly verbs?: readonly Verb[] | undefined;
  /** The longest delay in milliseconds. Default 100. */
  readonly delayMsMax?: number | undefined;
  /** How many of the last events `trace` keeps. Default 10,000. */
  readonly traceMax?: number | undefined;
}

/** What happened to one call. Two runs from one seed have equal traces. */
export interface ChaosEvent {
  /** The number of the call, from 1, over all verbs. */
  readonly call: number;
  readonly verb: Verb;
  readonly did:
    "passed" | "failed before" | "failed after" | "failed midway" | "delayed" | "hung" | "released" | "relist";
  /** Milliseconds on the runtime's monotonic clock. */
  readonly atMs: number;
}

/** Where a directed failure happens: before the effect, after it, or between two items of a list or watch. */
export type FailurePoint = "before" | "after" | "midway";

export interface Failure {
  /** Default: every verb counts. */
  readonly verb?: Verb | undefined;
  /** Default "before". */
  readonly point?: FailurePoint | undefined;
  /** Default UNAVAILABLE. */
  readonly error?: SyncError | undefined;
}

export interface ChaosStore extends Store {
  /** The last events, oldest first. */
  readonly trace: readonly ChaosEvent[];
  /** How many calls there were, of a verb or in all. */
  calls(verb?: Verb): number;
  /** The n-th call from now on (1 is the next) that fits fails once. Several can stand at a time. */
  failNth(n: number, failure?: Failure): void;
  /** From now on every call of these verbs (default all) fails before its effect, and what is open breaks. */
  down(verbs?: readonly Verb[]): void;
  up(): void;
  /**
   * From now on calls of these verbs (default all) are held. With `late`, a held call takes effect at `resume` even
   * if its caller gave up meanwhile, as a request does that waits in a proxy; else only if the caller still waits.
   */
  hang(options?: { readonly verbs?: readonly Verb[] | undefined; readonly late?: boolean | undefined }): void;
  /** Lets what is held go on, also what chance has hung. */
  resume(): void;
  /** Other rates from now on. */
  storm(rates: ChaosRates): void;
}

const DELAY_MS_MAX = 100;
const TRACE_MAX = 10_000;

/**
 * A store on which everything goes wrong that can: by chance from a seed, or on command. With no rates it is the store
 * it wraps. `close` always works, and releases what hangs with CLOSED.
 */
export function chaos(store: Store, options: ChaosOptions): ChaosStore {
  return new Chaos(store, options);
}

interface Planned extends Failure {
  left: number;
}

class Chaos implements ChaosStore {
  readonly name: string;
  readonly supports: Supports;
  readonly trace: ChaosEvent[] = [];
  private readonly inner: Store;
  private readonly runtime: Runtime;
  private readonly options: ChaosOptions;
  private readonly chance: Random;
  private readonly gate: Gate;
  private readonly counts = new Map<Verb, number>();
  private planned: Planned[] = [];
  private rates: ChaosRates;
  private downVerbs: readonly Verb[] = [];
  private heldVerbs: readonly Verb[] = [];
  private late = false;
  private callCount = 0;

  constructor(inner: Store, options: ChaosOptions) {
    this.name = `chaos(${inner.name})`;
    this.supports = inner.supports;
    this.inner = inner;
    this.options = options;
    this.runtime = options.runtime;
    this.chance = random(options.seed);
    this.rates = options.rates ?? {};
    this.gate = new Gate(options.runtime, this.name);
  }

  read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    return this.call("read", options, () => this.inner.read(keys, options));
  }

  write(writes: readonly Write[], options?: CallOptions): Promise<WriteResult[]> {
    return this.call("write", options, (late) => this.inner.write(writes, late ? undefined : options));
  }

  forget(items: readonly Forget[], options?: CallOptions): Promise<void> {
    return this.call("forget", options, (late) => this.inner.forget(items, late ? undefined : options));
  }

  list(range: Range, options?: ListOptions): AsyncIterable<Listed> {
    return this.stream("list", options, () => this.inner.list(range, options));
  }

  watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
    return this.stream("watch", options, () => this.inner.watch(range, options), {
      kind: "relist",
      reason: "chaos said so",
    });
  }

  async close(): Promise<void> {
    this.gate.close();
    await this.inner.close();
  }

  calls(verb?: Verb): number {
    return verb === undefined ? this.callCount : (this.counts.get(verb) ?? 0);
  }

  failNth(n: number, failure: Failure = {}): void {
    if (!(Number.isSafeInteger(n) && n >= 1)) throw new SyncError("INVALID", `there is no call number ${n}`);
    this.planned.push({ ...failure, left: n });
  }

  down(verbs: readonly Verb[] = VERBS): void {
    this.downVerbs = verbs;
  }

  up(): void {
    this.downVerbs = [];
  }

  hang({ verbs = VERBS, late = false }: Parameters<ChaosStore["hang"]>[0] = {}): void {
    this.heldVerbs = verbs;
    this.late = late;
  }

  resume(): void {
    this.heldVerbs = [];
    this.gate.open();
  }

  storm(rates: ChaosRates): void {
    this.rates = rates;
  }

  private async call<T>(verb: Verb, options: CallOptions | undefined, run: (late: boolean) => Promise<T>): Promise<T> {
    const { call, planned, drawn } = this.begin(verb);
    if (this.isHeld(verb, drawn.hang)) {
      this.note(call, verb, "hung");
      if (this.late) return this.letThroughLate(call, verb, options, () => run(true));
      await this.gate.wait(options, verb);
      this.note(call, verb, "released");
    }
    if (drawn.delay) await this.delay(call, verb, options);
    this.refuse(call, verb, planned, drawn.before);
    const result = await run(false);
    if (planned?.point === "after" || drawn.after) {
      this.note(call, verb, "failed after");
      throw planned?.error ?? this.failure(verb, "the answer was lost");
    }
    this.note(call, verb, "passed");
    return result;
  }

  /** The caller's wait ends by its signal or deadline; the call itself waits for the gate alone. */
  private letThroughLate<T>(
    call: number,
    verb: Verb,
    options: CallOptions | undefined,
    run: () => Promise<T>,
  ): Promise<T> {
    const work = this.gate.wait(undefined, verb).then(async () => {
      this.note(call, verb, "released");
      return run();
    });
    return within(this.runtime, options, work, this.name, verb);
  }

  private async *stream<T>(
    verb: "list" | "watch",
    options: CallOptions | undefined,
    open: () => AsyncIterable<T>,
    relist?: T,
  ): AsyncIterable<T> {
    const { call, planned, drawn } = this.begin(verb);
    if (this.isHeld(verb, drawn.hang)) {
      this.note(call, verb, "hung");
      await this.gate.wait(options, verb);
      this.note(call, verb, "released");
    }
    if (drawn.delay) await this.delay(call, verb, options);
    this.refuse(call, verb, planned, drawn.before);
    let items = 0;
    for await (const item of open()) {
      if (this.heldVerbs.includes(verb)) await this.gate.wait(options, verb);
      const breaks = this.happens(verb, this.rates.midway) || (planned?.point === "midway" && items > 0);
      if (breaks || this.downVerbs.includes(verb)) {
        this.note(call, verb, "failed midway");
        throw planned?.error ?? this.failure(verb, "the connection broke");
      }
      if (relist !== undefined && this.happens(verb, this.rates.relist)) {
        this.note(call, verb, "relist");
        yield relist;
        return;
      }
      items++;
      yield item;
    }
    if (planned !== undefined || drawn.after) {
      this.note(call, verb, "failed after");
      throw planned?.error ?? this.failure(verb, "the end was lost");
    }
    this.note(call, verb, "passed");
  }

  /**
   * Counts the call and draws its whole fate at once, so that which numbers a call takes from the sequence does not
   * depend on what happens to it or beside it.
   */
  private begin(verb: Verb) {
    const call = ++this.callCount;
    this.counts.set(verb, this.calls(verb) + 1);
    const fitting = this.planned.filter((plan) => plan.verb === undefined || plan.verb === verb);
    for (const plan of fitting) plan.left--;
    const planned = fitting.find(({ left }) => left === 0);
    this.planned = this.planned.filter(({ left }) => left > 0);
    const { hang, delay, before, after } = this.rates;
    const drawn = {
      hang: this.happens(verb, hang),
      delay: this.happens(verb, delay),
      before: this.happens(verb, before),
      after: this.happens(verb, after),
    };
    return { call, planned, drawn };
  }

  private happens(verb: Verb, probability = 0): boolean {
    const { verbs = VERBS } = this.options;
    const hit = this.chance.chance(probability);
    return hit && verbs.includes(verb);
  }

  private isHeld(verb: Verb, drawn: boolean): boolean {
    return drawn || this.heldVerbs.includes(verb);
  }

  private refuse(call: number, verb: Verb, planned: Planned | undefined, drawn: boolean): void {
    const plannedNow = planned !== undefined && (planned.point ?? "before") === "before";
    if (!plannedNow && !drawn && !this.downVerbs.includes(verb)) return;
    this.note(call, verb, "failed before");
    throw (plannedNow ? planned.error : undefined) ?? this.failure(verb, "the store is down");
  }

  private async delay(call: number, verb: Verb, options: CallOptions | undefined): Promise<void> {
    const { delayMsMax = DELAY_MS_MAX } = this.options;
    this.note(call, verb, "delayed");
    const wait = sleep(this.runtime, this.chance.below(delayMsMax) + 1, options?.signal);
    await within(this.runtime, options, wait, this.name, verb);
  }

  private failure(operation: Verb, what: string): SyncError {
    return new SyncError("UNAVAILABLE", what, { store: this.name, operation });
  }

  private note(call: number, verb: Verb, did: ChaosEvent["did"]): void {
    const { traceMax = TRACE_MAX } = this.options;
    this.trace.push({ call, verb, did, atMs: this.runtime.monotonic() });
    if (this.trace.length > traceMax) this.trace.shift();
  }
}
