import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { isSlotStore } from "../slot.ts";
import { PartialRead } from "../store.ts";
import type { CallOptions } from "../store.ts";
import { Deadlines } from "./deadlines.ts";
import type { Due } from "./deadlines.ts";
import type { Gate } from "./gate.ts";
import type { LaneStatus } from "./lane.ts";
import type { Layer } from "./layer.ts";
import type { LayerStatus, Report } from "./chain.ts";

/** Calls to one layer: each with a deadline, counted, and not made while its circuit breaker is open. */
export interface LayerCalls {
  readonly layer: Layer;
  /**
   * One call of the layer for so many entries (1 if not said), which may take the longer for it.
   * @throws SyncError what `fn` throws, TIMEOUT, or UNAVAILABLE when the breaker is open.
   */
  readonly call: <T>(operation: string, fn: (options: CallOptions) => Promise<T>, entries?: number) => Promise<T>;
  /** {@link call}, whose outcome is told without a promise. */
  ask<T>(operation: string, question: Question<T>, entries: number): void;
  /** The steps of an iteration, each with the layer's deadline. */
  readonly iterate: <T>(operation: string, fn: (options: CallOptions) => AsyncIterable<T>) => AsyncIterable<T>;
  readonly counts: Counts;
  /** Whether the layer is left alone, so that a call would not reach it. */
  isLeftAlone(): boolean;
  watch: LayerStatus["watch"];
  status(): Omit<LayerStatus, "complete" | keyof LaneStatus>;
  /** The chain is closed: nothing of this is waited for any more. */
  stop(): void;
}

/** One call of a layer, and who waits for it. */
export interface Question<T> {
  send(options: CallOptions): Promise<T>;
  /** Called once, by {@link LayerCalls.ask} itself if the layer is not even sent anything. Never throws. */
  next(outcome: T | SyncError): void;
}

/** What the walk and the write add to a layer's statistics. */
export interface Counts {
  hits: number;
  misses: number;
  failures: number;
  writes: number;
  fills: number;
  callMs: number;
  calls: number;
}

/** A call for more entries than this gets the layer's deadline once for each so many. */
const ENTRIES_PER_DEADLINE = 1_000;
const NO_DEADLINE: CallOptions = Object.freeze({});
/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** Failures that say the layer is in trouble. Others are about one call and leave the breaker alone. */
const TROUBLE = new Set(["UNAVAILABLE", "TIMEOUT", "OVERLOADED", "INTERNAL"]);

/** @param gate of the layer that is looked at without a call: it counts hits too. */
export function layerCalls(layer: Layer, runtime: Runtime, report: (report: Report) => void, gate?: Gate): LayerCalls {
  return new Calls(layer, runtime, report, gate);
}

/** Each call is one object: closures are an object each, and another for what they share. */
class Calls implements LayerCalls {
  readonly layer: Layer;
  readonly counts: Counts = { hits: 0, misses: 0, failures: 0, writes: 0, fills: 0, callMs: 0, calls: 0 };
  watch: LayerStatus["watch"] = "off";
  readonly runtime: Runtime;
  readonly deadlines: Deadlines;
  private readonly report: (report: Report) => void;
  private readonly gate: Gate | undefined;
  /** Infinity when nobody watches: what is in this process cannot hang. */
  private readonly deadlineMs: number;
  private failuresInRow = 0;
  private openUntil = 0; // monotonic ms; 0 when closed
  private probing = false;

  constructor(layer: Layer, runtime: Runtime, report: (report: Report) => void, gate: Gate | undefined) {
    this.layer = layer;
    this.runtime = runtime;
    this.report = report;
    this.gate = gate;
    this.deadlineMs = isSlotStore(layer.store) ? Number.POSITIVE_INFINITY : layer.deadlineMs;
    this.deadlines = new Deadlines(runtime);
  }

  readonly call = <T>(operation: string, send: (options: CallOptions) => Promise<T>, entries = 1): Promise<T> =>
    new Promise((resolve, reject) => {
      const next = (outcome: T | SyncError) => (outcome instanceof SyncError ? reject(outcome) : resolve(outcome));
      this.ask(operation, { send, next }, entries);
    });

  readonly iterate = <T>(operation: string, fn: (options: CallOptions) => AsyncIterable<T>): AsyncIterable<T> =>
    stepsOf(this, operation, fn);

  ask<T>(operation: string, question: Question<T>, entries: number): void {
    const state = this.breaker();
    if (state === "open" || (state === "half-open" && this.probing)) return question.next(this.leftAlone(operation));
    const isProbe = state === "half-open";
    if (isProbe) this.probing = true;
    this.counts.calls++;
    const { deadlineMs } = this;
    const isShort = entries <= ENTRIES_PER_DEADLINE || deadlineMs === Number.POSITIVE_INFINITY;
    const allowedMs = isShort ? deadlineMs : Math.min(deadlineMs * (entries / ENTRIES_PER_DEADLINE), TIMER_MS_MAX);
    new Call(this, operation, question, isProbe).begin(allowedMs);
  }

