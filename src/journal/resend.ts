import type { Bodies } from "./bodies.ts";
import { readBodyNote } from "./bodies.ts";
import type { Files } from "./files.ts";
import { inspectLog } from "./inspect.ts";
import type { Indexed } from "./log.ts";
import { readDecision } from "./notes.ts";

/**
 * What a layer can be sent once more of all that the log still has: committed writes. What a condition decided is told by
 * the layer that decided, which is asked for it; a large value that every layer had is there no more, and a read brings it.
 * @param durable The highest number on disk.
 * @param refused Records that are nobody's value: grows by those whose condition did not hold.
 */
export async function sendableAgain(
  files: Files,
  durable: number,
  refused: Set<number>,
  bodies: Bodies,
): Promise<readonly Indexed[]> {
  const records: Indexed[] = [];
  for await (const found of inspectLog(files)) {
    if (found.kind !== "record" || !found.committed) continue;
    const { record } = found;
    if (record.kind === "decision") {
      const { intent, happened } = readDecision(record.note);
      if (!happened) refused.add(intent);
    } else if (record.kind === "write" && record.seq <= durable) {
      const body = readBodyNote(record.note);
      if (body === undefined || bodies.has(body.file)) records.push(record);
    }
  }
  return records.filter(({ seq }) => !refused.has(seq));
}
