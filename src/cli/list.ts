import { readOption } from "../config/values.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import type { Io } from "./io.ts";
import { gathered, jsonLine } from "./lines.ts";
import type { Session } from "./session.ts";

export interface ListFlags {
  readonly after?: string;
  readonly limit?: string;
  readonly null?: boolean;
}

export async function run({ io, json, call, open }: Session, [prefix = ""]: readonly string[], flags: ListFlags) {
  const limit = flags.limit === undefined ? undefined : Number(readOption("--limit", [flags.limit], "count"));
  const { db } = await open();
  const keys = db.list({ ...call, prefix, after: flags.after, limit });
  const end = flags.null === true ? "\0" : "\n";
  const out = gathered(io.stdout);
  try {
    for await (const key of keys) await out.add(json ? jsonLine({ key }) : key + end);
  } finally {
    await out.end();
  }
  return tellPartial(io, keys.partial);
}

/** A list that lacks something is told as such, and by the exit status. */
export async function tellPartial(io: Io, partial: readonly string[]): Promise<number> {
  if (partial.length === 0) return EXIT_OK;
  await io.stderr.write(`microsync: keys may be missing: ${partial.join(", ")} could not be listed (try again)\n`);
  return EXIT.UNAVAILABLE;
}
