import { asSyncError } from "../error.ts";
import { HEADER, LOOP_DETECTED, MESSAGE_TYPE, PROBLEM_TYPE, problemOf } from "../protocol.ts";
import type { Problem } from "../protocol.ts";
import type { Version } from "../version.ts";
import { Loop, Refused, refusedProblem } from "./grants.ts";

/**
 * Nothing that is answered may be taken for a page of the node's own origin: a stored value may hold a script
 * (CVE-2020-25864 is this hole elsewhere).
 */
export const SAFE: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; sandbox",
  "cache-control": "no-cache",
};

export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  const type = { "content-type": "application/json" };
  return new Response(`${JSON.stringify(value)}\n`, { status, headers: { ...SAFE, ...type, ...headers } });
}

export function problem(value: Problem, headers: Readonly<Record<string, string>> = {}): Response {
  const { retryAfterMs, status } = value;
  const isLater = status === 429 || status === 503;
  const wait: Record<string, string> = isLater
    ? { "retry-after": String(Math.ceil((retryAfterMs ?? 1000) / 1000)) }
    : {};
  const type = { "content-type": PROBLEM_TYPE };
  return new Response(`${JSON.stringify(value)}\n`, { status, headers: { ...SAFE, ...type, ...wait, ...headers } });
}

/** The answer to a request that failed. A defect tells nothing of its insides. */
export function failure(error: unknown): Response {
  if (error instanceof Refused) {
    const challenge: Record<string, string> =
      error.status === 401 ? { "www-authenticate": 'Bearer realm="microsync"' } : {};
    return problem(refusedProblem(error), challenge);
  }
  if (error instanceof Loop) return problem(problemOf(error, LOOP_DETECTED));
  return problem(problemOf(asSyncError(error)));
}

export function preconditionFailed(key: string, version: Version | undefined): Response {
  const known: Record<string, string> =
    version === undefined ? {} : { etag: `"${version}"`, [HEADER.version]: version };
  const what = { type: "urn:microsync:error:CONFLICT", title: "The condition did not hold", status: 412 };
  const reason = version === undefined ? "the key has no such value" : "the key is at another version";
  const more = { detail: reason, code: "CONFLICT", reason, retryable: false, key, version };
  return json({ ...what, ...more }, 412, { "content-type": PROBLEM_TYPE, ...known });
}

export function message(body: Uint8Array | ReadableStream<Uint8Array>): Response {
  return new Response(body as Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>, {
    headers: { ...SAFE, "content-type": MESSAGE_TYPE },
  });
}

/** What an iteration gives, as its reader asks for it. A reader that leaves ends the iteration, also while it waits. */
export function streamOf(
  pieces: AsyncIterable<Uint8Array>,
  onLeft: () => void = () => undefined,
): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await iterator.next();
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          controller.error(error);
        }
      },
      cancel() {
        onLeft();
        // Not waited for: it comes after a step that may hang.
        iterator.return?.().catch(() => undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
