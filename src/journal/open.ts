import { Bodies, bodyFiles } from "./bodies.ts";
import type { JournalOptions } from "./contract.ts";
import { loadCursors } from "./cursors.ts";
import { Journal } from "./journal.ts";
import { readLetters } from "./letters.ts";
import { openLog } from "./log.ts";

/**
 * One log, many cursors: every write is appended and on disk before it is acknowledged, and stays until each layer has
 * it. What is in memory is an index; the log is the truth.
 * @throws SyncError UNAVAILABLE when another process owns the folder; CORRUPT naming file and offset.
 */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { files, runtime, segmentBytes } = options;
  const log = await openLog({ files, runtime, segmentBytes });
  try {
    return new Journal(
      options,
      await loadCursors(files),
      await readLetters(files),
      log,
      new Bodies(files, runtime, await bodyFiles(files)),
    );
  } catch (error) {
    await log.close();
    throw error;
  }
}
