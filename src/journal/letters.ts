import { crc32c } from "../checksum.ts";
import { decodeEnvelope, encodeEnvelope } from "../envelope.ts";
import { SyncError } from "../error.ts";
import type { Entry, Head } from "../entry.ts";
import type { ErrorCode } from "../error.ts";
import type { BodyNote } from "./bodies.ts";
import { replaceFile } from "./cursors.ts";
import type { Files } from "./files.ts";

/**
 * "dead": a layer refused the entry for good. "conflict": the layer collected the key at a later version, so the entry
 * may be one that was deleted for good.
 */
export type LetterList = "dead" | "conflict";

/** An entry that could not be delivered, kept with its body until somebody decides. */
export interface Letter {
  /** The letter's name, unique in its journal: the record's sequence number and the layer's. */
  readonly id: string;
  readonly list: LetterList;
  readonly seq: number;
  /** The layer that refused it. */
  readonly layer: string;
  /** That layer takes writes first, so no other shared layer has it either. */
  readonly nowhere: boolean;
  readonly head: Head;
  readonly valueBytes: number;
  /** The file with the value, for one that came as a stream. */
  readonly body?: BodyNote | undefined;
  readonly asOf: number;
  readonly code: ErrorCode;
  /** Why. Never holds a value. */
  readonly message: string;
  /** Unix ms of the refusal. */
  readonly at: number;
}

/** What a letter says of a value that lies in a file of its own. */
export function apart(body: BodyNote | undefined): Pick<Letter, "body"> {
  return body === undefined ? {} : { body: { size: body.size, sha256: body.sha256, file: body.file } };
}

const PREFIX = "letter-";
const FORMAT = /^microsync letter 1 ([0-9a-f]{8}) (\{.*\})$/s;

/**
 * One file for each letter, `letter-SEQ-LAYER`: a line `microsync letter 1 CHECKSUM JSON` that says what and why, then
 * the entry's envelope.
 */
export async function writeLetter(files: Files, letter: Letter, entry: Entry): Promise<void> {
  const json = JSON.stringify(letter);
  const line = new TextEncoder().encode(`microsync letter 1 ${checksumOf(json)} ${json}\n`);
  const envelope = encodeEnvelope(entry);
  const bytes = new Uint8Array(line.length + envelope.length);
  bytes.set(line);
  bytes.set(envelope, line.length);
  await replaceFile(files, `new-${letter.id}`, letter.id, bytes);
}

/** @throws SyncError CORRUPT naming the file. */
export async function readLetters(files: Files): Promise<readonly Letter[]> {
  const letters: Letter[] = [];
  for (const name of await files.list())
    if (name.startsWith(PREFIX)) letters.push((await readLetter(files, name)).letter);
  return letters.sort((a, b) => a.seq - b.seq);
}

export async function letterBody(files: Files, { id, head }: Letter): Promise<Entry> {
  const { body } = await readLetter(files, id);
  return decodeEnvelope(body, { key: head.key }).entry;
}

/** What the letter of a record for a layer is called. Layer names are free text, file names are not. */
export function letterId(seq: number, layer: string): string {
  return `${PREFIX}${String(seq).padStart(12, "0")}-${encodeURIComponent(layer).replaceAll(/[%.*]/g, "_").slice(0, 64)}`;
}

async function readLetter(files: Files, id: string): Promise<{ readonly letter: Letter; readonly body: Uint8Array }> {
  const bytes = await files.read(id, 0, await files.size(id));
  const end = bytes.indexOf(0x0a);
  const [, sum, json] = FORMAT.exec(new TextDecoder().decode(bytes.subarray(0, Math.max(0, end)))) ?? [];
  if (sum === undefined || json === undefined || sum !== checksumOf(json)) {
    throw new SyncError("CORRUPT", `the file ${id} of ${files.name} is damaged`, {
      cure: "move it out of the folder; microsync journal rescue shows what is readable",
    });
  }
  return { letter: JSON.parse(json) as Letter, body: bytes.slice(end + 1) };
}

function checksumOf(json: string): string {
  return (crc32c(new TextEncoder().encode(json)) >>> 0).toString(16).padStart(8, "0");
}
