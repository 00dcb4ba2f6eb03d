import type { Runtime, Timer } from "../runtime.ts";

/** What may take until a moment. Those of one {@link Deadlines} are a list through their own fields. */
export interface Due {
  /** On `Runtime.monotonic()`, in milliseconds. */
  readonly dueAt: number;
  /** Its time is up. */
  late(): void;
  before: Due | undefined;
  after: Due | undefined;
}

/** A timer may fire by so much too early, in milliseconds: platforms count whole ones. */
const EARLY_MS = 1;

/**
 * Deadlines of which hardly any is ever reached, with one timer for all: making and cancelling one for each costs more
 * than a call of a near layer. The timer is of the next deadline when it is set; it stays when that one is removed, and
 * looks again when it fires. It keeps the process alive only while something is due.
 */
export class Deadlines {
  private readonly runtime: Runtime;
  /** In the order of their moments. */
  private first: Due | undefined = undefined;
  private last: Due | undefined = undefined;
  private timer: Timer | undefined = undefined;
  private firesAt = Number.POSITIVE_INFINITY;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  add(due: Due): void {
    // Most come in their order.
    let before = this.last;
    while (before !== undefined && before.dueAt > due.dueAt) before = before.before;
    const after = before === undefined ? this.first : before.after;
    due.before = before;
    due.after = after;
    if (before === undefined) this.first = due;
    else before.after = due;
    if (after === undefined) this.last = due;
    else after.before = due;
    if (due.dueAt < this.firesAt) this.arm(due.dueAt);
    else if (before === undefined && after === undefined) this.timer?.hold(true);
  }

  remove(due: Due): void {
    const { before, after } = due;
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after === undefined) this.last = before;
    else after.before = before;
    due.before = due.after = undefined;
    if (this.first === undefined) this.timer?.hold(false);
  }

  /** Gives the timer back. The next one that is added sets another. */
  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.firesAt = Number.POSITIVE_INFINITY;
  }

  private arm(at: number): void {
    this.timer?.cancel();
    this.firesAt = at;
    this.timer = this.runtime.timer(Math.max(0, at - this.runtime.monotonic()), () => this.fire());
  }

  private fire(): void {
    this.timer = undefined;
    this.firesAt = Number.POSITIVE_INFINITY;
    const until = this.runtime.monotonic() + EARLY_MS;
    while (this.first !== undefined && this.first.dueAt < until) {
      const due = this.first;
      due.late();
      if (this.first === due) this.remove(due);
    }
    if (this.first !== undefined && this.timer === undefined) this.arm(this.first.dueAt);
  }
}
