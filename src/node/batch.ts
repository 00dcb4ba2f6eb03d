import { after } from "../body.ts";
import { NO_META, isExpired } from "../entry.ts";
import type { Entry } from "../entry.ts";
import type { Chain, ChainReadOptions } from "../chain/chain.ts";
import { SyncError, asSyncError } from "../error.ts";
import { decodeMessages, encodeEntry, encodeMessage, entryReader, problemOf, resultHead } from "../protocol.ts";
import type {
  AnswerHead,
  AnswersHead,
  ForgetHead,
  Message,
  ReadHead,
  ResultHead,
  ResultsHead,
  WriteHead,
} from "../protocol.ts";
import { PartialRead } from "../store.ts";
import type { Answer, Forget, ReadOptions, Write, WriteResult } from "../store.ts";
import { isVersion } from "../version.ts";
import type { Version } from "../version.ts";
import { message, streamOf } from "./answering.ts";
import { allowAll, allowKey, allowVerb } from "./grants.ts";
import { piecesOf } from "./receiving.ts";
import type { Call, NodeState } from "./state.ts";

/**
 * How many keys are read at once, and how many bytes of values that should come to: fewer keys when it was more, so that
 * not all are in memory before the first is sent.
 */
const READ_AT_ONCE = 1_000;
const READ_BYTES = 16 * 2 ** 20;
/** A message is sent when it has so many bytes of entries. */
const MESSAGE_BYTES = 4 * 2 ** 20;

/** POST /v1/batch, for a client that is a store: one message in, messages out, with a result per entry. */
export async function batchMessages(call: Call): Promise<Response> {
  const { head, parts } = await onlyMessage(call);
  switch (opOf(head)) {
    case "read":
      return read(call, head as ReadHead);
    case "write":
      return write(call, head as WriteHead, parts);
    case "forget":
      return forget(call, head as ForgetHead);
  }
}

async function onlyMessage(call: Call): Promise<Message> {
  const { bodyBytesMax } = call.state.limits;
  let only: Message | undefined;
  for await (const each of decodeMessages(piecesOf(call, bodyBytesMax), bodyBytesMax)) {
    if (only !== undefined) throw new SyncError("INVALID", "a batch is one message");
    only = each;
  }
  if (only === undefined) throw new SyncError("INVALID", "a batch is one message, and there is none");
  return only;
}

function opOf(head: unknown): "read" | "write" | "forget" {
  const op = typeof head === "object" && head !== null && "op" in head ? head.op : undefined;
  if (op === "read" || op === "write" || op === "forget") return op;
  throw new SyncError("INVALID", "a batch reads, writes or forgets", {
    cure: 'send "op": "read", "write" or "forget"',
  });
}

/** What came as a list, of a size that is allowed. Its items are looked at by whoever uses them. */
function itemsOf<T>({ limits }: NodeState, items: readonly T[], what: string): readonly T[] {
  if (!Array.isArray(items)) throw new SyncError("INVALID", `${what} of a batch is a list`);
  if (items.length <= limits.batchMax) return items;
  throw new SyncError("TOO_LARGE", `${items.length} in one batch, the limit is ${limits.batchMax}`, {
    cure: "send smaller batches",
  });
}

// ---- Reading. ----

async function read(call: Call, head: ReadHead): Promise<Response> {
  allowVerb(call.grant, "read");
  const keys = itemsOf(call.state, head.keys, "keys");
  for (const key of keys) allowKey(call.grant, key);
  const options = readOptions(call, head, keys);
  const messages = answersTo(call, keys, options, heldPlaces(call, head))[Symbol.asyncIterator]();
  // The first part decides whether it is an answer or a failure; what fails after that breaks the answer off.
  const first = await messages.next();
  if (first.done === true) return message(encodeMessage({ answers: [] } satisfies AnswersHead));
  const second = await messages.next();
  if (second.done === true) return message(first.value);
  return message(streamOf(after([first.value, second.value], { [Symbol.asyncIterator]: () => messages })));
}

