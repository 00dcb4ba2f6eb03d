import { asSyncError } from "../error.ts";
import type { ErrorCode } from "../error.ts";
import type { Supports } from "../store.ts";

/** The checks, in the order they are made. docs/doctor.md has a heading for each. The names are the interface of `--json`. */
export type StepId =
  | "connect"
  | "abilities"
  | "clock"
  | "values"
  | "speed"
  | "newest"
  | "conditions"
  | "expiry"
  | "watch"
  | "keys"
  | "batch"
  | "forget"
  | "cleanup";

/** "advice": it works, but see the notes. "skipped": it could not be tried, and `what` says why. */
export type Result = "ok" | "advice" | "failed" | "skipped";

/** One thing that somebody should know. */
export interface Note {
  readonly kind: "advice" | "failed";
  /** What was seen. Never a value or a credential. */
  readonly what: string;
  /** What to do about it; null where `what` says it all. */
  readonly cure: string | null;
  /** Of a call that failed. */
  readonly code: ErrorCode | null;
}

/** Measured figures by name, the unit last: `readMedianMs`. */
export type Figures = Readonly<Record<string, number | string | boolean>>;

export interface Finding {
  readonly step: StepId;
  readonly result: Result;
  /** What was found, in a line. */
  readonly what: string;
  readonly notes: readonly Note[];
  readonly figures: Figures;
  readonly tookMs: number;
}

/** What was found out about one store. */
export interface StoreReport {
  /** Its URL without what is secret in it, or its name. */
  readonly store: string;
  readonly role: "cache" | "store";
  /** Nothing was written, because that was asked for or because the store takes no writes. */
  readonly readonly: boolean;
  /** Null when it could not be opened. */
  readonly supports: Supports | null;
  readonly findings: readonly Finding[];
  /** How many requests the system was sent, where they are counted; else null. */
  readonly requests: number | null;
  /** Keys below the doctor's prefix that could not be removed. */
  readonly left: readonly string[];
}

export function advice(what: string, cure: string | null = null): Note {
  return { kind: "advice", what, cure, code: null };
}

export function failure(what: string, cure: string | null = null): Note {
  return { kind: "failed", what, cure, code: null };
}

/** A failed call as a note. */
export function failureOf(thrown: unknown): Note {
  const { code, what, cure } = asSyncError(thrown);
  return { kind: "failed", what: what.replaceAll(/\s*\n\s*/g, " "), cure: cure ?? null, code };
}

export function resultOf(notes: readonly Note[]): Result {
  if (notes.some(({ kind }) => kind === "failed")) return "failed";
  return notes.length > 0 ? "advice" : "ok";
}

/** The worst of several findings; "ok" when there are none. What was skipped counts as fine. */
export function worst(results: readonly Result[]): "ok" | "advice" | "failed" {
  if (results.includes("failed")) return "failed";
  return results.includes("advice") ? "advice" : "ok";
}
