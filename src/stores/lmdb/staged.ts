import type { Database } from "lmdb";
import type { SyncError } from "../../error.ts";
import { lmdbFailure } from "./failures.ts";

/** One of LMDB's named databases: bytes to bytes, in byte order. A value read is the reader's own. */
export interface Table {
  get(key: Uint8Array): Uint8Array | undefined;
  /** Only in a transaction. */
  put(key: Uint8Array, value: Uint8Array): void;
  /** Only in a transaction. */
  remove(key: Uint8Array): void;
  /** At most `limit` rows from `start` on, or downwards from it. No transaction stays open behind it. */
  page(start: Uint8Array | undefined, limit: number, direction?: "up" | "down"): Row[];
}

export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A row as it will be; without a value it will be gone. */
interface StagedRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/**
 * A table as transactions see it: what is on disk, and above it what those of the next commit have changed. Nothing is
 * staged but while they run.
 */
export class StagedTable implements Table {
  private readonly database: Database<Uint8Array, Uint8Array>;
  private readonly store: string;
  /** By the key's bytes as characters, whose order is that of the bytes. */
  private readonly staged = new Map<string, StagedRow>();
  /** What the transaction that runs has replaced. */
  private readonly replaced: (readonly [text: string, before: StagedRow | undefined])[] = [];

  constructor(database: Database<Uint8Array, Uint8Array>, store: string) {
    this.database = database;
    this.store = store;
  }

  /** How many rows are staged. */
  get size(): number {
    return this.staged.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const row = this.staged.size === 0 ? undefined : this.staged.get(textOf(key));
    if (row !== undefined) return row.value;
    try {
      return this.database.getBinary(key);
    } catch (error) {
      throw this.failure(error);
    }
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.stage({ key, value });
  }

  remove(key: Uint8Array): void {
    this.stage({ key, value: undefined });
  }

  page(start: Uint8Array | undefined, limit: number, direction: "up" | "down" = "up"): Row[] {
    const reverse = direction === "down";
    const from = start === undefined ? {} : { start };
    const onDisk = (count: number): Row[] => {
      try {
        return [...this.database.getRange({ ...from, limit: count, reverse })];
      } catch (error) {
        throw this.failure(error);
      }
    };
    if (this.staged.size === 0) return onDisk(limit);
    // So many more that enough are left when all that is staged stands for rows that are gone.
    const rows: Row[] = onDisk(limit + this.staged.size).filter(({ key }) => !this.staged.has(textOf(key)));
    const sign = reverse ? -1 : 1;
    for (const { key, value } of this.staged.values()) {
      const isInside = start === undefined || sign * Buffer.compare(key, start) >= 0;
      if (value !== undefined && isInside) rows.push({ key, value });
    }
    return rows.sort((a, b) => sign * Buffer.compare(a.key, b.key)).slice(0, limit);
  }

  /** What is staged from here on is one transaction's. */
  begin(): void {
    this.replaced.length = 0;
  }

  /** The transaction has failed: what it staged is as before. */
  undo(): void {
    for (const [text, before] of this.replaced.splice(0).toReversed()) {
      if (before === undefined) this.staged.delete(text);
      else this.staged.set(text, before);
    }
  }

  /** Gives everything to the batch of LMDB's that is being put together. */
  send(): void {
    for (const { key, value } of this.staged.values()) {
      if (value === undefined) void this.database.remove(key);
      else void this.database.put(key, value);
    }
  }

  clear(): void {
    this.staged.clear();
    this.replaced.length = 0;
  }

  private stage(row: StagedRow): void {
    const text = textOf(row.key);
    this.replaced.push([text, this.staged.get(text)]);
    this.staged.set(text, row);
  }

  private failure(error: unknown): SyncError {
    return lmdbFailure(error, { store: this.store, operation: "read" });
  }
}

function textOf(key: Uint8Array): string {
  return String.fromCharCode.apply(null, key as unknown as number[]); // keys are short: a Buffer around each would cost more
}