async function* answersTo(
  call: Call,
  keys: readonly string[],
  options: ReadOptions,
  holds: ReadonlySet<number>,
): AsyncIterable<Uint8Array> {
  const { chain, runtime } = call.state;
  let atOnce = READ_AT_ONCE;
  for (let at = 0; at < keys.length;) {
    const asked = keys.slice(at, at + atOnce);
    const found = await readEach(chain, asked, options, at > 0);
    const now = runtime.now();
    let answers: AnswerHead[] = [];
    let parts: Uint8Array[] = [];
    let bytes = 0;
    let allBytes = 0;
    for (const [i, answer] of found.entries()) {
      const held = holds.has(at + i) ? options.atLeast?.get(asked[i] ?? "") : undefined;
      const { head, part } = told(answer, held, call.receivedAt, now);
      if (part !== undefined) parts.push(part);
      bytes += part?.length ?? 0;
      answers.push(head);
      if (bytes < MESSAGE_BYTES) continue;
      yield encodeMessage({ answers } satisfies AnswersHead, parts);
      allBytes += bytes;
      [answers, parts, bytes] = [[], [], 0];
    }
    if (answers.length > 0) yield encodeMessage({ answers } satisfies AnswersHead, parts);
    allBytes += bytes;
    if (allBytes > READ_BYTES) atOnce = Math.max(1, Math.floor((asked.length * READ_BYTES) / allBytes));
    at += asked.length;
  }
}

/**
 * An answer or an error per key.
 * @param isBegun something has been answered already: a call that fails as a whole is then an error of each key.
 */
export async function readEach(
  chain: Chain,
  keys: readonly string[],
  options: ChainReadOptions,
  isBegun: boolean,
): Promise<readonly (Answer | SyncError)[]> {
  try {
    return await chain.read(keys, options);
  } catch (thrown) {
    const error = asSyncError(thrown);
    const some = error instanceof PartialRead ? error.answers : keys.map(() => error);
    if (!isBegun && some.every((each) => each instanceof SyncError)) throw some[0] ?? error;
    return some;
  }
}

/** What is told of one key. @param held the version that the caller has the value of. */
function told(answer: Answer | SyncError, held: Version | undefined, receivedAt: number, now: number): Told {
  if (answer instanceof SyncError) return { head: { error: problemOf(answer), ageMs: null, from: "" } };
  const { entry, body } = answer;
  if (entry === undefined) return { head: answerHead(answer, undefined, receivedAt, now) };
  if (entry.state === "value" && body === undefined && entry.version === held) {
    return { head: { ...answerHead(answer, undefined, receivedAt, now), unchanged: true } };
  }
  const crosses = crossing(entry, body !== undefined, now);
  if (crosses instanceof SyncError) return told(crosses, held, receivedAt, now);
  const part = encodeEntry(crosses);
  return { head: answerHead(answer, part.length, receivedAt, now), part };
}

interface Told {
  readonly head: AnswerHead;
  readonly part?: Uint8Array;
}

function heldPlaces({ state }: Call, { holds = [] }: ReadHead): ReadonlySet<number> {
  return new Set(itemsOf(state, holds, "holds"));
}

function readOptions({ state, deadline }: Call, head: ReadHead, keys: readonly string[]): ReadOptions {
  const { maxAgeMs, authority, wholeBytesMax, atLeast = [] } = head;
  const floors = new Map<string, Version>();
  for (const [place, version] of itemsOf(state, atLeast, "atLeast")) {
    const key = keys[place];
    if (key === undefined || !isVersion(version)) throw new SyncError("INVALID", "atLeast names a key and a version");
    floors.set(key, version);
  }
  checkNumber("maxAgeMs", maxAgeMs);
  checkNumber("wholeBytesMax", wholeBytesMax);
  const { chain } = state;
  return {
    deadline,
    ...(authority === true ? { authority } : {}),
    // What all copies here are fresh by anyway needs no walk of its own, so that callers who ask at once share one.
    ...(maxAgeMs !== undefined && chain.layers.some(({ ttlMs }) => ttlMs > maxAgeMs) ? { maxAgeMs } : {}),
    ...(wholeBytesMax !== undefined && wholeBytesMax < chain.wholeBytesMax ? { wholeBytesMax } : {}),
    ...(floors.size > 0 ? { atLeast: floors } : {}),
  };
}

