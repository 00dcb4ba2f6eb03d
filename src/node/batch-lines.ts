import { BODY_BYTES_MIN } from "../body.ts";
import { BYTES_TYPE } from "../codec/content-type.ts";
import { NO_META, checkKey, isDead } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import { problemOf } from "../protocol.ts";
import type { Answer, Write } from "../store.ts";
import { isVersion } from "../version.ts";
import type { Version } from "../version.ts";
import { SAFE, streamOf } from "./answering.ts";
import { readEach } from "./batch.ts";
import { wantedOf } from "./freshness.ts";
import { allowKey, allowVerb } from "./grants.ts";
import { FIELDS, fieldsOf, itemFrom, linesOf, rawToJson } from "./lines.ts";
import { piecesOf } from "./receiving.ts";
import type { Call } from "./state.ts";
import { outcomesOf, writeDraft } from "./writing.ts";
import type { Draft, Outcome } from "./writing.ts";

export const LINES_TYPE = "application/x-ndjson";

const UTF8 = new TextEncoder();
/** How many keys are read at once, and how many bytes of values that should come to. */
const READ_AT_ONCE = 500;
const READ_BYTES = 16 * 2 ** 20;

const READ_FIELDS: ReadonlySet<string> = new Set(["op", "key"]);
const DELETE_FIELDS: ReadonlySet<string> = new Set(["op", "key", "if"]);
const PUT_FIELDS: ReadonlySet<string> = new Set([...FIELDS, "op", "if"]);
const ALL_FIELDS: ReadonlySet<string> = new Set([...PUT_FIELDS, ...DELETE_FIELDS]);

type Step =
  | { readonly op: "get"; readonly key: string }
  | { readonly op: "write"; readonly draft: Draft; readonly if: "absent" | Version | undefined };

/**
 * A batch as lines of JSON: what is to be done in, a result for each out, in their order. All of them are looked at
 * before anything is done.
 */
export async function batchLines(call: Call): Promise<Response> {
  const { limits } = call.state;
  const steps: Step[] = [];
  for await (const { number, bytes } of linesOf(piecesOf(call, limits.bodyBytesMax), limits.bodyBytesMax)) {
    if (steps.length >= limits.batchMax) {
      throw new SyncError("TOO_LARGE", `a batch has at most ${limits.batchMax} lines`, {
        cure: "send smaller batches",
      });
    }
    try {
      steps.push(stepOf(call, bytes ?? new Uint8Array(0)));
    } catch (thrown) {
      if (!(thrown instanceof SyncError) || thrown.code !== "INVALID") throw thrown;
      const { what, key, cure } = thrown;
      const where = { ...(key === undefined ? {} : { key }), ...(cure === undefined ? {} : { cure }) };
      throw new SyncError("INVALID", `line ${number}: ${what}`, where);
    }
  }
  const headers = { ...SAFE, "content-type": LINES_TYPE };
  return new Response(streamOf(results(call, steps)), { headers });
}

/** @throws SyncError INVALID, or Refused for a key that is not the caller's. */
function stepOf(call: Call, line: Uint8Array): Step {
  const fields = fieldsOf(line, ALL_FIELDS);
  const { op, key, if: condition } = fields;
  const allowed = op === "get" ? READ_FIELDS : op === "delete" ? DELETE_FIELDS : op === "put" ? PUT_FIELDS : undefined;
  if (allowed === undefined) throw new SyncError("INVALID", "the field op is get, put or delete");
  const unknown = Object.keys(fields).find((name) => !allowed.has(name));
  if (unknown !== undefined) throw new SyncError("INVALID", `${String(op)} has no field ${JSON.stringify(unknown)}`);
  if (typeof key !== "string") throw new SyncError("INVALID", "the field key is not a text");
  checkKey(key);
  allowVerb(call.grant, op === "get" ? "read" : "write");
  allowKey(call.grant, key);
  if (op === "get") return { op, key };
  const gone: Draft = { key, state: "deleted", value: null, expires: null, meta: NO_META };
  return { op: "write", draft: op === "delete" ? gone : draftOf(fields), if: conditionOf(condition) };
}

function conditionOf(condition: unknown): "absent" | Version | undefined {
  if (condition === undefined || condition === "absent") return condition;
  if (typeof condition === "string" && isVersion(condition)) return condition;
  throw new SyncError("INVALID", 'the field if is "absent" or a version');
}

function draftOf(fields: Readonly<Record<string, unknown>>): Draft {
  const { key, raw, expires, meta } = itemFrom(fields);
  return { key, state: "value", value: raw.bytes, expires, meta: { ...meta, "content-type": raw.type ?? BYTES_TYPE } };
}

/** Runs of what can be done at once: reads, plain writes, and each conditional write by itself. */
function* runsOf(steps: readonly Step[]): Iterable<readonly Step[]> {
  const kindOf = (step: Step) => (step.op === "get" ? "get" : step.if === undefined ? "plain" : "conditional");
  let run: Step[] = [];
  for (const step of steps) {
    const [first] = run;
    const goesOn =
      first !== undefined &&
      kindOf(first) === kindOf(step) &&
      kindOf(step) !== "conditional" &&
      (step.op !== "get" || run.length < READ_AT_ONCE);
    if (!goesOn && run.length > 0) {
      yield run;
      run = [];
    }
    run.push(step);
  }
  if (run.length > 0) yield run;
}

