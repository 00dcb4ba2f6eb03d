import { BODY_BYTES_MIN, after, beginningOf, joined } from "../body.ts";
import type { Body } from "../body.ts";
import type { Chain } from "../chain/chain.ts";
import { NO_META, isDead } from "../entry.ts";
import type { Entry, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import type { Write, WriteResult } from "../store.ts";
import { toVersion } from "../version.ts";
import type { Version } from "../version.ts";
import { json, preconditionFailed } from "./answering.ts";
import { allowKey, allowVerb } from "./grants.ts";
import { etagOf, expiryOf, metaOf, tagsOf } from "./headers.ts";
import { piecesOf } from "./receiving.ts";
import { wholeNumber } from "./state.ts";
import type { Call } from "./state.ts";

/** How often a conditional write is stamped anew because the layer held a newer tombstone. */
const STAMPS_MAX = 4;

export type Draft = Omit<Entry, "version">;

/** What a mount knows better than the headers of its requests. */
export interface Known {
  readonly expires?: number | undefined;
  readonly metaOf?: ((meta: Meta, value: Uint8Array) => Meta) | undefined;
}

/** PUT of one key. */
export async function putKey(call: Call, key: string, known: Known = {}): Promise<Response> {
  allowVerb(call.grant, "write");
  allowKey(call.grant, key);
  const expires = known.expires ?? expiryOf(call);
  const said = metaOf(call.request);
  const condition = await conditionOf(call, key);
  if (condition === "failed") return preconditionFailed(key, undefined);
  return withValue(call, async (value, body) => {
    const state = body === undefined ? ("value" as const) : ("stub" as const);
    const meta = value === null ? said : (known.metaOf?.(said, value) ?? said);
    return written(await writeDraft(call, { key, state, value, expires, meta }, condition, body));
  });
}

export async function deleteKey(call: Call, key: string): Promise<Response> {
  allowVerb(call.grant, "write");
  allowKey(call.grant, key);
  const condition = await conditionOf(call, key);
  if (condition === "failed") return preconditionFailed(key, undefined);
  const draft: Draft = { key, state: "deleted", value: null, expires: null, meta: NO_META };
  return written(await writeDraft(call, draft, condition));
}

/** Does `work` with the body of the request: whole, or where it is large and the chain takes streams, in a file. */
export async function withValue<T>(
  call: Call,
  work: (value: Uint8Array | null, body: Body | undefined) => Promise<T>,
): Promise<T> {
  const { chain, limits } = call.state;
  const { streamBytesMax, valueBytesMax } = chain.supports;
  const takesStreams = streamBytesMax > 0;
  const wholeMax = Math.min(limits.bodyBytesMax, valueBytesMax);
  const pieces = piecesOf(call, takesStreams ? Math.max(streamBytesMax, wholeMax) : wholeMax);
  const begun = await beginningOf(pieces, takesStreams ? Math.min(BODY_BYTES_MIN, wholeMax) : wholeMax);
  if (begun.isAll) return work(joined(begun.pieces), undefined);
  const spooled = await chain.spool(after(begun.pieces, pieces), { deadline: call.deadline });
  try {
    return await work(null, spooled.body);
  } finally {
    spooled.release();
  }
}

/** What the request's If-Match and If-None-Match ask for; "failed" where that is clear before anything is written. */
async function conditionOf(call: Call, key: string): Promise<"absent" | Version | "failed" | undefined> {
  const { headers } = call.request;
  const match = headers.get("if-match");
  const noneMatch = headers.get("if-none-match");
  if (match !== null && noneMatch !== null) {
    throw new SyncError("INVALID", "a write has one condition", { cure: "send If-Match or If-None-Match" });
  }
  if (noneMatch !== null) {
    if (tagsOf(noneMatch) === "*") return "absent";
    throw new SyncError("INVALID", "If-None-Match of a write is *", {
      cure: "send If-Match with the version you have",
    });
  }
  if (match === null) return undefined;
  const tags = tagsOf(match);
  if (tags !== "*" && tags.length === 1) return toVersion(tags[0] ?? "");
  // Whatever is there, or one of several: it is looked up, and written on condition that it is still there.
  const { chain, runtime } = call.state;
  const [answer] = await chain.read([key], { authority: true, deadline: call.deadline });
  const entry = answer?.entry;
  if (entry === undefined || isDead(entry, runtime.now())) return "failed";
  return tags === "*" || tags.includes(entry.version) ? entry.version : "failed";
}

/** Stamps and writes one draft. */
export async function writeDraft(
  call: Call,
  draft: Draft,
  condition: "absent" | Version | undefined,
  body?: Body,
): Promise<{ readonly entry: Entry; readonly outcome: Outcome }> {
  const { runtime, clock } = call.state;
  let above = condition === "absent" ? undefined : condition;
  for (let stamps = 1; ; stamps++) {
    const entry: Entry = { ...draft, version: await clock.stamp(above) };
    const outcome = await writeOne(call, { entry, asOf: runtime.now(), if: condition, body });
    const { result } = outcome;
    // The condition held, but what it held of (a tombstone, an expired value) was stamped by a clock ahead of this one.
    if (condition === undefined || result.status !== "superseded" || stamps === STAMPS_MAX) return { entry, outcome };
    above = result.by;
  }
}

export interface Outcome {
  readonly result: WriteResult;
  /** What still lacks a write that is on this node's disk; undefined when the level asked for is met. */
  readonly pending: readonly string[] | undefined;
}

/** Writes, and waits for the level that the request asks for, no longer than it says. One outcome per write. */
export async function outcomesOf(call: Call, writes: readonly Write[]): Promise<Outcome[]> {
  const { chain, limits, runtime } = call.state;
  const ack = call.request.headers.get(HEADER.ack) ?? undefined;
  const ackDeadline = runtime.monotonic() + (preferredWait(call.request) ?? limits.ackMs);
  const results = await chain.write(writes, { ack, ackDeadline, deadline: call.deadline });
  return results.map((result, i): Outcome => {
    const entry = writes[i]?.entry;
    if (result.status !== "failed" || !result.error.stored || entry === undefined)
      return { result, pending: undefined };
    return { result: { status: "stored" }, pending: lacking(chain, entry) };
  });
}

export async function writeOne(call: Call, write: Write): Promise<Outcome> {
  const [outcome] = await outcomesOf(call, [write]);
  if (outcome === undefined) throw new SyncError("INTERNAL", "the write got no result");
  return outcome;
}

/** The layers that lack a write which is on disk here, or where every layer here has it those that cannot pass it on. */
function lacking(chain: Chain, { key, version }: Entry): readonly string[] {
  if (chain.journal?.newest(key)?.head.version === version) {
    return chain.status().layers.flatMap(({ name, pending }) => (pending > 0 ? [name] : []));
  }
  return chain.layers.filter(({ store }) => "flush" in store).map(({ name }) => name);
}

/** `Prefer: wait=10` (RFC 7240), in milliseconds. */
function preferredWait({ headers }: Request): number | undefined {
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(headers.get("prefer") ?? "")?.[1];
  return wait === undefined ? undefined : (wholeNumber("wait", wait, 86_400) ?? 0) * 1000;
}

function written({ entry: { key, version }, outcome }: Awaited<ReturnType<typeof writeDraft>>): Response {
  const { result, pending } = outcome;
  const headers: Record<string, string> = { etag: etagOf(version), [HEADER.version]: version };
  switch (result.status) {
    case "stored":
      if (pending === undefined) return json({ key, version }, 200, headers);
      return json({ key, version, pending }, 202, { ...headers, [HEADER.pending]: pending.join(", ") });
    case "superseded": {
      const { by } = result;
      return json({ key, version, supersededBy: by }, 200, {
        etag: etagOf(by),
        [HEADER.version]: version,
        [HEADER.supersededBy]: by,
      });
    }
    case "conflict":
      return preconditionFailed(key, result.current?.version);
    case "too-old":
      throw new SyncError("TOO_OLD", "the key may have been deleted for good since", { operation: "write", key });
    case "failed":
      throw result.error;
  }
}
