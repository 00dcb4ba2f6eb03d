import type { Runtime } from "../../runtime.ts";
import type { Tables } from "./environment.ts";
import type { Row, Table } from "./staged.ts";
import { envelopeState } from "../../envelope.ts";
import { fileOf, sizeOf } from "./bodies.ts";
import { ENVELOPE_AT, changeOf, integerFrom, integerKey, setInteger } from "./rows.ts";
import type { State } from "./rows.ts";

/*
 * The order of commits. `changes` has one row for each entry, under the number of the change that stored it, so that it
 * never grows beyond the entries and its beginning is what was written longest ago; `removals` has what was removed
 * without a tombstone, as many as an option says. `epochs` says who wrote: each opened store that changes anything
 * names itself, at random, at its first change. After the folder was set back to a backup the same numbers are given
 * again, but under another name, so an old cursor is recognised.
 */

const EPOCHS_MAX = 1024;
const EPOCH_BYTES = 8;
/** Trimming takes this share at once, so that it is not done at every removal. */
const TRIM_SHARE = 1 / 16;

/** A rough measure of what an entry takes on disk: its row, or whole pages of its own when it is large, and its log. */
export function bytesOnDisk(key: Uint8Array, row: Uint8Array): number {
  const bytes = key.length + row.length;
  return (bytes < 2000 ? bytes : Math.ceil((row.length + 16) / 4096) * 4096) + 2 * key.length + 64;
}

function bodyBytes(row: Uint8Array): number {
  return row.length + (sizeOf(row) ?? 0);
}

/** One write transaction's way to change entries; to be used inside `Environment.transaction` only. */
export interface Writer {
  readonly state: State;
  /** Files of bodies that no row names any more, once the transaction is on disk. */
  readonly dropped: readonly string[];
  /**
   * @param row The envelope, from {@link ENVELOPE_AT} on; the writer's from now on.
   * @param body The row of the body that the envelope, a stub's, stands for.
   */
  store(key: Uint8Array, row: Uint8Array, before: Uint8Array | undefined, body?: Uint8Array): void;
  remove(key: Uint8Array, before: Uint8Array): void;
  /** Removes the `count` entries that were written longest ago. */
  dropOldest(count: number): void;
}

export function writer(
  tables: Tables,
  state: State,
  removalsMax: number,
  nameEpoch: () => Uint8Array | undefined,
): Writer {
  const { entries, changes, removals, renewals, epochs, bodies } = tables;
  const dropped: string[] = [];

  const nextChange = (): number => {
    const name = nameEpoch();
    if (name !== undefined) {
      epochs.put(integerKey(state.last + 1), name);
      state.epochs += 1 - trim(epochs, state.epochs - EPOCHS_MAX).length;
    }
    return ++state.last;
  };

  const forgetRow = (key: Uint8Array, before: Uint8Array) => {
    state.bytes -= bytesOnDisk(key, before);
    changes.remove(integerKey(changeOf(before)));
    // A look for a row costs less than the removal of one that is not there.
    if (renewals.get(key) !== undefined) renewals.remove(key);
    if (envelopeState(before, ENVELOPE_AT) === "stub") forgetBody(key);
  };

  const forgetBody = (key: Uint8Array) => {
    const row = bodies.get(key);
    if (row === undefined) return;
    const file = fileOf(row);
    if (file !== undefined) dropped.push(file);
    state.bytes -= bodyBytes(row);
    bodies.remove(key);
  };

  const remove = (key: Uint8Array, before: Uint8Array) => {
    forgetRow(key, before);
    entries.remove(key);
    removals.put(integerKey(nextChange()), key);
    if (++state.removals <= removalsMax) return;
    const gone = trim(removals, Math.max(1, Math.floor(removalsMax * TRIM_SHARE)));
    state.removals -= gone.length;
    const last = gone.at(-1);
    if (last !== undefined) state.floor = integerFrom(last.key);
  };

  return {
    state,
    dropped,
    store(key, row, before, body) {
      if (before !== undefined) forgetRow(key, before);
      const change = nextChange();
      setInteger(row, change);
      entries.put(key, row);
      changes.put(integerKey(change), key);
      state.bytes += bytesOnDisk(key, row);
      if (body === undefined) return;
      bodies.put(key, body);
      state.bytes += bodyBytes(body);
    },
    remove,
    dropOldest(count) {
      for (const { key: number, value: key } of changes.page(undefined, count)) {
        const before = entries.get(key);
        if (before !== undefined && changeOf(before) === integerFrom(number)) remove(key, before);
        else changes.remove(number); // of a row that was damaged: nothing stands for it any more
      }
    },
  };
}

export function newEpoch(runtime: Runtime): Uint8Array {
  return runtime.random(new Uint8Array(EPOCH_BYTES));
}

function trim(table: Table, count: number): Row[] {
  if (count <= 0) return [];
  const rows = table.page(undefined, count);
  for (const { key } of rows) table.remove(key);
  return rows;
}

/** The name of the epoch that a change belongs to; undefined when it is older than those that are kept. */
export function epochAt({ epochs }: Tables, change: number): string | undefined {
  const name = epochs.page(integerKey(change), 1, "down")[0]?.value;
  return name && Array.from(name, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export interface LoggedChange {
  readonly change: number;
  readonly key: Uint8Array;
}

/** The next changes after a number, in order; fewer than there are, but none only if there is none. */
export function changesAfter({ changes, removals }: Tables, after: number, limit: number): LoggedChange[] {
  const start = integerKey(after + 1);
  const pages = [changes, removals].map((table) =>
    table.page(start, limit).map(({ key, value }) => ({ change: integerFrom(key), key: value })),
  );
  // Where one table's page is full, what the other has beyond its end must wait.
  const until = Math.min(...pages.map((page) => (page.length < limit ? Infinity : (page.at(-1)?.change ?? Infinity))));
  return pages
    .flat()
    .filter(({ change }) => change <= until)
    .sort((a, b) => a.change - b.change);
}
