import { asSyncError } from "microsync";
import type { Sync, Version } from "microsync";
import { until } from "../start/person.ts";

/** Keeps another chain like a chain, for as long as it runs. */
export interface Mirror {
  /** How many keys were carried over so far; a key that changes again counts again. */
  readonly carried: number;
  /** Resolves when every key there was at the beginning has been carried over. @throws what ended the mirror. */
  ready(): Promise<void>;
  /** Ends it when all that it was told of is carried over. @throws what ended it before. */
  stop(): Promise<void>;
}

/** So many keys at most are read and written in one call. */
const BATCH = 1_000;
/** A store that is watched may be away: then the watch begins anew, so much later. */
const AGAIN_MS = 200;
const INTERVAL_MS = 200;

/**
 * Carries everything of one chain to another, then every change as it is told: a watch that begins with all there is. Of a
 * key that changes while it waits only the newest value is carried, and a version that was carried is not carried again.
 */
export function mirror(from: Sync, to: Sync): Mirror {
  const stopping = new AbortController();
  const { signal } = stopping;
  const waiting = new Set<string>();
  const seen = new Map<string, Version | null>();
  let carried = 0;
  let isReady = false;
  let failure: unknown;
  let working: Promise<void> | undefined;

  const carry = async () => {
    while (waiting.size > 0) {
      const keys = [...waiting].slice(0, BATCH);
      for (const key of keys) waiting.delete(key);
      const values = await from.getMany(keys);
      await to.setMany(values);
      for (const key of keys) if (!values.has(key)) await to.delete(key);
      carried += keys.length;
    }
  };
  const end = (error: unknown) => {
    failure ??= error;
    stopping.abort();
  };
  const work = () => {
    working ??= carry()
      .catch(end)
      .finally(() => (working = undefined));
  };
  const watchOnce = async () => {
    const onCurrent = () => {
      isReady = true;
    };
    for await (const { key, version } of from.watch({ initial: true, intervalMs: INTERVAL_MS, signal, onCurrent })) {
      if (version !== null && seen.get(key) === version) continue;
      seen.set(key, version);
      waiting.add(key);
      work();
    }
  };
  const follow = async () => {
    while (!signal.aborted) {
      await watchOnce().catch((error: unknown) => {
        if (!asSyncError(error).retryable) end(error);
      });
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  };
  const following = follow();
  const isIdle = () => waiting.size === 0 && working === undefined;
  const orFailed = () => {
    if (failure !== undefined) throw failure;
  };
  return {
    get carried() {
      return carried;
    },
    async ready() {
      await until(() => Promise.resolve(signal.aborted || (isReady && isIdle())), Infinity);
      orFailed();
    },
    async stop() {
      stopping.abort();
      await following;
      await working;
      orFailed();
    },
  };
}
