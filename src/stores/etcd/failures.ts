import { SyncError } from "../../error.ts";
import type { ErrorCode, ErrorDetails } from "../../error.ts";

/**
 * What a failure asks of this store, before anybody is told.
 * "unreachable": nothing was sent, another member may answer. "again": the same request may succeed, here or elsewhere,
 * and may have taken effect already. "token": sign in again. "lease": the lease that was named is gone. "space": the
 * quota is used up. "answer": the answer was larger than is taken, ask for less. "gone": what was asked for was
 * compacted or never was. "final": nothing helps.
 */
export type Reason = "unreachable" | "again" | "token" | "lease" | "space" | "answer" | "gone" | "final";

export class EtcdError extends SyncError {
  readonly reason: Reason;

  constructor(reason: Reason, code: ErrorCode, what: string, details: ErrorDetails) {
    super(code, what, details);
    this.reason = reason;
  }
}

export function reasonOf(error: unknown): Reason | undefined {
  return error instanceof EtcdError ? error.reason : undefined;
}

/** Status codes of gRPC. */
const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const OUT_OF_RANGE = 11;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;

const SIGN_IN = "give the user's name and password, or correct them: etcdctl user get NAME shows what it may do";
export const MAKE_ROOM =
  "compact and defragment etcd, then etcdctl alarm disarm; or raise its --quota-backend-bytes, or use the store as a cache";

/** A failed call as one of Sync's errors. The texts are etcd's own (api/v3rpc/rpctypes/error.go). */
export function etcdFailure(status: number, text: string, details: ErrorDetails): EtcdError {
  const make = (reason: Reason, code: ErrorCode, what: string, cure: string, more: ErrorDetails = {}) =>
    new EtcdError(reason, code, what, { ...details, cure, ...more });
  const told = withoutPrefix(text);
  switch (status) {
    case UNAVAILABLE:
      if (/certificate|self.signed|handshake|SSL|TLS|ERR_TLS|EPROTO/i.test(text)) {
        return make(
          "unreachable",
          "UNAVAILABLE",
          `no secure connection: ${told}`,
          "see the options tls, ca, cert, key",
        );
      }
      if (/No connection established|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|Name resolution|EHOSTUNREACH/.test(text)) {
        return make("unreachable", "UNAVAILABLE", `etcd does not answer: ${told}`, "see that it runs, and its address");
      }
      return make("again", "UNAVAILABLE", told, "try again");
    case CANCELLED:
    case DEADLINE_EXCEEDED:
      return make("again", "UNAVAILABLE", told, "try again");
    case PERMISSION_DENIED:
      return make("final", "UNAUTHORISED", `etcd refuses: ${told}`, SIGN_IN);
    case UNAUTHENTICATED:
      return make("token", "UNAUTHORISED", `etcd refuses: ${told}`, SIGN_IN);
    case RESOURCE_EXHAUSTED:
      if (text.includes("database space exceeded")) {
        return make("space", "UNAVAILABLE", "the quota of etcd's database is used up", MAKE_ROOM);
      }
      if (text.includes("larger than max")) {
        return make("answer", "TOO_LARGE", told, "raise requestBytesMax here and --max-request-bytes of etcd");
      }
      return make("again", "OVERLOADED", told, "slow down, then try again");
    case NOT_FOUND:
      if (text.includes("lease not found")) return make("lease", "UNAVAILABLE", told, "try again");
      return make("final", "INTERNAL", told, "see the cause");
    case OUT_OF_RANGE:
      return make("gone", "UNAVAILABLE", told, "list again");
    case INVALID_ARGUMENT:
      if (/auth store is old|invalid auth token/.test(text)) return make("token", "UNAUTHORISED", told, SIGN_IN);
      if (/authentication failed|user name/.test(text)) {
        return make("final", "UNAUTHORISED", `etcd refuses: ${told}`, SIGN_IN);
      }
      if (text.includes("too large")) {
        return make("final", "TOO_LARGE", told, "set requestBytesMax to what etcd's --max-request-bytes says");
      }
      if (text.includes("too many operations")) {
        return make("final", "TOO_LARGE", told, "etcd's --max-txn-ops must be 128, its default, or more");
      }
      return make("final", "INTERNAL", told, "see the cause");
    case FAILED_PRECONDITION:
      return make("again", "UNAVAILABLE", told, "try again");
    case UNIMPLEMENTED:
      return make("final", "UNSUPPORTED", told, "use etcd 3.4 or later");
    case DATA_LOSS:
      return make(
        "final",
        "CORRUPT",
        `etcd says that its members differ: ${told}`,
        "restore the cluster from a backup",
      );
    default:
      return make("again", "UNAVAILABLE", told, "try again");
  }
}

function withoutPrefix(text: string): string {
  return text.replace(/^(?:\d+ [A-Z_]+: )?(?:etcdserver: )?(?:mvcc: )?/, "").slice(0, 300);
}