async function* results(call: Call, steps: readonly Step[]): AsyncIterable<Uint8Array> {
  for (const run of runsOf(steps)) {
    const keys = run.flatMap((step) => (step.op === "get" ? step.key : []));
    if (keys.length > 0) yield* values(call, keys);
    else yield* written(call, run);
  }
}

function line(value: object): Uint8Array {
  return UTF8.encode(`${JSON.stringify(value)}\n`);
}

/** Fewer keys at once where values are large, so that not all are in memory before the first is sent. */
async function* values(call: Call, keys: readonly string[]): AsyncIterable<Uint8Array> {
  const { chain, runtime } = call.state;
  const options = { ...wantedOf(call, "").options, wholeBytesMax: BODY_BYTES_MIN, deadline: call.deadline };
  let atOnce = Math.min(keys.length, Math.floor(READ_BYTES / BODY_BYTES_MIN));
  for (let at = 0; at < keys.length;) {
    const asked = keys.slice(at, at + atOnce);
    let bytes = 0;
    for (const [i, answer] of (await readEach(chain, asked, options, true)).entries()) {
      const told =
        answer instanceof SyncError ? failure(asked[i] ?? "", answer) : found(asked[i] ?? "", answer, runtime.now());
      bytes += answer instanceof SyncError ? 0 : (answer.entry?.value?.length ?? 0);
      yield line(told);
    }
    at += asked.length;
    const fitting = bytes === 0 ? READ_AT_ONCE : Math.floor((asked.length * READ_BYTES) / bytes);
    atOnce = Math.max(1, Math.min(READ_AT_ONCE, fitting, atOnce * 4));
  }
}

function found(key: string, { entry, body, stale, complete }: Answer, now: number): object {
  const isOld = stale ? { stale } : {};
  if (entry === undefined || isDead(entry, now)) {
    if (stale || !complete) {
      return failure(key, new SyncError("UNAVAILABLE", "a layer that might know could not be asked", { key }));
    }
    const state = entry === undefined ? "absent" : entry.state === "deleted" ? "deleted" : "expired";
    return { key, state, ...(entry === undefined ? {} : { version: entry.version }) };
  }
  const { version, expires, value } = entry;
  const { "content-type": type, ...meta } = entry.meta;
  if (body !== undefined || value === null) {
    const what = `the value has more than ${BODY_BYTES_MIN} bytes, too many for a line`;
    return failure(key, new SyncError("TOO_LARGE", what, { key, cure: "get it by GET /v1/kv?key=" }));
  }
  const own = { ...(expires === null ? {} : { expires }), ...(Object.keys(meta).length === 0 ? {} : { meta }) };
  return { key, state: "value", version, ...rawToJson({ bytes: value, type }), ...own, ...isOld };
}

function failure(key: string, error: SyncError): object {
  return { key, error: problemOf(error) };
}

async function* written(call: Call, run: readonly Step[]): AsyncIterable<Uint8Array> {
  const { clock, runtime } = call.state;
  const [first] = run;
  if (first?.op === "write" && first.if !== undefined) {
    const { entry, outcome } = await writeDraft(call, first.draft, first.if).catch((error: unknown) => ({
      entry: first.draft,
      outcome: { result: { status: "failed" as const, error: asSyncError(error) }, pending: undefined },
    }));
    return yield line(toldOf(entry, outcome));
  }
  const writes: Write[] = [];
  for (const step of run) {
    if (step.op !== "write") continue;
    const entry: Entry = { ...step.draft, version: await clock.stamp() };
    writes.push({ entry, asOf: runtime.now() });
  }
  const outcomes = await outcomesOf(call, writes).catch((error: unknown) => {
    const failed: Outcome = { result: { status: "failed", error: asSyncError(error) }, pending: undefined };
    return writes.map(() => failed);
  });
  for (const [i, { entry }] of writes.entries()) yield line(toldOf(entry, outcomes[i]));
}

function toldOf({ key, version }: Draft & { readonly version?: Version }, outcome: Outcome | undefined): object {
  const { result, pending } = outcome ?? {};
  switch (result?.status) {
    case "stored":
      return { key, version, ...(pending === undefined ? {} : { pending }) };
    case "superseded":
      return { key, version, supersededBy: result.by };
    case "conflict": {
      const current = result.current?.version;
      const what = current === undefined ? "the key has no such value" : "the key is at another version";
      return {
        ...failure(key, new SyncError("CONFLICT", what, { key })),
        ...(current === undefined ? {} : { current }),
      };
    }
    case "too-old":
      return failure(key, new SyncError("TOO_OLD", "the key may have been deleted for good since", { key }));
    case "failed":
      return failure(key, result.error);
    case undefined:
      return failure(key, new SyncError("INTERNAL", "the write got no result", { key }));
  }
}
