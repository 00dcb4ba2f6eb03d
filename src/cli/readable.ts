import { SyncError } from "../error.ts";
import type { FoundStream, ListOptions, ListedEntry } from "../sync.ts";
import type { Raw } from "../node/lines.ts";
import type { OpenSession } from "./session.ts";

/** An entry, whole or, where its value is too large for that, as a stream. */
export type Readable =
  { readonly key: string; readonly entry: ListedEntry<Raw> } | { readonly key: string; readonly stream: FoundStream };

/**
 * Every entry, however large: one that ends the walk because it is read by pieces only is given as a stream, and the walk
 * goes on after it.
 * @param partial gets the layers that could not be listed.
 */
export async function* readable(
  db: OpenSession["db"],
  prefix: string,
  call: ListOptions,
  partial: Set<string>,
): AsyncGenerator<Readable, void> {
  for (let after: string | undefined; ;) {
    const entries = db.entries({ ...call, after });
    try {
      for await (const entry of entries) yield { key: entry.key, entry };
      return;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "TOO_LARGE" || error.key === undefined) throw error;
      after = error.key.slice(prefix.length);
    } finally {
      for (const layer of entries.partial) partial.add(layer);
    }
    const stream = await db.getStream(after, call);
    if (stream !== undefined) yield { key: after, stream };
  }
}
