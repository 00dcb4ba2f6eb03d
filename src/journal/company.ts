/** After so many groups it is judged whether another division of the writers is better. */
const GROUPS = 8;
/** After so many judgements all begins anew, since a division that is too fine is not found out from the inside. */
const JUDGEMENTS = 64;
/** The processor was busy for so large a part of the time that the disk seemed to take: it is what takes the time. */
const BUSY = 0.95;
const IDLE = 0.6;
const PARTS_MAX = 64;

/**
 * How much company a group needs before it is written, and how much it gets.
 *
 * Writers that an acknowledgement woke append again soon after. To let all of them share the next sync is best where the
 * disk is slow. But then the disk waits for the processor, and the processor for the disk. Where the processor needs
 * longer for all of them than the disk does, they are divided into so many groups that both work all the time: while
 * the disk has one of them, the processor has another.
 *
 * How long the disk takes cannot be told: a busy processor hears of its end only when it is done itself. But from that
 * follows what is to be done. A processor that was busy nearly until it heard of the end may have let the disk wait, so
 * the groups are made smaller; one that had nothing to do for long could have had more in a group.
 */
export class Company {
  /** A group of so many records waits no longer, and takes no more. */
  enough = Infinity;
  private parts = 1;
  private begunAt = 0;
  private landedAt = 0;
  private groups = 0;
  private judgements = 0;
  /** Since the last judgement: what the disk seemed to take, and the processor for those that it woke. */
  private diskMs = 0;
  private workMs = 0;

  /** The disk begins to write a group. @param now monotonic ms */
  begins(now: number): void {
    this.begunAt = now;
  }

  /** The disk is done with a group, successfully or not, and so many records wait for it. @param now monotonic ms */
  ends(count: number, waiting: number, now: number): void {
    this.diskMs += now - this.begunAt;
    this.landedAt = now;
    if (++this.groups === GROUPS) this.judge();
    this.enough = this.parts > 1 ? Math.ceil((count + waiting) / this.parts) : Infinity;
  }

  /** Whoever was to write again right after that has: so many of the group's. @param now monotonic ms */
  joined(count: number, joined: number, now: number): void {
    // Where few did, most of the time was somebody else's.
    if (2 * joined >= count) this.workMs += now - this.landedAt;
  }

  private judge(): void {
    const { workMs, diskMs, parts } = this;
    if (++this.judgements % JUDGEMENTS === 0) this.parts = 1;
    else if (workMs > BUSY * diskMs) this.parts = Math.min(PARTS_MAX, Math.ceil(1.25 * parts));
    else if (workMs < IDLE * diskMs) this.parts = Math.max(1, Math.floor(0.8 * parts));
    this.groups = 0;
    this.workMs = 0;
    this.diskMs = 0;
  }
}
