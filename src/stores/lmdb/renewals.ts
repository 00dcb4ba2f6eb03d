import type { Version } from "../../version.ts";
import { envelopeVersion } from "../../envelope.ts";
import { headOf } from "./apply.ts";
import type { Tables } from "./environment.ts";
import { ENVELOPE_AT, renewalRow, renewedAsOf } from "./rows.ts";

interface Renewal {
  readonly version: Version;
  readonly asOf: number;
}

/**
 * Copies that are known to be the newest at a later time than the one they were stored with. A renewal is frequent, and
 * losing it costs one look at the layers below; so it waits here, is answered from here, and goes to disk with the next
 * transaction, in a small row of its own, whatever the size of the value.
 */
export class Renewals {
  private readonly waiting = new Map<string, Renewal>();

  get size(): number {
    return this.waiting.size;
  }

  /** @param asOf later than what {@link asOfOf} gives. */
  add(key: string, version: Version, asOf: number): void {
    this.waiting.set(key, { version, asOf });
  }

  /** The latest asOf of a copy whose row says `stored`. */
  asOfOf(tables: Tables, key: string, keyBytes: Uint8Array, version: Version, stored: number): number {
    const row = tables.renewals.get(keyBytes);
    const written = row === undefined ? undefined : renewedAsOf(keyBytes, version, row);
    const waiting = this.waiting.get(key);
    return Math.max(stored, written ?? stored, waiting?.version === version ? waiting.asOf : stored);
  }

  /** The latest asOf of the copy in a row. @throws SyncError CORRUPT */
  asOfIn(tables: Tables, row: Uint8Array, key: string, keyBytes: Uint8Array, store: string): number {
    const { head, asOf } = headOf(key, row, store);
    return this.asOfOf(tables, key, keyBytes, head.version, asOf);
  }

  /**
   * Writes at most `count` of those that wait; inside a transaction.
   * @returns what to call when it was committed.
   */
  write(tables: Tables, count: number, bytesOf: (key: string) => Uint8Array): () => void {
    const written: [string, Renewal][] = [];
    for (const [key, renewal] of this.waiting) {
      if (written.length >= count) break;
      written.push([key, renewal]);
      const bytes = bytesOf(key);
      const row = tables.entries.get(bytes);
      if (row === undefined || envelopeVersion(row, ENVELOPE_AT) !== renewal.version) continue; // overtaken
      tables.renewals.put(bytes, renewalRow(bytes, renewal.version, renewal.asOf));
    }
    return () => {
      for (const [key, renewal] of written) if (this.waiting.get(key) === renewal) this.waiting.delete(key);
    };
  }
}