function checkNumber(name: string, value: unknown): void {
  if (value === undefined || (typeof value === "number" && value >= 0)) return;
  throw new SyncError("INVALID", `${name} is a number of 0 or more`);
}

function answerHead(
  { asOf, complete, stale, from, body }: Answer,
  bytes: number | undefined,
  receivedAt: number,
  now: number,
): AnswerHead {
  return {
    bytes,
    ageMs: asOf > now ? null : Math.max(0, receivedAt - asOf),
    ...(complete ? {} : { complete }),
    ...(stale ? { stale } : {}),
    from,
    ...(body === undefined ? {} : { body: { size: body.size, sha256: body.sha256 } }),
  };
}

/**
 * An entry as it may cross: no stub does, unless a body stands beside it. An expired one goes as a tombstone of its
 * version, since the caller's clock may be behind this one's; a live one is what the chain has resolved before.
 */
function crossing(entry: Entry, hasBody: boolean, now: number): Entry | SyncError {
  if (entry.state !== "stub" || hasBody) return entry;
  const { key, version } = entry;
  if (isExpired(entry, now)) return { key, state: "deleted", value: null, version, expires: null, meta: NO_META };
  return new SyncError("UNAVAILABLE", "the value of a stub was not found", { operation: "read", key });
}

// ---- Writing. ----

async function write(call: Call, head: WriteHead, parts: Uint8Array): Promise<Response> {
  allowVerb(call.grant, "write");
  const { chain } = call.state;
  const given = itemsOf(call.state, head.writes, "writes");
  const next = entryReader(parts);
  const writes = given.map(({ key, bytes, ageMs, if: condition }): Write => {
    allowKey(call.grant, key);
    if (!Number.isFinite(ageMs)) throw new SyncError("INVALID", "ageMs is a number of milliseconds", { key });
    const entry = received(() => next(key, bytes));
    return { entry, asOf: Math.round(call.receivedAt - ageMs), if: condition };
  });
  const results = await chain.write(writes, {
    deadline: call.deadline,
    ...(head.ack === undefined ? {} : { ack: head.ack }),
  });
  return message(resultsMessage(writes, results));
}

/** What a client sent damaged is its mistake, and nothing that is stored here. */
function received<T>(decode: () => T): T {
  try {
    return decode();
  } catch (thrown) {
    const { what, key } = asSyncError(thrown);
    throw new SyncError("INVALID", what, { operation: "write", ...(key === undefined ? {} : { key }) });
  }
}

export function resultsMessage(writes: readonly Write[], results: readonly WriteResult[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const heads = writes.map(({ entry: { key } }, i): ResultHead => {
    const result = results[i];
    if (result === undefined)
      return { status: "failed", error: problemOf(new SyncError("INTERNAL", "no result", { key })) };
    const { head, part } = resultHead(key, result);
    if (part !== undefined) parts.push(part);
    return head;
  });
  return encodeMessage({ results: heads } satisfies ResultsHead, parts);
}

async function forget(call: Call, head: ForgetHead): Promise<Response> {
  allowVerb(call.grant, "write");
  const items = itemsOf(call.state, head.items, "items").map(({ key, version, reason }): Forget => {
    allowKey(call.grant, key);
    if (reason === "collected") allowAll(call.grant, "collect");
    else if (reason !== "ghost") throw new SyncError("INVALID", "a reason is collected or ghost", { key });
    return { key, version, reason };
  });
  await call.state.chain.forget(items, { deadline: call.deadline });
  return message(
    encodeMessage({
      results: items.map(() => ({ status: "stored" as const })),
    } satisfies ResultsHead),
  );
}
