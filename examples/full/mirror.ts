import type { Sync } from "microsync";

/** Keeps another chain like a chain, for as long as it runs. */
export interface Mirror {
  /** How many keys were carried over so far; a key that changes again counts again. */
  readonly carried: number;
  /** Resolves when every key there was at the beginning has been carried over. */
  readonly ready: Promise<void>;
  /** Ends it. @throws what ended it before. */
  stop(): Promise<void>;
}

/** So many keys at most are read and written in one call. */
const BATCH = 1_000;

/**
 * Carries everything of one chain to another, then every change as it is told: a watch that begins with all there is. Of a
 * key that changes while it waits only the newest value is carried.
 */
export function mirror(from: Sync, to: Sync): Mirror {
  const stopping = new AbortController();
  const waiting = new Set<string>();
  const { promise: ready, resolve: becomeReady, reject: failReady } = promised();
  let carried = 0;
  let isCurrent = false;
  let working: Promise<void> | undefined;

  const drain = async () => {
    while (waiting.size > 0) {
      const keys = [...waiting].slice(0, BATCH);
      for (const key of keys) waiting.delete(key);
      const values = await from.getMany(keys);
      await to.setMany(values);
      for (const key of keys) if (!values.has(key)) await to.delete(key);
      carried += keys.length;
    }
    if (isCurrent) becomeReady();
  };
  const work = () => {
    working ??= drain()
      .catch((error: unknown) => {
        failReady(error);
        stopping.abort(error);
        throw error;
      })
      .finally(() => {
        working = undefined;
      });
    working.catch(() => undefined); // told by `stop`
  };
  const follow = async () => {
    const onCurrent = () => {
      isCurrent = true;
      work();
    };
    const watch = from.watch({ initial: true, intervalMs: 200, signal: stopping.signal, onCurrent });
    for await (const { key } of watch) {
      waiting.add(key);
      work();
    }
  };
  const following = follow();
  following.catch(failReady);
  ready.catch(() => undefined); // told to whoever waits, and by `stop`
  return {
    get carried() {
      return carried;
    },
    ready,
    async stop() {
      const why: unknown = stopping.signal.reason;
      const wasEnded = stopping.signal.aborted;
      stopping.abort();
      await following;
      await working;
      if (wasEnded) throw why;
    },
  };
}

function promised() {
  let resolve = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
