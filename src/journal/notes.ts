import { bodyNote } from "./bodies.ts";
import type { BodyNote } from "./bodies.ts";
import { SyncError } from "../error.ts";
import { isVersion } from "../version.ts";
import type { Version } from "../version.ts";

/** What a record says beside its entry, as text: the condition of an intent, the body of a write, the outcome of a decision. */

/** The note of a write, or an intent, or undefined where there is nothing to say. A body's line is the last. */
export function noteOf(condition: "absent" | Version | undefined, body: BodyNote | undefined): Uint8Array | undefined {
  if (condition === undefined && body === undefined) return undefined;
  const lines = [...(condition === undefined ? [] : [condition]), ...(body === undefined ? [] : [bodyNote(body)])];
  return new TextEncoder().encode(lines.join("\n"));
}

export function readCondition(note: Uint8Array): "absent" | Version {
  const [text = ""] = new TextDecoder().decode(note).split("\n");
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
