/** Bounds how many things are under way at once. */
export class Slots {
  private readonly max: number;
  private running = 0;
  private readonly waiting: (() => void)[] = [];
  private failure: { readonly error: unknown } | undefined;

  constructor(max: number) {
    this.max = max;
  }

  /** Runs `work` when there is a slot. Resolves with its outcome. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.enter();
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  /** Resolves when `work` has begun. What one of them throws is thrown by the next call, or by {@link Slots.idle}. */
  async begin(work: () => Promise<void>): Promise<void> {
    await this.enter();
    if (this.failure !== undefined) {
      this.leave();
      throw this.failure.error;
    }
    work()
      .catch((error: unknown) => {
        this.failure ??= { error };
      })
      .finally(() => this.leave());
  }

  /** Resolves when all that began has ended. */
  async idle(): Promise<void> {
    for (let i = 0; i < this.max; i++) await this.enter();
    for (let i = 0; i < this.max; i++) this.leave();
    if (this.failure !== undefined) throw this.failure.error;
  }

  private enter(): Promise<void> | undefined {
    if (this.running < this.max) {
      this.running++;
      return undefined;
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private leave(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.running--;
    else next();
  }
}

/** Lets one at a time have a name; the others come in their turn. */
export class Turns {
  private readonly last = new Map<string, Promise<void>>();

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(name);
    let done: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.last.set(name, mine);
    await before;
    try {
      return await work();
    } finally {
      if (this.last.get(name) === mine) this.last.delete(name);
      done();
    }
  }
}

/** The items by name, each group in their order. */
export function grouped<T>(items: readonly T[], nameOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = nameOf(item);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [item]);
    else group.push(item);
  }
  return groups;
}
