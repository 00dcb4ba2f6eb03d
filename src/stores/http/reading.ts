import { SyncError } from "../../error.ts";
import { encodeMessage, entryReader } from "../../protocol.ts";
import type { AnswersHead, ReadHead } from "../../protocol.ts";
import type { Answer, CallOptions, ReadOptions } from "../../store.ts";
import type { Version } from "../../version.ts";
import { remoteBody } from "./body.ts";
import type { Call, NodeClient } from "./client.ts";
import { understood } from "./understood.ts";

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
  const place = { store, operation: "read" };
  for await (const { head, parts } of client.messages(
    { method: "POST", path: "batch", body, repeatable: true },
    call,
  )) {
    const from = answers.length;
    answers.push(...understood(place, () => answersOf(head, parts, keys.slice(from), sentAt, options)));
  }
  if (answers.length === keys.length) return answers;
  throw new SyncError("UNAVAILABLE", `${answers.length} answers came for ${keys.length} keys`, place);
}

/** The answers of one message. Throws for what is none. */
function answersOf(
  told: unknown,
  parts: Uint8Array,
  keys: readonly string[],
  sentAt: number,
  { client, store, patient }: ReaderOptions,
): Answer[] {
  const next = entryReader(parts);
  return (told as AnswersHead).answers.map(({ bytes, ageMs, complete, stale, from, body }, i): Answer => {
    const key = keys[i];
    if (key === undefined) throw new SyncError("INVALID", "there are more answers than keys");
    if (typeof from !== "string") throw new SyncError("INVALID", "an answer says where it is from", { key });
    const entry = bytes === undefined ? undefined : next(key, bytes);
    // No stub crosses, unless its value is to be had piece by piece.
    if (entry?.state === "stub" && !isSize(body?.size)) throw new SyncError("INVALID", "the answer is a stub", { key });
    const answer: Answer = {
      entry,
      // Of unknown age: as old as can be.
      asOf: typeof ageMs === "number" && ageMs >= 0 ? Math.floor(sentAt - ageMs) : 0,
      complete: complete !== false,
      stale: stale === true,
      from,
    };
    if (body === undefined || entry === undefined) return answer;
    const { size } = body;
    const sha256 = typeof body.sha256 === "string" ? body.sha256 : undefined;
    return { ...answer, body: remoteBody(client, store, { key, version: entry.version, size, sha256 }, patient) };
  });
}

function isSize(size: unknown): boolean {
  return Number.isSafeInteger(size) && Number(size) >= 0;
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
