import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { msText, rounded, timed } from "../measure.ts";
import { entryOf, holds, put, read } from "../visit.ts";
import type { Step, Visit } from "../visit.ts";

const ENTRIES = 200;
/** Where each may be a request of its own that somebody counts. */
const ENTRIES_COUNTED = 50;
/** A larger call is not made just to see it refused. */
const REFUSED_MAX = 10_000;

/** Many entries in one call. */
export const batch: Step = {
  id: "batch",
  writes: true,
  async run(visit) {
    if (visit.patient.keepsHistory) {
      return { what: "every write stays in the history; the keys before were one call", skipped: true };
    }
    const { runtime, supports, patient } = visit;
    const count = Math.min(supports.batchMax, patient.requests === undefined ? ENTRIES : ENTRIES_COUNTED);
    const entries: Entry[] = [];
    for (let i = 0; i < count; i++) entries.push(await entryOf(visit, `batch/${String(i).padStart(4, "0")}`, `${i}`));
    const [, writeMs] = await timed(runtime, () => put(visit, entries));
    const asked = entries.map(({ key }) => key);
    const [answers, readMs] = await timed(runtime, () => read(visit, asked));
    const wrong = entries.filter((entry, i) => !holds(answers[i]?.entry, entry)).length;
    const notes: Note[] = wrong === 0 ? [] : [failure(`${wrong} of ${count} entries of one call are not there`)];
    notes.push(...(await tooMany(visit)));
    const what = `${count} in one call: written in ${msText(writeMs)}, read in ${msText(readMs)}`;
    return { what, notes, figures: { entries: count, writeMs: rounded(writeMs), readMs: rounded(readMs) } };
  },
};

async function tooMany({ supports, clients, prefix, call }: Visit): Promise<Note[]> {
  const { batchMax } = supports;
  if (batchMax > REFUSED_MAX) return [];
  const keys = Array.from({ length: batchMax + 1 }, () => `${prefix}batch/none`);
  try {
    await clients[0].read(keys, call);
  } catch (error) {
    if (error instanceof SyncError && error.code === "TOO_LARGE") return [];
    throw error;
  }
  return [failure(`a call above its own limit of ${batchMax} is taken`, "correct what the store says in `supports`")];
}
