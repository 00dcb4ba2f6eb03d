import type { Entry } from "../../entry.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { msText, rounded, timed } from "../measure.ts";
import { clientOf, entryOf, holds, outcomeOf, readOne, writeOne } from "../visit.ts";
import type { Said, Step, Visit } from "../visit.ts";

const NAME = "conditions";
const WRITERS = 8;
const WRITERS_FEW = 4;
const CURE = "do not let it decide: with it `ifAbsent`, `ifVersion` and `update` lose writes";

/** Writes on a condition are decided rightly, and of several at once exactly one wins. */
export const conditions: Step = {
  id: "conditions",
  writes: true,
  async run(visit) {
    if (!visit.supports.conditional) return refused(visit);
    const { runtime, patient } = visit;
    const writers = patient.keepsHistory ? WRITERS_FEW : WRITERS;
    const [{ notes, winner }, raceMs] = await timed(runtime, () => race(visit, "absent", writers));
    if (winner !== undefined) {
      const second = await entryOf(visit, NAME, "second");
      const third = await entryOf(visit, NAME, "third");
      const expect = async (what: string, entry: Entry, condition: Write["if"], status: WriteResult["status"]) => {
        const result = await writeOne(visit, entry, condition);
        if (result.status !== status) notes.push(failure(`${what} was ${outcomeOf(result)}, not ${status}`, CURE));
      };
      await expect("a write if absent, over a value,", second, "absent", "conflict");
      await expect("a write at the version that is there", second, winner.version, "stored");
      await expect("a write at a version that was there before", third, winner.version, "conflict");
      await expect("the repetition of a write that took effect", second, winner.version, "stored");
      if (!holds(await readOne(visit, second.key), second)) notes.push(failure("a refused write took effect", CURE));
      if (!patient.keepsHistory) notes.push(...(await race(visit, second.version, writers)).notes);
    }
    const what = `decided rightly, and one of ${writers} at once wins (${msText(raceMs)})`;
    return {
      what: notes.length > 0 ? "not decided rightly" : what,
      notes,
      figures: { writers, raceMs: rounded(raceMs) },
    };
  },
};

/** What the store says it cannot do, it must refuse. */
async function refused(visit: Visit): Promise<Said> {
  const result = await writeOne(visit, await entryOf(visit, NAME, "x"), "absent");
  if (result.status === "failed" && result.error.code === "UNSUPPORTED") {
    return { what: "the store has none, and refuses them", skipped: true };
  }
  return { what: "not refused", notes: [failure(`a condition that is not supported was ${outcomeOf(result)}`, CURE)] };
}

/** The writers are on several connections, as processes are: one of them has to win. */
async function race(
  visit: Visit,
  condition: Version | "absent",
  writers: number,
): Promise<{ readonly notes: Note[]; readonly winner: Entry | undefined }> {
  const entries: Entry[] = [];
  for (let i = 0; i < writers; i++) entries.push(await entryOf(visit, NAME, `${i}`));
  const results = await Promise.all(entries.map((entry, i) => writeOne(visit, entry, condition, clientOf(visit, i))));
  const won = entries.filter((_, i) => results[i]?.status === "stored");
  const broken = results.filter(({ status }) => status === "failed");
  const notes: Note[] = [];
  const [winner] = won;
  const what = condition === "absent" ? "writes if absent" : "writes at one version";
  if (broken[0] !== undefined) {
    notes.push(failure(`${broken.length} of ${writers} ${what} at once ${outcomeOf(broken[0])}`));
  }
  if (won.length > 1 || (won.length === 0 && broken.length === 0)) {
    notes.push(failure(`of ${writers} ${what} at once ${won.length} were taken, not one`, CURE));
  } else if (winner !== undefined && !holds(await readOne(visit, winner.key), winner)) {
    notes.push(failure(`of ${writers} ${what} at once another is there than the one that was taken`, CURE));
  }
  return { notes, winner: won.length === 1 ? winner : undefined };
}
