import { open as openFile, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import type { ByteRange } from "../body.ts";
import { SyncError } from "../error.ts";
import { readDuration } from "../config/values.ts";
import type { Freshness, GetOptions } from "../sync.ts";
import { EXIT_NO_VALUE, EXIT_OK } from "./exit.ts";
import { jsonLine, orNull } from "./lines.ts";
import type { Io } from "./io.ts";
import { rawToJson } from "../node/lines.ts";
import type { OpenSession, Session } from "./session.ts";
import { unwritable } from "./sink.ts";

export interface GetFlags {
  readonly fresh?: string;
  readonly output?: string;
  readonly range?: string;
}

export async function run({ io, json, call, open }: Session, [key = ""]: readonly string[], flags: GetFlags) {
  const freshness = readFreshness(flags.fresh);
  if (!json) return streamed(io, await open(), key, flags, { ...call, freshness });
  if (flags.output !== undefined || flags.range !== undefined) {
    throw new SyncError("INVALID", "--output and --range are for the bytes alone", { cure: "leave out --json" });
  }
  const { db } = await open();
  const found = await db.read(key, { ...call, freshness });
  if (found === undefined) return EXIT_NO_VALUE;
  const { value, version, expires, meta, layer, ageMs, stale } = found;
  await io.stdout.write(
    jsonLine({ key, ...rawToJson(value), version, expires, meta, layer, ageMs: orNull(ageMs), stale }),
  );
  return EXIT_OK;
}

/** The bytes as they come, however many, to standard output or a file, which is there whole or not at all. */
async function streamed(
  io: Io,
  { db }: OpenSession,
  key: string,
  flags: GetFlags,
  options: GetOptions,
): Promise<number> {
  const range = flags.range === undefined ? undefined : readRange(flags.range);
  const found = await db.getStream(key, { ...options, range });
  if (found === undefined) return EXIT_NO_VALUE;
  if (flags.output !== undefined) await toFile(found.stream, flags.output, io);
  else {
    let last: number | undefined;
    for await (const piece of found.stream) {
      await io.stdout.write(piece);
      last = piece.at(-1);
    }
    // A person's prompt should not stand on the value's last line; a program gets the bytes and nothing else.
    if (io.stdout.isTTY && last !== 0x0a) await io.stdout.write("\n");
  }
  if (found.stale) {
    await io.stderr.write("microsync: the value may be old: a layer that might know better did not answer\n");
  }
  return EXIT_OK;
}

async function toFile(pieces: AsyncIterable<Uint8Array>, output: string, { folder }: Io): Promise<void> {
  const path = resolve(folder, output);
  const part = `${path}.part`;
  const file = await openFile(part, "w").catch((cause: unknown) => {
    throw unwritable(path, cause);
  });
  try {
    try {
      for await (const piece of pieces) await file.writeFile(piece);
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error instanceof SyncError ? error : unwritable(path, error);
  }
}

function readRange(text: string): ByteRange {
  const [, start, end] = /^(\d{1,15})-(\d{1,15})?$/.exec(text) ?? [];
  if (start === undefined) {
    throw new SyncError("INVALID", `--range is ${JSON.stringify(text.slice(0, 64))}`, {
      cure: "it takes the first byte and the one after the last, as in 0-1024, or 1024- up to the end",
    });
  }
  return { start: Number(start), end: end === undefined ? undefined : Number(end) };
}

function readFreshness(text: string | undefined): Freshness | undefined {
  if (text === undefined || text === "cached" || text === "authority") return text;
  if (!/^\d/.test(text)) {
    throw new SyncError("INVALID", `--fresh is ${JSON.stringify(text.slice(0, 64))}`, {
      cure: "it takes cached, authority, or the greatest age such as 5s",
    });
  }
  return { maxAgeMs: readDuration("--fresh", text) };
}
