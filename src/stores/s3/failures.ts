import { SyncError } from "../../error.ts";
import type { ErrorCode } from "../../error.ts";
import { parseXml, textOf } from "./xml.ts";

/** Where a request was made, for messages. */
export interface Where {
  readonly store: string;
  readonly operation: string;
  readonly key?: string | undefined;
}

/** Statuses after which the same request may succeed. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status === 500 || status === 502 || status === 503 || status === 504;
}

/** The code of an S3 error document, such as `NoSuchKey`; undefined when the body is none. */
export function codeOf(body: Uint8Array): string | undefined {
  if (body.length === 0) return undefined;
  const root = parseXml(new TextDecoder().decode(body));
  const code = root?.name === "Error" ? textOf(root, "Code") : undefined;
  return code !== undefined && /^\w{1,64}$/.test(code) ? code : undefined;
}

interface Meaning {
  readonly code: ErrorCode;
  readonly what: string;
  readonly cure: string;
  readonly retryable?: boolean;
}

const CREDENTIALS = "check the access key, its secret and its rights to the bucket";
const MEANINGS: Readonly<Record<string, Meaning>> = {
  NoSuchBucket: { code: "NOT_FOUND", what: "there is no such bucket", cure: "create it, or correct the URL" },
  InvalidAccessKeyId: { code: "UNAUTHORISED", what: "the access key is unknown", cure: CREDENTIALS },
  SignatureDoesNotMatch: { code: "UNAUTHORISED", what: "the secret does not fit the access key", cure: CREDENTIALS },
  AccessDenied: { code: "UNAUTHORISED", what: "the access key may not do this", cure: CREDENTIALS },
  UserSuspended: { code: "UNAUTHORISED", what: "the user is suspended", cure: CREDENTIALS },
  ExpiredToken: { code: "UNAUTHORISED", what: "the session token has expired", cure: "get a new one" },
  RequestTimeTooSkewed: {
    code: "UNAUTHORISED",
    what: "this machine's clock is too far from the server's",
    cure: "correct the clock",
  },
  QuotaExceeded: { code: "UNAVAILABLE", what: "the quota is full", cure: "make room, or raise it" },
  EntityTooLarge: { code: "TOO_LARGE", what: "S3 takes no object of this size", cure: "make it smaller" },
  KeyTooLongError: { code: "TOO_LARGE", what: "S3 takes no name of this length", cure: "shorten the key" },
  AuthorizationHeaderMalformed: {
    code: "INVALID",
    what: "the bucket is in another region",
    cure: "name its region in the URL: ?region=…",
  },
  PermanentRedirect: {
    code: "INVALID",
    what: "the bucket is at another endpoint",
    cure: "name its region in the URL: ?region=…",
  },
};

/** An answer that is a failure, as an error. Of the answer only its status and code are told: never a part of the body. */
export function failureOf(status: number, code: string | undefined, where: Where, retryAfterMs?: number): SyncError {
  const details = { ...placed(where), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  const told = `S3 answered ${status}${code === undefined ? "" : ` ${code}`}`;
  const meaning = code === undefined ? undefined : MEANINGS[code];
  if (meaning !== undefined) {
    const { code, what, cure } = meaning;
    return new SyncError(code, `${what} (${told})`, { ...details, cure });
  }
  if (isPassing(status)) return new SyncError("UNAVAILABLE", told, { ...details, cure: "try again later" });
  if (status === 401 || status === 403) return new SyncError("UNAUTHORISED", told, { ...details, cure: CREDENTIALS });
  if (status === 413) return new SyncError("TOO_LARGE", told, { ...details, cure: "make it smaller" });
  const cure = "check that the endpoint speaks S3";
  return new SyncError("UNAVAILABLE", told, { ...details, cure, retryable: false });
}

/** What OpenSSL and Node say of a certificate that they do not take. Source: nodejs.org, "X509 certificate error codes". */
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/;

/** The connection failed, or time ran out, before there was an answer. */
export function brokenOf(cause: unknown, where: Where): SyncError {
  if (cause instanceof SyncError) return cause;
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
  if (code !== undefined && UNTRUSTED.test(code)) {
    const cure = "name the certificate of its authority by the option ca, or correct the endpoint's name";
    return new SyncError("UNAUTHORISED", `the endpoint's certificate is not trusted (${code})`, {
      ...placed(where),
      cure,
      cause,
    });
  }
  const what = `no answer from S3${code === undefined ? "" : ` (${code})`}`;
  return new SyncError("UNAVAILABLE", what, { ...placed(where), cure: "check the network and the endpoint", cause });
}

/** An answer that is not what S3 says. */
export function strangeOf(what: string, where: Where): SyncError {
  const cure = "check that the endpoint speaks S3";
  return new SyncError("UNAVAILABLE", what, { ...placed(where), cure, retryable: false });
}

export function placed({ store, operation, key }: Where) {
  return { store, operation, ...(key === undefined ? {} : { key }) };
}
