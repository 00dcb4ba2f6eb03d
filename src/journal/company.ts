/** One group in so many is written with all that can be had, to see again what that costs. */
const LOOK_AGAIN = 64;

/**
 * How much company a group needs before it is written.
 *
 * Writers that an acknowledgement woke append again soon after. To let all of them share the next sync is best where the
 * disk is slow. But then the disk waits for the processor, and the processor for the disk: where the processor needs
 * longer for all of them than the disk does, half of them are enough, and both work at the same time.
 */
export class Company {
  /** A group of so many records waits no longer. */
  enough = Infinity;
  private diskMs = 0;
  /** What the processor needs for a record, from the end of one sync to the next append. */
  private recordMs = 0;
  private begunAt = 0;
  private landedAt = 0;
  private waitedAlready = 0;
  private groups = 0;
  private isPaused = false;

  /** The disk begins to write a group. @param now monotonic ms */
  begins(count: number, now: number): void {
    const added = count - this.waitedAlready;
    if (this.enough === Infinity && added > 0 && this.groups > 0 && !this.isPaused) {
      this.recordMs = average(this.recordMs, (now - this.landedAt) / added);
    }
    this.begunAt = now;
    this.isPaused = false;
  }

  /** Nobody wrote again right after an acknowledgement: the time until somebody does is not the processor's. */
  pauses(): void {
    this.isPaused = true;
  }

  /** The disk is done with a group, successfully or not, and so many records wait for it. @param now monotonic ms */
  ends(count: number, waiting: number, now: number): void {
    this.diskMs = average(this.diskMs, now - this.begunAt);
    this.landedAt = now;
    this.waitedAlready = waiting;
    this.groups++;
    const writers = count + waiting;
    const isWorth = this.recordMs * writers > this.diskMs && this.groups % LOOK_AGAIN !== 0;
    this.enough = isWorth ? Math.ceil(writers / 2) : Infinity;
  }
}

/** Of the last few, in which one that took long because the machine was busy with other things counts little. */
function average(before: number, sample: number): number {
  return before === 0 ? sample : before + (Math.min(sample, 2 * before) - before) / 8;
}
