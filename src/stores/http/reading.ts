import { SyncError } from "../../error.ts";
import { encodeMessage, entryReader } from "../../protocol.ts";
import type { AnswersHead, ReadHead } from "../../protocol.ts";
import type { Answer, CallOptions, ReadOptions } from "../../store.ts";
import type { Version } from "../../version.ts";
import { remoteBody } from "./body.ts";
import type { Call, NodeClient } from "./client.ts";

export interface ReaderOptions {
  readonly client: NodeClient;
  readonly store: string;
  readonly now: () => number;
  readonly patient: (operation: string, options: CallOptions | undefined) => Call;
}

/** One answer per key, with what is said of its age, and of what could not be asked. */
export async function readAll(
  options: ReaderOptions,
  keys: readonly string[],
  wanted: ReadOptions,
  call: Call,
): Promise<Answer[]> {
  const { client, store } = options;
  // The moment that the asking begins here, for ages to be counted back from.
  const sentAt = options.now();
  const body = encodeMessage(headOf(keys, wanted));
  const answers: Answer[] = [];
  for await (const { head, parts } of client.messages(
    { method: "POST", path: "batch", body, repeatable: true },
    call,
  )) {
    const told = (head as AnswersHead).answers;
    if (!Array.isArray(told)) break;
    const next = entryReader(parts);
    for (const { bytes, ageMs, complete, stale, from, body: large } of told as AnswersHead["answers"]) {
      const key = keys[answers.length];
      if (key === undefined || typeof from !== "string") break;
      const entry = bytes === undefined ? undefined : next(key, bytes);
      answers.push({
        entry,
        // Of unknown age: as old as can be.
        asOf: typeof ageMs === "number" && ageMs >= 0 ? Math.floor(sentAt - ageMs) : 0,
        complete: complete !== false,
        stale: stale === true,
        from,
        ...(large === undefined || entry === undefined
          ? {}
          : {
              body: remoteBody(
                client,
                store,
                { key, version: entry.version, size: large.size, sha256: large.sha256 },
                options.patient,
              ),
            }),
      });
    }
  }
  if (answers.length === keys.length) return answers;
  throw new SyncError("UNAVAILABLE", `${answers.length} answers came for ${keys.length} keys`, {
    store,
    operation: "read",
  });
}

function headOf(keys: readonly string[], { maxAgeMs, authority, atLeast, wholeBytesMax }: ReadOptions): ReadHead {
  const floors: [number, Version][] = [];
  if (atLeast !== undefined && atLeast.size > 0) {
    for (const [place, key] of keys.entries()) {
      const version = atLeast.get(key);
      if (version !== undefined) floors.push([place, version]);
    }
  }
  return {
    op: "read",
    keys,
    ...(floors.length > 0 ? { atLeast: floors } : {}),
    // JSON has no infinity; a limit that is none is left out.
    ...(maxAgeMs !== undefined && Number.isFinite(maxAgeMs) ? { maxAgeMs } : {}),
    ...(authority === true ? { authority } : {}),
    ...(wholeBytesMax !== undefined && Number.isFinite(wholeBytesMax) ? { wholeBytesMax } : {}),
  };
}
