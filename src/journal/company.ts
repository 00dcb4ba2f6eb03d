import type { Runtime } from "../runtime.ts";

/** After so many groups it is judged whether another division of the writers is better. */
const GROUPS = 16;
/** A processor that had nothing to do for a smaller part of the time is what takes the time. */
const IDLE_LEAST = 0.03;
const PARTS_MAX = 64;

/**
 * How much company a group needs before it is written, and how much it gets.
 *
 * Writers that an acknowledgement woke append again soon after. To let all of them share the next sync is best where the
 * disk is slow. But then the disk waits for the processor, and the processor for the disk. Where the processor needs
 * longer for all of them than the disk does, they are divided into so many groups that both work all the time: while
 * the disk has one of them, the processor has another.
 *
 * How long the disk takes cannot be told: a busy processor hears of its end only when it is done itself. But how long
 * the processor had nothing to do can. Let it need `x` times as long for all writers as the disk does for a group. One
 * group at a time leaves it idle for 1 / (1 + x) of the time; `p` groups in turn for 1 - x / p, or not at all.
 */
export class Company {
  /** About how many records a group is to have. */
  size = Infinity;
  private parts = 1;
  private groups = 0;
  private begunAt = 0;
  private idleBefore = 0;
  private readonly runtime: Pick<Runtime, "monotonic" | "idle">;

  constructor(runtime: Pick<Runtime, "monotonic" | "idle">) {
    this.runtime = runtime;
  }

  /**
   * The disk is done with a group, successfully or not, and so many records wait for it.
   */
  ends(count: number, waiting: number): void {
    if (++this.groups >= GROUPS) {
      const now = this.runtime.monotonic();
      const idleMs = this.runtime.idle();
      this.judge((idleMs - this.idleBefore) / (now - this.begunAt));
      this.groups = 0;
      this.begunAt = now;
      this.idleBefore = idleMs;
    }
    this.size = this.parts > 1 ? Math.ceil((count + waiting) / this.parts) : Infinity;
  }

  /** Whether a group of so many waits no longer, and whoever is woken next is in another. */
  isEnough(count: number): boolean {
    return 4 * count >= 3 * this.size;
  }

  /** Whether one of so many takes no more. */
  isFull(count: number): boolean {
    return 2 * count >= 3 * this.size;
  }

  /** @param idle the part of the time for which the processor had nothing to do. */
  private judge(idle: number): void {
    const { parts } = this;
    if (parts === 1 ? idle < 1 / 2 : idle < IDLE_LEAST) this.parts = Math.min(PARTS_MAX, Math.ceil(1.25 * parts));
    else if (parts > 1 && idle > 1 / parts) this.parts = Math.floor(0.8 * parts);
  }
}
