import { NO_META } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { encodeMessage, entryReader, errorOf } from "../../protocol.ts";
import type { AnswersHead, ReadHead } from "../../protocol.ts";
import { PartialRead } from "../../store.ts";
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
  const answers: (Answer | SyncError)[] = [];
  const place = { store, operation: "read" };
  for await (const { head, parts } of client.messages(
    { method: "POST", path: "batch", body, repeatable: true },
    call,
  )) {
    const from = answers.length;
    const asked = { keys: keys.slice(from), holds: wanted.holds, sentAt };
    answers.push(...understood(place, () => answersOf(head, parts, asked, options)));
  }
  if (answers.length === keys.length) {
    const found = answers.flatMap((answer) => (answer instanceof SyncError ? [] : answer));
    if (found.length === keys.length) return found;
    throw new PartialRead(answers, place);
  }
  throw new SyncError("UNAVAILABLE", `${answers.length} answers came for ${keys.length} keys`, place);
}

interface Asked {
  /** Those that were not answered before. */
  readonly keys: readonly string[];
  readonly holds: ReadOptions["holds"];
  readonly sentAt: number;
}

/** The answers of one message. Throws for what is none. */
function answersOf(
  told: unknown,
  parts: Uint8Array,
  { keys, holds, sentAt }: Asked,
  { client, store, patient }: ReaderOptions,
): (Answer | SyncError)[] {
  const next = entryReader(parts);
  return (told as AnswersHead).answers.map((head, i): Answer | SyncError => {
    const { bytes, ageMs, complete, stale, from, unchanged, body, error } = head;
    const key = keys[i];
    if (key === undefined) throw new SyncError("INVALID", "there are more answers than keys");
    if (error !== undefined) return errorOf(error, { store, operation: "read" });
    if (typeof from !== "string") throw new SyncError("INVALID", "an answer says where it is from", { key });
    const isUnchanged = unchanged === true;
    const entry = isUnchanged ? heldStub(key, holds) : bytes === undefined ? undefined : next(key, bytes);
    // No stub crosses, unless its value is to be had piece by piece.
    if (!isUnchanged && entry?.state === "stub" && !isSize(body?.size))
      throw new SyncError("INVALID", "the answer is a stub", { key });
    const answer: Answer = {
      entry,
      // Of unknown age: as old as can be.
      asOf: typeof ageMs === "number" && ageMs >= 0 ? Math.floor(sentAt - ageMs) : 0,
      complete: complete !== false,
      stale: stale === true,
      from,
      ...(isUnchanged ? { unchanged } : {}),
    };
    if (body === undefined || entry === undefined) return answer;
    const { size } = body;
    const sha256 = typeof body.sha256 === "string" ? body.sha256 : undefined;
    return { ...answer, body: remoteBody(client, store, { key, version: entry.version, size, sha256 }, patient) };
  });
}

/** What stands for a value that the caller has. */
function heldStub(key: string, holds: ReadOptions["holds"]): Entry {
  const version = holds?.get(key);
  if (version === undefined) throw new SyncError("INVALID", "what is unchanged is not held", { key });
  return { key, state: "stub", value: null, version, expires: null, meta: NO_META };
}

function isSize(size: unknown): boolean {
  return Number.isSafeInteger(size) && Number(size) >= 0;
}

function headOf(
  keys: readonly string[],
  { maxAgeMs, authority, atLeast, holds, wholeBytesMax }: ReadOptions,
): ReadHead {
  const floors: [number, Version][] = [];
  const held: number[] = [];
  if (atLeast !== undefined && atLeast.size > 0) {
    for (const [place, key] of keys.entries()) {
      const version = atLeast.get(key);
      if (version === undefined) continue;
      floors.push([place, version]);
      if (holds?.get(key) === version) held.push(place);
    }
  }
  return {
    op: "read",
    keys,
    ...(floors.length > 0 ? { atLeast: floors } : {}),
    ...(held.length > 0 ? { holds: held } : {}),
    // JSON has no infinity; a limit that is none is left out.
    ...(maxAgeMs !== undefined && Number.isFinite(maxAgeMs) ? { maxAgeMs } : {}),
    ...(authority === true ? { authority } : {}),
    ...(wholeBytesMax !== undefined && Number.isFinite(wholeBytesMax) ? { wholeBytesMax } : {}),
  };
}
