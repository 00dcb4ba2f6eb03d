import { wrongBytes } from "../body.ts";
import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import type { Write, WriteResult } from "../store.ts";
import { isVersion, toVersion } from "../version.ts";
import type { Version } from "../version.ts";
import { allowKey, allowVerb } from "./grants.ts";
import { expiryOf, metaOf } from "./headers.ts";
import { piecesOf } from "./receiving.ts";
import type { Call } from "./state.ts";

/** PUT /v1/stream: one write of another node, with its version, whose value comes as a stream. */
export async function storeStream(call: Call, key: string): Promise<{ write: Write; result: WriteResult }> {
  const { request, state, grant, deadline, receivedAt } = call;
  allowVerb(grant, "write");
  allowKey(grant, key);
  const version = toVersion(request.headers.get(HEADER.version) ?? "");
  const sha256 = request.headers.get(HEADER.sha256) ?? undefined;
  const asOf = receivedAt - (Number(request.headers.get(HEADER.ageMs) ?? 0) || 0);
  const { "content-type": type, ...rest } = metaOf(request);
  // The content type of a stream's carrier is not the value's: that one comes as metadata like the rest.
  const meta =
    request.headers.has(`${HEADER.meta}content-type`) && type !== undefined ? { ...rest, "content-type": type } : rest;
  const head = { key, version, expires: expiryOf(call), meta };
  const { chain } = state;
  // Always into a file first, whatever its size: only then is it known to be what was announced.
  const spooled = await chain.spool(piecesOf(call, chain.supports.streamBytesMax), { deadline });
  try {
    const { body } = spooled;
    if (sha256 !== undefined && body.sha256 !== sha256) throw wrongBytes({ key });
    const write: Write = {
      entry: { ...head, state: "stub", value: null },
      asOf: Math.round(asOf),
      body,
      if: conditionOf(request),
    };
    const ack = request.headers.get(HEADER.ack) ?? undefined;
    const [result] = await chain.write([write], { deadline, ...(ack === undefined ? {} : { ack }) });
    if (result === undefined) throw new SyncError("INTERNAL", "the write got no result", { key });
    return { write, result };
  } finally {
    spooled.release();
  }
}

function conditionOf({ headers }: Request): "absent" | Version | undefined {
  const condition = headers.get(HEADER.condition);
  if (condition === null) return undefined;
  if (condition === "absent" || isVersion(condition)) return condition;
  throw new SyncError("INVALID", 'a condition is "absent" or a version', { operation: "write" });
}
