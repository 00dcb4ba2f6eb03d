import { createHash } from "node:crypto";
import { boundsOf, isPart, wrongBytes } from "../../body.ts";
import type { Body, ByteRange } from "../../body.ts";
import { SyncError } from "../../error.ts";
import { HEADER } from "../../protocol.ts";
import type { CallOptions } from "../../store.ts";
import type { Version } from "../../version.ts";
import type { HttpStream } from "../wire/http.ts";
import type { Call, NodeClient } from "./client.ts";

/** A value of the node, piece by piece, as long as it has this version. */
export function remoteBody(
  client: NodeClient,
  store: string,
  head: { readonly key: string; readonly version: Version; readonly size: number; readonly sha256: string | undefined },
  patient: (operation: string, options: CallOptions | undefined) => Call,
): Body {
  const { key, version, size, sha256 } = head;
  async function* content(range?: ByteRange, options?: CallOptions): AsyncIterable<Uint8Array> {
    const call = patient("read", options);
    const { from, to } = boundsOf(range, size);
    if (from >= to) return;
    const headers = {
      range: `bytes=${from}-${to - 1}`,
      "if-match": `"${version}"`,
      // What the node has near may be older.
      [HEADER.atLeast]: version,
    };
    const asked = { method: "GET", path: `kv?key=${encodeURIComponent(key)}`, headers, repeatable: true } as const;
    const answer = await client.answer(asked, call);
    if (answer.status === 404 || answer.status === 412) throw await gone(answer, store, key);
    await client.good(answer, call);
    const hash = sha256 === undefined || isPart(range, size) ? undefined : createHash("sha256");
    let bytes = 0;
    for await (const piece of answer.body) {
      bytes += piece.length;
      hash?.update(piece);
      yield piece;
    }
    if (bytes !== to - from || (hash !== undefined && hash.digest("hex") !== sha256)) throw wrongBytes({ store, key });
  }
  return { size, sha256, content };
}

/** The version that the body was told with is there no more. */
async function gone({ body }: HttpStream, store: string, key: string): Promise<SyncError> {
  for await (const piece of body) void piece; // so that the connection is free again
  const details = { store, operation: "read", key, cure: "read the key again" };
  return new SyncError("NOT_FOUND", "the version whose bytes were to be read is gone", details);
}
