import { SyncError } from "../error.ts";

/** Runs tasks of one key one after the other, tasks of different keys at once. */
export interface Turns {
  /** @throws SyncError OVERLOADED when `waitersMax` tasks of the key wait already. */
  take<T>(key: string, task: () => Promise<T>): Promise<T>;
}

export function turns(waitersMax: number): Turns {
  const queues = new Map<string, { last: Promise<unknown>; waiting: number }>();
  return {
    async take(key, task) {
      const queue = queues.get(key) ?? { last: Promise.resolve(), waiting: 0 };
      if (queue.waiting >= waitersMax) {
        throw new SyncError("OVERLOADED", `${queue.waiting} updates of this key wait already`, {
          key,
          cure: "slow down, or spread the updates over several keys",
        });
      }
      queue.waiting++;
      queues.set(key, queue);
      const run = queue.last.then(task);
      // The next one's turn comes however this one ends; its error is its caller's.
      queue.last = run.then(
        () => undefined,
        () => undefined,
      );
      try {
        return await run;
      } finally {
        queue.waiting--;
        if (queue.waiting === 0) queues.delete(key);
      }
    },
  };
}
