import { SyncError } from "../../error.ts";

/** What a node says may be anything: what cannot be read as it should be is a node that did not answer. */
export function understood<T>(place: { readonly store: string; readonly operation: string }, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw new SyncError("UNAVAILABLE", "what the node answered cannot be understood", { ...place, cause });
  }
}
