import { SyncError } from "../error.ts";
import type { Journal } from "../journal/journal.ts";
import type { Stuck } from "./goals.ts";
import type { LaneShell } from "./lane.ts";
import type { ChainState } from "./state.ts";

function describe(lanes: Stuck["lanes"]): string {
  return lanes
    .map(({ name, left, error }) => `${name} (${left}${error === undefined ? "" : `: ${error.what}`})`)
    .join(", ");
}

/** What `flush` says of layers that do not take what they lack. */
export function stuckError({ lanes }: Stuck, store: string): SyncError {
  return new SyncError("UNAVAILABLE", `writes have not reached ${describe(lanes)}`, {
    store,
    operation: "flush",
    cure: "they are in the journal and are sent once the layer takes them: bring it back and flush again",
    cause: lanes.find(({ error }) => error !== undefined)?.error,
  });
}

/** What a write says whose acknowledgement waits for such a layer. */
export function notYet({ lanes }: Stuck, store: string, key: string): SyncError {
  return new SyncError("UNAVAILABLE", `in the journal, but not yet in ${describe(lanes)}`, {
    store,
    operation: "write",
    key,
    retryable: false,
    stored: true,
    cure: "it is sent once the layer takes it; flush waits for that",
    cause: lanes.find(({ error }) => error !== undefined)?.error,
  });
}

/** The same error of a call that must not be made again. */
export function notRetryable(error: SyncError): SyncError {
  const { code, what, store, operation, key, cure, cause, stored } = error;
  const place = {
    ...(store === undefined ? {} : { store }),
    ...(operation === undefined ? {} : { operation }),
    ...(key === undefined ? {} : { key }),
    ...(cure === undefined ? {} : { cure }),
  };
  return new SyncError(code, what, { ...place, cause, stored, retryable: false });
}

/** What `flush` says of entries that nobody will take. */
export function undelivered(letters: Journal["letters"], store: string): SyncError {
  const named = letters.slice(0, 5).map(({ head, layer, list, message }) => {
    return `${JSON.stringify(head.key)} ${list === "dead" ? "refused" : "too old"} by ${layer}: ${message}`;
  });
  const more = letters.length > named.length ? `; and ${letters.length - named.length} more` : "";
  return new SyncError("UNAVAILABLE", `${letters.length} entries were not taken: ${named.join("; ")}${more}`, {
    store,
    operation: "flush",
    retryable: false,
    cure: "microsync journal ls shows them; retry or drop them",
  });
}

/** Closing leaves entries for the next start, and says so. */
export function sayWhatIsLeft(state: ChainState, journal: Journal, shells: readonly LaneShell[]): void {
  const { entries } = journal.status();
  if (entries === 0) return;
  const lanes = shells
    .filter(({ lane }) => lane.queue.size > 0)
    .map(({ lane, trouble }) => {
      return `${lane.name} (${lane.queue.size}${trouble === undefined ? "" : `: ${trouble.what}`})`;
    });
  const message = `${entries} entries are left in the journal, for ${lanes.join(", ")}; they are sent when it is opened again`;
  state.report({ kind: "journal", layer: "journal", message });
}

/** What `flush` says of an entry that was refused while it waited, and about which somebody has decided already. */
export function refusedMeanwhile(key: string, store: string): SyncError {
  return new SyncError("UNAVAILABLE", "an entry was refused, and has since been sent again or given up", {
    store,
    operation: "flush",
    key,
    cure: "flush again",
  });
}
