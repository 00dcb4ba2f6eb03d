import { forCaller } from "../../caller.ts";
import type { Entry } from "../../entry.ts";
import type { Runtime } from "../../runtime.ts";
import type { Call, Connection } from "./connection.ts";
import { LEASE_GRANT } from "./messages.ts";

export const NO_LEASE = 0n;

/** No lease is shorter than this; buckets of the nearest future are as wide. */
const BUCKET_S_MIN = 64;
/** A bucket is at most this share of the time until it ends. */
const BUCKET_SHARE = 1 / 8;
/** What lies further away gets no lease: etcd takes no more than 9,000,000,000 s, and nobody waits for it. */
const LEASE_S_MAX = 50 * 365 * 86_400;
/** Leases that are remembered. There are 8 buckets for each doubling of the time: far fewer. */
const BUCKETS_MAX = 1024;

export interface LeaseOptions {
  readonly runtime: Runtime;
  readonly store: string;
  /** How long an expired entry stays, in milliseconds. */
  readonly retentionMs: number;
  /** Of a cache: no copy stays longer than this, in milliseconds. */
  readonly copyTtlMs: number | undefined;
}

/**
 * When etcd may remove what: leases that many keys share, each for one bucket of time. A lease ends when everything in
 * its bucket is due, or later by an eighth of the time it was given; never earlier. The true expiry is in the entry.
 */
export class Leases {
  private readonly connection: Connection;
  private readonly options: LeaseOptions;
  /** By the end of the bucket, in Unix seconds. */
  private readonly granted = new Map<number, Promise<bigint>>();

  constructor(connection: Connection, options: LeaseOptions) {
    this.connection = connection;
    this.options = options;
  }

  /** The lease for an entry; undefined when it needs none. */
  forEntry(entry: Entry, call: Call): Promise<bigint> | undefined {
    const due = this.dueMs(entry);
    if (due === undefined) return undefined;
    const end = bucketEnd(due, this.options.runtime.now());
    if (end === undefined) return undefined;
    const { runtime, store } = this.options;
    const known = this.granted.get(end);
    const lease = known ?? this.grant(end);
    if (known === undefined) this.remember(end, lease);
    return forCaller(lease, call, runtime, store, call.operation);
  }

  private remember(end: number, lease: Promise<bigint>): void {
    this.granted.set(end, lease);
    if (this.granted.size > BUCKETS_MAX) {
      const [oldest] = this.granted.keys();
      if (oldest !== undefined) this.granted.delete(oldest);
    }
    lease.catch(() => this.granted.delete(end));
  }

  /** Etcd has none of the leases that this store was granted. */
  forget(): void {
    this.granted.clear();
  }

  private dueMs({ expires }: Entry): number | undefined {
    const { copyTtlMs, retentionMs, runtime } = this.options;
    const expired = expires === null ? undefined : expires + retentionMs;
    if (copyTtlMs === undefined) return expired;
    return Math.min(expired ?? Infinity, runtime.now() + copyTtlMs);
  }

  private async grant(end: number): Promise<bigint> {
    const ttl = Math.max(BUCKET_S_MIN, Math.ceil(end - this.options.runtime.now() / 1000));
    const { answer } = await this.connection.call(LEASE_GRANT, { ttl, id: 0n }, this.connection.ownCall("write"));
    return answer.id;
  }
}

/**
 * The end of the bucket that a moment falls into, in Unix seconds: at or after it. Buckets widen with the distance.
 * Undefined for what is too far away.
 */
export function bucketEnd(dueMs: number, nowMs: number): number | undefined {
  const leftS = Math.max(BUCKET_S_MIN, (dueMs - nowMs) / 1000);
  if (leftS > LEASE_S_MAX) return undefined;
  const width = 2 ** Math.floor(Math.log2(Math.max(BUCKET_S_MIN, leftS * BUCKET_SHARE)));
  return Math.ceil((nowMs / 1000 + leftS) / width) * width;
}
