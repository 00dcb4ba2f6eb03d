import { joined } from "../body.ts";
import { SyncError } from "../error.ts";
import type { Call } from "./state.ts";

/** The pieces of a request's body, each waited for no longer than the call may take. @throws SyncError TOO_LARGE, TIMEOUT, ABORTED. */
export async function* piecesOf(
  { state, request, deadline }: Call,
  bytesMax: number,
): AsyncGenerator<Uint8Array, void> {
  const length = Number(request.headers.get("content-length") ?? 0);
  if (length > bytesMax) throw above(bytesMax);
  if (request.body === null) return;
  const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  let bytes = 0;
  const { runtime } = state;
  let late = false;
  const timer = runtime.timer(Math.max(0, deadline - runtime.monotonic()), () => {
    late = true;
    reader.cancel().catch(() => undefined);
  });
  try {
    for (;;) {
      const next = await reader.read().catch((cause: unknown) => {
        throw new SyncError("ABORTED", "the body of the request broke off", { cause });
      });
      if (late) throw new SyncError("TIMEOUT", "the body of the request came too slowly");
      if (next.done) break;
      bytes += next.value.length;
      if (bytes > bytesMax) throw above(bytesMax);
      yield next.value;
    }
  } finally {
    timer.cancel();
    reader.cancel().catch(() => undefined);
  }
  if (request.headers.has("content-length") && bytes !== length) {
    throw new SyncError("ABORTED", "the body of the request ended early");
  }
}

function above(bytesMax: number): SyncError {
  return new SyncError("TOO_LARGE", `the body of the request has more than ${bytesMax} bytes`, {
    cure: "send less at a time",
  });
}

export async function bodyOf(call: Call, bytesMax: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of piecesOf(call, bytesMax)) pieces.push(piece);
  return joined(pieces);
}
