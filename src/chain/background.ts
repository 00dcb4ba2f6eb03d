/**
 * Work that outlives the call that began it. Those that began between two looks are one era, which counts how many of
 * them are left: a set of all would cost each call more than the call of a near layer.
 */
export class Background {
  /** Of what begins now. */
  private era = new Era();
  /** All that began in earlier ones has ended. */
  private earlier = Promise.resolve();
  private left = 0;

  add(work: Promise<unknown>): void {
    const era = this.begin();
    const over = () => this.end(era);
    work.then(over, over);
  }

  /** The same of work that is no promise: it is under way until `end` is called, once, with what this returns. */
  begin(): Era {
    this.left++;
    this.era.left++;
    return this.era;
  }

  end(era: Era): void {
    this.left--;
    era.left--;
    if (era.left === 0) era.over?.();
  }

  /** Resolves when all work added so far has ended. */
  async settled(): Promise<void> {
    const { era } = this;
    if (era.left > 0) {
      this.era = new Era();
      const over = new Promise<void>((resolve) => (era.over = resolve));
      this.earlier = this.earlier.then(() => over);
    }
    await this.earlier;
  }

  /** Resolves when there is none left, also of what the work itself has added. */
  async idle(): Promise<void> {
    while (this.left > 0) await this.settled();
  }
}

export class Era {
  left = 0;
  /** Somebody waits for all of it, and nothing begins in it any more. */
  over: (() => void) | undefined = undefined;
}
