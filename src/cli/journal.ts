import { rename } from "node:fs/promises";
import { resolve } from "node:path";
import { chooseChain } from "../config/choose.ts";
import { SyncError } from "../error.ts";
import { loadCursors } from "../journal/cursors.ts";
import { inspectLog } from "../journal/inspect.ts";
import { openJournal } from "../journal/open.ts";
import { readLetters } from "../journal/letters.ts";
import type { Letter } from "../journal/letters.ts";
import { nodeFiles } from "../journal/node-files.ts";
import { rescue } from "../journal/rescue.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import { duration, jsonLine, orNull, table } from "./lines.ts";
import { countText } from "./progress.ts";
import type { Session } from "./session.ts";

export interface JournalFlags {
  readonly all?: boolean;
  readonly layer?: string;
}

/** What is in a journal, and what to do about it. */
export async function run(
  session: Session,
  [action = "ls", ...ids]: readonly string[],
  flags: JournalFlags,
): Promise<number> {
  switch (action) {
    case "ls":
      return list(session);
    case "check":
      return check(session);
    case "retry":
      return retry(session, ids, flags);
    case "drop":
      return drop(session, ids, flags);
    case "rescue":
      return rescueFolder(session);
    default:
      throw new SyncError("INVALID", `journal has no action ${JSON.stringify(action.slice(0, 64))}`, {
        cure: "it is ls, check, retry, drop or rescue",
      });
  }
}

/** The letters, and how much waits for each layer. Reads the folder without owning it, so it works beside a node. */
async function list({ io, json, global }: Session): Promise<number> {
  const files = nodeFiles(await folderOf(io, global), { runtime: io.runtime });
  const letters = await readLetters(files);
  const waiting = await waitingIn(files);
  if (json) {
    for (const { layer, entries } of waiting) await io.stdout.write(jsonLine({ layer, pending: entries }));
    for (const letter of letters) await io.stdout.write(jsonLine(letterLine(letter)));
    return EXIT_OK;
  }
  const now = io.runtime.now();
  const rows = letters.map(({ id, list: kind, head, layer, message, at }) => [
    id,
    kind,
    JSON.stringify(head.key),
    head.state === "deleted" ? "delete" : "set",
    layer,
    `${duration(now - at)} ago`,
    message,
  ]);
  if (rows.length > 0) await io.stdout.write(table(["letter", "list", "key", "what", "layer", "when", "why"], rows));
  const waits = waiting.map(({ layer, entries }) => `${countText(entries, "record")} for ${layer}`).join(", ");
  await io.stderr.write(`${countText(letters.length, "letter")}; ${waits === "" ? "nothing waits" : waits}\n`);
  return EXIT_OK;
}

function letterLine({ id, list: kind, head, layer, code, message, at, seq }: Letter) {
  const { key, state, version, expires } = head;
  return { letter: id, list: kind, seq, key, state, version, expires, layer, code, message, at };
}

/** Records behind each layer's cursor, as of when the cursors were last written: a node that runs may be further. */
async function waitingIn(files: ReturnType<typeof nodeFiles>) {
  const { lanes } = await loadCursors(files);
  const entries = new Map(Object.keys(lanes).map((name) => [name, 0]));
  for await (const found of inspectLog(files)) {
    if (found.kind !== "record" || !found.committed || found.record.head === null) continue;
    for (const [name, { seq }] of Object.entries(lanes)) {
      if (found.record.seq > seq) entries.set(name, (entries.get(name) ?? 0) + 1);
    }
  }
  return [...entries].filter(([, count]) => count > 0).map(([layer, count]) => ({ layer, entries: count }));
}

/** Reads every byte. The exit status says whether all of it is whole. */
async function check({ io, json, global }: Session): Promise<number> {
  const files = nodeFiles(await folderOf(io, global), { runtime: io.runtime });
  let [records, damaged] = [0, 0];
  for await (const found of inspectLog(files)) {
    if (found.kind === "record") records++;
    if (found.kind === "segment" && json) await io.stdout.write(jsonLine({ segment: found.file, bytes: found.bytes }));
    if (found.kind !== "damage") continue;
    damaged++;
    const { file, at, length, reason } = found;
    await io.stdout.write(
      json
        ? jsonLine({ file, offset: at, bytes: length, damage: reason })
        : `${file}: ${length} bytes at ${at}: ${reason}\n`,
    );
  }
  await io.stderr.write(`${countText(records, "record")} whole, ${countText(damaged, "damaged place")}\n`);
  return damaged === 0 ? EXIT_OK : EXIT.CORRUPT;
}

