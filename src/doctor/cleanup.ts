import type { Forget } from "../store.ts";
import { versionMs } from "../version.ts";
import { advice, failure, failureOf } from "./finding.ts";
import type { Note } from "./finding.ts";
import { countText } from "./measure.ts";
import { PREFIX } from "./prefix.ts";
import { batches, listed, read } from "./visit.ts";
import type { Said, Visit } from "./visit.ts";

/** One to remove, one to see that all is gone, one for what came late. */
const ROUNDS = 3;
/** How many keys below the prefix are looked for that nobody remembers writing. */
const STRAY_MAX = 1_000;
/** What is younger may be of a doctor that is at work. */
const EARLIER_MS = 3_600_000;
const SHOWN_MAX = 5;

/**
 * Removes all that was written, without a trace: no tombstones, and the collection watermark stays. Removed is what has
 * the version just read, below a prefix that nobody else has.
 * @returns what could not be removed.
 */
export async function cleanup(visit: Visit): Promise<Said & { readonly left: readonly string[] }> {
  let left: string[] = [];
  let removed = 0;
  let trouble: Note | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    try {
      const items = await remaining(visit);
      left = items.map(({ key }) => key);
      if (left.length === 0) break;
      if (round === ROUNDS - 1) break;
      for (const batch of batches(items, visit.supports.batchMax)) await visit.clients[0].forget(batch, visit.call);
      removed += items.length;
      trouble = undefined;
    } catch (error) {
      trouble = failureOf(error);
      if (left.length === 0) left = [...visit.touched.keys];
    }
  }
  const history = visit.patient.keepsHistory ? "; its commits stay in the history" : "";
  if (left.length === 0) return { what: `nothing is left${history}`, left, notes: await earlier(visit) };
  const named = left.slice(0, SHOWN_MAX).map((key) => JSON.stringify(key));
  const more = left.length > SHOWN_MAX ? `, … (--json names all)` : "";
  const may = trouble === undefined ? "left" : "perhaps left";
  const cure = `remove what is below ${visit.prefix}, or run \`microsync doctor\` again when the store answers to see what is there`;
  const note = failure(`${countText(left.length, "key")} ${may}: ${named.join(", ")}${more}`, cure);
  return {
    what: `${countText(left.length, "key")} ${may} below ${visit.prefix}${history}`,
    notes: trouble === undefined ? [note] : [trouble, note],
    figures: { removed, left: left.length },
    left,
  };
}

async function remaining(visit: Visit): Promise<Forget[]> {
  const found = await listed(visit, visit.prefix, visit.touched.keys.length + STRAY_MAX);
  const keys = [...new Set([...visit.touched.keys, ...found.map(({ key }) => key)])];
  const answers = await read(visit, keys);
  return answers.flatMap(({ entry }, i) =>
    entry === undefined ? [] : [{ key: keys[i] ?? entry.key, version: entry.version, reason: "ghost" as const }],
  );
}

/** What a doctor left behind that was killed. It is told, not removed: by now it is data like any. */
async function earlier(visit: Visit): Promise<Note[]> {
  const before = visit.runtime.now() - EARLIER_MS;
  const old = (await listed(visit, PREFIX, STRAY_MAX)).filter(
    ({ key, head }) => OURS.test(key) && head !== null && versionMs(head.version) < before,
  );
  if (old.length === 0) return [];
  return [advice(`${countText(old.length, "key")} of an earlier run that was killed: below ${PREFIX}`, "delete them")];
}

const OURS = /^\.doctor\/[0-9a-f]{16}\//;
