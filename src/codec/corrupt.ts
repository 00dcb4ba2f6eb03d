import { SyncError } from "../error.ts";

/** Stored bytes that are not what their content type says. Holds nothing of the bytes. */
export function corruptValue(contentType: string, what: string): SyncError {
  return new SyncError("CORRUPT", `the value is not what its type ${contentType.slice(0, 64)} says: ${what}`, {
    cure: "correct the value or its content type; its bytes can still be read as they are",
  });
}
