import { BODY_BYTES_MIN } from "../body.ts";
import type { Body } from "../body.ts";
import { isDead, isExpired } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import { HEADER, PROBLEM_TYPE } from "../protocol.ts";
import type { Answer } from "../store.ts";
import type { Version } from "../version.ts";
import { SAFE, preconditionFailed, problem, streamOf } from "./answering.ts";
import { cacheStatus } from "./cache-status.ts";
import { wantedOf } from "./freshness.ts";
import type { Wanted } from "./freshness.ts";
import { allowKey, allowVerb } from "./grants.ts";
import { addTo, entryHeaders, etagOf, isUnchanged, tagsOf } from "./headers.ts";
import { rangeOf } from "./range.ts";
import { shapeOf } from "./shape.ts";
import type { Call } from "./state.ts";

/** GET and HEAD of one key. */
export async function getKey(call: Call, key: string): Promise<Response> {
  allowVerb(call.grant, "read");
  allowKey(call.grant, key);
  const answer = await find(call, key);
  if (answer === undefined) return notCached(key);
  const { entry, stale, complete } = answer;
  const now = call.state.runtime.now();
  const walked = walkHeaders(call, answer);
  if (entry === undefined || isDead(entry, now)) {
    // From below a layer that did not answer, or an old copy while nobody answers: it is not known.
    if (stale || !complete) throw unknown(key);
    return absent(key, entry, now, walked);
  }
  const headers: Record<string, string> = { ...SAFE, ...walked, ...entryHeaders(entry), "accept-ranges": "bytes" };
  const unchanged = conditional(call.request, key, entry.version, headers);
  if (unchanged !== undefined) return unchanged;
  const content = answer.body ?? entry.value;
  if (content === null) throw unknown(key);
  return withContent(call, content, headers, entry.version);
}

async function find(call: Call, key: string): Promise<Answer | undefined> {
  const { state, request, deadline } = call;
  const { chain } = state;
  const wanted = wantedOf(call, key);
  if (wanted.plain) {
    const slot = chain.look(key);
    const from = chain.layers[0]?.name ?? chain.name;
    if (slot !== undefined) return { entry: slot.entry, asOf: slot.asOf, complete: true, stale: false, from };
  }
  if (wanted.onlyIfCached) return findNear(call, key, wanted);
  // Whoever wants a part of a large value is not made to wait for all of it.
  const part = request.headers.has("range") ? { wholeBytesMax: BODY_BYTES_MIN } : {};
  const [answer] = await chain.read([key], { ...wanted.options, ...part, deadline });
  return answer;
}

/** What the near layers know, as fresh as is asked for; undefined where that takes asking further. */
async function findNear({ state, deadline }: Call, key: string, { options }: Wanted): Promise<Answer | undefined> {
  try {
    const [answer] = await state.chain.read([key], { ...options, near: true, deadline });
    return answer?.stale === true ? undefined : answer;
  } catch (error) {
    if (error instanceof SyncError && error.code === "UNAVAILABLE") return undefined;
    throw error;
  }
}

function walkHeaders({ state, receivedAt }: Call, answer: Answer): Record<string, string> {
  const shape = shapeOf(state.name, state.chain);
  const headers: Record<string, string> = { "cache-status": cacheStatus(shape, answer) };
  addTo(headers, ageList(answer.asOf, receivedAt, state.runtime.now()));
  if (answer.stale) headers[HEADER.stale] = "true";
  return headers;
}

/** How long before the asking it was last known to be the newest, as names and values in turn. In the future: of unknown age. */
export function ageList(asOf: number, receivedAt: number, now: number): readonly string[] {
  if (asOf > now) return [];
  const ageMs = Math.max(0, receivedAt - asOf);
  return ["age", String(Math.floor(ageMs / 1000)), HEADER.ageMs, String(ageMs)];
}

function absent(key: string, entry: Entry | undefined, now: number, walked: Record<string, string>): Response {
  const { text, headers } = absentAnswer(key, entry, now, walked);
  return new Response(text, { status: 404, headers: { ...SAFE, ...headers } });
}

/** The 404 of a key that is known to have no value. */
export function absentAnswer(
  key: string,
  entry: Head | undefined,
  now: number,
  walked: Record<string, string>,
): { readonly text: string; readonly headers: Record<string, string> } {
  const state = entry === undefined ? "absent" : isExpired(entry, now) ? "expired" : "deleted";
  const version: Record<string, string> = entry === undefined ? {} : { [HEADER.version]: entry.version };
  const detail = `${JSON.stringify(key)} has no value: it is ${state}`;
  const what = { type: "urn:microsync:absent", title: "No value", status: 404, detail, code: "ABSENT", reason: state };
  const type = { "content-type": PROBLEM_TYPE };
  const headers = { ...type, ...walked, ...version, [HEADER.state]: state };
  return { text: `${JSON.stringify({ ...what, retryable: false, key })}\n`, headers };
}

function notCached(key: string): Response {
  const detail = `${JSON.stringify(key)} cannot be answered without asking further down`;
  return problem({
    type: "urn:microsync:error:UNAVAILABLE",
    title: "Not cached",
    status: 504,
    detail,
    code: "UNAVAILABLE",
    reason: "not cached",
    retryable: true,
    key,
    cure: "leave out only-if-cached",
  });
}

function unknown(key: string): SyncError {
  return new SyncError("UNAVAILABLE", "a layer that might know could not be asked", { operation: "read", key });
}

/** 304 and 412 (RFC 9110, section 13.2.2). */
function conditional(
  { headers }: Request,
  key: string,
  version: Version,
  own: Record<string, string>,
): Response | undefined {
  const match = headers.get("if-match");
  if (match !== null) {
    const tags = tagsOf(match);
    if (tags !== "*" && !tags.includes(version)) return preconditionFailed(key, version);
  }
  if (!isUnchanged(headers.get("if-none-match"), version)) return undefined;
  return new Response(null, { status: 304, headers: own });
}

function withContent(
  { request, patience }: Call,
  content: Uint8Array | Body,
  headers: Record<string, string>,
  version: string,
): Response {
  const size = content instanceof Uint8Array ? content.length : content.size;
  const ifRange = request.headers.get("if-range");
  const isRanged = ifRange === null || ifRange === etagOf(version);
  const range = isRanged ? rangeOf(request.headers.get("range"), size) : undefined;
  if (range === "unsatisfiable") {
    return new Response(null, { status: 416, headers: { ...headers, "content-range": `bytes */${size}` } });
  }
  const { start, end } = range ?? { start: 0, end: size };
  const length: Record<string, string> = { ...headers, "content-length": String(end - start) };
  if (range !== undefined) length["content-range"] = `bytes ${start}-${end - 1}/${size}`;
  const status = range === undefined ? 200 : 206;
  if (request.method === "HEAD") return new Response(null, { status, headers: length });
  if (content instanceof Uint8Array) {
    return new Response(content.subarray(start, end) as Uint8Array<ArrayBuffer>, { status, headers: length });
  }
  // Of a whole reading the checksum is looked at.
  const part = range === undefined ? undefined : { start, end };
  return new Response(streamOf(content.content(part, patience)), { status, headers: length });
}
