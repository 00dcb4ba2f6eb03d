import { BYTES_TYPE, TEXT_TYPE, formOf } from "../codec/content-type.ts";
import { NO_META, isDead } from "../entry.ts";
import type { Entry, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import { json } from "./answering.ts";
import { Refused, allowPrefix, allowVerb } from "./grants.ts";
import { ttlMs } from "./headers.ts";
import { getKey } from "./reading.ts";
import { deleteKey, putKey } from "./writing.ts";
import type { Call } from "./state.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true });
/** How many keys are deleted at once. */
const CLEAR_BATCH = 1_000;

/**
 * What unstorage's http driver asks for: the key as a path, `x-ttl` in seconds, and a list of the keys below a path that
 * ends in a colon.
 */
export async function unstorage(call: Call, path: string): Promise<Response> {
  const { method } = call.request;
  const isBase = path === ":" || path.endsWith("/:");
  if (isBase) {
    const base = path.slice(0, -1);
    const prefix = base === "/" ? "" : base;
    if (method === "GET" || method === "HEAD") return json(await keysUnder(call, prefix));
    if (method === "DELETE") return clear(call, prefix);
  } else if (method === "PUT") {
    const ttl = call.request.headers.get("x-ttl");
    const expires = ttl === null ? undefined : call.state.runtime.now() + ttlMs(ttl, "x-ttl");
    return putKey(call, path, { expires, metaOf: honest });
  } else if (method === "DELETE") {
    return deleteKey(call, path);
  } else if (method === "GET" || method === "HEAD") {
    return withTtl(call, await getKey(call, path));
  }
  throw new SyncError("UNSUPPORTED", `${method} is nothing that unstorage asks for`);
}

/** The driver says JSON of every text that it sends. What is none is stored as the text that it is. */
function honest(meta: Meta, value: Uint8Array): Meta {
  if (formOf(meta["content-type"]) !== "json") return meta;
  let text: string;
  try {
    text = UTF8.decode(value);
  } catch {
    return { ...meta, "content-type": BYTES_TYPE };
  }
  try {
    JSON.parse(text);
    return meta;
  } catch {
    return { ...meta, "content-type": TEXT_TYPE };
  }
}

function withTtl({ state, receivedAt }: Call, response: Response): Response {
  const expires = response.headers.get(HEADER.expires);
  if (expires === null) return response;
  const seconds = Math.max(0, Math.ceil((Number(expires) - Math.max(receivedAt, state.runtime.now())) / 1000));
  response.headers.set("x-ttl", String(seconds));
  return response;
}

async function keysUnder(call: Call, prefix: string): Promise<string[]> {
  const { state, grant, deadline } = call;
  const { limits } = state;
  allowVerb(grant, "read");
  allowPrefix(grant, prefix);
  const { chain, runtime } = state;
  const keys: string[] = [];
  for await (const item of chain.list({ prefix }, { detail: "entries", deadline })) {
    // A list without some of the keys would be taken for all of them.
    if (item.kind === "partial") throw item.error;
    if (item.head === null || isDead(item.head, runtime.now())) continue;
    if (keys.length === limits.keysMax) {
      throw new SyncError("TOO_LARGE", `there are more than ${limits.keysMax} keys under ${JSON.stringify(prefix)}`, {
        cure: "ask for the keys of a longer base, or list them page by page at /v1/kv?prefix=",
      });
    }
    keys.push(item.key);
  }
  return keys;
}

async function clear(call: Call, prefix: string): Promise<Response> {
  const { state, grant, deadline } = call;
  allowVerb(grant, "write");
  if (!state.allowClear) throw new Refused(403, "this node lets nobody clear many keys at once");
  const { chain, clock, runtime } = state;
  const keys = await keysUnder(call, prefix);
  for (let at = 0; at < keys.length; at += CLEAR_BATCH) {
    const asOf = runtime.now();
    const entries: Entry[] = [];
    for (const key of keys.slice(at, at + CLEAR_BATCH)) {
      entries.push({ key, state: "deleted", value: null, version: await clock.stamp(), expires: null, meta: NO_META });
    }
    const results = await chain.write(
      entries.map((entry) => ({ entry, asOf })),
      { deadline },
    );
    for (const result of results) if (result.status === "failed") throw result.error;
  }
  return json({ cleared: keys.length });
}
