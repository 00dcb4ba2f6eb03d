import type { Store } from "../store.ts";
import type { SystemClock } from "./clock.ts";

/** A store to examine, not yet opened. */
export interface Patient {
  /** Its URL without what is secret in it, or its name. */
  readonly store: string;
  readonly role: "cache" | "store";
  /** Nothing may be written to it. */
  readonly readonly: boolean;
  /**
   * Opens it, each time anew: a shared store is opened twice, as two processes would.
   * @throws SyncError
   */
  open(): Promise<OpenPatient>;
}

export interface OpenPatient {
  readonly store: Store;
  /** Undefined: the system tells no time, or has none of its own. */
  readonly clock: SystemClock | undefined;
  /** How many requests the system was sent so far; undefined: nobody counts, and nobody is charged for them. */
  readonly requests: (() => number) | undefined;
  /** Every write stays in a history that people read: as few as possible are made. */
  readonly keepsHistory: boolean;
  /** Removes what opening created, after the store was closed. Only called when nothing is in it. */
  readonly undo: (() => Promise<void>) | undefined;
}