  isLeftAlone(): boolean {
    return this.breaker() === "open";
  }

  status(): ReturnType<LayerCalls["status"]> {
    const { name, role, store } = this.layer;
    const hits = this.counts.hits + (this.gate?.passed ?? 0);
    return { name, role, store: store.name, breaker: this.breaker(), watch: this.watch, ...this.counts, hits };
  }

  stop(): void {
    this.deadlines.stop();
  }

  answered(isProbe: boolean): void {
    this.failuresInRow = 0;
    if (!isProbe) return;
    this.probing = false;
    this.openUntil = 0;
    this.report({ kind: "breaker", layer: this.layer.name, message: "the layer answers again" });
  }

  failedWith(error: SyncError, isProbe: boolean): void {
    const { counts, layer } = this;
    counts.failures++;
    // A layer that says what is wrong with one entry or call has answered.
    if (!TROUBLE.has(error.code) || error instanceof PartialRead) return this.answered(isProbe);
    this.failuresInRow++;
    if (isProbe) this.probing = false;
    // Calls that were under way before the breaker opened say nothing new.
    else if (this.openUntil !== 0 || this.failuresInRow < layer.breakerFailures) return;
    if (this.openUntil === 0) {
      const message = `${this.failuresInRow} failures in a row, last: ${error.message}`;
      this.report({ kind: "breaker", layer: layer.name, message });
    }
    this.openUntil = this.runtime.monotonic() + layer.breakerMs;
  }

  private breaker(): LayerStatus["breaker"] {
    if (this.openUntil === 0) return "closed";
    return this.runtime.monotonic() < this.openUntil ? "open" : "half-open";
  }

  private leftAlone(operation: string): SyncError {
    const { name, breakerMs } = this.layer;
    const cure = `it is tried again after ${breakerMs} ms`;
    return new SyncError("UNAVAILABLE", "the layer failed and is left alone", { store: name, operation, cure });
  }
}

/** One call under way: it ends with an answer, a failure, or at its deadline. What comes after that is dropped. */
class Call<T> implements Due {
  dueAt = Number.POSITIVE_INFINITY;
  before: Due | undefined = undefined;
  after: Due | undefined = undefined;
  private readonly calls: Calls;
  private readonly operation: string;
  private readonly question: Question<T>;
  private readonly isProbe: boolean;
  /** No whole number at first either, so that the engine keeps one kind of number here. */
  private startedAt = Number.NEGATIVE_INFINITY;
  private isOver = false;

  constructor(calls: Calls, operation: string, question: Question<T>, isProbe: boolean) {
    this.calls = calls;
    this.operation = operation;
    this.question = question;
    this.isProbe = isProbe;
  }

  /** The layer is told by the deadline alone: making an AbortController costs more than a whole read of memory. */
  begin(allowedMs: number): void {
    const { calls } = this;
    const startedAt = calls.runtime.monotonic();
    const isWatched = allowedMs !== Number.POSITIVE_INFINITY;
    this.startedAt = startedAt;
    if (isWatched) {
      this.dueAt = startedAt + allowedMs;
      calls.deadlines.add(this);
    }
    try {
      this.question.send(isWatched ? { deadline: this.dueAt } : NO_DEADLINE).then(
        (result) => this.answered(result),
        (thrown) => this.fail(thrown),
      );
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  late(): void {
    const { operation, dueAt, startedAt } = this;
    const store = this.calls.layer.name;
    this.fail(new SyncError("TIMEOUT", `no answer within ${Math.round(dueAt - startedAt)} ms`, { store, operation }));
  }

  private answered(result: T): void {
    if (!this.end()) return;
    this.calls.answered(this.isProbe);
    this.question.next(result);
  }

  private fail(thrown: unknown): void {
    if (!this.end()) return;
    const error = asSyncError(thrown, { store: this.calls.layer.name, operation: this.operation });
    this.calls.failedWith(error, this.isProbe);
    this.question.next(error);
  }

  /** False when it has ended before. */
  private end(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    const { calls, dueAt } = this;
    if (dueAt !== Number.POSITIVE_INFINITY) calls.deadlines.remove(this);
    calls.counts.callMs += calls.runtime.monotonic() - this.startedAt;
    return true;
  }
}

async function* stepsOf<T>(
  { call }: LayerCalls,
  operation: string,
  fn: (options: CallOptions) => AsyncIterable<T>,
): AsyncIterable<T> {
  const controller = new AbortController();
  const iterator = fn({ signal: controller.signal })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await call(operation, () => iterator.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    controller.abort();
    // A step that hangs must not hold up whoever gave the iteration up.
    iterator.return?.().catch(() => undefined);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
