import { endianness } from "node:os";
import type { Database } from "lmdb";
import type { StagedTable } from "./staged.ts";

/** A number that every commit raises, as this machine's double: what LMDB compares. In the table `about`. */
const TURN_KEY = new TextEncoder().encode("turn");
const TURN_BYTES = 8;
const LITTLE = endianness() === "LE";
/** A commit takes no more transactions once so many rows of one table are staged. */
const STAGED_MAX = 4096;

interface Waiting {
  /** Runs the transaction, again for each attempt. @throws what it fails with. */
  run(): void;
  done(): void;
  failed(error: unknown): void;
}

/**
 * Write transactions, many in one commit. They run here, on what is on disk, and what they change is sent to LMDB as one
 * batch that takes effect only if nobody committed in between; otherwise they run again. LMDB's own transactions with a
 * callback would decide under its lock instead, but its thread then waits for this one: a process that exits at that
 * moment never ends, because ending waits for that thread (kriszyp/lmdb-js#336). A batch needs nobody.
 */
export class Commits {
  private readonly about: Database<Uint8Array, Uint8Array>;
  private readonly tables: readonly StagedTable[];
  private readonly refresh: () => void;
  private waiting: Waiting[] = [];
  private isRunning = false;

  /** @param refresh lets the next read see what is on disk. */
  constructor(about: Database<Uint8Array, Uint8Array>, tables: readonly StagedTable[], refresh: () => void) {
    this.about = about;
    this.tables = tables;
    this.refresh = refresh;
  }

  /** @throws what `body` throws, or LMDB's error; nothing of it is stored then. */
  transaction<T>(body: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let done = () => {};
      const run = () => {
        const value = body();
        done = () => resolve(value);
      };
      this.waiting.push({ run, done: () => done(), failed: reject });
      if (!this.isRunning) void this.runAll();
    });
  }

  /** Whoever comes while one commit is on its way to the disk shares the next. */
  private async runAll(): Promise<void> {
    this.isRunning = true;
    await Promise.resolve(); // for those that come together
    while (this.waiting.length > 0) await this.commit();
    this.isRunning = false;
  }

  private async commit(): Promise<void> {
    const taken: Waiting[] = [];
    try {
      if (await this.attempt(taken)) for (const each of taken) each.done();
      else this.waiting.unshift(...taken);
    } catch (error) {
      for (const each of taken.length > 0 ? taken : this.waiting.splice(0)) each.failed(error);
    }
  }

  /** @returns false when another process committed meanwhile: nothing was stored. */
  private attempt(taken: Waiting[]): Promise<boolean> {
    this.refresh();
    const turn = turnFrom(this.about.getBinary(TURN_KEY));
    try {
      while (this.tables.every(({ size }) => size < STAGED_MAX)) {
        const next = this.waiting.shift();
        if (next === undefined) break;
        if (this.stage(next)) taken.push(next);
      }
      if (this.tables.every(({ size }) => size === 0)) return Promise.resolve(true);
      const batch = () => {
        for (const table of this.tables) table.send();
        void this.about.put(TURN_KEY, turnRow((turn ?? 0) + 1));
      };
      return turn === undefined ? this.about.ifNoExists(TURN_KEY, batch) : this.about.ifVersion(TURN_KEY, turn, batch);
    } finally {
      for (const table of this.tables) table.clear();
    }
  }

  private stage(next: Waiting): boolean {
    for (const table of this.tables) table.begin();
    try {
      next.run();
      return true;
    } catch (error) {
      for (const table of this.tables) table.undo();
      next.failed(error);
      return false;
    }
  }
}

function turnFrom(row: Uint8Array | undefined): number | undefined {
  return row && new DataView(row.buffer, row.byteOffset, row.length).getFloat64(0, LITTLE);
}

function turnRow(turn: number): Uint8Array {
  const row = new Uint8Array(TURN_BYTES);
  new DataView(row.buffer).setFloat64(0, turn, LITTLE);
  return row;
}