async function retry({ io, json, call, open }: Session, ids: readonly string[], flags: JournalFlags): Promise<number> {
  const { db, chain } = await open();
  const { journal } = chain;
  if (journal === undefined) throw noJournal();
  const chosen = chosenOf(journal.letters, ids, flags);
  for (const { id } of chosen) await journal.retry(id);
  await io.stderr.write(`${countText(chosen.length, "letter")} sent again\n`);
  await db.flush(call);
  if (json) await io.stdout.write(jsonLine({ retried: chosen.map(({ id }) => id) }));
  return EXIT_OK;
}

async function drop({ io, json, global }: Session, ids: readonly string[], flags: JournalFlags): Promise<number> {
  const files = nodeFiles(await folderOf(io, global), { runtime: io.runtime });
  const journal = await openJournal({ files, runtime: io.runtime });
  try {
    if (flags.layer !== undefined) await journal.forgetLane(flags.layer);
    const chosen = flags.layer === undefined || ids.length > 0 ? chosenOf(journal.letters, ids, flags) : [];
    for (const { id } of chosen) await journal.drop(id);
    if (json) await io.stdout.write(jsonLine({ dropped: chosen.map(({ id }) => id), layer: orNull(flags.layer) }));
    else await io.stderr.write(`${countText(chosen.length, "letter")} dropped\n`);
  } finally {
    await journal.close();
  }
  return EXIT_OK;
}

function chosenOf(letters: readonly Letter[], ids: readonly string[], { all }: JournalFlags): readonly Letter[] {
  if (all === true) return letters;
  if (ids.length === 0) {
    throw new SyncError("INVALID", "no letter is named", { cure: "name those that journal ls shows, or --all" });
  }
  return ids.map((id) => {
    const letter = letters.find((each) => each.id === id);
    if (letter !== undefined) return letter;
    const cure = "journal ls names them";
    throw new SyncError("NOT_FOUND", `there is no letter ${JSON.stringify(id.slice(0, 100))}`, { cure });
  });
}

/** Makes a journal of what is readable, in the place of the damaged one, which stays beside it. */
async function rescueFolder({ io, json, global }: Session): Promise<number> {
  const folder = await folderOf(io, global);
  const damaged = nodeFiles(folder, { runtime: io.runtime });
  const claim = await damaged.claim();
  const stamp = io.runtime.now();
  const [made, aside] = [`${folder}.rescued-${stamp}`, `${folder}.damaged-${stamp}`];
  let rescued: Awaited<ReturnType<typeof rescue>>;
  try {
    rescued = await rescue(damaged, nodeFiles(made, { runtime: io.runtime }), io.runtime);
  } finally {
    await claim.release();
  }
  await rename(folder, aside);
  await rename(made, folder);
  const { records, letters, damage, lost } = rescued;
  if (json) await io.stdout.write(jsonLine({ records, letters, damaged: damage.length, lost, aside }));
  else {
    for (const { file, at, length, reason } of damage) {
      await io.stderr.write(`not readable: ${file}, ${length} bytes at ${at}: ${reason}\n`);
    }
    const what = `${countText(records, "record")} and ${countText(letters, "letter")} rescued`;
    await io.stderr.write(`${what}; the damaged journal is in ${aside}\n`);
  }
  return EXIT_OK;
}

async function folderOf(io: Session["io"], { chain, config, journal }: Session["global"]): Promise<string> {
  const chosen = await chooseChain({ flag: chain, configFile: config, journal, env: io.env, folder: io.folder });
  if (chosen.journal === undefined || chosen.journal === false) throw noJournal();
  return resolve(chosen.base, chosen.journal);
}

function noJournal(): SyncError {
  return new SyncError("INVALID", "no journal is named", {
    cure: "give its folder with --journal, MICROSYNC_JOURNAL or the configuration file",
  });
}
