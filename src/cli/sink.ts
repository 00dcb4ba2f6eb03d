import { dirname } from "node:path";
import { SyncError } from "../error.ts";
import type { Raw } from "../node/lines.ts";
import type { FoundStream, ListedEntry } from "../sync.ts";

/** What an export is written to. */
export interface Sink {
  /** One entry that cannot be written spoils the whole: the export ends there. */
  readonly whole: boolean;
  /** @throws SyncError for an entry that cannot be written. */
  add(entry: ListedEntry<Raw>): Promise<void>;
  /** The same for one whose value is read as it is written. */
  addStream(key: string, found: FoundStream): Promise<void>;
  /** What files cannot say of the entries written, as a note; undefined when nothing is lost. */
  end(): Promise<string | undefined>;
  /** Removes what is unfinished. */
  cancel(): Promise<void>;
}

export function unwritable(to: string, cause: unknown): SyncError {
  const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
  return new SyncError("UNAVAILABLE", `${to} cannot be written: ${reason}`, {
    operation: "export",
    cure: `name a place that can be written; ${dirname(to)} has to be a folder`,
    retryable: false,
    cause,
  });
}
