import { compareEntries, isDead } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { STORED, TOO_OLD } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import { entryFrom } from "./rows.ts";
import type { Row } from "./rows.ts";

/**
 * What the write statement's answer says of one write. "again": another transaction came between, and only a new
 * look can tell. "overwrite": the key has other content under the same version, over which this one wins.
 */
export type Decision =
  | { readonly kind: "settled"; readonly result: WriteResult }
  | { readonly kind: "again" }
  | { readonly kind: "overwrite"; readonly held: Entry };

const AGAIN: Decision = { kind: "again" };

/** @param row n, stored, old, collides, then what the key held: state, version, expires, meta, value. */
export function decide(row: Row, { entry, if: condition }: Write, now: number, store: string): Decision {
  const [, stored, old, collides, state] = row;
  if (stored === "t") return settled(STORED);
  if (state === null || state === undefined) {
    if (condition !== undefined && condition !== "absent") return settled({ status: "conflict", current: undefined });
    return old === "t" ? settled(TOO_OLD) : AGAIN;
  }
  const held = entryFrom(entry.key, row, 4, store);
  if (!isMet(entry, condition, held, now)) return settled({ status: "conflict", current: held });
  if (held.version > entry.version) return settled({ status: "superseded", by: held.version });
  if (held.version < entry.version) return AGAIN;
  if (collides === "t") return compareEntries(entry, held) > 0 ? { kind: "overwrite", held } : settled(STORED);
  return held.state === "stub" && entry.state !== "stub" ? AGAIN : settled(STORED);
}

function isMet({ version }: Entry, condition: Write["if"], held: Entry, now: number): boolean {
  if (condition === undefined || held.version === version) return true;
  return condition === "absent" ? isDead(held, now) : held.version === condition;
}

function settled(result: WriteResult): Decision {
  return { kind: "settled", result };
}
