import { SyncError } from "../error.ts";
import { isVersion } from "../version.ts";
import type { Version } from "../version.ts";

/** What a record says beside its entry, as text: the condition of an intent, the outcome of a decision. */

export function intentNote(condition: "absent" | Version): Uint8Array {
  return new TextEncoder().encode(condition);
}

export function readCondition(note: Uint8Array): "absent" | Version {
  const text = new TextDecoder().decode(note);
  if (text === "absent" || isVersion(text)) return text;
  throw new SyncError("CORRUPT", "an intent of the journal has no condition");
}

export interface Decision {
  /** The sequence number of the intent. */
  readonly intent: number;
  readonly happened: boolean;
}

export function decisionNote(intent: number, happened: boolean): Uint8Array {
  return new TextEncoder().encode(`${intent} ${happened ? "happened" : "did not happen"}`);
}

export function readDecision(note: Uint8Array): Decision {
  const [, intent, outcome] = /^(\d+) (happened|did not happen)$/.exec(new TextDecoder().decode(note)) ?? [];
  if (intent === undefined) throw new SyncError("CORRUPT", "a decision of the journal is malformed");
  return { intent: Number(intent), happened: outcome === "happened" };
}
