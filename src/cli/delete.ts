import { toVersion } from "../version.ts";
import { EXIT_OK } from "./exit.ts";
import { jsonLine, orNull } from "./lines.ts";
import type { Session } from "./session.ts";

export interface DeleteFlags {
  readonly ifVersion?: string;
  readonly ack?: string;
}

export async function run({ io, json, call, open }: Session, [key = ""]: readonly string[], flags: DeleteFlags) {
  const ifVersion = flags.ifVersion === undefined ? undefined : toVersion(flags.ifVersion);
  const { db } = await open();
  const { version, supersededBy } = await db.delete(key, { ...call, ack: flags.ack, ifVersion });
  await io.stdout.write(json ? jsonLine({ key, version, supersededBy: orNull(supersededBy) }) : `${version}\n`);
  return EXIT_OK;
}
