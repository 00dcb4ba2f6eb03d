/**
 * Tasks in batches, so many at once, and how far they came: all keys up to `position` are done. Keys come in order; a batch
 * may end before one that was begun earlier.
 */
export class Flow<Task> {
  /** All keys up to this one are done, none of them failed. */
  position: string | undefined = undefined;
  private readonly options: FlowOptions<Task>;
  private tasks: Task[] = [];
  private upTo: string | undefined = undefined;
  private idle = 0;
  private readonly begun: Batch[] = [];
  private running = 0;
  private isStuck = false;
  private fatal: { readonly error: unknown } | undefined = undefined;
  private wake: (() => void) | undefined = undefined;

  constructor(options: FlowOptions<Task>) {
    this.options = options;
  }

  /**
   * The next key, and what is to be done about it, if anything. Resolves when more may come.
   * @throws what a batch threw: nothing more is begun then.
   */
  async add(key: string, task: Task | undefined): Promise<void> {
    this.upTo = key;
    this.idle++;
    if (task !== undefined) this.tasks.push(task);
    if (this.tasks.length >= this.options.batchKeys() || this.idle >= IDLE_KEYS_MAX) await this.begin();
  }

  /** Begins what is left, unless something failed, and waits for all of it. */
  async end(): Promise<void> {
    if (this.upTo !== undefined && this.fatal === undefined) await this.begin();
    await this.settled();
    if (this.fatal !== undefined) throw this.fatal.error;
  }

  /** Waits for what is under way; what was not begun is left. */
  async settled(): Promise<void> {
    while (this.running > 0) await this.change();
  }

  private async begin(): Promise<void> {
    while (this.running >= this.options.parallel) await this.change();
    if (this.fatal !== undefined) throw this.fatal.error;
    const batch: Batch = { upTo: this.upTo ?? "", isDone: false, hasFailed: false };
    const { tasks } = this;
    [this.tasks, this.upTo, this.idle] = [[], undefined, 0];
    this.begun.push(batch);
    this.running++;
    void this.run(tasks, batch);
  }

  private async run(tasks: readonly Task[], batch: Batch): Promise<void> {
    try {
      batch.hasFailed = tasks.length > 0 && !(await this.options.work(tasks));
      batch.isDone = true;
    } catch (error) {
      this.fatal ??= { error };
    }
    this.running--;
    for (let first = this.begun[0]; first?.isDone === true; first = this.begun[0]) {
      this.begun.shift();
      this.isStuck ||= first.hasFailed;
      if (!this.isStuck) this.position = first.upTo;
    }
    await this.options.onBatch().catch((error: unknown) => {
      this.fatal ??= { error };
    });
    this.wake?.();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.wake;
      this.wake = () => {
        before?.();
        this.wake = undefined;
        resolve();
      };
    });
  }
}

interface Batch {
  readonly upTo: string;
  isDone: boolean;
  hasFailed: boolean;
}

export interface FlowOptions<Task> {
  readonly parallel: number;
  /** How many tasks the next batch may have. */
  readonly batchKeys: () => number;
  /** False when some task failed. What it throws ends everything. */
  readonly work: (tasks: readonly Task[]) => Promise<boolean>;
  readonly onBatch: () => Promise<void>;
}

/** So many keys without anything to do about them count as a batch, so that the position moves on. */
const IDLE_KEYS_MAX = 10_000;

/** How many keys a batch may have, so that it holds about so many bytes: by what the values before were like. */
export class Pace {
  private readonly keysMax: number;
  private readonly bytesMax: number;
  private largest: number | undefined = undefined;

  constructor(keysMax: number, bytesMax: number) {
    this.keysMax = keysMax;
    this.bytesMax = bytesMax;
  }

  keys(): number {
    if (this.largest === undefined) return Math.min(FIRST_KEYS, this.keysMax);
    return Math.max(1, Math.min(this.keysMax, Math.floor(this.bytesMax / Math.max(1, this.largest))));
  }

  /** @param bytes of the largest value of a batch that was held whole. */
  saw(bytes: number): void {
    this.largest = Math.max(bytes, (this.largest ?? 0) * FADING);
  }
}

const FIRST_KEYS = 16;
const FADING = 0.8;
