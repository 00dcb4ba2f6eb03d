import { isDead } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { TOO_OLD } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import type { Found } from "./object.ts";

/** What is to be done about a write. */
export type Decision =
  | { readonly kind: "done"; readonly result: WriteResult }
  /** The condition does not hold: the result needs the entry that stands in the way. */
  | { readonly kind: "conflict" }
  /** Two entries of one version: which is greater depends on their bytes. */
  | { readonly kind: "compare" }
  | { readonly kind: "put" };

const PUT: Decision = { kind: "put" };
const CONFLICT: Decision = { kind: "conflict" };

/**
 * @param found What the bucket has of the key; undefined for nothing.
 * @param watermark What is known of the collection watermark; it may be higher by now.
 */
export function decide(
  { entry, if: condition }: Write,
  found: Found | undefined,
  watermark: Version,
  now: number,
): Decision {
  const held = found?.head;
  if (condition !== undefined && held?.version !== entry.version) {
    const met = condition === "absent" ? held === undefined || isDead(held, now) : held?.version === condition;
    if (!met) return CONFLICT;
  }
  if (held === undefined) return entry.version <= watermark ? { kind: "done", result: TOO_OLD } : PUT;
  if (held.version > entry.version) return { kind: "done", result: { status: "superseded", by: held.version } };
  return held.version < entry.version ? PUT : { kind: "compare" };
}

/** Of a "compare": whether the headers alone show that the entry held is as great, so that no body has to be read. */
export function sameByHeaders(entry: Entry, found: Found, sum: string | undefined): boolean {
  const { head } = found;
  if (entry.state === "stub" && head.state !== "stub") return true;
  if (head.state !== entry.state || head.expires !== entry.expires) return false;
  const names = Object.keys(entry.meta);
  if (names.length !== Object.keys(head.meta).length || names.some((name) => head.meta[name] !== entry.meta[name])) {
    return false;
  }
  return entry.value === null || (sum !== undefined && sum === found.sha256);
}
