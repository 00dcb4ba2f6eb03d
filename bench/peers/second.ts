/** A second layer that is the same for every candidate: a map behind the event loop, which counts and can be told to fail. */
export class Second {
  /** Calls that read, and that wrote. */
  reads = 0;
  writes = 0;
  /** Every call fails, after its turn of the event loop. */
  down = false;
  private readonly values = new Map<string, unknown>();
  private gate: Gate | undefined = undefined;

  get(key: string): Promise<unknown> {
    this.reads++;
    return this.answer(() => this.values.get(key));
  }

  getMany(keys: readonly string[]): Promise<unknown[]> {
    this.reads++;
    return this.answer(() => keys.map((key) => this.values.get(key)));
  }

  set(key: string, value: unknown): Promise<void> {
    return this.change([[key, () => value]]);
  }

  /** Replaces values by what is made of them, all in one call, as a server would compare and set. */
  change(changes: readonly (readonly [key: string, make: (value: unknown) => unknown])[]): Promise<void> {
    this.writes++;
    return this.answer(() => {
      for (const [key, make] of changes) this.values.set(key, make(this.values.get(key)));
    });
  }

  delete(keys: readonly string[]): Promise<boolean> {
    this.writes++;
    return this.answer(() => keys.map((key) => this.values.delete(key)).some(Boolean));
  }

  keys(): string[] {
    return [...this.values.keys()];
  }

  /** The next read has looked, and does not answer before it is let go. */
  holdRead(): Held {
    const gate = { reached: deferred(), open: deferred() };
    this.gate = gate;
    return { reached: gate.reached.promise, release: gate.open.resolve };
  }

  private answer<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        if (this.down) return reject(new Error("the second layer is down"));
        const result = work();
        const { gate } = this;
        if (gate === undefined) return resolve(result);
        this.gate = undefined;
        gate.reached.resolve();
        void gate.open.promise.then(() => resolve(result));
      });
    });
  }
}

export interface Held {
  readonly reached: Promise<void>;
  release(): void;
}

interface Gate {
  readonly reached: Deferred;
  readonly open: Deferred;
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

function deferred(): Deferred {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
