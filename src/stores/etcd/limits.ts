import { SyncError } from "../../error.ts";

/** The limits of an etcd store, each with its default. */
export interface EtcdLimits {
  /** How long a call may take that has no deadline of its own, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * A request that was not answered after this, in milliseconds, is sent again, to another member where there is one,
   * and then has twice as long. Default 500.
   */
  readonly attemptMs?: number | undefined;
  /** After so long without an answer the connection is asked whether it lives, in ms. Etcd allows 5,000. Default 6,000. */
  readonly keepAliveMs?: number | undefined;
  /** A connection that does not answer that within so many milliseconds is given up. Default 3,000. */
  readonly keepAliveTimeoutMs?: number | undefined;
  /** Requests under way at once. Default 64. */
  readonly inFlightMax?: number | undefined;
  /** Requests that may wait for a turn; more are refused with OVERLOADED. Default 10,000. */
  readonly waitingMax?: number | undefined;
  /** What the server's `--max-request-bytes` says. Default 1.5 MiB. A value may have 8 KiB less. */
  readonly requestBytesMax?: number | undefined;
  /** How long an expired entry stays at least, in milliseconds; that of the chain. Default 30 days. */
  readonly retentionMs?: number | undefined;
  /**
   * "cache": copies may go at any time, have a date (`asOf`) and a lease, and are kept below a size. "store": everything
   * stays but what expired. Default "store".
   */
  readonly role?: "cache" | "store" | undefined;
  /** Of a cache: no copy stays longer, in milliseconds. Default one day. */
  readonly copyTtlMs?: number | undefined;
  /** Of a cache: what all its copies may take in etcd, in bytes. Default 256 MiB. */
  readonly bytesMax?: number | undefined;
  /**
   * Of a cache: whether it may compact the cluster's history, defragment members and take the quota's alarm back, all of
   * which concern other users of the cluster. Default true.
   */
  readonly maintain?: boolean | undefined;
}

export interface CacheLimits {
  readonly copyTtlMs: number;
  readonly bytesMax: number;
  readonly maintain: boolean;
}

export interface Limits extends Required<Pick<EtcdLimits, "timeoutMs">> {
  readonly timeoutMs: number;
  readonly attemptMs: number;
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly inFlightMax: number;
  readonly waitingMax: number;
  readonly requestBytesMax: number;
  readonly answerBytesMax: number;
  readonly retentionMs: number;
  readonly cache: CacheLimits | undefined;
}

const REQUEST_BYTES_MAX = 1.5 * 1024 * 1024;
const DAY_MS = 86_400_000;
/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** An answer is at most so many times a request: what is asked for is halved until it fits. */
const ANSWER_REQUESTS = 16;

/** @throws SyncError INVALID */
export function limitsOf(options: EtcdLimits): Limits {
  const number = (
    name: keyof EtcdLimits,
    value: number | undefined,
    otherwise: number,
    least: number,
    most: number,
  ) => {
    const given = value ?? otherwise;
    if (Number.isSafeInteger(given) && given >= least && given <= most) return given;
    throw new SyncError("INVALID", `option ${name} is not a whole number from ${least} to ${most}`, {
      cure: `leave it out for ${otherwise}`,
    });
  };
  const { role = "store" } = options;
  if (role !== "cache" && role !== "store")
    throw new SyncError("INVALID", 'option role is neither "cache" nor "store"');
  if (role === "store" && (options.copyTtlMs ?? options.bytesMax ?? options.maintain) !== undefined) {
    const cure = "leave out copyTtlMs, bytesMax and maintain, or say role cache";
    throw new SyncError("INVALID", "a store that keeps everything has no limit", { cure });
  }
  const requestBytesMax = number("requestBytesMax", options.requestBytesMax, REQUEST_BYTES_MAX, 65_536, 2 ** 28);
  return {
    timeoutMs: number("timeoutMs", options.timeoutMs, 10_000, 1, TIMER_MS_MAX),
    attemptMs: number("attemptMs", options.attemptMs, 500, 10, 60_000),
    keepAliveMs: number("keepAliveMs", options.keepAliveMs, 6000, 10, TIMER_MS_MAX),
    keepAliveTimeoutMs: number("keepAliveTimeoutMs", options.keepAliveTimeoutMs, 3000, 10, TIMER_MS_MAX),
    inFlightMax: number("inFlightMax", options.inFlightMax, 64, 1, 10_000),
    waitingMax: number("waitingMax", options.waitingMax, 10_000, 1, 1_000_000),
    requestBytesMax,
    answerBytesMax: requestBytesMax * ANSWER_REQUESTS,
    retentionMs: number("retentionMs", options.retentionMs, 30 * DAY_MS, 0, Number.MAX_SAFE_INTEGER),
    cache:
      role === "store"
        ? undefined
        : {
            copyTtlMs: number("copyTtlMs", options.copyTtlMs, DAY_MS, 60_000, 3650 * DAY_MS),
            bytesMax: number("bytesMax", options.bytesMax, 256 * 1024 * 1024, 65_536, Number.MAX_SAFE_INTEGER),
            maintain: options.maintain ?? true,
          },
  };
}
