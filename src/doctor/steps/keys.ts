import { compareKeys, utf8Length } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { batches, entryOf, holds, listed, outcomeOf, read, write } from "../visit.ts";
import type { Step, Visit } from "../visit.ts";

/**
 * Keys that systems take for one another, for something else, or in another order: by case, by Unicode's two ways to
 * write an é, as paths, as names that file systems refuse, beyond the first plane.
 */
const NAMES: readonly string[] = [
  "A",
  "a",
  "README",
  "readme",
  "caf\u00e9",
  "cafe\u0301",
  ".",
  "..",
  "...",
  "a.",
  "a ",
  " a",
  "a/b",
  "a//b",
  "a/",
  "a%2Fb",
  "%",
  "_",
  "*",
  "-",
  "CON",
  ".git/x",
  "a.lock",
  "a\nb",
  "a\u0001",
  "\uFFFD",
  "\u{1F600}",
];
const SEGMENT_BYTES = 255;
/** How many keys a message names. */
const SHOWN_MAX = 4;
/** How many keys of a store that may not be written to are looked at. */
const LOOKED_AT_MAX = 1_000;
const CURE_ORDER = "do not list or copy from it: what is skipped or comes twice would be taken for deleted or new";
const CURE_APART = "avoid such keys with it";

/** Difficult keys stay apart, come back, and are listed in the order of their bytes. */
export const keys: Step = {
  id: "keys",
  writes: false,
  async run(visit) {
    if (visit.readonly) return lookedAt(visit);
    const { prefix, supports } = visit;
    const below = `${prefix}keys/`;
    const room = supports.keyBytesMax - utf8Length(below);
    const names = [
      ...NAMES,
      "s".repeat(SEGMENT_BYTES),
      "k".repeat(Math.max(0, room)),
      `${"k".repeat(Math.max(0, room - 1))}l`,
    ];
    const fitting = [...new Set(names)].filter((name) => name !== "" && utf8Length(name) <= room);
    const entries: Entry[] = [];
    // In an order that is none of those a list might come in by chance.
    for (const name of fitting.toReversed()) entries.push(await entryOf(visit, `keys/${name}`, `value of ${name}`));
    const notes: Note[] = [];
    const stored: Entry[] = [];
    for (const batch of batches(entries, supports.batchMax)) {
      for (const [i, result] of (await write(visit, batch)).entries()) {
        const entry = batch[i];
        if (entry === undefined) continue;
        if (result.status === "stored") stored.push(entry);
        else notes.push(failure(`the key ${shown([entry.key], below)} was ${outcomeOf(result)}`, CURE_APART));
      }
    }
    notes.push(...(await apart(visit, stored, below)), ...(await inOrder(visit, stored, below)));
    const longest = Math.max(0, ...stored.map(({ key }) => utf8Length(key)));
    const what = `${stored.length} difficult keys, up to ${longest} B, stay apart and in order`;
    return {
      what: notes.length > 0 ? "not kept apart or in order" : what,
      notes,
      figures: { keys: stored.length, longest },
    };
  },
};

/** Each key has its own value. */
async function apart(visit: Visit, entries: readonly Entry[], below: string): Promise<Note[]> {
  const answers = await read(
    visit,
    entries.map(({ key }) => key),
  );
  const wrong = entries.filter((entry, i) => !holds(answers[i]?.entry, entry)).map(({ key }) => key);
  if (wrong.length === 0) return [];
  return [failure(`of ${shown(wrong, below)} another value or none came back`, CURE_APART)];
}

/** The list has each once, in order, whole and in two pages. */
async function inOrder(visit: Visit, entries: readonly Entry[], below: string): Promise<Note[]> {
  const expected = entries.map(({ key }) => key).sort(compareKeys);
  const found = (await listed(visit, below, entries.length + 1)).map(({ key }) => key);
  const lacking = expected.filter((key) => !found.includes(key));
  if (lacking.length > 0) return [failure(`a list lacks ${shown(lacking, below)}`, CURE_ORDER)];
  if (found.length > expected.length) return [failure("a list has a key twice, or one that nobody wrote", CURE_ORDER)];
  const at = found.findIndex((key, i) => key !== expected[i]);
  if (at >= 0) {
    return [
      failure(
        `a list is not in the order of bytes: it has ${shown(found.slice(at, at + 1), below)} too early`,
        CURE_ORDER,
      ),
    ];
  }
  const half = Math.ceil(expected.length / 2);
  const first = await listed(visit, below, half);
  const second = await listed(visit, below, entries.length + 1, first.at(-1)?.key);
  const paged = [...first, ...second].map(({ key }) => key);
  if (paged.length === expected.length && paged.every((key, i) => key === expected[i])) return [];
  return [failure("a list in pages has other keys than one as a whole", CURE_ORDER)];
}

/** Without writing: whether what is there is listed in order. */
async function lookedAt(visit: Visit) {
  const found = (await listed(visit, "", LOOKED_AT_MAX)).map(({ key }) => key);
  const wrong = found.some((key, i) => i > 0 && compareKeys(found[i - 1] ?? "", key) >= 0);
  const notes = wrong ? [failure("a list is not in the order of bytes, or has a key twice", CURE_ORDER)] : [];
  const what = wrong ? "not in order" : `the first ${found.length} are in order`;
  return { what: found.length === 0 ? "there are none" : what, notes, figures: { keys: found.length } };
}

function shown(keys: readonly string[], below: string): string {
  const texts = keys.slice(0, SHOWN_MAX).map((key) => {
    const name = key.startsWith(below) ? key.slice(below.length) : key;
    return name.length > 40 ? `one of ${utf8Length(key)} B` : JSON.stringify(name).replaceAll(/\p{M}/gu, asEscape);
  });
  return texts.join(", ") + (keys.length > SHOWN_MAX ? ", …" : "");
}

/** What joins the letter before it would look like another key. */
function asEscape(mark: string): string {
  return `\\u${(mark.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
}
