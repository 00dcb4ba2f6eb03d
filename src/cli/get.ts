import { SyncError } from "../error.ts";
import { readDuration } from "../config/values.ts";
import type { Freshness } from "../sync.ts";
import { EXIT_NO_VALUE, EXIT_OK } from "./exit.ts";
import { jsonLine, orNull } from "./lines.ts";
import { rawToJson } from "./raw.ts";
import type { Session } from "./session.ts";

export interface GetFlags {
  readonly fresh?: string;
}

export async function run({ io, json, call, open }: Session, [key = ""]: readonly string[], flags: GetFlags) {
  const freshness = readFreshness(flags.fresh);
  const { db } = await open();
  const found = await db.read(key, { ...call, freshness });
  if (found === undefined) return EXIT_NO_VALUE;
  const { value, version, expires, meta, layer, ageMs, stale } = found;
  if (json) {
    await io.stdout.write(
      jsonLine({ key, ...rawToJson(value), version, expires, meta, layer, ageMs: orNull(ageMs), stale }),
    );
    return EXIT_OK;
  }
  await io.stdout.write(value.bytes);
  // A person's prompt should not stand on the value's last line; a program gets the bytes and nothing else.
  if (io.stdout.isTTY && value.bytes.at(-1) !== 0x0a) await io.stdout.write("\n");
  if (stale) await io.stderr.write("microsync: the value may be old: a layer that might know better did not answer\n");
  return EXIT_OK;
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
