import { SyncError } from "./error.ts";
import type { Runtime, Timer } from "./runtime.ts";
import { aborted, checkCall } from "./store.ts";
import type { CallOptions } from "./store.ts";

/** What can be spent. A request may be several at once: creating a commit is a write and a creation. */
export type Spending = "read" | "write" | "create" | "push";

/** So much of each kind. What is left out is none. */
export type Cost = Readonly<Partial<Record<Spending, number>>>;

/** At most `max` in any time of `windowMs`, counted by `weights`. */
export interface Limit {
  /** For messages and corrections, such as "requests an hour". */
  readonly name: string;
  readonly max: number;
  readonly windowMs: number;
  /** What one of each kind counts. Kinds left out do not count. */
  readonly weights: Cost;
  /** The share of `max`, from 0 up to but not 1, that only costs made of reads alone may use. Default 0. */
  readonly readShare?: number | undefined;
}

export interface BudgetOptions {
  readonly runtime: Runtime;
  /** Whose budget it is, for messages; never the credential itself. */
  readonly name: string;
  readonly limits: readonly Limit[];
  /** How many may wait for their turn; more end with OVERLOADED. Default 1,000. */
  readonly waitingMax?: number | undefined;
}

/** What a server said of one of its limits. */
export interface Correction {
  /** The name of the limit. */
  readonly limit: string;
  readonly remaining: number;
  /** When the server's count begins anew, in Unix milliseconds. */
  readonly resetAt: number;
  /** What was spent but is not in `remaining`: requests whose answers are still to come. Default 0. */
  readonly underWay?: number | undefined;
}

export interface LimitStatus {
  readonly limit: string;
  readonly max: number;
  readonly remaining: number;
}

/**
 * What one credential may spend, shared by everything that uses it. A bucket of tokens for each limit; a token that
 * was taken comes back one window later, so that no window of any position holds more than the limit.
 */
