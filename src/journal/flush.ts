/**
 * When a layer is sent what it waits for, and what a refusal means: decisions over values. The shell is
 * `chain/lane.ts`.
 */
import type { SyncError } from "../error.ts";

/** What a layer's flush goes by. Times in milliseconds. */
export interface FlushTerms {
  /** The pause in writes that a flush waits for, so that a burst becomes one batch. */
  readonly intervalMs: number;
  /** How long the oldest entry waits at most, though writes go on. */
  readonly delayMsMax: number;
  readonly entriesMax: number;
  readonly bytesMax: number;
}

/** How a layer's queue stands. Moments are monotonic ms. */
export interface FlushState {
  readonly entries: number;
  readonly bytes: number;
  /** When the oldest entry came, or one of its key whose place it took, and when the youngest did. */
  readonly oldestAt: number;
  readonly youngestAt: number;
  /** Somebody waits for the layer to have its entries. */
  readonly urgent: boolean;
  /** Not before this moment because an attempt failed; 0 when none did, or when somebody asked for another at once. */
  readonly retryAt: number;
  /** Not before this moment because the server said so. */
  readonly notBefore: number;
}

export type FlushDecision = "idle" | "send" | { readonly waitUntil: number };

export function decideFlush(terms: FlushTerms, state: FlushState, now: number): FlushDecision {
  if (state.entries === 0) return "idle";
  // What fits into one batch waits: each key is sent once, however often it is written until then.
  const full = state.entries > terms.entriesMax || state.bytes > terms.bytesMax;
  const due =
    state.urgent || full ? now : Math.min(state.youngestAt + terms.intervalMs, state.oldestAt + terms.delayMsMax);
  const at = Math.max(due, state.notBefore, state.retryAt);
  return at <= now ? "send" : { waitUntil: at };
}

/**
 * "again": the layer may take it later. "pause": the layer takes nothing until somebody acts. "refused": it never takes
 * this entry. "too-old": it may have collected the key.
 */
export type Refusal = "again" | "pause" | "refused" | "too-old";

export function classify({ code, retryable }: SyncError): Refusal {
  if (retryable || code === "CONFLICT" || code === "INDETERMINATE" || code === "ABORTED" || code === "CLOSED")
    return "again";
  if (code === "TOO_OLD") return "too-old";
  return code === "UNAUTHORISED" || code === "READONLY" || code === "NOT_FOUND" || code === "UNAVAILABLE"
    ? "pause"
    : "refused";
}

/** The longest wait before a further attempt after so many failures in a row; the wait itself is random below it. */
export function backoffMsMax(failures: number, baseMs: number, capMs: number): number {
  return Math.min(capMs, baseMs * 2 ** Math.min(failures - 1, 30));
}
