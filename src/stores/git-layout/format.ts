import { SyncError } from "../../error.ts";
import { inRepository } from "./names.ts";
import type { Naming } from "./names.ts";
import { FORMAT, FORMAT_PATH } from "./record.ts";

/** @throws SyncError UNSUPPORTED when the branch is of a format that this version cannot read. */
export async function checkFormat({ repository, prefix }: Naming, commit: string): Promise<void> {
  const [format] = await repository.filesAt(commit, [inRepository(prefix, FORMAT_PATH)]);
  if (format === undefined || new TextDecoder().decode(format.bytes) === FORMAT) return;
  throw new SyncError("UNSUPPORTED", "the branch was written by a newer version of Sync", {
    cure: "upgrade microsync",
  });
}
