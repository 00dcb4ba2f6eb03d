import { crc32c } from "../../checksum.ts";
import { SyncError } from "../../error.ts";
import type { Look } from "./dialect.ts";
import { headFrom, keyFrom, textAt } from "./rows.ts";
import type { Row } from "./rows.ts";

/** How many changes one look gives. */
export const LOOK_ROWS = 500;

/** @param rows One row: epoch, place, position. */
export function nowFrom([row]: readonly Row[], store: string): { readonly epoch: string; readonly at: string } {
  if (row === undefined) throw gone(store);
  return { epoch: epochOf(row), at: textAt(row, 2) };
}

/**
 * @param rows epoch, place, missed, position; then key, tx and head of a change, all null where there is none, and the
 * head null where the key was removed.
 * @param to Where an earlier page of the same look ends.
 */
export function lookFrom(rows: readonly Row[], to: string | undefined, store: string): Look {
  const [first] = rows;
  if (first === undefined) throw gone(store);
  const changes = rows
    .filter((row) => row[4] !== null)
    .map((row) => {
      const key = keyFrom(row, 4, store);
      return { head: row[6] === null ? null : headFrom(key, row, 6, store), spot: { mark: textAt(row, 5), key } };
    });
  const full = changes.length === LOOK_ROWS;
  return { epoch: epochOf(first), missed: first[2] === "t", to: to ?? textAt(first, 3), changes, full };
}

/** The history's name: the one in the database, and where that database is now. */
function epochOf(row: Row): string {
  const digest = crc32c(new TextEncoder().encode(textAt(row, 1))) >>> 0;
  return `${textAt(row, 0)}${digest.toString(16).padStart(8, "0")}`;
}

function gone(store: string): SyncError {
  const cure = "open it again";
  return new SyncError("NOT_FOUND", "the store's own row is gone: its tables were emptied", {
    store,
    operation: "watch",
    cure,
  });
}
