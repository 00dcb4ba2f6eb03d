import { crc32c } from "../checksum.ts";
import { SyncError } from "../error.ts";
import type { Files } from "./files.ts";

/** How far each layer has got in the log, by the layer's name. */
export interface Cursors {
  readonly lanes: Readonly<Record<string, LaneCursor>>;
  /** Unix ms of the moment this was written: up to here the layers are known to have had what lies before the cursors. */
  readonly savedAt: number;
  /** Copies with an asOf up to this may be older than what this node wrote: its record was removed early. 0: none. */
  readonly suspectUntil: number;
}

export interface LaneCursor {
  readonly role: "cache" | "store";
  /** The layer has everything up to this sequence number, or needs it no more. */
  readonly seq: number;
}

export const NO_CURSORS: Cursors = { lanes: {}, savedAt: 0, suspectUntil: 0 };

const FILE = "cursors";
const TEMPORARY = "cursors.new";
const FORMAT = /^microsync cursors 1 ([0-9a-f]{8}) (\{.*\})\n$/s;

/**
 * The file `cursors`: one line, `microsync cursors 1 CHECKSUM JSON`, replaced as a whole. A crash leaves the old one or
 * the new one; an old one costs sending again what the layers have, which the merge rule makes harmless.
 * @throws SyncError CORRUPT, naming the cure.
 */
export async function loadCursors(files: Files): Promise<Cursors> {
  if (!(await files.list()).includes(FILE)) return NO_CURSORS;
  const bytes = await files.read(FILE, 0, await files.size(FILE));
  const [, sum, json] = FORMAT.exec(new TextDecoder().decode(bytes)) ?? [];
  if (sum === undefined || json === undefined || sum !== checksumOf(json)) {
    throw new SyncError("CORRUPT", `the file ${FILE} of ${files.name} is damaged`, {
      cure: "remove that file: everything that the journal keeps is then sent to every layer once more, which is harmless",
    });
  }
  return JSON.parse(json) as Cursors;
}

/** @throws SyncError INVALID when entries wait for a store that is not one of the layers. @param last of the log. */
export function checkLanes(
  journal: string,
  layers: readonly { readonly name: string }[],
  cursors: Cursors,
  last: number,
): void {
  const names = new Set(layers.map(({ name }) => name));
  for (const [name, { role, seq }] of Object.entries(cursors.lanes)) {
    if (names.has(name) || role === "cache" || seq >= last) continue;
    throw new SyncError("INVALID", `${journal} keeps entries for a layer ${JSON.stringify(name)}`, {
      cure: "name a layer of the chain so (the layer option name), or drop them with microsync journal drop --layer",
    });
  }
}

/**
 * What waits for a layer that is gone needs not be sent to it any more.
 * @throws SyncError NOT_FOUND when the journal keeps nothing for a layer of that name.
 */
export async function forgetLane(files: Files, cursors: Cursors, name: string): Promise<void> {
  if (!Object.hasOwn(cursors.lanes, name)) {
    throw new SyncError("NOT_FOUND", `${files.name} keeps nothing for a layer ${JSON.stringify(name)}`, {
      cure: `it knows ${Object.keys(cursors.lanes).join(", ")}`,
    });
  }
  const { [name]: _gone, ...lanes } = cursors.lanes;
  await saveCursors(files, { ...cursors, lanes });
}

export async function saveCursors(files: Files, cursors: Cursors): Promise<void> {
  const json = JSON.stringify(cursors);
  const text = `microsync cursors 1 ${checksumOf(json)} ${json}\n`;
  await replaceFile(files, TEMPORARY, FILE, new TextEncoder().encode(text));
}

/** Writes a file so that a crash or a power loss at any moment leaves the old one, if any, or the whole new one. */
export async function replaceFile(files: Files, temporary: string, name: string, bytes: Uint8Array): Promise<void> {
  if ((await files.list()).includes(temporary)) await files.remove(temporary);
  const file = await files.create(temporary);
  try {
    await file.append(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, name);
  await files.syncFolder();
}

function checksumOf(json: string): string {
  return (crc32c(new TextEncoder().encode(json)) >>> 0).toString(16).padStart(8, "0");
}