export interface Budget {
  readonly name: string;
  /**
   * Resolves when the cost may be spent, and has then been spent. Writes come in turn, and so do reads, which do not
   * wait behind writes.
   * @throws SyncError ABORTED, TIMEOUT, OVERLOADED when too many wait, INVALID for a cost above a whole limit.
   */
  take(cost: Cost, options?: CallOptions): Promise<void>;
  /** Takes the server's count in place of one's own. A limit that the budget does not have, it does not count. */
  correct(correction: Correction): void;
  /** Nothing is spent before this moment, Unix ms: the server said so. */
  notBefore(atMs: number): void;
  /** How long the cost would have to wait now, in milliseconds. */
  waitMs(cost: Cost): number;
  status(): readonly LimitStatus[];
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** Tokens taken within this part of a window come back together: it bounds the memory of a large limit. */
const SLICES = 1_000;
const WAITING_MAX = 1_000;
/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * GitHub's documented limits for one user or installation, and at most 6 pushes a minute.
 * Source: docs.github.com, "Rate limits for the REST API", primary and secondary limits.
 */
export const GITHUB_LIMITS: readonly Limit[] = [
  { name: "pushes a minute", max: 6, windowMs: MINUTE_MS, weights: { push: 1 } },
  { name: "creations a minute", max: 80, windowMs: MINUTE_MS, weights: { create: 1 } },
  { name: "creations an hour", max: 500, windowMs: HOUR_MS, weights: { create: 1 } },
  { name: "points a minute", max: 900, windowMs: MINUTE_MS, weights: { read: 1, write: 5 }, readShare: 0.2 },
  { name: "requests an hour", max: 5_000, windowMs: HOUR_MS, weights: { read: 1, write: 1 }, readShare: 0.2 },
];

interface Waiter {
  readonly cost: Cost;
  readonly go: () => void;
}

/** @throws SyncError INVALID for limits that are none. */
export function budget({ runtime, name, limits, waitingMax = WAITING_MAX }: BudgetOptions): Budget {
  const buckets = limits.map((limit) => bucketOf(name, limit));
  const reads: Waiter[] = [];
  const writes: Waiter[] = [];
  let pausedUntil = 0;
  let timer: Timer | undefined;

  const waitMs = (cost: Cost): number => {
    const now = runtime.now();
    return Math.max(0, pausedUntil - now, ...buckets.map((bucket) => bucket.waitMs(cost, now)));
  };

  const spend = (cost: Cost): void => {
    const now = runtime.now();
    for (const bucket of buckets) bucket.spend(cost, now);
  };

  /** Lets those go whose turn it is, and comes back when it is the next one's. */
  const turn = (): void => {
    timer?.cancel();
    timer = undefined;
    let next = Number.POSITIVE_INFINITY;
    for (const queue of [reads, writes]) {
      for (let first = queue[0]; first !== undefined; first = queue[0]) {
        const wait = waitMs(first.cost);
        if (wait > 0) {
          next = Math.min(next, wait);
          break;
        }
        queue.shift();
        spend(first.cost);
        first.go();
      }
    }
    if (next < Number.POSITIVE_INFINITY) timer = runtime.timer(Math.min(Math.ceil(next), TIMER_MS_MAX), turn);
  };

  return {
    name,
    waitMs,
    take(cost, options) {
      return new Promise((resolve, reject) => {
        checkCall(runtime, options, name, "budget");
        for (const bucket of buckets) bucket.check(cost);
        const queue = isReadOnly(cost) ? reads : writes;
        if (queue.length === 0 && waitMs(cost) === 0) {
          spend(cost);
          resolve();
          return;
        }
        if (reads.length + writes.length >= waitingMax) {
          const what = `${reads.length + writes.length} requests wait for the budget, the limit is ${waitingMax}`;
          throw new SyncError("OVERLOADED", what, { store: name, cure: "slow down" });
        }
        const { signal, deadline } = options ?? {};
        const leave = (error: SyncError) => {
          const at = queue.indexOf(waiter);
          if (at === -1) return;
          queue.splice(at, 1);
          end();
          reject(error);
          turn();
        };
        const onAbort = () => {
          if (signal !== undefined) leave(aborted(signal, name, "budget"));
        };
        const end = () => {
          late?.cancel();
          signal?.removeEventListener("abort", onAbort);
        };
        const waiter: Waiter = {
          cost,
          go: () => {
            end();
            resolve();
          },
        };
        const late =
          deadline === undefined
            ? undefined
            : runtime.timer(Math.min(Math.max(0, deadline - runtime.monotonic()), TIMER_MS_MAX), () =>
                leave(outOfTime(name, waitMs(cost))),
              );
        signal?.addEventListener("abort", onAbort, { once: true });
        queue.push(waiter);
        turn();
      });
    },
    correct(correction) {
      const { limit, remaining, resetAt, underWay = 0 } = correction;
      const found = buckets.find((bucket) => bucket.limit.name === limit);
      if (found === undefined) return;
      found.replace(found.limit.max - remaining + underWay, resetAt, runtime.now());
      turn();
    },
    notBefore(atMs) {
      pausedUntil = Math.max(pausedUntil, atMs);
      turn();
    },
    status() {
      const now = runtime.now();
      return buckets.map((bucket) => {
        const { name: limit, max } = bucket.limit;
        return { limit, max, remaining: Math.max(0, max - bucket.used(now)) };
      });
    },
  };
}

function outOfTime(name: string, waitMs: number): SyncError {
  const what = `the budget allows this in ${Math.ceil(waitMs)} ms, after the deadline`;
  return new SyncError("TIMEOUT", what, { store: name, operation: "budget", cure: "give it more time, or batch more" });
}

function isReadOnly(cost: Cost): boolean {
  const { write = 0, create = 0, push = 0 } = cost;
  return write === 0 && create === 0 && push === 0;
}

interface Bucket {
  readonly limit: Limit;
  check(cost: Cost): void;
  used(now: number): number;
  waitMs(cost: Cost, now: number): number;
  spend(cost: Cost, now: number): void;
  replace(used: number, until: number, now: number): void;
}

function bucketOf(name: string, limit: Limit): Bucket {
  const { max, windowMs, weights, readShare = 0 } = limit;
  if (!(max > 0 && windowMs > 0 && readShare >= 0 && readShare < 1)) {
    throw new SyncError("INVALID", `the limit ${limit.name} of budget ${name} is none`);
  }
  const sliceMs = windowMs / SLICES;
  /** What was taken, and when it comes back, in that order. */
  let taken: { weight: number; readonly backAt: number }[] = [];
  /** Of its weights. */
  let sum = 0;
  const kinds = Object.entries(weights) as [Spending, number][];

  const weightOf = (cost: Cost): number => {
    let weight = 0;
    for (const [kind, each] of kinds) weight += each * (cost[kind] ?? 0);
    return weight;
  };
  const maxFor = (cost: Cost) => (isReadOnly(cost) ? max : max * (1 - readShare));
  const used = (now: number): number => {
    let back = 0;
    for (let first = taken[0]; first !== undefined && first.backAt <= now; first = taken[back]) {
      sum -= first.weight;
      back++;
    }
    if (back > 0) taken = taken.slice(back);
    if (taken.length === 0) sum = 0; // whatever fractions have left of it
    return sum;
  };

  return {
    limit,
    used,
    check(cost) {
      if (weightOf(cost) <= maxFor(cost)) return;
      const what = `a cost of ${weightOf(cost)} is above the whole limit of ${maxFor(cost)} ${limit.name}`;
      throw new SyncError("INVALID", what, { store: name, operation: "budget", cure: "send less at once" });
    },
    waitMs(cost, now) {
      const weight = weightOf(cost);
      if (weight === 0) return 0;
      let over = used(now) + weight - maxFor(cost);
      for (const item of taken) {
        if (over <= 0) return 0;
        over -= item.weight;
        if (over <= 0) return item.backAt - now;
      }
      return over <= 0 ? 0 : windowMs;
    },
    spend(cost, now) {
      const weight = weightOf(cost);
      if (weight === 0) return;
      sum += weight;
      const backAt = (Math.floor(now / sliceMs) + 1) * sliceMs + windowMs;
      const last = taken.at(-1);
      if (last?.backAt === backAt) last.weight += weight;
      else taken.push({ weight, backAt });
      // A server's reset may lie behind what was taken since.
      if (last !== undefined && last.backAt > backAt) taken.sort((a, b) => a.backAt - b.backAt);
    },
    replace(weight, until, now) {
      taken = weight > 0 && until > now ? [{ weight, backAt: until }] : [];
      sum = taken.length === 0 ? 0 : weight;
    },
  };
}
