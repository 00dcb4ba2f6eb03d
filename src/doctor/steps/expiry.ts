import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { entryOf, holds, outcomeOf, put, read, writeOne } from "../visit.ts";
import type { Step } from "../visit.ts";

/** In the future by enough that no clock in use disagrees. */
const LATER_MS = 3_600_000;

/** Entries keep their expiry; what has expired counts as absent and does not come back without it. */
export const expiry: Step = {
  id: "expiry",
  writes: true,
  async run(visit) {
    const { runtime, supports } = visit;
    const now = runtime.now();
    const past = await entryOf(visit, "expiry/past", "over", now - 1_000);
    const future = await entryOf(visit, "expiry/future", "lives", now + LATER_MS);
    await put(visit, [past, future]);
    const [found, kept] = await read(visit, [past.key, future.key]);
    const notes: Note[] = [];
    const cure = "do not keep values that expire in it";
    if (!holds(kept?.entry, future)) {
      const what = kept?.entry === undefined ? "is gone" : "came back with another expiry";
      notes.push(failure(`an entry that expires in an hour ${what}`, cure));
    }
    if (found?.entry === undefined ? !supports.expiry : !holds(found.entry, past)) {
      const what = found?.entry === undefined ? "was removed, though the store says it does not" : "lost its expiry";
      notes.push(failure(`an entry that has expired ${what}`, cure));
    }
    if (supports.conditional && !visit.patient.keepsHistory) {
      const over = await writeOne(visit, await entryOf(visit, "expiry/past", "new"), "absent");
      if (over.status !== "stored")
        notes.push(failure(`a write if absent, over an expired entry, was ${outcomeOf(over)}`));
      const early = await writeOne(visit, await entryOf(visit, "expiry/future", "new"), "absent");
      if (early.status !== "conflict") {
        notes.push(failure(`a write if absent, over one that expires in an hour, was ${outcomeOf(early)}`));
      }
    }
    const who = supports.expiry ? "the store removes what has expired" : "collection removes what has expired";
    return { what: notes.length > 0 ? "not kept rightly" : `kept exactly; ${who}`, notes };
  },
};
