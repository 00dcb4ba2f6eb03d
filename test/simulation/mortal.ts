import type { Files, OpenFile } from "../../src/journal/files.ts";
import { exactClock } from "../../src/runtime.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Store } from "../../src/store.ts";

/**
 * The life of one process. When it ends, everything that the process was doing stands still for good: its timers do not
 * fire, its calls are not made, and answers to those it made find nobody. What it had sent goes on without it.
 */
export class Life {
  isOver = false;
  private readonly mourners = new Set<() => void>();

  end(): void {
    this.isOver = true;
    for (const tell of this.mourners) tell();
    this.mourners.clear();
  }

  /** Those outside who wait for this process. @returns takes it back. */
  onEnd(tell: () => void): () => void {
    this.mourners.add(tell);
    return () => void this.mourners.delete(tell);
  }

  /** The outcome of what the process has begun, for the process: never, once it is dead. */
  async<T>(begin: () => Promise<T>): Promise<T> {
    if (this.isOver) return never();
    return new Promise<T>((resolve, reject) => {
      begin().then(
        (value) => {
          if (!this.isOver) resolve(value);
        },
        (error: unknown) => {
          if (!this.isOver) reject(error);
        },
      );
    });
  }

  private async *items<T>(open: () => AsyncIterable<T>): AsyncIterable<T> {
    if (this.isOver) await never();
    const iterator = open()[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.async(() => iterator.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      if (!this.isOver) iterator.return?.().catch(() => undefined);
    }
  }

  /** @param skewMs how far this process's wall clock is off. */
  runtime(base: Runtime, skewMs: number): Runtime {
    const now = () => base.now() + skewMs;
    return {
      now,
      coarse: exactClock(now),
      monotonic: () => base.monotonic(),
      idle: () => base.idle(),
      timer: (delayMs, fn, background) =>
        base.timer(
          delayMs,
          () => {
            if (!this.isOver) fn();
          },
          background,
        ),
      random: (bytes) => base.random(bytes),
    };
  }

  /**
   * A store of another machine, or of the disk: closing it here closes nothing there. What it "knows" is dated by this
   * process's clock, from the moment of asking, as clients of servers do; `isNode`: so is what is written, since between
   * nodes ages are sent.
   */
  store(inner: Store, base: Runtime, skewMs: number, isNode = false): Store {
    const isKnown = inner.supports.asOf === "known";
    return {
      name: inner.name,
      supports: inner.supports,
      read: async (keys, options) => {
        const askedAt = base.now();
        const answers = await this.async(() => inner.read(keys, options));
        if (!isKnown) return answers;
        return answers.map((answer) => ({ ...answer, asOf: Math.min(answer.asOf, askedAt) + skewMs }));
      },
      write: (writes, options) => {
        const sent = isNode ? writes.map((write) => ({ ...write, asOf: write.asOf - skewMs })) : writes;
        return this.async(() => inner.write(sent, options));
      },
      forget: (items, options) => this.async(() => inner.forget(items, options)),
      list: (range, options) => this.items(() => inner.list(range, options)),
      watch: (range, options) => this.items(() => inner.watch(range, options)),
      close: () => this.async(() => Promise.resolve()),
    };
  }

  files(inner: Files): Files {
    const opened = (file: OpenFile): OpenFile => ({
      append: (bytes) => this.async(() => file.append(bytes)),
      appendSynced: (bytes) => this.async(() => file.appendSynced(bytes)),
      sync: () => this.async(() => file.sync()),
      truncate: (length) => this.async(() => file.truncate(length)),
      close: () => this.async(() => file.close()),
    });
    return {
      name: inner.name,
      list: () => this.async(() => inner.list()),
      size: (name) => this.async(() => inner.size(name)),
      read: (...args) => this.async(() => inner.read(...args)),
      create: (name) => this.async(async () => opened(await inner.create(name))),
      open: (name) => this.async(async () => opened(await inner.open(name))),
      rename: (from, to) => this.async(() => inner.rename(from, to)),
      remove: (name) => this.async(() => inner.remove(name)),
      syncFolder: () => this.async(() => inner.syncFolder()),
      claim: () => this.async(() => inner.claim()),
      sha256: () => inner.sha256(),
      crc32: inner.crc32,
    };
  }
}

export function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}
