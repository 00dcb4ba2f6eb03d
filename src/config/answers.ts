import type { SystemClock } from "../doctor/clock.ts";
import type { Store } from "../store.ts";

/** Listens to the answers of a system that speaks HTTP: how many, and what time they tell. */
export interface Answers {
  /** The store's option of this name. */
  readonly onAnswer: (date: number | undefined) => void;
  readonly count: () => number;
  /** The system's clock, asked by a read of a key that need not be there. */
  clockOf(store: Store): SystemClock;
}

/** A key like any other: asking for it brings an answer, and with it a date. */
const ASKED = "microsync/time";

export function answersOf(): Answers {
  let count = 0;
  let last: number | undefined;
  return {
    onAnswer(date) {
      count++;
      last = date;
    },
    count: () => count,
    clockOf: (store) => ({
      resolutionMs: 1000, // a Date header is a whole second
      async ask(call) {
        last = undefined;
        await store.read([ASKED], { ...call, authority: true });
        return last;
      },
    }),
  };
}
