import type { Entry } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import { asSyncError } from "../error.ts";
import { readBodyNote } from "./bodies.ts";
import type { BodyNote } from "./bodies.ts";
import type { Files } from "./files.ts";
import { inspectLog } from "./inspect.ts";
import type { Inspected } from "./inspect.ts";
import { letterBody, readLetters, writeLetter } from "./letters.ts";
import { openLog } from "./log.ts";
import type { Draft, Indexed } from "./log.ts";
import { noteOf, readDecision } from "./notes.ts";
import { NO_NOTE, entryOf } from "./record.ts";
import { segmentFile } from "./segment.ts";

/** What a rescue found. */
export interface Rescued {
  /** Records that are in the new journal. */
  readonly records: number;
  readonly letters: number;
  /** Places that could not be read. */
  readonly damage: readonly Extract<Inspected, { kind: "damage" }>[];
  /** What could be read but not taken over, in words. */
  readonly lost: readonly string[];
}

/**
 * Copies everything that is readable of a damaged journal into an empty folder, in its order. Every layer is then sent
 * all of it once more, which the merge rule makes harmless.
 */
export async function rescue(from: Files, to: Files, runtime: Runtime): Promise<Rescued> {
  const damage: Extract<Inspected, { kind: "damage" }>[] = [];
  const lost: string[] = [];
  const found: Indexed[] = [];
  for await (const item of inspectLog(from)) {
    if (item.kind === "damage") damage.push(item);
    else if (item.kind === "record") found.push(item.record);
  }
  const decisions = new Map<number, boolean>();
  for (const { kind, note } of found) {
    if (kind !== "decision") continue;
    const { intent, happened } = readDecision(note);
    decisions.set(intent, happened);
  }
  const log = await openLog({ files: to, runtime });
  let records = 0;
  try {
    for (const record of found) {
      const draft = await draftOf(from, record, decisions, lost);
      if (draft === undefined) continue;
      const body = readBodyNote(record.note);
      if (body !== undefined && !(await copyBody(from, to, body, lost))) continue;
      await log.append([draft]).durable;
      records++;
    }
    const letters = await readLetters(from);
    for (const letter of letters) {
      if (letter.body !== undefined) await copyBody(from, to, letter.body, lost);
      await writeLetter(to, letter, await letterBody(from, letter));
    }
    return { records, letters: letters.length, damage, lost };
  } finally {
    await log.close();
  }
}

async function draftOf(
  from: Files,
  record: Indexed,
  decisions: ReadonlyMap<number, boolean>,
  lost: string[],
): Promise<Draft | undefined> {
  const { kind, key, asOf, note, seq, head, place } = record;
  const happened = decisions.get(seq);
  if (head === null || (kind === "intent" && happened === false)) return undefined;
  let entry: Entry | null;
  try {
    entry = entryOf(await from.read(segmentFile(place.segment), place.at, place.length), record);
  } catch (error) {
    lost.push(asSyncError(error).message);
    return undefined;
  }
  // What a condition decided is an entry like any other; what is open is asked again.
  return kind === "intent" && happened === undefined
    ? { kind, key, asOf, note, entry }
    : { kind: "write", key, asOf, entry, note: noteOf(undefined, readBodyNote(note)) ?? NO_NOTE };
}

/** Whether the file is in the new folder, on disk. Every layer has the values whose files are gone. */
async function copyBody(from: Files, to: Files, { file, size }: BodyNote, lost: string[]): Promise<boolean> {
  if ((await to.list()).includes(file)) return true;
  if (!(await from.list()).includes(file)) {
    lost.push(`the large value in ${file} is not in the folder: it was in every layer, or is lost`);
    return false;
  }
  const copy = await to.create(file);
  try {
    for (let at = 0; at < size; at += COPY_BYTES) await copy.append(await from.read(file, at, COPY_BYTES));
    await copy.sync();
  } finally {
    await copy.close();
  }
  await to.syncFolder();
  return true;
}

const COPY_BYTES = 64 * 1024;
