import { bodyNote } from "./bodies.ts";
import type { BodyNote, KeptBody } from "./bodies.ts";
import type { Draft } from "./record.ts";
import type { Write } from "../store.ts";
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

/** The record of a write: of one under a condition, its intent. The chain gives the journal no body but one of its own. */
export function draftOf({ entry, asOf, if: condition, body }: Write): Draft {
  const draft = { kind: condition === undefined ? "write" : "intent", key: entry.key, asOf, entry } as const;
  const note = noteOf(condition, body as KeptBody | undefined);
  return note === undefined ? draft : { ...draft, note };
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
