import { compareEntries, isDead, stubOf } from "../../entry.ts";
import type { Entry, Head } from "../../entry.ts";
import { STORED, TOO_OLD } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";

/** What a store has of a key while a batch is decided. */
export interface Standing {
  readonly head: Head;
  /** The value, where the decision may need it (see {@link needsValue}); otherwise undefined. */
  readonly value: Uint8Array | null | undefined;
}

/** Whether a write can only be decided, or answered, with the value that is there. */
export function needsValue(write: Write, current: Head | undefined): boolean {
  if (current === undefined) return false;
  return write.if !== undefined || (write.body === undefined && write.entry.version === current.version);
}

/** What a write does to what stands there: the newest version wins, conditions come first. Pure. */
export function decide(write: Write, standing: Standing | undefined, watermark: Version, now: number): WriteResult {
  const { entry, if: condition } = write;
  const head = standing?.head;
  if (condition !== undefined && head?.version !== entry.version) {
    const met = condition === "absent" ? head === undefined || isDead(head, now) : head?.version === condition;
    if (!met) return { status: "conflict", current: entryOf(standing) };
  }
  if (standing === undefined || head === undefined) return entry.version <= watermark ? TOO_OLD : STORED;
  if (head.version > entry.version) return { status: "superseded", by: head.version };
  return STORED;
}

/** Whether a write that {@link decide} lets through changes anything. */
export function changes({ entry, body }: Write, standing: Standing | undefined): boolean {
  if (standing === undefined || standing.head.version !== entry.version) return true;
  // A version has one value, and this one is too large to be compared.
  if (body !== undefined || (standing.head.state === "value" && standing.value === undefined)) return false;
  const current = entryOf(standing);
  return current === undefined || compareEntries(entry, current) > 0;
}

function entryOf(standing: Standing | undefined): Entry | undefined {
  if (standing === undefined) return undefined;
  const { head, value } = standing;
  if (head.state === "value" && value === undefined) return stubOf(head); // it is too large to be told
  return { ...head, value: value ?? null };
}
