import { crc32c } from "../checksum.ts";
import { SyncError } from "../error.ts";
import type { Files } from "./files.ts";
import { SALT_BYTES } from "./segment.ts";

/**
 * The small text file that says which segments there are. Without it a segment that was removed on purpose, out of
 * order, and one that was lost would look the same; and the durable end of a segment stands in the header of the next
 * one, which may be gone.
 *
 *     microsync journal 1
 *     next 5
 *     1 16777180 5f0c9ab3771e20d4
 *     4 48 90aa0e0f6b1c2d3e
 *     crc32c 1a2b3c4d
 *
 * A line is a segment: its number, where it durably ends (the last one: at least there), and its salt. It is replaced
 * as a whole, before the first group goes into a new segment and before the file of a removed one goes.
 */
export interface Manifest {
  /** No segment has had this number or a greater one. */
  readonly next: number;
  readonly segments: readonly ManifestLine[];
}

export interface ManifestLine {
  readonly number: number;
  readonly end: number;
  readonly salt: Uint8Array;
}

export const MANIFEST = "segments";
export const MANIFEST_TEMPORARY = "segments.new";
const FIRST = "microsync journal 1";
const BYTES_MAX = 16 * 2 ** 20;
const FORM = /^microsync journal 1\nnext (\d{1,10})\n((?:\d{1,10} \d{1,15} [0-9a-f]{16}\n)*)crc32c ([0-9a-f]{8})\n$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function formatManifest({ next, segments }: Manifest): string {
  const lines = segments.map(({ number, end, salt }) => `${number} ${end} ${hex(salt)}`);
  const body = `${[FIRST, `next ${next}`, ...lines].join("\n")}\n`;
  return `${body}crc32c ${checksumOf(body)}\n`;
}

/** What is wrong with the text, if it is no manifest. */
export function parseManifest(text: string): Manifest | string {
  const [, next, lines = "", crc] = FORM.exec(text) ?? [];
  if (next === undefined) {
    const format = /^microsync journal (\d+)\n/.exec(text)?.[1] ?? "1";
    return format === "1" ? "it is damaged" : `it is of format ${format}, which this version does not know`;
  }
  if (crc !== checksumOf(text.slice(0, text.lastIndexOf("crc32c")))) return "it does not match its checksum";
  const segments = lines.split("\n").flatMap((line) => {
    const [number, end, salt] = line.split(" ");
    return number === "" || end === undefined || salt === undefined
      ? []
      : [{ number: Number(number), end: Number(end), salt: unhex(salt) }];
  });
  return { next: Number(next), segments };
}

/** Undefined when there is none. @throws SyncError CORRUPT. */
export async function loadManifest(files: Files, names: readonly string[]): Promise<Manifest | undefined> {
  if (!names.includes(MANIFEST)) return undefined;
  const manifest = await tryManifest(files);
  if (typeof manifest === "string") {
    throw new SyncError("CORRUPT", `the file ${MANIFEST}, which lists the segments, cannot be used: ${manifest}`, {
      store: files.name,
      cure: "restore it from a backup, or run `microsync journal rescue`",
    });
  }
  return manifest;
}

export async function tryManifest(files: Files): Promise<Manifest | string> {
  const size = await files.size(MANIFEST);
  if (size > BYTES_MAX) return `it has ${size} bytes`;
  const bytes = await files.read(MANIFEST, 0, size);
  try {
    return parseManifest(decoder.decode(bytes));
  } catch {
    return "it is not text";
  }
}

/** Resolves when the new manifest survives a power loss. After a failure the old one or the new one is there. */
export async function storeManifest(files: Files, manifest: Manifest): Promise<void> {
  // What a failed attempt, or a crash in the middle of one, left behind.
  if ((await files.list()).includes(MANIFEST_TEMPORARY)) await files.remove(MANIFEST_TEMPORARY);
  const file = await files.create(MANIFEST_TEMPORARY);
  try {
    await file.append(encoder.encode(formatManifest(manifest)));
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(MANIFEST_TEMPORARY, MANIFEST);
  await files.syncFolder();
}

function checksumOf(body: string): string {
  return (crc32c(encoder.encode(body)) >>> 0).toString(16).padStart(8, "0");
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from({ length: SALT_BYTES }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
