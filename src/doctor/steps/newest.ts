import type { Entry } from "../../entry.ts";
import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { clientOf, entryOf, holds, outcomeOf, put, readOne, writeOne } from "../visit.ts";
import type { Step, Visit } from "../visit.ts";

const WRITERS = 6;
const CURE = "do not use it: a late or repeated write undoes a newer one";

/** The newest version stays, in whatever order and from wherever writes arrive. */
export const newest: Step = {
  id: "newest",
  writes: true,
  async run(visit) {
    const older = await entryOf(visit, "newest", "older");
    const newer = await entryOf(visit, "newest", "newer");
    await put(visit, [newer]);
    const notes: Note[] = [];
    const late = await writeOne(visit, older);
    if (late.status !== "superseded" || late.by !== newer.version) {
      notes.push(failure(`an older version was ${outcomeOf(late)} over a newer one`, CURE));
    }
    if (!holds(await readOne(visit, newer.key), newer))
      notes.push(failure("an older version replaced a newer one", CURE));
    const again = await writeOne(visit, newer);
    if (again.status !== "stored") notes.push(failure(`a repeated write was ${outcomeOf(again)}`, CURE));
    if (visit.supports.writers === "many" && !visit.patient.keepsHistory) {
      notes.push(...(await race(visit, WRITERS)));
      const what =
        notes.length > 0 ? "older versions come back" : `the newest stays, also of ${WRITERS} written at once`;
      return { what, notes, figures: { writers: WRITERS } };
    }
    return { what: notes.length > 0 ? "older versions come back" : "the newest stays", notes };
  },
};

async function race(visit: Visit, writers: number): Promise<Note[]> {
  const entries: Entry[] = [];
  for (let i = 0; i < writers; i++) entries.push(await entryOf(visit, "newest-of-many", `${i}`));
  const last = entries.at(-1);
  if (last === undefined) return [];
  // The newest first: every later one has to be refused.
  const results = await Promise.all(
    entries.toReversed().map((entry, i) => writeOne(visit, entry, undefined, clientOf(visit, i))),
  );
  const notes = results.flatMap((result) =>
    result.status === "failed" ? [failure(`a write ${outcomeOf(result)}`)] : [],
  );
  if (!holds(await readOne(visit, last.key), last)) {
    notes.push(failure(`of ${writers} versions written at once an older one stayed`, CURE));
  }
  return notes;
}
