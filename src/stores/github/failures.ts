import { SyncError } from "../../error.ts";
import type { ErrorCode } from "../../error.ts";
import type { HttpAnswer } from "../wire/http.ts";

/** After a refusal that names no time. Source: docs.github.com, "Best practices for using the REST API". */
export const PAUSE_MS = 60_000;
const MESSAGE_MAX = 200;

/** What the answer says, without anything that could be more than a sentence. */
export function messageOf({ bytes }: Pick<HttpAnswer, "bytes">): string {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const { message } = parsed as { message?: unknown };
    if (typeof message === "string") return message.replaceAll(/\p{Cc}+/gu, " ").slice(0, MESSAGE_MAX);
  } catch {
    return "no reason given"; // an answer that is not JSON comes from something in between, and says nothing of use
  }
  return "no reason given";
}

/** How long GitHub wants to be left alone, in milliseconds; undefined when the answer is not about a limit. */
export function pauseOf(answer: HttpAnswer, now: number): number | undefined {
  if (answer.status !== 403 && answer.status !== 429) return undefined;
  const after = Number(answer.headers["retry-after"] ?? Number.NaN);
  if (after >= 0) return after * 1000;
  const reset = Number(answer.headers["x-ratelimit-reset"] ?? Number.NaN);
  if (answer.headers["x-ratelimit-remaining"] === "0" && reset > 0) return Math.max(0, reset * 1000 - now);
  return answer.status === 429 || /rate limit|abuse/i.test(messageOf(answer)) ? PAUSE_MS : undefined;
}

export function limited(what: string, operation: string, retryAfterMs: number): SyncError {
  return new SyncError("UNAVAILABLE", `${what}; again in ${Math.ceil(retryAfterMs / 1000)} s`, {
    store: "github",
    operation,
    retryAfterMs,
    cure: "write larger batches less often, or use a GitHub app, which has limits of its own",
  });
}

/** A status that is no answer to the question, as an error with its cure. */
export function statusError(answer: HttpAnswer, operation: string): SyncError {
  const { status } = answer;
  const said = `GitHub answers ${status}: ${messageOf(answer)}`;
  const error = (code: ErrorCode, cure: string, retryAfterMs?: number) =>
    new SyncError(code, said, {
      store: "github",
      operation,
      cure,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  if (status === 401) return error("UNAUTHORISED", "the token is wrong, revoked or has ended: give another one");
  if (status === 403) return error("UNAUTHORISED", "give the token the permission Contents: read and write");
  if (status === 404) {
    return error("NOT_FOUND", "correct the URL; GitHub hides what the token may not see, so check its permissions too");
  }
  if (status === 413) return error("TOO_LARGE", "send smaller batches or values");
  if (status === 409 || status === 422 || status === 400) {
    return error("UNAVAILABLE", "GitHub did not take the request as it stands; its reason is above");
  }
  if (status >= 500) {
    const after = Number(answer.headers["retry-after"] ?? Number.NaN);
    return error("UNAVAILABLE", "try again later", after >= 0 ? after * 1000 : undefined);
  }
  return error("UNAVAILABLE", "check that the address is GitHub's API");
}
