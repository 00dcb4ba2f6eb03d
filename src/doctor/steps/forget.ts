import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { entryOf, holds, outcomeOf, put, readOne, writeOne } from "../visit.ts";
import type { Step } from "../visit.ts";

/** An entry is removed when it has the version named and not otherwise, and leaves no trace that refuses later writes. */
export const forget: Step = {
  id: "forget",
  writes: true,
  async run(visit) {
    if (visit.patient.keepsHistory) {
      return { what: "every write stays in the history; the cleaning up shows it", skipped: true };
    }
    const { clients, call } = visit;
    const [store] = clients;
    const before = await entryOf(visit, "forget", "before");
    const entry = await entryOf(visit, "forget", "here");
    await put(visit, [entry]);
    const notes: Note[] = [];
    await store.forget([{ key: entry.key, version: before.version, reason: "ghost" }], call);
    if (!holds(await readOne(visit, entry.key), entry)) {
      const cure = "do not collect with it: it removes what is newer";
      notes.push(failure("an entry was removed by the name of another version", cure));
    }
    await store.forget([{ key: entry.key, version: entry.version, reason: "ghost" }], call);
    if ((await readOne(visit, entry.key)) !== undefined) {
      notes.push(failure("an entry that was to be removed is still there", "check the right to delete"));
    }
    const back = await writeOne(visit, before);
    if (notes.length === 0 && back.status !== "stored") {
      notes.push(failure(`an older write after a removal without a trace was ${outcomeOf(back)}`));
    }
    return { what: notes.length > 0 ? "not removed rightly" : "removes exactly the version named", notes };
  },
};
